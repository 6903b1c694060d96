package client

import (
	"context"
	"net/http"
)

// Health is what a control plane says of itself.
type Health struct {
	Status   string `json:"status"` // ok, or degraded: alive without something that it needs
	Database string `json:"database"`
	Limits   string `json:"limits"`  // shared, per_process or unavailable: how far requests are counted together
	SignIn   string `json:"sign_in"` // provider, links or none: how people sign in
	Version  string `json:"version"`
}

// Health asks a control plane how it is; it needs no key.
func (c *Client) Health(ctx context.Context) (Health, error) {
	return call[Health](ctx, c, http.MethodGet, "/health", nil)
}
