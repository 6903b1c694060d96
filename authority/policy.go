package authority

import (
	"slices"
	"time"
)

const (
	maxValiditySeconds = 10 * 365 * 24 * 60 * 60
	// maxDelegationDepth bounds how many delegations may follow one another below an issued mandate.
	maxDelegationDepth = 16
)

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

// Scope is what may be issued under the policy.
func (p Policy) Scope() Scope { return Scope{Resources: p.AllowedResources, Actions: p.AllowedActions} }

// Validate reports the first thing that is wrong with the policy's bounds, as an invalid_request whose Field says where.
// Resources and actions must be in the form that is stored, as ParsePatterns and ParseActions return them.
func (p Policy) Validate() error {
	resources, err := ParsePatterns(p.AllowedResources)
	if err != nil {
		return Within("allowed_resources", err)
	}
	if len(resources) != len(p.AllowedResources) {
		return Invalid("allowed_resources", "names a resource twice")
	}
	actions, err := ParseActions(p.AllowedActions)
	if err != nil {
		return Within("allowed_actions", err)
	}
	if !slices.Equal(actions, p.AllowedActions) {
		return Invalid("allowed_actions", "is not in the form that is stored: sorted, without duplicates, * expanded")
	}
	if p.MaxValiditySeconds < 1 || p.MaxValiditySeconds > maxValiditySeconds {
		return Invalid("max_validity_seconds", "is 1 to %d", maxValiditySeconds)
	}
	if p.DelegationDepth < 0 || p.DelegationDepth > maxDelegationDepth {
		return Invalid("delegation_depth", "is 0 to %d", maxDelegationDepth)
	}
	if len(p.Grantors) > maxListed {
		return Invalid("grantors", "has more than %d elements", maxListed)
	}
	return nil
}

// CoversIssue reports whether a mandate of the scope and the validity may be issued under the policy: it is active and
// covers every pair of action and resource for that long.
func (p Policy) CoversIssue(s Scope, validitySeconds int64) bool {
	return p.Active && validitySeconds <= p.MaxValiditySeconds && p.Scope().Covers(s)
}

// HasGrantor reports whether the principal has given the policy its standing consent.
func (p Policy) HasGrantor(id PrincipalID) bool { return slices.Contains(p.Grantors, id) }
