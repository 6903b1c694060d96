package postgres

import (
	"context"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres/internal/query"
)

// Gateway is one enrolled process of a gateway.
type Gateway struct {
	ID          authority.GatewayID   `json:"gateway_id"`
	WorkspaceID authority.WorkspaceID `json:"workspace_id"`
	KeyID       authority.KeyID       `json:"key_id"`
	PublicKey   []byte                `json:"-"` // Ed25519
	Instance    string                `json:"instance"`
	Version     string                `json:"version"`
	Formats     []uint32              `json:"-"`
	// Revision is the highest that its decisions are known to enforce.
	Revision       uint64     `json:"acknowledged_revision"`
	AcknowledgedAt *time.Time `json:"acknowledged_at"`
	Connected      bool       `json:"connected"`
	EnrolledAt     time.Time  `json:"enrolled_at"`
	SeenAt         time.Time  `json:"seen_at"`
	// LeftAt is when it ended on purpose or another took its place; nil while it may still decide.
	LeftAt *time.Time `json:"left_at"`
	// EnvoyRefusal is what its Envoy last said against its configuration; empty when it accepted it.
	EnvoyRefusal string `json:"envoy_refusal,omitempty"`
}

// InsertGateway adds a process.
func (t *Tx) InsertGateway(ctx context.Context, g Gateway) error {
	err := t.q.InsertGateway(ctx, query.InsertGatewayParams{
		ID: g.ID, WorkspaceID: g.WorkspaceID, KeyID: g.KeyID, PublicKey: g.PublicKey, Instance: g.Instance,
		Version: g.Version, Formats: g.Formats, EnrolledAt: g.EnrolledAt,
	})
	return translate("insert gateway", err)
}

// GatewayByPublicKey finds the process that enrolled with a key pair under a gateway key.
func (t *Tx) GatewayByPublicKey(ctx context.Context, key authority.KeyID, public []byte) (Gateway, error) {
	row, err := t.q.GatewayByPublicKey(ctx, query.GatewayByPublicKeyParams{WorkspaceID: t.workspace, KeyID: key, PublicKey: public})
	return Gateway(row), translate("find gateway", err)
}

// Gateway reads a process.
func (t *Tx) Gateway(ctx context.Context, id authority.GatewayID) (Gateway, error) {
	row, err := t.q.Gateway(ctx, query.GatewayParams{WorkspaceID: t.workspace, ID: id})
	return Gateway(row), translate("read gateway", err)
}

// MaxGateways is how many processes Gateways lists at most: as many may mean that there are more.
const MaxGateways = 1000

// Gateways lists the processes that were heard of after an instant, those that left last.
func (t *Tx) Gateways(ctx context.Context, seenAfter time.Time) ([]Gateway, error) {
	rows, err := t.q.Gateways(ctx, query.GatewaysParams{WorkspaceID: t.workspace, SeenAfter: seenAfter, Size: MaxGateways})
	list := make([]Gateway, len(rows))
	for i, row := range rows {
		list[i] = Gateway(row)
	}
	return list, translate("list gateways", err)
}

// SupersedeGateways marks as left the processes of the same key and instance that are not connected, or have not been
// heard of since stale.
func (t *Tx) SupersedeGateways(ctx context.Context, by Gateway, at, stale time.Time) error {
	err := t.q.SupersedeGateways(ctx, query.SupersedeGatewaysParams{
		WorkspaceID: t.workspace, KeyID: by.KeyID, Instance: by.Instance, ID: by.ID, At: at, Stale: stale,
	})
	return translate("supersede gateways", err)
}

// ConnectGateway marks a process of a gateway key connected, or is ErrNotFound.
func (t *Tx) ConnectGateway(ctx context.Context, key authority.KeyID, id authority.GatewayID, at time.Time) error {
	n, err := t.q.ConnectGateway(ctx, query.ConnectGatewayParams{WorkspaceID: t.workspace, KeyID: key, ID: id, At: at})
	if err == nil && n == 0 {
		err = ErrNotFound
	}
	return translate("connect gateway", err)
}

// DisconnectGateway marks a process disconnected; left is nil unless it ended on purpose.
func (t *Tx) DisconnectGateway(ctx context.Context, id authority.GatewayID, at time.Time, left *time.Time) error {
	err := t.q.DisconnectGateway(ctx, query.DisconnectGatewayParams{WorkspaceID: t.workspace, ID: id, At: at, LeftAt: left})
	return translate("disconnect gateway", err)
}

// SeeGateway notes that a process is still connected.
func (t *Tx) SeeGateway(ctx context.Context, id authority.GatewayID, at time.Time) error {
	err := t.q.SeeGateway(ctx, query.SeeGatewayParams{WorkspaceID: t.workspace, ID: id, At: at})
	return translate("see gateway", err)
}

// Acknowledgement says that a process's decisions enforce a revision.
type Acknowledgement struct {
	GatewayID authority.GatewayID
	KeyID     authority.KeyID
	Revision  uint64
	At        time.Time
}

// Acknowledge records a revision that is no lower than the one before and no higher than the workspace's; others are
// not recorded, which it reports.
func (t *Tx) Acknowledge(ctx context.Context, a Acknowledgement) (bool, error) {
	n, err := t.q.AcknowledgeRevision(ctx, query.AcknowledgeRevisionParams{
		WorkspaceID: t.workspace, KeyID: a.KeyID, ID: a.GatewayID, Revision: a.Revision, At: a.At,
	})
	return n > 0, translate("acknowledge", err)
}

// SetEnvoyRefusal records what a process's Envoy said.
func (t *Tx) SetEnvoyRefusal(ctx context.Context, key authority.KeyID, id authority.GatewayID, refusal string, at time.Time) error {
	err := t.q.SetEnvoyRefusal(ctx, query.SetEnvoyRefusalParams{
		WorkspaceID: t.workspace, KeyID: key, ID: id, EnvoyRefusal: refusal, At: at,
	})
	return translate("record Envoy's answer", err)
}
