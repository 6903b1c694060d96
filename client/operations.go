package client

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caracal-gateway/caracal/authority"
)

// NewWorkspace asks for a workspace.
type NewWorkspace struct {
	Name        string `json:"name"`
	Slug        string `json:"slug"`
	Description string `json:"description"`
}

// CreatedWorkspace is a new workspace with its owner, and the owner's key, which is told this once.
type CreatedWorkspace struct {
	authority.Workspace
	Owner  authority.Principal `json:"owner"`
	APIKey string              `json:"api_key"`
}

// CreateWorkspace makes a workspace. It needs the deployment's setup key.
func (c *Client) CreateWorkspace(ctx context.Context, n NewWorkspace) (CreatedWorkspace, error) {
	return call[CreatedWorkspace](ctx, c, http.MethodPost, "/api/v1/workspaces", n)
}

// Workspaces lists the workspaces that the key may see.
func (c *Client) Workspaces(ctx context.Context) ([]authority.Workspace, error) {
	all, err := call[page[authority.Workspace]](ctx, c, http.MethodGet, "/api/v1/workspaces", nil)
	return all.Items, err
}

// NewPrincipal asks for a principal.
type NewPrincipal struct {
	Name     string                  `json:"name"`
	Type     authority.PrincipalType `json:"principal_type"`
	Role     authority.Role          `json:"role,omitempty"`
	Metadata map[string]string       `json:"metadata,omitempty"`
}

// RegisteredPrincipal is a new principal; an agent or a service gets its first key, told this once.
type RegisteredPrincipal struct {
	authority.Principal
	APIKey string `json:"api_key,omitempty"`
}

// RegisterPrincipal makes a principal.
func (c *Client) RegisterPrincipal(ctx context.Context, n NewPrincipal) (RegisteredPrincipal, error) {
	return call[RegisteredPrincipal](ctx, c, http.MethodPost, c.collection("principals"), n)
}

// Principals lists principals, at most limit of them; 0 means all.
func (c *Client) Principals(ctx context.Context, f Filter, limit int) ([]authority.Principal, error) {
	return list[authority.Principal](ctx, c, "principals", f, limit)
}

// SuspendPrincipal makes nothing hold that passes through the principal, until it is resumed.
func (c *Client) SuspendPrincipal(ctx context.Context, id authority.PrincipalID) (authority.Principal, error) {
	return call[authority.Principal](ctx, c, http.MethodPost, single("principals", id, "suspend"), nil)
}

// ResumePrincipal undoes a suspension.
func (c *Client) ResumePrincipal(ctx context.Context, id authority.PrincipalID) (authority.Principal, error) {
	return call[authority.Principal](ctx, c, http.MethodPost, single("principals", id, "resume"), nil)
}

// NewPolicy asks for an authority policy.
type NewPolicy struct {
	PrincipalID        authority.PrincipalID `json:"principal_id"`
	AllowedResources   []string              `json:"allowed_resources"`
	AllowedActions     []string              `json:"allowed_actions"`
	MaxValiditySeconds int64                 `json:"max_validity_seconds"`
	DelegationDepth    int                   `json:"delegation_depth"`
}

// CreatePolicy makes an authority policy, whose first grantor is the caller.
func (c *Client) CreatePolicy(ctx context.Context, n NewPolicy) (authority.Policy, error) {
	return call[authority.Policy](ctx, c, http.MethodPost, c.collection("policies"), n)
}

// Policies lists policies, at most limit of them; 0 means all.
func (c *Client) Policies(ctx context.Context, f Filter, limit int) ([]authority.Policy, error) {
	return list[authority.Policy](ctx, c, "policies", f, limit)
}

// MandateRequest asks for a mandate.
type MandateRequest struct {
	IssuerID        authority.PrincipalID `json:"issuer_id"`
	SubjectID       authority.PrincipalID `json:"subject_id"`
	ResourceScope   []string              `json:"resource_scope"`
	ActionScope     []string              `json:"action_scope"`
	ValiditySeconds int64                 `json:"validity_seconds"`
	ValidFrom       *time.Time            `json:"valid_from,omitempty"` // nil: now
}

// IssueMandate makes a mandate.
func (c *Client) IssueMandate(ctx context.Context, r MandateRequest) (authority.Mandate, error) {
	return call[authority.Mandate](ctx, c, http.MethodPost, c.collection("mandates"), r)
}

// Mandates lists mandates, at most limit of them; 0 means all.
func (c *Client) Mandates(ctx context.Context, f Filter, limit int) ([]authority.Mandate, error) {
	return list[authority.Mandate](ctx, c, "mandates", f, limit)
}

// Mandate finds one mandate.
func (c *Client) Mandate(ctx context.Context, id authority.MandateID) (authority.Mandate, error) {
	return call[authority.Mandate](ctx, c, http.MethodGet, single("mandates", id, ""), nil)
}

