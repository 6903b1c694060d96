package client

import (
	"context"
	"net/http"
	"time"

	"github.com/caracal-gateway/caracal/authority"
)

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
