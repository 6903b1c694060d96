package client

import (
	"context"
	"net/http"

	"github.com/caracal-gateway/caracal/authority"
)

// CreateClientAuthority lets certificates of an authority identify callers at the gateway port.
func (c *Client) CreateClientAuthority(ctx context.Context, a authority.ClientAuthority) (authority.ClientAuthority, error) {
	return post[authority.ClientAuthority](ctx, c, c.collection("client-authorities"), a)
}

// ClientAuthorities lists the client authorities.
func (c *Client) ClientAuthorities(ctx context.Context) ([]authority.ClientAuthority, error) {
	all, err := get[page[authority.ClientAuthority]](ctx, c, c.collection("client-authorities"))
	return all.Items, err
}

// ClientAuthority finds one client authority.
func (c *Client) ClientAuthority(ctx context.Context, id authority.ClientAuthorityID) (authority.ClientAuthority, error) {
	return get[authority.ClientAuthority](ctx, c, single("client-authorities", id, ""))
}

// EditClientAuthority puts a changed authority in the place of the one that is there now.
func (c *Client) EditClientAuthority(
	ctx context.Context, id authority.ClientAuthorityID, change func(authority.ClientAuthority) (authority.ClientAuthority, error),
) (authority.ClientAuthority, error) {
	return edit(ctx, c, http.MethodPut, single("client-authorities", id, ""), change)
}

// DeleteClientAuthority lets an authority's certificates identify nobody.
func (c *Client) DeleteClientAuthority(ctx context.Context, id authority.ClientAuthorityID) (authority.ClientAuthority, error) {
	return call[authority.ClientAuthority](ctx, c, http.MethodDelete, single("client-authorities", id, ""), nil)
}
