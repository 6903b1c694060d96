package postgres

import (
	"context"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres/internal/query"
)

// InsertReceipt adds a receipt with the gateways that it waits for. signedBy names the key of its signature; empty where
// it has none yet.
func (t *Tx) InsertReceipt(ctx context.Context, r authority.Receipt, signedBy string, gateways []authority.GatewayReceipt) error {
	err := t.q.InsertReceipt(ctx, query.InsertReceiptParams{
		ID: r.ID, WorkspaceID: r.WorkspaceID, Kind: r.Kind, TargetID: r.Target.ID(), Target: r.Target, State: r.State,
		Revision: r.Revision, Timeline: r.Timeline, RequestedBy: r.RequestedBy, RevokedAt: r.RevokedAt, CreatedAt: r.CreatedAt,
		MandateCount: r.MandateCount, MandatesDigest: r.MandatesDigest, SettlingMs: r.SettlingMS, EffectiveAt: r.EffectiveAt,
		Signature: r.Signature, SignedBy: signedBy,
	})
	if err != nil || len(gateways) == 0 {
		return translate("insert receipt", err)
	}
	rows := query.InsertReceiptGatewaysParams{WorkspaceID: t.workspace, ReceiptID: r.ID}
	for _, g := range gateways {
		until := time.Unix(0, 0)
		if g.FencedUntil != nil {
			until = *g.FencedUntil
		}
		rows.Gateways = append(rows.Gateways, string(g.GatewayID))
		rows.Instances = append(rows.Instances, g.Instance)
		rows.Leases = append(rows.Leases, int64(g.Lease))
		rows.FencedUntil = append(rows.FencedUntil, until)
	}
	return translate("insert gateways of receipt", t.q.InsertReceiptGateways(ctx, rows))
}

// Receipt reads a receipt.
func (t *Tx) Receipt(ctx context.Context, id authority.ReceiptID) (authority.Receipt, error) {
	row, err := t.q.Receipt(ctx, query.ReceiptParams{WorkspaceID: t.workspace, ID: id})
	return receiptOf(row), translate("read receipt", err)
}

func receiptOf(row query.ReceiptRow) authority.Receipt {
	return authority.Receipt{
		ID: row.ID, WorkspaceID: row.WorkspaceID, Kind: row.Kind, Target: row.Target, State: row.State, Revision: row.Revision,
		Timeline: row.Timeline, RequestedBy: row.RequestedBy, RevokedAt: row.RevokedAt, CreatedAt: row.CreatedAt,
		MandateCount: row.MandateCount, MandatesDigest: row.MandatesDigest, SettlingMS: row.SettlingMs,
		EffectiveAt: row.EffectiveAt, WithdrawnAt: row.WithdrawnAt, Signature: row.Signature,
	}
}

// ReceiptGateways reads the gateways that a receipt waits for, or did.
func (t *Tx) ReceiptGateways(ctx context.Context, id authority.ReceiptID) ([]authority.GatewayReceipt, error) {
	rows, err := t.q.ReceiptGateways(ctx, query.ReceiptGatewaysParams{WorkspaceID: t.workspace, ReceiptID: id})
	all := make([]authority.GatewayReceipt, len(rows))
	for i, row := range rows {
		all[i] = authority.GatewayReceipt(row)
	}
	return all, translate("read gateways of receipt", err)
}

// ReceiptOfRevision finds the receipt of the revocation that a revision holds.
func (t *Tx) ReceiptOfRevision(ctx context.Context, revision uint64) (authority.ReceiptID, error) {
	id, err := t.q.ReceiptOfRevision(ctx, query.ReceiptOfRevisionParams{WorkspaceID: t.workspace, Revision: revision})
	return id, translate("find receipt", err)
}

// SuspensionRevision is the revision of the suspension that a principal is under; nil where that is not known.
func (t *Tx) SuspensionRevision(ctx context.Context, id authority.PrincipalID) (*uint64, error) {
	revision, err := t.q.SuspensionRevision(ctx, query.SuspensionRevisionParams{WorkspaceID: t.workspace, ID: id})
	return revision, translate("find suspension", err)
}

