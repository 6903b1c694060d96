package postgres

import (
	"context"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres/internal/query"
)

// Deployment names the deployment that the database belongs to and the timeline of its revisions.
type Deployment struct {
	ID       string
	Timeline string
	Past     []string // the timelines before it, the last first
}

// Deployment reads the deployment's one row.
func (t *Tx) Deployment(ctx context.Context) (Deployment, error) {
	row, err := t.q.Deployment(ctx)
	return Deployment(row), translate("read deployment", err)
}

// InsertWorkspace adds the transaction's own workspace.
func (t *Tx) InsertWorkspace(ctx context.Context, w authority.Workspace) error {
	return translate("insert workspace", t.q.InsertWorkspace(ctx, query.InsertWorkspaceParams(w)))
}

// Workspace reads the transaction's workspace.
func (t *Tx) Workspace(ctx context.Context) (authority.Workspace, error) {
	row, err := t.q.Workspace(ctx, query.WorkspaceParams{WorkspaceID: t.workspace})
	return authority.Workspace(row), translate("read workspace", err)
}

// UpdateWorkspace changes the name, the description, the settings and the state of the transaction's workspace.
func (t *Tx) UpdateWorkspace(ctx context.Context, w authority.Workspace) error {
	err := t.q.UpdateWorkspace(ctx, query.UpdateWorkspaceParams{
		WorkspaceID: t.workspace, Name: w.Name, Description: w.Description, Settings: w.Settings,
		ArchivedAt: w.ArchivedAt, DeletedAt: w.DeletedAt, EraseAt: w.EraseAt,
	})
	return translate("update workspace", err)
}

// RevisedAt is when the workspace's present revision was taken.
func (t *Tx) RevisedAt(ctx context.Context) (time.Time, error) {
	at, err := t.q.RevisedAt(ctx, query.RevisedAtParams{WorkspaceID: t.workspace})
	return at, translate("read time of revision", err)
}

// AdvanceRevision gives the transaction the workspace's next revision. Until it ends no other transaction of the
// workspace gets one and nobody is granted a lease, so that revisions are in the order of commits and what is read after
// this call stays true. One that fences is of a change that takes authority away: a gateway has to enforce it before it is
// granted another lease.
func (t *Tx) AdvanceRevision(ctx context.Context, at time.Time, fences bool) (uint64, error) {
	revision, err := t.q.AdvanceRevision(ctx, query.AdvanceRevisionParams{WorkspaceID: t.workspace, At: at, Fences: fences})
	return revision, translate("advance revision", err)
}

// Answer is what a write with an Idempotency-Key answered.
type Answer struct {
	Operation string
	Digest    []byte // of the request
	Revision  uint64
	Sealed    []byte // the answer, encrypted
}

// Answered finds the answer that a caller got for a key since an instant, or ErrNotFound.
func (t *Tx) Answered(ctx context.Context, caller, key string, since time.Time) (Answer, error) {
	row, err := t.q.Idempotent(ctx, query.IdempotentParams{WorkspaceID: t.workspace, Caller: caller, Key: key, Oldest: since})
	return Answer(row), translate("read answer", err)
}

// RememberAnswer keeps an answer, and forgets those from before an instant.
func (t *Tx) RememberAnswer(ctx context.Context, caller, key string, a Answer, at, oldest time.Time) error {
	if err := t.q.DeleteIdempotentBefore(ctx, query.DeleteIdempotentBeforeParams{WorkspaceID: t.workspace, Oldest: oldest}); err != nil {
		return translate("forget answers", err)
	}
	err := t.q.InsertIdempotent(ctx, query.InsertIdempotentParams{
		WorkspaceID: t.workspace, Caller: caller, Key: key,
		Operation: a.Operation, Digest: a.Digest, Revision: a.Revision, Sealed: a.Sealed, CreatedAt: at,
	})
	return translate("remember answer", err)
}
