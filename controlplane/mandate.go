package controlplane

import (
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
	// ValidFrom is when the mandate begins to hold; nil means now.
	ValidFrom *time.Time `json:"valid_from"`
}

// Delegation asks for a child of a mandate.
type Delegation struct {
	ParentMandateID  authority.MandateID   `json:"parent_mandate_id"`
	ChildPrincipalID authority.PrincipalID `json:"child_principal_id"`
	ResourceScope    []string              `json:"resource_scope"`
	ActionScope      []string              `json:"action_scope"`
	ValiditySeconds  int64                 `json:"validity_seconds"`
}

// MandateFilter narrows a list of mandates; a zero field does not. An agent's list holds its own only.
type MandateFilter struct {
	IssuerID  authority.PrincipalID
	SubjectID authority.PrincipalID
	ParentID  authority.MandateID
	Revoked   *bool
}
