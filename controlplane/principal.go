package controlplane

import "github.com/caracal-gateway/caracal/authority"

// NewPrincipal asks for a principal. Role is for users only.
type NewPrincipal struct {
	Name     string                  `json:"name"`
	Type     authority.PrincipalType `json:"principal_type"`
	Role     authority.Role          `json:"role,omitempty"`
	Metadata map[string]string       `json:"metadata"`
}

// RegisteredPrincipal is a new principal. APIKey is the first key of an agent or a service, told this once; empty for
// a user.
type RegisteredPrincipal struct {
	authority.Principal
	APIKey string `json:"api_key,omitempty"`
}

// PrincipalFilter narrows a list of principals; a zero field does not.
type PrincipalFilter struct {
	Type      authority.PrincipalType
	Suspended *bool
}
