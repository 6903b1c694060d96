package client

import (
	"context"
	"net/http"

	"github.com/caracal-gateway/caracal/authority"
)

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

// PrincipalChange says what becomes different about a principal; what is nil stays. Metadata is replaced as a whole.
type PrincipalChange struct {
	Name     *string            `json:"name,omitempty"`
	Metadata *map[string]string `json:"metadata,omitempty"`
}

// EditPrincipal changes a principal as it is now.
func (c *Client) EditPrincipal(ctx context.Context, id authority.PrincipalID, change func(authority.Principal) (PrincipalChange, error)) (authority.Principal, error) {
	return edit(ctx, c, http.MethodPatch, single("principals", id, ""), change)
}

// Principals lists principals, at most limit of them; 0 means all.
func (c *Client) Principals(ctx context.Context, f Filter, limit int) ([]authority.Principal, error) {
	return list[authority.Principal](ctx, c, "principals", f, limit)
}

// ResumePrincipal undoes a suspension.
func (c *Client) ResumePrincipal(ctx context.Context, id authority.PrincipalID) (authority.Principal, error) {
	return call[authority.Principal](ctx, c, http.MethodPost, single("principals", id, "resume"), nil)
}

// Principal finds one principal.
func (c *Client) Principal(ctx context.Context, id authority.PrincipalID) (authority.Principal, error) {
	return get[authority.Principal](ctx, c, single("principals", id, ""))
}
