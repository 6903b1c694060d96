package controlplane

import "github.com/caracal-gateway/caracal/authority"

// NewPolicy asks for an authority policy.
type NewPolicy struct {
	PrincipalID        authority.PrincipalID `json:"principal_id"`
	AllowedResources   []string              `json:"allowed_resources"`
	AllowedActions     []string              `json:"allowed_actions"`
	MaxValiditySeconds int64                 `json:"max_validity_seconds"`
	DelegationDepth    int                   `json:"delegation_depth"`
}

// PolicyChange replaces the fields that are not nil. Mandates that exist already keep what they were issued with.
type PolicyChange struct {
	AllowedResources   *[]string `json:"allowed_resources"`
	AllowedActions     *[]string `json:"allowed_actions"`
	MaxValiditySeconds *int64    `json:"max_validity_seconds"`
	DelegationDepth    *int      `json:"delegation_depth"`
}

// PolicyFilter narrows a list of policies; a zero field does not.
type PolicyFilter struct {
	PrincipalID authority.PrincipalID
	Active      *bool
}
