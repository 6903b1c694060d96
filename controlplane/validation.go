package controlplane

import "github.com/caracal-gateway/caracal/authority"

// Validation asks whether a mandate covers one action on one literal resource.
type Validation struct {
	MandateID         authority.MandateID `json:"mandate_id"`
	RequestedAction   string              `json:"requested_action"`
	RequestedResource string              `json:"requested_resource"`
	// PresenterToken (an access token) or PresenterID says who presented the mandate to a service that asks.
	PresenterToken string                `json:"presenter_token,omitempty"`
	PresenterID    authority.PrincipalID `json:"presenter_id,omitempty"`
}

// The two decisions that a validation answers.
const (
	DecisionAllowed = "allowed"
	DecisionDenied  = "denied"
)

// ValidationAnswer is the outcome of a validation. DenialReason is nil when it is allowed.
type ValidationAnswer struct {
	Allowed      bool                  `json:"allowed"`
	Decision     string                `json:"decision"`
	DenialReason *authority.Reason     `json:"denial_reason"`
	Message      string                `json:"message,omitempty"`
	PolicyCode   string                `json:"policy_code,omitempty"` // the Rego policy's own code
	MandateID    authority.MandateID   `json:"mandate_id"`
	SubjectID    authority.PrincipalID `json:"subject_id,omitempty"` // empty where the mandate is not the caller's to know
	DecisionID   authority.DecisionID  `json:"decision_id"`
	// Inquiry marks an answer to an issuer or an owner, for whom nobody presented the mandate.
	Inquiry bool `json:"inquiry"`
}
