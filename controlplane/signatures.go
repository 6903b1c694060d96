package controlplane

import (
	"context"
	"errors"
	"time"

	"github.com/caracal-gateway/caracal/authority"
)

// Service is the control plane of one deployment. Its methods are safe for concurrent use.
//
// Errors that the caller may be told are *authority.Error; unavailable means that the database is away.
type Service struct{}

// New makes the service of a deployment whose database is migrated.
func New(Config) (*Service, error) { return nil, errors.ErrUnsupported }

// Run keeps what must be kept while the service lives, until ctx ends: event partitions made ahead, retention, and
// wake-ups for changes that other replicas commit.
func (s *Service) Run(ctx context.Context) error { return errors.ErrUnsupported }

// Ping reports whether the database answers and is migrated; the error is unavailable.
func (s *Service) Ping(ctx context.Context) error { return errors.ErrUnsupported }

// Authenticate identifies the bearer of an API key, of an access token or of the deployment's setup key. Whatever is
// wrong with a credential, the answer is the same unauthenticated error; unavailable means that it was not judged.
func (s *Service) Authenticate(ctx context.Context, bearer string) (c Caller, err error) {
	return c, errors.ErrUnsupported
}

func (s *Service) CreateWorkspace(ctx context.Context, c Caller, n NewWorkspace) (w Written[CreatedWorkspace], err error) {
	return w, errors.ErrUnsupported
}
func (s *Service) Workspaces(ctx context.Context, c Caller) ([]authority.Workspace, error) {
	return nil, errors.ErrUnsupported
}
func (s *Service) Workspace(ctx context.Context, c Caller, slug string) (w authority.Workspace, err error) {
	return w, errors.ErrUnsupported
}

func (s *Service) RegisterPrincipal(ctx context.Context, c Caller, n NewPrincipal) (w Written[RegisteredPrincipal], err error) {
	return w, errors.ErrUnsupported
}
func (s *Service) Principals(ctx context.Context, c Caller, f PrincipalFilter, p Page) (l List[authority.Principal], err error) {
	return l, errors.ErrUnsupported
}
func (s *Service) Principal(ctx context.Context, c Caller, id authority.PrincipalID) (p authority.Principal, err error) {
	return p, errors.ErrUnsupported
}
func (s *Service) SuspendPrincipal(ctx context.Context, c Caller, id authority.PrincipalID) (w Written[authority.Principal], err error) {
	return w, errors.ErrUnsupported
}
func (s *Service) ResumePrincipal(ctx context.Context, c Caller, id authority.PrincipalID) (w Written[authority.Principal], err error) {
	return w, errors.ErrUnsupported
}

func (s *Service) CreatePolicy(ctx context.Context, c Caller, n NewPolicy) (w Written[authority.Policy], err error) {
	return w, errors.ErrUnsupported
}
func (s *Service) Policies(ctx context.Context, c Caller, f PolicyFilter, p Page) (l List[authority.Policy], err error) {
	return l, errors.ErrUnsupported
}
func (s *Service) Policy(ctx context.Context, c Caller, id authority.PolicyID) (p authority.Policy, err error) {
	return p, errors.ErrUnsupported
}
func (s *Service) UpdatePolicy(ctx context.Context, c Caller, id authority.PolicyID, change PolicyChange) (w Written[authority.Policy], err error) {
	return w, errors.ErrUnsupported
}
func (s *Service) DeactivatePolicy(ctx context.Context, c Caller, id authority.PolicyID) (w Written[authority.Policy], err error) {
	return w, errors.ErrUnsupported
}

// JoinPolicy makes the caller's principal a grantor of the policy: standing consent.
func (s *Service) JoinPolicy(ctx context.Context, c Caller, id authority.PolicyID) (w Written[authority.Policy], err error) {
	return w, errors.ErrUnsupported
}

func (s *Service) RequestMandate(ctx context.Context, c Caller, r MandateRequest) (w Written[authority.Mandate], err error) {
	return w, errors.ErrUnsupported
}
func (s *Service) Mandates(ctx context.Context, c Caller, f MandateFilter, p Page) (l List[authority.Mandate], err error) {
	return l, errors.ErrUnsupported
}
func (s *Service) Mandate(ctx context.Context, c Caller, id authority.MandateID) (m authority.Mandate, err error) {
	return m, errors.ErrUnsupported
}
func (s *Service) DelegateMandate(ctx context.Context, c Caller, d Delegation) (w Written[authority.Mandate], err error) {
	return w, errors.ErrUnsupported
}
func (s *Service) ValidateMandate(ctx context.Context, c Caller, v Validation) (a ValidationAnswer, err error) {
	return a, errors.ErrUnsupported
}
func (s *Service) RevokeMandate(ctx context.Context, c Caller, id authority.MandateID, wait time.Duration) (w Written[Receipt], err error) {
	return w, errors.ErrUnsupported
}

