package client

import (
	"context"
	"net/http"

	"github.com/caracal-gateway/caracal/authority"
)

// Identification is who the caller is.
type Identification struct {
	Kind        authority.KeyKind     `json:"kind"`
	PersonID    authority.PersonID    `json:"person_id,omitempty"`
	KeyID       authority.KeyID       `json:"key_id,omitempty"`
	PrincipalID authority.PrincipalID `json:"principal_id,omitempty"`
	Name        string                `json:"name"`
	Email       string                `json:"email,omitempty"`
	Memberships []Membership          `json:"memberships"`
	Session     *authority.Session    `json:"session"` // nil where an API key identifies
}

// Membership is a workspace that the caller may enter, and as whom.
type Membership struct {
	WorkspaceID   authority.WorkspaceID `json:"workspace_id"`
	WorkspaceSlug string                `json:"workspace_slug"`
	PrincipalID   authority.PrincipalID `json:"principal_id"`
	Role          authority.Role        `json:"role"`
}

// Session tells who the caller is.
func (c *Client) Session(ctx context.Context) (Identification, error) {
	return get[Identification](ctx, c, "/api/v1/session")
}

// EndSession ends the caller's session; an API key has none.
func (c *Client) EndSession(ctx context.Context) error {
	return c.Do(ctx, Request{Method: http.MethodDelete, Path: "/api/v1/session"})
}

// ExchangeCode gives a session's bearer for the code that a browser brought, and the secret that its challenge was made of.
func (c *Client) ExchangeCode(ctx context.Context, code, verifier string) (string, error) {
	var opened struct {
		Token string `json:"token"`
	}
	err := c.Do(ctx, Request{
		Method: http.MethodPost, Path: "/api/v1/session/exchange", In: map[string]string{"code": code, "verifier": verifier}, Out: &opened,
	})
	return opened.Token, err
}
