package client

import (
	"context"
	"net/http"
	"time"

	"github.com/caracal-gateway/caracal/authority"
)

// Health is what a control plane says of itself.
type Health struct {
	Status   string `json:"status"` // ok, or degraded: alive without something that it needs
	Database string `json:"database"`
	Limits   string `json:"limits"`  // shared, per_process or unavailable: how far requests are counted together
	SignIn   string `json:"sign_in"` // provider, links or none: how people sign in
	Version  string `json:"version"`
	// Restored says what gateways enforce that the database does not have; nil where there is nothing.
	Restored *Restored `json:"restored"`
}

// Restored is how far gateways are beyond a database that was restored from a backup. Since is nil where an operator has
// accepted that already, and a gateway that was away has reported afterwards.
type Restored struct {
	Since    *time.Time `json:"since"`
	Gateways []struct {
		GatewayID        authority.GatewayID `json:"gateway_id"`
		Revision         uint64              `json:"revision"`
		DatabaseRevision uint64              `json:"database_revision"`
		Proven           bool                `json:"proven"`
	} `json:"gateways"`
}

// Health asks a control plane how it is; it needs no key.
func (c *Client) Health(ctx context.Context) (Health, error) {
	return call[Health](ctx, c, http.MethodGet, "/health", nil)
}