// DeletionRevision is the revision of the workspace's deletion; nil where that is not known.
func (t *Tx) DeletionRevision(ctx context.Context) (*uint64, error) {
	revision, err := t.q.DeletionRevision(ctx, query.DeletionRevisionParams{WorkspaceID: t.workspace})
	return revision, translate("find deletion", err)
}

// ReceiptFilter narrows Receipts; a zero field does not. Party is who may see only what it asked for or is a party to.
type ReceiptFilter struct {
	State       authority.ReceiptState
	Kind        authority.ReceiptKind
	RequestedBy authority.PrincipalID
	Party       authority.PrincipalID
	Created     Created
}

const receiptColumns = "id, workspace_id, kind, target, state, revision, timeline, requested_by, revoked_at, created_at, " +
	"mandate_count, mandates_digest, settling_ms, effective_at, withdrawn_at, signature"

// partyTo holds for receipts that a principal asked for, or that ended a mandate which it gave or was given.
const partyTo = "requested_by = ? OR EXISTS (SELECT FROM mandates m WHERE m.workspace_id = receipts.workspace_id " +
	"AND m.revoked_revision = receipts.revision AND (m.issuer_id = ? OR m.subject_id = ?))"

// Receipts lists receipts by creation.
func (t *Tx) Receipts(ctx context.Context, f ReceiptFilter, p Page) ([]authority.Receipt, error) {
	s := t.from(receiptColumns, "receipts").
		where(f.State != "", "state = ?", string(f.State)).
		where(f.Kind != "", "kind = ?", string(f.Kind)).
		where(f.RequestedBy != "", "requested_by = ?", string(f.RequestedBy)).
		where(f.Party != "", partyTo, string(f.Party)).
		created(f.Created).page(p)
	rows, err := collect[query.ReceiptRow](ctx, t, s)
	list := make([]authority.Receipt, len(rows))
	for i, row := range rows {
		list[i] = receiptOf(row)
	}
	return list, translate("list receipts", err)
}

// ReceiptFor finds a receipt that a principal asked for, or that ended a mandate which it gave or was given.
func (t *Tx) ReceiptFor(ctx context.Context, id authority.ReceiptID, party authority.PrincipalID) (authority.Receipt, error) {
	s := t.from(receiptColumns, "receipts").where(true, "id = ?", string(id)).where(party != "", partyTo, string(party))
	rows, err := collect[query.ReceiptRow](ctx, t, s)
	if err != nil {
		return authority.Receipt{}, translate("read receipt", err)
	}
	if len(rows) == 0 {
		return authority.Receipt{}, translate("read receipt", pgx.ErrNoRows)
	}
	return receiptOf(rows[0]), nil
}

// EndedMandate is one mandate that a revocation ended.
type EndedMandate struct {
	ID    authority.MandateID
	Level int
}

// ReceiptMandates reads the mandates that the revocation of a revision ended, from the top: those after a place, whose
// AfterSequence is a level. With a party only those that it gave or was given.
func (t *Tx) ReceiptMandates(ctx context.Context, revision uint64, party authority.PrincipalID, p Page) ([]EndedMandate, error) {
	rows, err := t.q.ReceiptMandates(ctx, query.ReceiptMandatesParams{
		WorkspaceID: t.workspace, RevokedRevision: &revision, Party: string(party),
		AfterLevel: int32(p.AfterSequence), AfterID: p.AfterID, Size: p.Size,
	})
	all := make([]EndedMandate, len(rows))
	for i, row := range rows {
		all[i] = EndedMandate(row)
	}
	return all, translate("read mandates of receipt", err)
}

// Enforcement says that a gateway's decisions enforce a revision, and how many live streams it ended to get there.
type Enforcement struct {
	GatewayID  authority.GatewayID
	Revision   uint64
	StreamsCut uint64
}

