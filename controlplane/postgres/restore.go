package postgres

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres/internal/query"
	"github.com/caracal-gateway/caracal/lease"
)

// BeyondReport is what a gateway process enforces that the database does not have, and which authority that takes away.
type BeyondReport struct {
	GatewayID        authority.GatewayID
	Timeline         string
	Revision         uint64 // that the process enforces
	DatabaseRevision uint64 // that the database was at when it was told
	// Proven says that the workspace's own keys have signed the state, at IssuedAt.
	Proven   bool
	IssuedAt *time.Time
	// What the database still grants and the state does not.
	RevokedMandates []authority.MandateID
	Suspended       []authority.PrincipalID
	RevokedKeys     []authority.KeyID
	Whole           bool // nothing had to be left out
	ReportedAt      time.Time
}

// TakesAway reports whether the state takes any authority away that the database grants.
func (r BeyondReport) TakesAway() bool {
	return len(r.RevokedMandates)+len(r.Suspended)+len(r.RevokedKeys) > 0
}

// KeepBeyondReport keeps the report of a process, in the place of what it said before of the same timeline. What was
// accepted is not asked again.
func (t *Tx) KeepBeyondReport(ctx context.Context, r BeyondReport) error {
	err := t.q.KeepBeyondReport(ctx, query.KeepBeyondReportParams{
		WorkspaceID: t.workspace, GatewayID: r.GatewayID, Timeline: r.Timeline, Revision: r.Revision,
		DatabaseRevision: int64(r.DatabaseRevision), Proven: r.Proven, IssuedAt: r.IssuedAt,
		RevokedMandates: texts(r.RevokedMandates), Suspended: texts(r.Suspended), RevokedKeys: texts(r.RevokedKeys),
		Whole: r.Whole, ReportedAt: r.ReportedAt,
	})
	return translate("keep report", err)
}

// PendingBeyondReports lists the reports of the workspace that are not accepted yet, which stay so until the transaction
// ends.
func (t *Tx) PendingBeyondReports(ctx context.Context) ([]BeyondReport, error) {
	rows, err := t.q.PendingBeyondReports(ctx, query.PendingBeyondReportsParams{WorkspaceID: t.workspace})
	list := make([]BeyondReport, len(rows))
	for i, r := range rows {
		list[i] = BeyondReport{
			GatewayID: r.GatewayID, Timeline: r.Timeline, Revision: r.Revision, DatabaseRevision: uint64(r.DatabaseRevision),
			Proven: r.Proven, IssuedAt: r.IssuedAt, RevokedMandates: named[authority.MandateID](r.RevokedMandates),
			Suspended: named[authority.PrincipalID](r.Suspended), RevokedKeys: named[authority.KeyID](r.RevokedKeys),
			Whole: r.Whole, ReportedAt: r.ReportedAt,
		}
	}
	return list, translate("read reports", err)
}

func named[T ~string](texts []string) []T {
	list := make([]T, len(texts))
	for i, text := range texts {
		list[i] = T(text)
	}
	return list
}

// AcceptBeyondReports marks every report of the workspace as accepted.
func (t *Tx) AcceptBeyondReports(ctx context.Context, at time.Time) error {
	return translate("accept reports", t.q.AcceptBeyondReports(ctx, query.AcceptBeyondReportsParams{WorkspaceID: t.workspace, At: &at}))
}

// AcceptBeyondReport marks what a process reported of a timeline as accepted: nothing of it is left to be.
func (t *Tx) AcceptBeyondReport(ctx context.Context, id authority.GatewayID, timeline string, at time.Time) error {
	return translate("accept report", t.q.AcceptBeyondReport(ctx, query.AcceptBeyondReportParams{
		WorkspaceID: t.workspace, GatewayID: id, Timeline: timeline, At: &at,
	}))
}

// LivingMandatesAmong lists which of the given mandates the database takes for not revoked.
func (t *Tx) LivingMandatesAmong(ctx context.Context, ids []string) ([]authority.MandateID, error) {
	living, err := t.q.LivingMandatesAmong(ctx, query.LivingMandatesAmongParams{WorkspaceID: t.workspace, Ids: ids})
	return living, translate("compare mandates", err)
}

// ActivePrincipalsAmong lists which of the given principals the database takes for not suspended.
func (t *Tx) ActivePrincipalsAmong(ctx context.Context, ids []string) ([]authority.PrincipalID, error) {
	active, err := t.q.ActivePrincipalsAmong(ctx, query.ActivePrincipalsAmongParams{WorkspaceID: t.workspace, Ids: ids})
	return active, translate("compare principals", err)
}