// Delegation asks for a child of a mandate.
type Delegation struct {
	ParentMandateID  authority.MandateID   `json:"parent_mandate_id"`
	ChildPrincipalID authority.PrincipalID `json:"child_principal_id"`
	ResourceScope    []string              `json:"resource_scope"`
	ActionScope      []string              `json:"action_scope"`
	ValiditySeconds  int64                 `json:"validity_seconds"`
}

// DelegateMandate cuts a child from a mandate.
func (c *Client) DelegateMandate(ctx context.Context, d Delegation) (authority.Mandate, error) {
	return call[authority.Mandate](ctx, c, http.MethodPost, single("mandates", d.ParentMandateID, "delegate"), d)
}

// Receipt tells what a revocation did: State is enforced once every gateway has acknowledged it, pending before.
type Receipt struct {
	MandateID   authority.MandateID   `json:"mandate_id"`
	State       string                `json:"state"`
	Revision    uint64                `json:"revision"`
	Mandates    []authority.MandateID `json:"mandates"`
	RevokedAt   time.Time             `json:"revoked_at"`
	EffectiveAt *time.Time            `json:"effective_at"`
	Gateways    []GatewayReceipt      `json:"gateways"`
}

// GatewayReceipt is the part of one gateway; EnforcedAt is nil until it has acknowledged.
type GatewayReceipt struct {
	GatewayID  authority.GatewayID `json:"gateway_id"`
	EnforcedAt *time.Time          `json:"enforced_at"`
}

// RevokeMandate ends a mandate and all that was delegated from it, and waits for the gateways as long as it is told.
func (c *Client) RevokeMandate(ctx context.Context, id authority.MandateID, wait time.Duration) (Receipt, error) {
	return call[Receipt](ctx, c, http.MethodPost, single("mandates", id, "revoke"), map[string]float64{"wait": wait.Seconds()})
}

// Validation asks whether a mandate covers one action on one literal resource.
type Validation struct {
	MandateID         authority.MandateID   `json:"mandate_id"`
	RequestedAction   string                `json:"requested_action"`
	RequestedResource string                `json:"requested_resource"`
	PresenterID       authority.PrincipalID `json:"presenter_id,omitempty"`
}

// ValidationAnswer is the outcome of a validation. DenialReason is nil when it is allowed.
type ValidationAnswer struct {
	Allowed      bool                  `json:"allowed"`
	Decision     string                `json:"decision"`
	DenialReason *authority.Reason     `json:"denial_reason"`
	Message      string                `json:"message,omitempty"`
	PolicyCode   string                `json:"policy_code,omitempty"`
	MandateID    authority.MandateID   `json:"mandate_id"`
	SubjectID    authority.PrincipalID `json:"subject_id,omitempty"`
	DecisionID   authority.DecisionID  `json:"decision_id"`
	Inquiry      bool                  `json:"inquiry"`
}

// ValidateMandate asks for a decision. A mandate that is unknown or revoked is an answer, not an error.
func (c *Client) ValidateMandate(ctx context.Context, v Validation) (ValidationAnswer, error) {
	return call[ValidationAnswer](ctx, c, http.MethodPost, "/api/v1/mandates/validate", v)
}

// CreateDestination makes a destination with its rules.
func (c *Client) CreateDestination(ctx context.Context, d authority.Destination) (authority.Destination, error) {
	return call[authority.Destination](ctx, c, http.MethodPost, c.collection("destinations"), d)
}

// ReplaceDestination puts a destination and its rules in the place of another.
func (c *Client) ReplaceDestination(ctx context.Context, id authority.DestinationID, d authority.Destination) (authority.Destination, error) {
	return call[authority.Destination](ctx, c, http.MethodPut, single("destinations", id, ""), d)
}

// Destinations lists destinations, at most limit of them; 0 means all.
func (c *Client) Destinations(ctx context.Context, limit int) ([]authority.Destination, error) {
	return list[authority.Destination](ctx, c, "destinations", nil, limit)
}

// DeleteDestination ends a destination.
func (c *Client) DeleteDestination(ctx context.Context, id authority.DestinationID) (authority.Destination, error) {
	return call[authority.Destination](ctx, c, http.MethodDelete, single("destinations", id, ""), nil)
}

// RegoPush is a new version of the Rego policy. Modules maps paths to texts, tests included.
type RegoPush struct {
	Modules  map[string]string `json:"modules"`
	Data     map[string]any    `json:"data,omitempty"`
	Message  string            `json:"message"`
	Activate bool              `json:"activate"`
}

// PushRego stores a version once it compiles and its tests pass; otherwise the *Error has the problems.
func (c *Client) PushRego(ctx context.Context, p RegoPush) (authority.RegoVersion, error) {
	return call[authority.RegoVersion](ctx, c, http.MethodPost, c.collection("rego-versions"), p)
}

// RegoVersions lists versions, newest first, at most limit of them; 0 means all.
func (c *Client) RegoVersions(ctx context.Context, limit int) ([]authority.RegoVersion, error) {
	return list[authority.RegoVersion](ctx, c, "rego-versions", nil, limit)
}

