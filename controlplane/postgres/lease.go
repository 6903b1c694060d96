package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres/internal/query"
	"github.com/caracal-gateway/caracal/lease"
)

// Held is where a workspace stands while its revision is held.
type Held struct {
	Revision uint64
	Fence    uint64 // the revision of the last change that took authority away
	Settings authority.Settings
}

// HoldRevision reads where the workspace stands, and keeps whoever would advance its revision waiting until the
// transaction ends. A workspace that is erased is ErrNotFound.
func (t *Tx) HoldRevision(ctx context.Context) (Held, error) {
	row, err := t.q.HoldRevision(ctx, query.HoldRevisionParams{WorkspaceID: t.workspace})
	return Held(row), translate("hold revision", err)
}

// Standing is a gateway process that may still decide, as the transaction sees it.
type Standing struct {
	GatewayID authority.GatewayID
	KeyID     authority.KeyID
	Instance  string
	lease.Standing
	GrantedAt *time.Time // its lease; nil for a process that decides without one
}

// Standings lists every gateway process that may still decide. In a transaction that has advanced the revision the list is
// complete: nobody is granted a lease before it ends.
func (t *Tx) Standings(ctx context.Context) ([]Standing, error) {
	rows, err := t.q.Standings(ctx, query.StandingsParams{WorkspaceID: t.workspace})
	list := make([]Standing, len(rows))
	for i, r := range rows {
		list[i] = Standing{
			GatewayID: r.ID, KeyID: r.KeyID, Instance: r.Instance, GrantedAt: r.LeaseGrantedAt,
			Standing: lease.Standing{
				Enforced: r.Revision, Lease: r.LeaseNumber, Over: r.LeaseOver, Endless: r.Endless,
				Term: milliseconds(r.LeaseTermMs), Wait: milliseconds(r.LeaseWaitMs),
			},
		}
	}
	return list, translate("list standings", err)
}

