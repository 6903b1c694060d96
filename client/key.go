package client

import (
	"context"
	"net/http"
	"time"

	"github.com/caracal-gateway/caracal/authority"
)

// NewKey asks for an API key.
type NewKey struct {
	Kind        authority.KeyKind     `json:"kind"`
	Name        string                `json:"name"`
	PrincipalID authority.PrincipalID `json:"principal_id,omitempty"` // nobody for a gateway's
	// Role caps what a member's key may do; empty leaves all that the member may.
	Role authority.Role `json:"role,omitempty"`
	// Workspaces are the slugs of those beyond its own that a member's key opens.
	Workspaces []string `json:"workspaces,omitempty"`
	// AllowedNetworks are where the key may be used from; none means anywhere.
	AllowedNetworks []string   `json:"allowed_networks,omitempty"`
	ExpiresAt       *time.Time `json:"expires_at,omitempty"` // nil: never
	SingleUse       bool       `json:"single_use,omitempty"` // a gateway's key that enrols one process only
}

// CreatedKey is a new API key, told this once.
type CreatedKey struct {
	authority.Key
	APIKey string `json:"api_key"`
}

// CreateKey makes an API key.
func (c *Client) CreateKey(ctx context.Context, n NewKey) (CreatedKey, error) {
	return call[CreatedKey](ctx, c, http.MethodPost, c.collection("keys"), n)
}

// Keys lists API keys without their secrets, at most limit of them; 0 means all.
func (c *Client) Keys(ctx context.Context, f Filter, limit int) ([]authority.Key, error) {
	return list[authority.Key](ctx, c, "keys", f, limit)
}

// RevokeKey ends an API key.
func (c *Client) RevokeKey(ctx context.Context, id authority.KeyID) (authority.Key, error) {
	return call[authority.Key](ctx, c, http.MethodPost, single("keys", id, "revoke"), nil)
}

// AccessToken is a short-lived token; ExpiresIn is in seconds.
type AccessToken struct {
	AccessToken     string `json:"access_token"`
	IssuedTokenType string `json:"issued_token_type"`
	TokenType       string `json:"token_type"`
	ExpiresIn       int64  `json:"expires_in"`
}

// Token exchanges the client's key for an access token.
func (c *Client) Token(ctx context.Context) (AccessToken, error) {
	return call[AccessToken](ctx, c, http.MethodPost, "/api/v1/token", nil)
}

// BoundToken exchanges the client's key for an access token that is bound to a mandate of its holder's: the bearer may present
// that one and do nothing else. It lasts for as long as it is asked, at most a day, unless the mandate or the key ends before.
func (c *Client) BoundToken(ctx context.Context, id authority.MandateID, lifetime time.Duration) (AccessToken, error) {
	return call[AccessToken](ctx, c, http.MethodPost, "/api/v1/token", map[string]any{
		"mandate_id": id, "lifetime_seconds": int64(lifetime / time.Second),
	})
}

// Key finds an API key, without its secret.
func (c *Client) Key(ctx context.Context, id authority.KeyID) (authority.Key, error) {
	return get[authority.Key](ctx, c, single("keys", id, ""))
}

// RotatedKey is the successor of a key, told this once, and the key that it replaces, with the end that it was given.
type RotatedKey struct {
	CreatedKey
	Replaced authority.Key `json:"replaced"`
}

// RotateKey makes a successor of a key with the same terms; the old one ends after the overlap.
func (c *Client) RotateKey(ctx context.Context, id authority.KeyID, overlap time.Duration) (RotatedKey, error) {
	return post[RotatedKey](ctx, c, single("keys", id, "rotate"), map[string]int64{"overlap_seconds": int64(overlap / time.Second)})
}
