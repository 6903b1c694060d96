package postgres

import (
	"context"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres/internal/query"
)

// InsertMandate adds a mandate. The database itself refuses a child that exceeds its parent or whose parent is revoked.
func (t *Tx) InsertMandate(ctx context.Context, m authority.Mandate) error {
	return translate("insert mandate", t.q.InsertMandate(ctx, query.InsertMandateParams(m)))
}

// Mandate reads a mandate.
func (t *Tx) Mandate(ctx context.Context, id authority.MandateID) (authority.Mandate, error) {
	row, err := t.q.Mandate(ctx, query.MandateParams{WorkspaceID: t.workspace, ID: id})
	return authority.Mandate(row), translate("read mandate", err)
}

// Chain reads a mandate and its ancestors, the root last; empty when there is no such mandate.
func (t *Tx) Chain(ctx context.Context, id authority.MandateID) ([]authority.Mandate, error) {
	rows, err := t.q.Chain(ctx, query.ChainParams{WorkspaceID: t.workspace, ID: id})
	chain := make([]authority.Mandate, len(rows))
	for i, row := range rows {
		chain[i] = authority.Mandate(row)
	}
	return chain, translate("read chain", err)
}

// HoldChain is Chain that keeps every mandate of it from being revoked until the transaction ends.
func (t *Tx) HoldChain(ctx context.Context, id authority.MandateID) ([]authority.Mandate, error) {
	chain, err := t.Chain(ctx, id)
	if err != nil {
		return nil, err
	}
	ids := make([]authority.MandateID, len(chain))
	for i, m := range chain {
		ids[i] = m.ID
	}
	if _, err := t.q.HoldMandates(ctx, query.HoldMandatesParams{WorkspaceID: t.workspace, Ids: texts(ids)}); err != nil {
		return nil, translate("hold chain", err)
	}
	return t.Chain(ctx, id)
}

// MandateState says what has become of a mandate.
type MandateState string

// The states of mandates. One that is revoked is nothing else.
const (
	MandateActive    MandateState = "active"
	MandateScheduled MandateState = "scheduled"
	MandateExpired   MandateState = "expired"
	MandateRevoked   MandateState = "revoked"
)

// MandateFilter narrows Mandates; a zero field does not. Party and PrincipalID are the issuer or the subject; Party is
// whom the caller may see.
type MandateFilter struct {
	Party       authority.PrincipalID
	PrincipalID authority.PrincipalID
	IssuerID    authority.PrincipalID
	SubjectID   authority.PrincipalID
	ParentID    authority.MandateID
	Revoked     *bool
	State       MandateState
	Created     Created
}

const mandateColumns = "id, workspace_id, issuer_id, subject_id, resource_scope, action_scope, valid_from, valid_until, " +
	"parent_id, delegation_depth, level, requested_by, consent, policy_id, policy_version, revoked, revoked_at, " +
	"revoked_by, created_at, signature, confirmation"

// Mandates lists mandates as of an instant, by creation or by their end.
func (t *Tx) Mandates(ctx context.Context, f MandateFilter, at time.Time, p Page) ([]authority.Mandate, error) {
	s := t.from(mandateColumns, "mandates").
		where(f.Party != "", "issuer_id = ? OR subject_id = ?", string(f.Party)).
		where(f.PrincipalID != "", "issuer_id = ? OR subject_id = ?", string(f.PrincipalID)).
		where(f.IssuerID != "", "issuer_id = ?", string(f.IssuerID)).
		where(f.SubjectID != "", "subject_id = ?", string(f.SubjectID)).
		where(f.ParentID != "", "parent_id = ?", string(f.ParentID)).
		where(f.Revoked != nil, "revoked = ?", f.Revoked).
		where(f.State == MandateActive, "NOT revoked AND valid_from <= ? AND valid_until > ?", at).
		where(f.State == MandateScheduled, "NOT revoked AND valid_from > ?", at).
		where(f.State == MandateExpired, "NOT revoked AND valid_until <= ?", at).
		where(f.State == MandateRevoked, "revoked = ?", true).
		created(f.Created).page(p)
	rows, err := collect[query.MandateRow](ctx, t, s)
	list := make([]authority.Mandate, len(rows))
	for i, row := range rows {
		list[i] = authority.Mandate(row)
	}
	return list, translate("list mandates", err)
}

// CountChildren counts the children of a mandate, revoked ones included.
func (t *Tx) CountChildren(ctx context.Context, id authority.MandateID) (int, error) {
	n, err := t.q.CountChildren(ctx, query.CountChildrenParams{WorkspaceID: t.workspace, ParentID: string(id)})
	return int(n), translate("count children", err)
}

// LockMandate keeps everyone else from delegating or revoking a mandate until the transaction ends, and reads the
// revision that ended it; nil while it lives.
func (t *Tx) LockMandate(ctx context.Context, id authority.MandateID) (*uint64, error) {
	revision, err := t.q.LockMandate(ctx, query.LockMandateParams{WorkspaceID: t.workspace, ID: id})
	return revision, translate("lock mandate", err)
}

// Revocation ends a mandate and all that was cut from it.
type Revocation struct {
	MandateID authority.MandateID
	By        authority.PrincipalID
	At        time.Time
	Revision  uint64
}

// RevokedMandate is one mandate that a revocation ended.
type RevokedMandate struct {
	ID        authority.MandateID
	SubjectID authority.PrincipalID
	Level     int
}

// Revoke ends a mandate, which the transaction has locked, with its descendants, and tells which of them still lived.
func (t *Tx) Revoke(ctx context.Context, r Revocation) ([]RevokedMandate, error) {
	if err := t.takeTime(ctx); err != nil {
		return nil, err
	}
	rows, err := t.q.RevokeTree(ctx, query.RevokeTreeParams{
		WorkspaceID: t.workspace, ID: r.MandateID, RevokedAt: r.At, RevokedBy: r.By, RevokedRevision: &r.Revision,
	})
	ended := make([]RevokedMandate, len(rows))
	for i, row := range rows {
		ended[i] = RevokedMandate(row)
	}
	return ended, translate("revoke", err)
}

// MandatesEndingAfter reads the mandates that hold, will hold, or ended after an instant; parents before children.
func (t *Tx) MandatesEndingAfter(ctx context.Context, at time.Time) ([]authority.Mandate, error) {
	rows, err := t.q.MandatesEndingAfter(ctx, query.MandatesEndingAfterParams{WorkspaceID: t.workspace, Ending: at})
	list := make([]authority.Mandate, len(rows))
	for i, row := range rows {
		list[i] = authority.Mandate(row)
	}
	return list, translate("read mandates", err)
}

// MandateWeight tells what the signatures of the mandates that MandatesEndingAfter reads weigh, in bytes: all of them, and
// those that one principal asked for.
func (t *Tx) MandateWeight(ctx context.Context, requester authority.PrincipalID, at time.Time) (everybodys, own int64, err error) {
	row, err := t.q.MandateWeight(ctx, query.MandateWeightParams{WorkspaceID: t.workspace, RequestedBy: requester, Ending: at})
	return row.Everybodys, row.Own, translate("weigh mandates", err)
}