func milliseconds(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

// Acknowledgement says that a process's decisions enforce a revision.
type Acknowledgement struct {
	GatewayID authority.GatewayID
	KeyID     authority.KeyID
	Revision  uint64
	Digest    []byte // of the enforced state; empty where it was not said
}

// LockGateways keeps others from writing to processes until the transaction ends.
func (t *Tx) LockGateways(ctx context.Context, ids []authority.GatewayID) error {
	return translate("lock gateways", t.q.LockGateways(ctx, query.LockGatewaysParams{WorkspaceID: t.workspace, Ids: texts(ids)}))
}

// Acknowledge records revisions that are no lower than those before and no higher than the workspace's. It answers whose
// were recorded. No process is named twice.
func (t *Tx) Acknowledge(ctx context.Context, all []Acknowledgement, at time.Time) ([]authority.GatewayID, error) {
	p := query.AcknowledgeRevisionsParams{WorkspaceID: t.workspace, At: at}
	for _, a := range all {
		digest := a.Digest
		if digest == nil {
			digest = []byte{}
		}
		p.Ids, p.Keys = append(p.Ids, string(a.GatewayID)), append(p.Keys, string(a.KeyID))
		p.Revisions, p.Digests = append(p.Revisions, int64(a.Revision)), append(p.Digests, digest)
	}
	recorded, err := t.q.AcknowledgeRevisions(ctx, p)
	return recorded, translate("acknowledge", err)
}

// Applicant is a gateway process that asks for a lease.
type Applicant struct {
	ID    authority.GatewayID
	KeyID authority.KeyID
	lease.Standing
	Revoked   bool // it, or its key, is
	Forgotten bool
	KeyEndsAt *time.Time // nil where only a revocation ends its key
}

// LockApplicants reads those processes of the given ones that there are. Nothing of them changes until the transaction
// ends.
func (t *Tx) LockApplicants(ctx context.Context, ids []authority.GatewayID) ([]Applicant, error) {
	rows, err := t.q.LockForGrant(ctx, query.LockForGrantParams{WorkspaceID: t.workspace, Ids: texts(ids)})
	list := make([]Applicant, len(rows))
	for i, r := range rows {
		list[i] = Applicant{
			ID: r.ID, KeyID: r.KeyID, Revoked: r.Revoked, Forgotten: r.Forgotten, KeyEndsAt: r.KeyEndsAt,
			Standing: lease.Standing{
				Enforced: r.Revision, Lease: r.LeaseNumber, Over: r.LeaseOver, Endless: r.Endless,
				Term: milliseconds(r.LeaseTermMs), Wait: milliseconds(r.LeaseWaitMs),
			},
		}
	}
	return list, translate("lock gateways", err)
}

// Grant writes how each of the given processes stands with its next lease. The transaction has locked them.
func (t *Tx) Grant(ctx context.Context, granted map[authority.GatewayID]lease.Standing, at time.Time) error {
	p := query.GrantLeasesParams{WorkspaceID: t.workspace, At: at}
	for id, s := range granted {
		p.Ids, p.LeaseNumbers = append(p.Ids, string(id)), append(p.LeaseNumbers, int64(s.Lease))
		p.LeaseTermsMs, p.LeaseWaitsMs = append(p.LeaseTermsMs, s.Term.Milliseconds()), append(p.LeaseWaitsMs, s.Wait.Milliseconds())
	}
	return translate("grant leases", t.q.GrantLeases(ctx, p))
}

// Report is what a process says of itself, for people.
type Report struct {
	GatewayID          authority.GatewayID
	KeyID              authority.KeyID
	Address            string
	EnvoyCurrent       bool
	DecisionsPerSecond float64
	LiveWatches        uint64
	QueuedEvents       uint64
}

// Report records what processes say of themselves. No process is named twice.
func (t *Tx) Report(ctx context.Context, all []Report, at time.Time) error {
	p := query.ReportGatewaysParams{WorkspaceID: t.workspace, At: at}
	for _, r := range all {
		p.Ids, p.Keys = append(p.Ids, string(r.GatewayID)), append(p.Keys, string(r.KeyID))
		p.Addresses, p.EnvoyCurrent = append(p.Addresses, r.Address), append(p.EnvoyCurrent, r.EnvoyCurrent)
		p.DecisionsPerSecond = append(p.DecisionsPerSecond, r.DecisionsPerSecond)
		p.LiveWatches, p.QueuedEvents = append(p.LiveWatches, int64(r.LiveWatches)), append(p.QueuedEvents, int64(r.QueuedEvents))
	}
	return translate("record reports", t.q.ReportGateways(ctx, p))
}

// EndLease marks a lease as over, which it reports, unless the process has another one by now.
func (t *Tx) EndLease(ctx context.Context, id authority.GatewayID, number uint64, at time.Time) (bool, error) {
	n, err := t.q.EndLease(ctx, query.EndLeaseParams{WorkspaceID: t.workspace, ID: id, LeaseNumber: number, At: at})
	return n > 0, translate("end lease", err)
}

// LeaveGateway notes that a process of a gateway key has ended on purpose.
func (t *Tx) LeaveGateway(ctx context.Context, key authority.KeyID, id authority.GatewayID, at time.Time) error {
	return translate("note the end of a gateway", t.q.LeaveGateway(ctx, query.LeaveGatewayParams{WorkspaceID: t.workspace, KeyID: key, ID: id, At: at}))
}

// RunningLease is a lease that is not known to be over.
type RunningLease struct {
	WorkspaceID authority.WorkspaceID
	GatewayID   authority.GatewayID
	Number      uint64
	// Wait is the longest term of the leases that the process may decide by still.
	Wait time.Duration
}

// LookUpLeases lists the running leases of every workspace.
func (s *Store) LookUpLeases(ctx context.Context) ([]RunningLease, error) {
	var all []RunningLease
	err := s.look(ctx, func(conn *pgxpool.Conn) error {
		rows, err := conn.Query(ctx, "SELECT workspace_id, id, lease_number, lease_wait_ms FROM look_up_leases()")
		if err != nil {
			return err
		}
		var (
			l  RunningLease
			ms int64
		)
		_, err = pgx.ForEachRow(rows, []any{&l.WorkspaceID, &l.GatewayID, &l.Number, &ms}, func() error {
			l.Wait = milliseconds(ms)
			all = append(all, l)
			return nil
		})
		return err
	})
	return all, translate("look up leases", err)
}