// ActivateRego makes a version the one that every decision evaluates.
func (c *Client) ActivateRego(ctx context.Context, id authority.RegoVersionID) (authority.RegoVersion, error) {
	return call[authority.RegoVersion](ctx, c, http.MethodPost, single("rego-versions", id, "activate"), nil)
}

// NewKey asks for an API key.
type NewKey struct {
	Kind        authority.KeyKind     `json:"kind"`
	Name        string                `json:"name"`
	PrincipalID authority.PrincipalID `json:"principal_id,omitempty"`
	ExpiresAt   *time.Time            `json:"expires_at,omitempty"` // nil: never
}

// CreatedKey is a new API key, told this once.
type CreatedKey struct {
	authority.Key
	APIKey string `json:"api_key"`
}

// CreateKey makes an API key.
func (c *Client) CreateKey(ctx context.Context, n NewKey) (CreatedKey, error) {
	return call[CreatedKey](ctx, c, http.MethodPost, c.collection("keys"), n)
}

// Keys lists API keys without their secrets, at most limit of them; 0 means all.
func (c *Client) Keys(ctx context.Context, f Filter, limit int) ([]authority.Key, error) {
	return list[authority.Key](ctx, c, "keys", f, limit)
}

// RevokeKey ends an API key.
func (c *Client) RevokeKey(ctx context.Context, id authority.KeyID) (authority.Key, error) {
	return call[authority.Key](ctx, c, http.MethodPost, single("keys", id, "revoke"), nil)
}

// AccessToken is a short-lived token; ExpiresIn is in seconds.
type AccessToken struct {
	AccessToken     string `json:"access_token"`
	IssuedTokenType string `json:"issued_token_type"`
	TokenType       string `json:"token_type"`
	ExpiresIn       int64  `json:"expires_in"`
}

// Token exchanges the client's key for an access token.
func (c *Client) Token(ctx context.Context) (AccessToken, error) {
	return call[AccessToken](ctx, c, http.MethodPost, "/api/v1/token", nil)
}

// Gateway is one enrolled process of a gateway.
type Gateway struct {
	ID           authority.GatewayID   `json:"gateway_id"`
	WorkspaceID  authority.WorkspaceID `json:"workspace_id"`
	KeyID        authority.KeyID       `json:"key_id"`
	Instance     string                `json:"instance"`
	Version      string                `json:"version"`
	Revision     uint64                `json:"acknowledged_revision"`
	Acknowledged *time.Time            `json:"acknowledged_at"`
	Connected    bool                  `json:"connected"`
	EnrolledAt   time.Time             `json:"enrolled_at"`
	SeenAt       time.Time             `json:"seen_at"`
	LeftAt       *time.Time            `json:"left_at"`
	EnvoyRefusal string                `json:"envoy_refusal,omitempty"`
}

// Gateways lists the enrolled gateway processes.
func (c *Client) Gateways(ctx context.Context) ([]Gateway, error) {
	all, err := call[page[Gateway]](ctx, c, http.MethodGet, c.collection("gateways"), nil)
	return all.Items, err
}

// Events lists events, newest first, at most limit of them, which is at least 1.
func (c *Client) Events(ctx context.Context, f Filter, limit int) ([]authority.Event, error) {
	values := f.values()
	all := []authority.Event{}
	for len(all) < limit {
		values.Set("limit", strconv.Itoa(min(pageSize, limit-len(all))))
		events, next, err := c.eventPage(ctx, c.collection("events")+"?"+values.Encode())
		if err != nil {
			return nil, err
		}
		all = append(all, events...)
		if next == "" {
			break
		}
		values.Set("cursor", next)
	}
	return all, nil
}

func (c *Client) eventPage(ctx context.Context, path string) (events []authority.Event, next string, err error) {
	response, err := c.send(ctx, Request{Method: http.MethodGet, Path: path})
	if err != nil {
		return nil, "", err
	}
	defer response.Body.Close()
	if err := decode(response.Body, &events); err != nil {
		return nil, "", err
	}
	return events, response.Header.Get("X-Caracal-Next-Cursor"), nil
}

// ExportEvents copies all events that match to w; the format is jsonl or csv.
func (c *Client) ExportEvents(ctx context.Context, f Filter, format string, w io.Writer) error {
	values := f.values()
	values.Set("format", format)
	response, err := c.send(ctx, Request{Method: http.MethodGet, Path: c.collection("events") + "?" + values.Encode()})
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(w, response.Body); err != nil {
		return fmt.Errorf("the export broke off, what was written is not all of it: %w", err)
	}
	return nil
}

// Event finds an event by its own id or by that of its decision. A decision that was made a moment ago is on its way
// from its gateway and is waited for, for at most five seconds.
func (c *Client) Event(ctx context.Context, id string) (authority.Event, error) {
	deadline := time.Now().Add(decisionTimeout)
	for {
		e, err := call[authority.Event](ctx, c, http.MethodGet, single("events", id, ""), nil)
		if !absent(err) || !strings.HasPrefix(id, "dec_") || time.Now().After(deadline) {
			return e, err
		}
		if err := pause(ctx, settlePause); err != nil {
			return e, err
		}
	}
}
