package client

import (
	"context"
	"net/http"
	"net/url"
	"time"

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
		Token string `json:"session_token"`
	}
	err := c.Do(ctx, Request{
		Method: http.MethodPost, Path: "/api/v1/session/exchange", In: map[string]string{"code": code, "verifier": verifier}, Out: &opened,
	})
	return opened.Token, err
}

// Sessions lists the caller's own sessions, the newest first.
func (c *Client) Sessions(ctx context.Context) ([]authority.Session, error) {
	all, err := get[page[authority.Session]](ctx, c, c.own("sessions"))
	return all.Items, err
}

// EndSessions ends every session of the caller, its own included.
func (c *Client) EndSessions(ctx context.Context) error {
	return c.Do(ctx, Request{Method: http.MethodDelete, Path: "/api/v1/sessions"})
}

// EndOneSession ends one of the caller's sessions.
func (c *Client) EndOneSession(ctx context.Context, id authority.SessionID) error {
	return c.Do(ctx, Request{Method: http.MethodDelete, Path: single("sessions", id, "")})
}

// Link is a one-time link for a browser. It is a secret until it is used or has expired.
type Link struct {
	PrincipalID authority.PrincipalID `json:"principal_id,omitempty"` // whom an invitation is for
	URL         string                `json:"url"`
	ExpiresAt   time.Time             `json:"expires_at"`
}

// CreateSignInLink makes a link that signs the holder of the caller's key in with a browser.
func (c *Client) CreateSignInLink(ctx context.Context) (Link, error) {
	return post[Link](ctx, c, c.own("sign-in-links"), nil)
}

// own is the path of what belongs to the caller and not to a workspace, in the one that is meant.
func (c *Client) own(name string) string {
	path := "/api/v1/" + name
	if c.workspace != "" {
		path += "?workspace_slug=" + url.QueryEscape(c.workspace)
	}
	return path
}
