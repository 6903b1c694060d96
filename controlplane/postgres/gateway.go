package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres/internal/query"
)

// Gateway is one enrolled process of a gateway.
type Gateway struct {
	ID          authority.GatewayID
	WorkspaceID authority.WorkspaceID
	KeyID       authority.KeyID
	PublicKey   []byte // Ed25519
	Instance    string
	Version     string
	Formats     []uint32
	// Revision is the highest that its decisions are known to enforce.
	Revision       uint64
	AcknowledgedAt *time.Time
	Connected      bool
	EnrolledAt     time.Time
	SeenAt         time.Time
	LeftAt         *time.Time // when it ended on purpose
	EnvoyRefusal   string     // what its Envoy last said against its configuration; empty when it accepted it
	LeaseNumber    uint64     // of the grants so far; 0 for none
	LeaseTermMs    int64
	LeaseWaitMs    int64 // the longest term of the leases that it may decide by still
	LeaseGrantedAt *time.Time
	LeaseOver      bool
	LeaseOverAt    *time.Time
	Endless        bool   // it decides without a lease
	Digest         []byte // of the state that it said it enforces
	Address        string // of its gateway port, as it says
	EnvoyRevision  uint64 // whose configuration its Envoy accepted last
	EnvoyCurrent   bool   // Envoy has accepted the configuration of the enforced revision

	DecisionsPerSecond float64
	LiveWatches        uint64
	QueuedEvents       uint64
	ReportedAt         *time.Time
	SupersededAt       *time.Time // when another started in its place
	RevokedAt          *time.Time
	RevokedRevision    *uint64
	ForgottenAt        *time.Time
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

// LockSingleUse reports whether a gateway key enrols one process only, and whether it has; enrolments with a key take
// turns.
func (t *Tx) LockSingleUse(ctx context.Context, key authority.KeyID) (single, used bool, err error) {
	single, err = t.q.LockKey(ctx, query.LockKeyParams{WorkspaceID: t.workspace, ID: key})
	if err != nil || !single {
		return single, false, translate("lock key", err)
	}
	n, err := t.q.CountGatewaysOfKey(ctx, query.CountGatewaysOfKeyParams{WorkspaceID: t.workspace, KeyID: key})
	return single, n > 0, translate("count gateways", err)
}

// CountLiveGateways counts the processes of a gateway key that may decide or were heard of after an instant. One that left
// in order, was revoked or forgotten is none of them.
func (t *Tx) CountLiveGateways(ctx context.Context, key authority.KeyID, seenAfter time.Time) (int64, error) {
	n, err := t.q.CountLiveGatewaysOfKey(ctx, query.CountLiveGatewaysOfKeyParams{WorkspaceID: t.workspace, KeyID: key, SeenAfter: seenAfter})
	return n, translate("count gateways", err)
}

// Gateway reads a process.
func (t *Tx) Gateway(ctx context.Context, id authority.GatewayID) (Gateway, error) {
	row, err := t.q.Gateway(ctx, query.GatewayParams{WorkspaceID: t.workspace, ID: id})
	return Gateway(row), translate("read gateway", err)
}

// LockGateway reads a process that nothing else changes until the transaction ends.
func (t *Tx) LockGateway(ctx context.Context, id authority.GatewayID) (Gateway, error) {
	row, err := t.q.LockGateway(ctx, query.LockGatewayParams{WorkspaceID: t.workspace, ID: id})
	return Gateway(row), translate("lock gateway", err)
}

// MaxGateways is how many processes Gateways lists at most: as many may mean that there are more.
const MaxGateways = 1000

// Gateways lists the processes that may decide or were heard of after an instant: those that may decide first.
func (t *Tx) Gateways(ctx context.Context, seenAfter time.Time) ([]Gateway, error) {
	rows, err := t.q.Gateways(ctx, query.GatewaysParams{WorkspaceID: t.workspace, SeenAfter: seenAfter, Size: MaxGateways})
	list := make([]Gateway, len(rows))
	for i, row := range rows {
		list[i] = Gateway(row)
	}
	return list, translate("list gateways", err)
}

// SupersedeGateways marks the processes of the same key and instance that are not connected, or have not been heard of
// since stale, as ones whose place another took. It ends no lease.
func (t *Tx) SupersedeGateways(ctx context.Context, by Gateway, at, stale time.Time) error {
	err := t.q.SupersedeGateways(ctx, query.SupersedeGatewaysParams{
		WorkspaceID: t.workspace, KeyID: by.KeyID, Instance: by.Instance, ID: by.ID, At: at, Stale: stale,
	})
	return translate("supersede gateways", err)
}

// Arrival is a process of a gateway key that has connected.
type Arrival struct {
	GatewayID authority.GatewayID
	KeyID     authority.KeyID
	Instance  string // its name from now on; empty leaves the one that it has
}

// ConnectGateways marks processes connected that all run one program, and answers those that it marked: not one that has
// been revoked or forgotten. The transaction has locked them.
func (t *Tx) ConnectGateways(ctx context.Context, all []Arrival, version string, formats []uint32, at time.Time) ([]authority.GatewayID, error) {
	p := query.ConnectGatewaysParams{WorkspaceID: t.workspace, Version: version, Formats: formats, At: at}
	for _, a := range all {
		p.Ids, p.Keys, p.Instances = append(p.Ids, string(a.GatewayID)), append(p.Keys, string(a.KeyID)), append(p.Instances, a.Instance)
	}
	marked, err := t.q.ConnectGateways(ctx, p)
	return marked, translate("connect gateways", err)
}

// DisconnectGateways marks processes disconnected. The transaction has locked them.
func (t *Tx) DisconnectGateways(ctx context.Context, ids []authority.GatewayID, at time.Time) error {
	err := t.q.DisconnectGateways(ctx, query.DisconnectGatewaysParams{WorkspaceID: t.workspace, Ids: texts(ids), At: at})
	return translate("disconnect gateways", err)
}

// SeeGateways notes that processes are still connected. The transaction has locked them.
func (t *Tx) SeeGateways(ctx context.Context, ids []authority.GatewayID, at time.Time) error {
	return translate("see gateways", t.q.SeeGateways(ctx, query.SeeGatewaysParams{WorkspaceID: t.workspace, Ids: texts(ids), At: at}))
}

// MeetGateway notes that a process lives which is not served.
func (t *Tx) MeetGateway(ctx context.Context, id authority.GatewayID, at time.Time) error {
	return translate("meet gateway", t.q.MeetGateway(ctx, query.MeetGatewayParams{WorkspaceID: t.workspace, ID: id, At: at}))
}

// EndedGateway is a process that is served no more.
type EndedGateway struct {
	ID        authority.GatewayID
	Forgotten bool
	Revoked   bool // it, and not its key, which is revoked or has expired otherwise
}

// EndedGateways are those of the given processes that are served no more.
func (t *Tx) EndedGateways(ctx context.Context, ids []authority.GatewayID, at time.Time) ([]EndedGateway, error) {
	rows, err := t.q.EndedGateways(ctx, query.EndedGatewaysParams{WorkspaceID: t.workspace, Ids: texts(ids), At: at})
	list := make([]EndedGateway, len(rows))
	for i, row := range rows {
		list[i] = EndedGateway(row)
	}
	return list, translate("look for ended gateways", err)
}

// NextKeyEnd is when the first of the keys ends that are good for the given processes after an instant; nil where none ends.
func (t *Tx) NextKeyEnd(ctx context.Context, ids []authority.GatewayID, at time.Time) (*time.Time, error) {
	end, err := t.q.NextKeyEnd(ctx, query.NextKeyEndParams{WorkspaceID: t.workspace, Ids: texts(ids), At: at})
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	return end, translate("look for the end of keys", err)
}

// ReviveGateway takes back that a process was forgotten.
func (t *Tx) ReviveGateway(ctx context.Context, g Gateway, at time.Time) error {
	err := t.q.ReviveGateway(ctx, query.ReviveGatewayParams{WorkspaceID: t.workspace, ID: g.ID, Version: g.Version, Formats: g.Formats, At: at})
	return translate("revive gateway", err)
}

// RevokeGatewaysOf marks every process of a gateway key as one that is granted nothing more.
func (t *Tx) RevokeGatewaysOf(ctx context.Context, key authority.KeyID, at time.Time, revision uint64) error {
	err := t.q.RevokeGatewaysOf(ctx, query.RevokeGatewaysOfParams{WorkspaceID: t.workspace, KeyID: key, At: at, Revision: int64(revision)})
	return translate("revoke gateways of key", err)
}

// RevokeGateway marks a process as one that is granted nothing more.
func (t *Tx) RevokeGateway(ctx context.Context, id authority.GatewayID, at time.Time, revision uint64) error {
	err := t.q.RevokeGateway(ctx, query.RevokeGatewayParams{WorkspaceID: t.workspace, ID: id, At: at, Revision: int64(revision)})
	return translate("revoke gateway", err)
}

// ForgetGateway marks a process as dead; its lease is over.
func (t *Tx) ForgetGateway(ctx context.Context, id authority.GatewayID, at time.Time) error {
	return translate("forget gateway", t.q.ForgetGateway(ctx, query.ForgetGatewayParams{WorkspaceID: t.workspace, ID: id, At: at}))
}

// EnvoyStatus is what a process's Envoy made of the configuration of a revision. Refusal is empty where it accepted it.
type EnvoyStatus struct {
	GatewayID authority.GatewayID
	KeyID     authority.KeyID
	Revision  uint64
	Refusal   string
}

// SetEnvoyStatus records what a process's Envoy said.
func (t *Tx) SetEnvoyStatus(ctx context.Context, e EnvoyStatus, at time.Time) error {
	err := t.q.SetEnvoyStatus(ctx, query.SetEnvoyStatusParams{
		WorkspaceID: t.workspace, KeyID: e.KeyID, ID: e.GatewayID, EnvoyRefusal: e.Refusal, Accepted: e.Refusal == "",
		EnvoyRevision: e.Revision, At: at,
	})
	return translate("record Envoy's answer", err)
}
