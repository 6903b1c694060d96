package authority

import "time"

// Policy is an authority policy: the bounds of what may be issued to one principal.
type Policy struct {
	ID                 PolicyID          `json:"policy_id"`
	WorkspaceID        WorkspaceID       `json:"workspace_id"`
	PrincipalID        PrincipalID       `json:"principal_id"`
	AllowedResources   []ResourcePattern `json:"allowed_resources"`
	AllowedActions     Actions           `json:"allowed_actions"`
	MaxValiditySeconds int64             `json:"max_validity_seconds"`
	DelegationDepth    int               `json:"delegation_depth"`
	// Grantors are the principals with standing consent: mandates under this policy may name them as issuer
	// without asking. The creator is the first; others join by a call of their own.
	Grantors  []PrincipalID `json:"grantors"`
	Version   int64         `json:"version"`
	Active    bool          `json:"active"`
	CreatedAt time.Time     `json:"created_at"`
}
