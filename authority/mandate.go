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
	// Confirmation binds the mandate to a client certificate; nil for one that its subject may present without.
	Confirmation *Confirmation `json:"confirmation,omitempty"`
}

// Scope is what the mandate grants.
func (m Mandate) Scope() Scope { return Scope{Resources: m.ResourceScope, Actions: m.ActionScope} }

// HoldsAt reports whether the instant lies within the mandate's window.
func (m Mandate) HoldsAt(t time.Time) bool { return !t.Before(m.ValidFrom) && t.Before(m.ValidUntil) }

// linkProblem says why the mandate is not a proper child of its parent; empty when it is.
func (m Mandate) linkProblem(parent Mandate) string {
	switch {
	case m.ParentID == nil || *m.ParentID != parent.ID:
		return "it was not cut from its parent"
	case m.WorkspaceID != parent.WorkspaceID:
		return "it belongs to another workspace than its parent"
	case m.IssuerID != parent.SubjectID:
		return "its issuer is not its parent's subject"
	case m.Level != parent.Level+1:
		return "its level does not follow its parent's"
	case m.DelegationDepth < 0 || m.DelegationDepth >= parent.DelegationDepth:
		return "its parent allows no such depth of delegation"
	case m.ValidFrom.Before(parent.ValidFrom) || m.ValidUntil.After(parent.ValidUntil):
		return "its validity goes beyond its parent's"
	case !parent.Scope().Covers(m.Scope()):
		return "its scope goes beyond its parent's"
	case parent.Confirmation != nil && m.Confirmation == nil:
		return "it is bound to no certificate, but its parent is"
	}
	return ""
}

// rootProblem says why the mandate cannot stand at the root of a chain; empty when it can.
func (m Mandate) rootProblem() string {
	switch {
	case m.ParentID != nil:
		return "a mandate that it was cut from is missing"
	case m.Level != 0:
		return "its root is not at level 0"
	case m.DelegationDepth < 0 || m.DelegationDepth > maxDelegationDepth:
		return "its root allows no such depth of delegation"
	}
	return ""
}