// LivingKeysBeside lists the keys of agents and services that were made before an instant, that the database takes for
// good then, and that are not among the given ones.
func (t *Tx) LivingKeysBeside(ctx context.Context, ids []string, at time.Time) ([]authority.KeyID, error) {
	living, err := t.q.LivingKeysBeside(ctx, query.LivingKeysBesideParams{WorkspaceID: t.workspace, Ids: ids, At: at})
	return living, translate("compare keys", err)
}

// RevisionTaken is when the workspace took a revision; ErrNotFound where that is not remembered.
func (t *Tx) RevisionTaken(ctx context.Context, revision uint64) (time.Time, error) {
	at, err := t.q.RevisionTaken(ctx, query.RevisionTakenParams{WorkspaceID: t.workspace, Revision: revision})
	return at, translate("read time of revision", err)
}

// RaiseRevision gives the transaction a revision beyond the workspace's own and beyond another, like AdvanceRevision for
// a change that fences.
func (t *Tx) RaiseRevision(ctx context.Context, beyond uint64, at time.Time) (uint64, error) {
	revision, err := t.q.RaiseRevision(ctx, query.RaiseRevisionParams{WorkspaceID: t.workspace, Least: int64(beyond), At: at})
	return revision, translate("raise revision", err)
}

// Restored says how far the database is relied on.
type Restored struct {
	Timeline string
	Past     []string   // the timelines before it, the last first
	Since    *time.Time // when the database was found to be restored from a backup, while nobody has accepted that
}

// LookUpRestored reads how far the database is relied on.
func (s *Store) LookUpRestored(ctx context.Context) (Restored, error) {
	var r Restored
	err := s.look(ctx, func(conn *pgxpool.Conn) error {
		return conn.QueryRow(ctx, "SELECT timeline, past, restored_at FROM deployment").Scan(&r.Timeline, &r.Past, &r.Since)
	})
	return r, translate("look up timeline", err)
}

// NoteRestore has the database be relied on no more, which it reports, unless it is not already.
func (s *Store) NoteRestore(ctx context.Context, at time.Time) (bool, error) {
	var noted bool
	err := s.look(ctx, func(conn *pgxpool.Conn) error {
		return conn.QueryRow(ctx, "SELECT note_restore($1)", at).Scan(&noted)
	})
	return noted, translate("note restore", err)
}

// BeginTimeline begins a timeline in the place of one that has ended, whereupon the database is relied on again. It
// reports false where the other one is not the present any more. past are those that it takes the place of, the last first.
func (s *Store) BeginTimeline(ctx context.Context, ended, successor string, past []string) (bool, error) {
	var begun bool
	err := s.look(ctx, func(conn *pgxpool.Conn) error {
		return conn.QueryRow(ctx, "SELECT begin_timeline($1, $2, $3)", ended, successor, past).Scan(&begun)
	})
	return begun, translate("begin timeline", err)
}

// ReportedBeyond is a BeyondReport that is not accepted yet, with how much it would take away.
type ReportedBeyond struct {
	WorkspaceID      authority.WorkspaceID `json:"workspace_id"`
	GatewayID        authority.GatewayID   `json:"gateway_id"`
	Timeline         string                `json:"timeline"`
	Revision         uint64                `json:"revision"`
	DatabaseRevision uint64                `json:"database_revision"`
	Proven           bool                  `json:"proven"`
	RevokedMandates  int64                 `json:"revoked_mandates"`
	Suspended        int64                 `json:"suspended_principals"`
	RevokedKeys      int64                 `json:"revoked_keys"`
	Whole            bool                  `json:"whole"`
	ReportedAt       time.Time             `json:"reported_at"`
}

// LookUpBeyond lists what is reported and not accepted, of every workspace.
func (s *Store) LookUpBeyond(ctx context.Context) ([]ReportedBeyond, error) {
	var all []ReportedBeyond
	err := s.look(ctx, func(conn *pgxpool.Conn) error {
		rows, err := conn.Query(ctx, `SELECT workspace_id, gateway_id, timeline, revision, database_revision, proven,
			revoked_mandates, suspended, revoked_keys, whole, reported_at FROM look_up_beyond()`)
		if err != nil {
			return err
		}
		all, err = pgx.CollectRows(rows, pgx.RowToStructByPos[ReportedBeyond])
		return err
	})
	return all, translate("look up reports", err)
}