// NoteEnforced writes what gateways acknowledged into the receipts that wait for them.
func (t *Tx) NoteEnforced(ctx context.Context, all []Enforcement, at time.Time) error {
	if len(all) == 0 {
		return nil
	}
	rows := query.NoteEnforcedParams{WorkspaceID: t.workspace, At: at}
	for _, e := range all {
		rows.Gateways = append(rows.Gateways, string(e.GatewayID))
		rows.Revisions = append(rows.Revisions, int64(e.Revision))
		rows.StreamsCut = append(rows.StreamsCut, int64(e.StreamsCut))
	}
	return translate("note enforcement", t.q.NoteEnforced(ctx, rows))
}

// NoteFenced writes into the receipts that wait for gateways that the leases of these are over.
func (t *Tx) NoteFenced(ctx context.Context, gateways []authority.GatewayID, at time.Time) error {
	if len(gateways) == 0 {
		return nil
	}
	err := t.q.NoteFenced(ctx, query.NoteFencedParams{WorkspaceID: t.workspace, Gateways: texts(gateways), At: at})
	return translate("note fenced gateways", err)
}

// AwaitedGateway is a gateway that a pending receipt waits for, as it stands.
type AwaitedGateway struct {
	ReceiptID authority.ReceiptID
	GatewayID authority.GatewayID
	// Awaited is the revision that is waited for, beyond every other for a gateway that is itself revoked. Revision is the
	// highest that the gateway acknowledged.
	Awaited        uint64
	Revision       uint64
	AcknowledgedAt *time.Time
}

// AwaitedGateways reads the gateways that pending receipts wait for.
func (t *Tx) AwaitedGateways(ctx context.Context) ([]AwaitedGateway, error) {
	rows, err := t.q.AwaitedGateways(ctx, query.AwaitedGatewaysParams{WorkspaceID: t.workspace})
	all := make([]AwaitedGateway, len(rows))
	for i, row := range rows {
		all[i] = AwaitedGateway{
			ReceiptID: row.ReceiptID, GatewayID: row.GatewayID, Awaited: uint64(row.Awaited), Revision: row.Revision, AcknowledgedAt: row.AcknowledgedAt,
		}
	}
	return all, translate("read awaited gateways", err)
}

// SettlingReceipt is a pending receipt that waits for no gateway any more.
type SettlingReceipt struct {
	ID       authority.ReceiptID
	Revision uint64
	Settling time.Duration
}

// SettlingReceipts lists the pending receipts that wait for no gateway any more.
func (t *Tx) SettlingReceipts(ctx context.Context) ([]SettlingReceipt, error) {
	rows, err := t.q.SettlingReceipts(ctx, query.SettlingReceiptsParams{WorkspaceID: t.workspace})
	all := make([]SettlingReceipt, len(rows))
	for i, row := range rows {
		all[i] = SettlingReceipt{ID: row.ID, Revision: row.Revision, Settling: milliseconds(row.SettlingMs)}
	}
	return all, translate("read settling receipts", err)
}

// FinishReceipt writes that a pending receipt, which waits for no gateway any more, is enforced, and reports whether that
// was still to be done.
func (t *Tx) FinishReceipt(ctx context.Context, id authority.ReceiptID, effective time.Time, signature, signedBy string) (bool, error) {
	n, err := t.q.FinishReceipt(ctx, query.FinishReceiptParams{
		WorkspaceID: t.workspace, ID: id, EffectiveAt: effective, Signature: signature, SignedBy: signedBy,
	})
	return n > 0, translate("finish receipt", err)
}

// WithdrawReceipts withdraws the pending receipts of one thing and names them.
func (t *Tx) WithdrawReceipts(ctx context.Context, target string, at time.Time) ([]authority.ReceiptID, error) {
	ids, err := t.q.WithdrawReceipts(ctx, query.WithdrawReceiptsParams{WorkspaceID: t.workspace, TargetID: target, At: at})
	return ids, translate("withdraw receipts", err)
}

