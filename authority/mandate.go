package authority

import "time"

// Consent says how the issuer agreed to a mandate.
type Consent string

// An issuer consents explicitly by asking for the mandate itself, or in advance as a grantor of the policy that
// covers it.
const (
	ConsentExplicit Consent = "explicit"
	ConsentStanding Consent = "standing"
)

// Mandate is a signed, time-bounded, revocable grant of (resources × actions) from an issuer to a subject.
type Mandate struct {
	ID            MandateID         `json:"mandate_id"`
	WorkspaceID   WorkspaceID       `json:"workspace_id"`
	IssuerID      PrincipalID       `json:"issuer_id"`
	SubjectID     PrincipalID       `json:"subject_id"`
	ResourceScope []ResourcePattern `json:"resource_scope"`
	ActionScope   Actions           `json:"action_scope"`
	// The mandate holds from ValidFrom, inclusive, to ValidUntil, exclusive; both in whole seconds of UTC.
	ValidFrom  time.Time `json:"valid_from"`
	ValidUntil time.Time `json:"valid_until"`

	// ParentID is the mandate that this one was cut from; nil for one that was issued.
	ParentID *MandateID `json:"parent_mandate_id"`
	// DelegationDepth is how many further delegations are allowed below this mandate.
	DelegationDepth int `json:"delegation_depth"`
	// Level is the distance from the root of the chain; 0 for a mandate that was issued.
	Level int `json:"level"`

	RequestedBy   PrincipalID `json:"requested_by"`
	Consent       Consent     `json:"consent"`
	PolicyID      PolicyID    `json:"policy_id"`
	PolicyVersion int64       `json:"policy_version"`

	Revoked   bool        `json:"revoked"`
	RevokedAt *time.Time  `json:"revoked_at"`
	RevokedBy PrincipalID `json:"revoked_by,omitempty"`

	CreatedAt time.Time `json:"created_at"`
	// Signature is the compact JWS over the mandate's terms; it verifies offline against the workspace's key set.
	Signature string `json:"signature"`
}
