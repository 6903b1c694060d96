package postgres

import (
	"context"
	"errors"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres/internal/query"
)

// NextRegoNumber is the number of the next version.
func (t *Tx) NextRegoNumber(ctx context.Context) (int64, error) {
	n, err := t.q.NextRegoNumber(ctx, query.NextRegoNumberParams{WorkspaceID: t.workspace})
	return n, translate("number version", err)
}

// InsertRegoVersion adds a version.
func (t *Tx) InsertRegoVersion(ctx context.Context, v authority.RegoVersion) error {
	return translate("insert version", t.q.InsertRegoVersion(ctx, query.InsertRegoVersionParams(v)))
}

// RegoVersion reads a version.
func (t *Tx) RegoVersion(ctx context.Context, id authority.RegoVersionID) (authority.RegoVersion, error) {
	row, err := t.q.RegoVersion(ctx, query.RegoVersionParams{WorkspaceID: t.workspace, ID: id})
	return authority.RegoVersion(row), translate("read version", err)
}

// ActiveRego reads the active version; nil when there is none.
func (t *Tx) ActiveRego(ctx context.Context) (*authority.RegoVersion, error) {
	row, err := t.q.ActiveRego(ctx, query.ActiveRegoParams{WorkspaceID: t.workspace})
	if err := translate("read active version", err); errors.Is(err, ErrNotFound) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	active := authority.RegoVersion(row)
	return &active, nil
}

// RegoFilter narrows RegoVersions; a zero field does not.
type RegoFilter struct {
	Active  *bool
	Created Created
}

// RegoVersions lists versions, by creation.
func (t *Tx) RegoVersions(ctx context.Context, f RegoFilter, p Page) ([]authority.RegoVersion, error) {
	s := t.from("id, workspace_id, number, modules, data, message, active, created_by, created_at", "rego_versions").
		where(f.Active != nil, "active = ?", f.Active).
		created(f.Created).page(p)
	list, err := collect[authority.RegoVersion](ctx, t, s)
	return list, translate("list versions", err)
}

// RemoveOldRego removes the oldest versions but the active one and the latest until no more than a number are left, and
// names those that it removed.
func (t *Tx) RemoveOldRego(ctx context.Context, latest authority.RegoVersionID, keep int64) ([]authority.RegoVersionID, error) {
	removed, err := t.q.RemoveOldRego(ctx, query.RemoveOldRegoParams{WorkspaceID: t.workspace, Latest: string(latest), Keep: keep})
	return removed, translate("remove old versions", err)
}

// ActivateRego makes a version the active one.
func (t *Tx) ActivateRego(ctx context.Context, id authority.RegoVersionID) error {
	if err := t.DeactivateRego(ctx); err != nil {
		return err
	}
	return translate("activate version", t.q.ActivateRego(ctx, query.ActivateRegoParams{WorkspaceID: t.workspace, ID: id}))
}

// DeactivateRego leaves the workspace without an active version.
func (t *Tx) DeactivateRego(ctx context.Context) error {
	return translate("deactivate version", t.q.DeactivateRego(ctx, query.DeactivateRegoParams{WorkspaceID: t.workspace}))
}
