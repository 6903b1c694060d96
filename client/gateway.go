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
	Address      string                `json:"address"`
	State        string                `json:"state"` // in_sync, behind, fenced, gone or revoked
	Revision     uint64                `json:"acknowledged_revision"`
	Acknowledged *time.Time            `json:"acknowledged_at"`
	LagSeconds   int64                 `json:"lag_seconds"`
	Lease        *GatewayLease         `json:"lease"` // nil until the first grant
	Connected    bool                  `json:"connected"`
	EnrolledAt   time.Time             `json:"enrolled_at"`
	SeenAt       time.Time             `json:"seen_at"`
	LeftAt       *time.Time            `json:"left_at"`
	SupersededAt *time.Time            `json:"superseded_at"`
	RevokedAt    *time.Time            `json:"revoked_at"`
	ForgottenAt  *time.Time            `json:"forgotten_at"`

	EnvoyRevision      uint64     `json:"envoy_revision"`
	EnvoyCurrent       bool       `json:"envoy_current"`
	EnvoyRefusal       string     `json:"envoy_refusal,omitempty"`
	DecisionsPerSecond float64    `json:"decisions_per_second"`
	LiveWatches        uint64     `json:"live_watches"`
	QueuedEvents       uint64     `json:"queued_events"`
	ReportedAt         *time.Time `json:"reported_at"`
}

// The states of gateways.
const (
	GatewayInSync  = "in_sync"
	GatewayBehind  = "behind"
	GatewayFenced  = "fenced"
	GatewayGone    = "gone"
	GatewayRevoked = "revoked"
)

// GatewayLease is the lease that was granted last. EndsAt is an estimate; OverAt is nil while it runs.
type GatewayLease struct {
	Number      uint64     `json:"number"`
	TermSeconds int64      `json:"term_seconds"`
	GrantedAt   time.Time  `json:"granted_at"`
	EndsAt      time.Time  `json:"ends_at"`
	OverAt      *time.Time `json:"over_at"`
}

// RevokedGateway is a gateway that was revoked, with the receipt of that.
type RevokedGateway struct {
	Gateway
	Receipt Receipt `json:"receipt"`
}

// Gateway finds a gateway process.
func (c *Client) Gateway(ctx context.Context, id authority.GatewayID) (Gateway, error) {
	return get[Gateway](ctx, c, single("gateways", id, ""))
}

// RevokeGateway ends one gateway process, and waits for its lease to be over as long as it is told.
func (c *Client) RevokeGateway(ctx context.Context, id authority.GatewayID, wait time.Duration) (RevokedGateway, error) {
	return post[RevokedGateway](ctx, c, single("gateways", id, "revoke"), map[string]float64{"wait": wait.Seconds()})
}

// ForgetGateway declares a gateway process dead, with the reason to believe it.
func (c *Client) ForgetGateway(ctx context.Context, id authority.GatewayID, reason string) (Gateway, error) {
	return post[Gateway](ctx, c, single("gateways", id, "forget"), map[string]string{"reason": reason})
}

// Gateways lists the gateway processes that may decide or were heard of within a day.
func (c *Client) Gateways(ctx context.Context) ([]Gateway, error) {
	all, err := call[page[Gateway]](ctx, c, http.MethodGet, c.collection("gateways"), nil)
	return all.Items, err
}
