// Package controlplane owns the state of workspaces: who may change it, by which rules, and what is told about it.
//
// Every operation takes the caller first and passes one choke point: authorise, validate, then one transaction that
// holds the change, its revision and the event that tells it. There is no other way to the store, so permission and
// record cannot be forgotten. What is refused is an event too.
package controlplane

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
	"github.com/caracal-gateway/caracal/controlplane/replica"
	"github.com/caracal-gateway/caracal/discovery"
	"github.com/caracal-gateway/caracal/token"
)

// minSetupKey is the length of the shortest setup key, in bytes.
const minSetupKey = 24

// Config is what a Service needs.
type Config struct {
	Store *postgres.Store
	// MasterKey encrypts the private keys and the repeatable answers that the database holds; 32 bytes.
	MasterKey []byte
	// SetupKey lets its bearer create workspaces and list all of them; at least 24 characters. Empty means that nobody
	// can.
	SetupKey string
	// Replica is what this process shares with other replicas; nil for a control plane of one process.
	Replica *replica.Replica
	// SignIn is how people sign in.
	SignIn SignIn
	// Grace is for how long a deleted workspace can be restored; 0 means DefaultGrace.
	Grace time.Duration
	// Quotas replace some of DefaultQuotas.
	Quotas map[string]int64
	// IssuerNetworks hold whatever private addresses workspaces may have the keys of their issuers fetched from; none
	// means public addresses only.
	IssuerNetworks []netip.Prefix
	Log            *slog.Logger
	// Now is the control plane's clock.
	Now func() time.Time
	// Steady is a clock that nobody turns, not even to keep it right; nil means the host's own. How long gateways are waited
	// for, and how long a revocation settles, is measured on it.
	Steady func() time.Duration
}

// Service is the control plane of one deployment. Its methods are safe for concurrent use.
//
// Errors that the caller may be told are *authority.Error; unavailable means that the database is away.
type Service struct {
	store      *postgres.Store
	vault      token.Vault
	setup      *[sha256.Size]byte // digest of the setup key; nil when there is none
	cursorKey  []byte
	csrfKey    []byte
	signIn     SignIn
	grace      time.Duration    // between the deletion of a workspace and its erasure
	quotas     map[string]int64 // never changes
	log        *slog.Logger
	clock      func() time.Time
	deployment atomic.Pointer[postgres.Deployment] // of the timeline that was met last
	// restoration is how far the database was relied on when this replica looked last.
	restoration atomic.Pointer[Restoration]
	policies    policyCache
	vetting     chan struct{} // holds a token for each version of a Rego policy that is compiled and tested
	changes     topic         // wakes who waits for a change of a workspace
	acks        topic         // wakes who waits for a gateway's acknowledgement
	connected   connections
	images      images
	surveys     chan struct{} // holds a token for each state that is read as a whole
	poll        time.Duration // how often it is looked for what other replicas changed
	steady      func() time.Duration
	// What gateways say is written for many of them at once.
	renewals         *gathering[application, Granted]
	acknowledgements *gathering[acknowledged, error]
	passages         *gathering[passage, error]
	// receipts brings pending receipts forward, for all who wait at the same time.
	receipts *gathering[struct{}, time.Duration]
	settling settling
	replica  *replica.Replica
	fetcher  discovery.Fetcher // of the keys of trusted issuers
	// issuerNetworks are where key servers may be beside the public internet, whatever a workspace lists.
	issuerNetworks []netip.Prefix
}

// New makes the service of a deployment. The database may be away; it must have been migrated by the time that the
// service is asked something.
func New(c Config) (*Service, error) {
	vault, err := token.NewVault(c.MasterKey)
	if err != nil {
		return nil, fmt.Errorf("open master key: %w", err)
	}
	derived := func(purpose string) []byte {
		mac := hmac.New(sha256.New, c.MasterKey)
		mac.Write([]byte(purpose))
		return mac.Sum(nil)
	}
	s := &Service{
		store: c.Store, replica: c.Replica, vault: vault, cursorKey: derived("caracal-cursor"), csrfKey: derived("caracal-csrf"), vetting: make(chan struct{}, maxVetting), surveys: make(chan struct{}, maxSurveys), poll: revisionPoll, grace: cmp.Or(c.Grace, DefaultGrace), log: c.Log, clock: c.Now,
		issuerNetworks: slices.Clone(c.IssuerNetworks),
	}
	if s.steady = c.Steady; s.steady == nil {
		s.steady = steadyTime
	}
	s.renewals, s.acknowledgements, s.passages = gather(s.grant), gather(s.noteAcknowledged), gather(s.notePassages)
	s.receipts = gather(s.advance)
	s.signIn = c.SignIn
	s.signIn.Idle = cmp.Or(c.SignIn.Idle, DefaultSessionIdle)
	s.signIn.Lifetime = cmp.Or(c.SignIn.Lifetime, DefaultSessionLifetime)
	if s.quotas, err = quotasOf(c.Quotas); err != nil {
		return nil, fmt.Errorf("read quotas: %w", err)
	}
	if s.replica == nil {
		if s.replica, err = replica.Open(replica.Config{Log: c.Log, Now: c.Now}); err != nil {
			return nil, err
		}
	}
	s.changes.bridge = func(w authority.WorkspaceID) { s.replica.Wake(replica.Changes, w) }
	s.acks.bridge = func(w authority.WorkspaceID) { s.replica.Wake(replica.Acks, w) }
	if c.SetupKey != "" {
		if len(c.SetupKey) < minSetupKey {
			return nil, fmt.Errorf("the setup key has fewer than %d characters", minSetupKey)
		}
		digest := sha256.Sum256([]byte(c.SetupKey))
		s.setup = &digest
	}
	return s, nil
}

// Ping reports whether the database answers and is migrated; the error is unavailable.
func (s *Service) Ping(ctx context.Context) error {
	return s.tell(ctx, s.store.Ping(ctx))
}

// now is the instant of an operation, as precise as the database keeps it.
func (s *Service) now() time.Time { return s.clock().UTC().Truncate(time.Microsecond) }

// tell turns an error of the store into one that the caller may be told. A defect stays as it is.
func (s *Service) tell(ctx context.Context, err error) error {
	var told *authority.Error
	switch {
	case err == nil || errors.As(err, &told):
		return err
	case errors.Is(err, postgres.ErrUnavailable):
		if ctx.Err() == nil {
			s.log.Warn("database unavailable", "cause", err)
		}
		return &authority.Error{Code: authority.CodeUnavailable, Message: "the database is not available; try again"}
	case errors.Is(err, postgres.ErrRestored):
		return errRestored
	case errors.Is(err, postgres.ErrDuplicate):
		return &authority.Error{Code: authority.CodeConflict, Message: "something with this name or id is there already"}
	}
	return err
}

// Written is the result of a change together with the revision of the workspace that holds it.
type Written[T any] struct {
	Value    T
	Revision uint64
}

// Page asks for one page of a list. Limit is at most MaxPage; 0 means DefaultPage. Cursor is the NextCursor of the page
// before, empty for the first; it is good for the same list with the same filter and sort only. Sort is a key of the list,
// with a minus before it for the last first; empty means the list's own, which is the newest first.
type Page struct {
	Limit  int
	Cursor string
	Sort   string
}

// The bounds of a page.
const (
	DefaultPage = 50
	MaxPage     = 200
)

// List is one page. NextCursor is empty on the last.
type List[T any] struct {
	Items      []T
	NextCursor string
}