func (s *Service) CreateDestination(ctx context.Context, c Caller, d authority.Destination) (w Written[authority.Destination], err error) {
	return w, errors.ErrUnsupported
}
func (s *Service) Destinations(ctx context.Context, c Caller, p Page) (l List[authority.Destination], err error) {
	return l, errors.ErrUnsupported
}
func (s *Service) Destination(ctx context.Context, c Caller, id authority.DestinationID) (d authority.Destination, err error) {
	return d, errors.ErrUnsupported
}
func (s *Service) UpdateDestination(ctx context.Context, c Caller, id authority.DestinationID, d authority.Destination) (w Written[authority.Destination], err error) {
	return w, errors.ErrUnsupported
}
func (s *Service) DeleteDestination(ctx context.Context, c Caller, id authority.DestinationID) (w Written[authority.Destination], err error) {
	return w, errors.ErrUnsupported
}

// PushRego compiles and tests a version and stores it. A version that does not compile or whose tests fail is an
// *InvalidRego, which is an invalid_request too.
func (s *Service) PushRego(ctx context.Context, c Caller, p RegoPush) (w Written[authority.RegoVersion], err error) {
	return w, errors.ErrUnsupported
}
func (s *Service) RegoVersions(ctx context.Context, c Caller, p Page) (l List[authority.RegoVersion], err error) {
	return l, errors.ErrUnsupported
}
func (s *Service) RegoVersion(ctx context.Context, c Caller, id authority.RegoVersionID) (v authority.RegoVersion, err error) {
	return v, errors.ErrUnsupported
}
func (s *Service) ActivateRego(ctx context.Context, c Caller, id authority.RegoVersionID) (w Written[authority.RegoVersion], err error) {
	return w, errors.ErrUnsupported
}

func (s *Service) CreateKey(ctx context.Context, c Caller, n NewKey) (w Written[CreatedKey], err error) {
	return w, errors.ErrUnsupported
}
func (s *Service) Keys(ctx context.Context, c Caller, f KeyFilter, p Page) (l List[authority.Key], err error) {
	return l, errors.ErrUnsupported
}
func (s *Service) RevokeKey(ctx context.Context, c Caller, id authority.KeyID) (w Written[authority.Key], err error) {
	return w, errors.ErrUnsupported
}
func (s *Service) IssueToken(ctx context.Context, c Caller) (t AccessToken, err error) {
	return t, errors.ErrUnsupported
}

func (s *Service) Events(ctx context.Context, c Caller, f EventFilter, p Page) (l List[authority.Event], err error) {
	return l, errors.ErrUnsupported
}

// Event finds an event by its own id or by the id of its decision.
func (s *Service) Event(ctx context.Context, c Caller, id string) (e authority.Event, err error) {
	return e, errors.ErrUnsupported
}

// Gateways lists the enrolled processes, those that left last.
func (s *Service) Gateways(ctx context.Context, c Caller) ([]Gateway, error) {
	return nil, errors.ErrUnsupported
}

// Gateway finds an enrolled process of the caller's own gateway key, for the sync server.
func (s *Service) Gateway(ctx context.Context, c Caller, id authority.GatewayID) (g Gateway, err error) {
	return g, errors.ErrUnsupported
}

// EnrolGateway registers a process. A public key that is enrolled already under the same gateway key answers the
// gateway that it is.
func (s *Service) EnrolGateway(ctx context.Context, c Caller, e Enrolment) (g Enrolled, err error) {
	return g, errors.ErrUnsupported
}

// ConnectGateway marks the process connected until the returned function is called. Left says that the process ended
// its stream on purpose and decides no more; a revocation does not wait for it then.
func (s *Service) ConnectGateway(ctx context.Context, c Caller, id authority.GatewayID) (disconnect func(left bool), err error) {
	return nil, errors.ErrUnsupported
}

// Acknowledge records that the process's decisions enforce a revision.
func (s *Service) Acknowledge(ctx context.Context, c Caller, id authority.GatewayID, revision uint64) error {
	return errors.ErrUnsupported
}

// ReportEnvoy records what the process's Envoy said of its configuration; empty means that it accepted it.
func (s *Service) ReportEnvoy(ctx context.Context, c Caller, id authority.GatewayID, refusal string) error {
	return errors.ErrUnsupported
}

// RecordEvents stores a batch once, and answers the highest sequence stored without a gap for this gateway and epoch.
func (s *Service) RecordEvents(ctx context.Context, c Caller, b Batch) (last uint64, err error) {
	return 0, errors.ErrUnsupported
}

// Snapshot seals the caller's workspace as of one revision, for a gateway.
func (s *Service) Snapshot(ctx context.Context, c Caller) (b Bundle, err error) {
	return b, errors.ErrUnsupported
}

// Revision is the workspace's present revision.
func (s *Service) Revision(ctx context.Context, c Caller) (uint64, error) {
	return 0, errors.ErrUnsupported
}

// Subscribe wakes its receiver after each committed change of the caller's workspace, within a second for changes of
// other replicas. Wake-ups coalesce. The caller must call cancel.
func (s *Service) Subscribe(c Caller) (wake <-chan struct{}, cancel func()) { return nil, nil }