// SettlingBounds tells the longest time that a request may have been let through for without a watch, and whether a
// gateway of the workspace has ever decided anything.
func (t *Tx) SettlingBounds(ctx context.Context) (short time.Duration, decided bool, err error) {
	row, err := t.q.SettlingBounds(ctx, query.SettlingBoundsParams{WorkspaceID: t.workspace})
	return time.Duration(row.ShortSeconds) * time.Second, row.Decided, translate("read settling bounds", err)
}

// SignedReceipts reports whether a key has signed a receipt.
func (t *Tx) SignedReceipts(ctx context.Context, kid string) (bool, error) {
	signed, err := t.q.SignedReceipts(ctx, query.SignedReceiptsParams{WorkspaceID: t.workspace, SignedBy: kid})
	return signed, translate("look for receipts of key", err)
}

// LockWorkspace keeps every other writer of the workspace waiting until the transaction ends, and reads its revision.
func (t *Tx) LockWorkspace(ctx context.Context) (uint64, error) {
	revision, err := t.q.LockWorkspace(ctx, query.LockWorkspaceParams{WorkspaceID: t.workspace})
	return revision, translate("lock workspace", err)
}

// LookUpPendingReceipts names the workspaces that have receipts to finish.
func (s *Store) LookUpPendingReceipts(ctx context.Context) ([]authority.WorkspaceID, error) {
	var all []authority.WorkspaceID
	err := s.look(ctx, func(conn *pgxpool.Conn) error {
		rows, err := conn.Query(ctx, "SELECT look_up_pending_receipts()")
		if err != nil {
			return err
		}
		all, err = pgx.CollectRows(rows, pgx.RowTo[authority.WorkspaceID])
		return err
	})
	return all, translate("look up pending receipts", err)
}

// takeTime lets the rest of the transaction take as long as ending very many mandates does.
func (t *Tx) takeTime(ctx context.Context) error {
	_, err := t.tx.Exec(ctx, "SET LOCAL statement_timeout = '75s'")
	return translate("take time", err)
}

// MassRevocation ends all mandates that hold or will hold and that every given field admits, and all that was cut from
// them. Under admits what was cut from a mandate, and not the mandate.
type MassRevocation struct {
	Subject  authority.PrincipalID
	Issuer   authority.PrincipalID
	Under    authority.MandateID
	By       authority.PrincipalID
	At       time.Time
	Revision uint64
}

// RevokeAll ends what a mass revocation admits, and tells which mandates those were.
func (t *Tx) RevokeAll(ctx context.Context, r MassRevocation) ([]RevokedMandate, error) {
	if err := t.takeTime(ctx); err != nil {
		return nil, err
	}
	s := &selection{args: []any{string(t.workspace), r.At, r.By, r.Revision}}
	s.text.WriteString("WITH RECURSIVE ")
	if r.Under != "" {
		s.text.WriteString(strings.ReplaceAll(`below (id) AS (
	SELECT m.id FROM mandates m WHERE m.workspace_id = $1 AND m.parent_id = ?
	UNION
	SELECT m.id FROM mandates m JOIN below ON m.parent_id = below.id WHERE m.workspace_id = $1
), `, "?", s.parameter(string(r.Under))))
	}
	s.text.WriteString(`tree (id) AS (
	SELECT m.id FROM mandates m WHERE m.workspace_id = $1 AND NOT m.revoked AND m.valid_until > $2`)
	s.where(r.Subject != "", "m.subject_id = ?", string(r.Subject)).where(r.Issuer != "", "m.issuer_id = ?", string(r.Issuer))
	if r.Under != "" {
		s.text.WriteString(" AND m.id IN (SELECT below.id FROM below)")
	}
	s.text.WriteString(`
	UNION
	SELECT m.id FROM mandates m JOIN tree ON m.parent_id = tree.id WHERE m.workspace_id = $1
)
UPDATE mandates m SET revoked = true, revoked_at = $2, revoked_by = $3, revoked_revision = $4
FROM tree WHERE m.workspace_id = $1 AND m.id = tree.id AND NOT m.revoked
RETURNING m.id, m.subject_id, m.level`)
	ended, err := collect[RevokedMandate](ctx, t, s)
	return ended, translate("revoke", err)
}
