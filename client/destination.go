package client

import (
	"context"
	"net/http"

	"github.com/caracal-gateway/caracal/authority"
)

// CreateDestination makes a destination with its rules.
func (c *Client) CreateDestination(ctx context.Context, d authority.Destination) (authority.Destination, error) {
	return call[authority.Destination](ctx, c, http.MethodPost, c.collection("destinations"), d)
}

// ReplaceDestination puts a destination and its rules in the place of another.
func (c *Client) ReplaceDestination(ctx context.Context, id authority.DestinationID, d authority.Destination) (authority.Destination, error) {
	return call[authority.Destination](ctx, c, http.MethodPut, single("destinations", id, ""), d)
}

// Destinations lists destinations, at most limit of them; 0 means all.
func (c *Client) Destinations(ctx context.Context, f Filter, limit int) ([]authority.Destination, error) {
	return list[authority.Destination](ctx, c, "destinations", f, limit)
}

// DeleteDestination ends a destination.
func (c *Client) DeleteDestination(ctx context.Context, id authority.DestinationID) (authority.Destination, error) {
	return call[authority.Destination](ctx, c, http.MethodDelete, single("destinations", id, ""), nil)
}

// Destination finds one destination.
func (c *Client) Destination(ctx context.Context, id authority.DestinationID) (authority.Destination, error) {
	return get[authority.Destination](ctx, c, single("destinations", id, ""))
}

// EditDestination puts a changed destination in the place of the one that is there now.
func (c *Client) EditDestination(ctx context.Context, id authority.DestinationID, change func(authority.Destination) (authority.Destination, error)) (authority.Destination, error) {
	return edit(ctx, c, http.MethodPut, single("destinations", id, ""), change)
}

// Accepting is a client for changes of the catalog that accept what the report of a digest tells.
func (c *Client) Accepting(digest string) *Client {
	accepting := *c
	accepting.accepts = digest
	return &accepting
}