// RevokeForest ends mandates with all that was cut from them, by nobody's name, and tells which of them still lived.
func (t *Tx) RevokeForest(ctx context.Context, ids []authority.MandateID, revision uint64, at time.Time) ([]RevokedMandate, error) {
	rows, err := t.q.RevokeForest(ctx, query.RevokeForestParams{WorkspaceID: t.workspace, Ids: texts(ids), RevokedAt: at, RevokedRevision: &revision})
	ended := make([]RevokedMandate, len(rows))
	for i, row := range rows {
		ended[i] = RevokedMandate(row)
	}
	return ended, translate("revoke", err)
}

// SuspendAll suspends principals and tells which of them were not before.
func (t *Tx) SuspendAll(ctx context.Context, ids []authority.PrincipalID) ([]authority.PrincipalID, error) {
	suspended, err := t.q.SuspendAll(ctx, query.SuspendAllParams{WorkspaceID: t.workspace, Ids: texts(ids)})
	return suspended, translate("suspend", err)
}

// RevokeKeys ends API keys and tells which of them were good before, with their holders.
func (t *Tx) RevokeKeys(ctx context.Context, ids []authority.KeyID, at time.Time) (map[authority.KeyID]authority.PrincipalID, error) {
	rows, err := t.q.RevokeKeys(ctx, query.RevokeKeysParams{WorkspaceID: t.workspace, Ids: texts(ids), RevokedAt: at})
	ended := make(map[authority.KeyID]authority.PrincipalID, len(rows))
	for _, row := range rows {
		ended[row.ID] = row.PrincipalID
	}
	return ended, translate("revoke keys", err)
}

// RestoreStandings has revocations wait for leases that the database has never heard of, whose terms are at most the longest:
// for those of each process that it knows, but has been told of no more, and for those of processes that it does not know,
// in whose stead one is added that will never be heard of.
func (t *Tx) RestoreStandings(ctx context.Context, longest time.Duration, at time.Time) error {
	if err := t.standForUnknown(ctx, at); err != nil {
		return err
	}
	rows, err := t.q.LockAllGateways(ctx, query.LockAllGatewaysParams{WorkspaceID: t.workspace})
	if err != nil {
		return translate("lock gateways", err)
	}
	p := query.RestoreStandingsParams{WorkspaceID: t.workspace, At: &at}
	for _, r := range rows {
		before := lease.Standing{
			Enforced: r.Revision, Lease: r.LeaseNumber, Over: r.LeaseOver, Endless: r.Endless,
			Term: milliseconds(r.LeaseTermMs), Wait: milliseconds(r.LeaseWaitMs),
		}
		after := before.Restored(longest)
		p.Ids, p.LeaseNumbers = append(p.Ids, string(r.ID)), append(p.LeaseNumbers, int64(after.Lease))
		p.LeaseWaitsMs = append(p.LeaseWaitsMs, after.Wait.Milliseconds())
	}
	return translate("restore standings", t.q.RestoreStandings(ctx, p))
}

// lostInstance is where the process is said to run that stands for those which the database does not know.
const lostInstance = "(processes that the backup does not know)"

func (t *Tx) standForUnknown(ctx context.Context, at time.Time) error {
	key, err := t.q.AnyGatewayKey(ctx, query.AnyGatewayKeyParams{WorkspaceID: t.workspace})
	if err = translate("find gateway key", err); errors.Is(err, ErrNotFound) {
		key, err = t.lostKey(ctx, at)
	}
	if err != nil {
		return err
	}
	nobody := make([]byte, ed25519.PublicKeySize)
	rand.Read(nobody)
	return t.InsertGateway(ctx, Gateway{
		ID: authority.NewID[authority.GatewayID](), WorkspaceID: t.workspace, KeyID: key, PublicKey: nobody,
		Instance: lostInstance, Formats: []uint32{2}, EnrolledAt: at,
	})
}

// lostKey adds a gateway key that opens nothing, in the stead of those that were made after the backup.
func (t *Tx) lostKey(ctx context.Context, at time.Time) (authority.KeyID, error) {
	hash := make([]byte, sha256.Size)
	rand.Read(hash)
	key := authority.Key{
		ID: authority.NewID[authority.KeyID](), WorkspaceID: t.workspace, Kind: authority.KeyGateway, Name: lostInstance, CreatedAt: at, RevokedAt: &at,
	}
	return key.ID, t.InsertKey(ctx, key, hash)
}
