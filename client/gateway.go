package client

import (
	"context"
	"net/http"
	"time"

	"github.com/caracal-gateway/caracal/authority"
)

// Gateway is one enrolled process of a gateway.
type Gateway struct {
	ID           authority.GatewayID   `json:"gateway_id"`
	WorkspaceID  authority.WorkspaceID `json:"workspace_id"`
	KeyID        authority.KeyID       `json:"key_id"`
	Instance     string                `json:"instance"`
	Version      string                `json:"version"`
	Revision     uint64                `json:"acknowledged_revision"`
	Acknowledged *time.Time            `json:"acknowledged_at"`
	Connected    bool                  `json:"connected"`
	EnrolledAt   time.Time             `json:"enrolled_at"`
	SeenAt       time.Time             `json:"seen_at"`
	LeftAt       *time.Time            `json:"left_at"`
	EnvoyRefusal string                `json:"envoy_refusal,omitempty"`
}

// Gateways lists the enrolled gateway processes.
func (c *Client) Gateways(ctx context.Context) ([]Gateway, error) {
	all, err := call[page[Gateway]](ctx, c, http.MethodGet, c.collection("gateways"), nil)
	return all.Items, err
}
