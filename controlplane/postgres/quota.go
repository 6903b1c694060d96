package postgres

import (
	"context"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres/internal/query"
)

// CountPrincipals counts the principals of the workspace.
func (t *Tx) CountPrincipals(ctx context.Context) (int64, error) {
	n, err := t.q.CountPrincipals(ctx, query.CountPrincipalsParams{WorkspaceID: t.workspace})
	return n, translate("count principals", err)
}

// CountMembers counts the members of the workspace, suspended ones included.
func (t *Tx) CountMembers(ctx context.Context) (int64, error) {
	n, err := t.q.CountMembers(ctx, query.CountMembersParams{WorkspaceID: t.workspace})
	return n, translate("count members", err)
}

// CountLiveKeys counts the API keys that hold at an instant.
func (t *Tx) CountLiveKeys(ctx context.Context, at time.Time) (int64, error) {
	n, err := t.q.CountLiveKeys(ctx, query.CountLiveKeysParams{WorkspaceID: t.workspace, At: at})
	return n, translate("count keys", err)
}

// CountLiveMandates counts the mandates that hold at an instant or will.
func (t *Tx) CountLiveMandates(ctx context.Context, at time.Time) (int64, error) {
	n, err := t.q.CountLiveMandates(ctx, query.CountLiveMandatesParams{WorkspaceID: t.workspace, At: at})
	return n, translate("count mandates", err)
}

// CountDestinations counts the destinations of the workspace.
func (t *Tx) CountDestinations(ctx context.Context) (int64, error) {
	n, err := t.q.CountDestinations(ctx, query.CountDestinationsParams{WorkspaceID: t.workspace})
	return n, translate("count destinations", err)
}

// CountRegoVersions counts the stored versions of the workspace's Rego policy.
func (t *Tx) CountRegoVersions(ctx context.Context) (int64, error) {
	n, err := t.q.CountRegoVersions(ctx, query.CountRegoVersionsParams{WorkspaceID: t.workspace})
	return n, translate("count versions", err)
}

// CountMemberships counts the workspaces that a person is a member of, and keeps others from counting them until the
// transaction ends.
func (t *Tx) CountMemberships(ctx context.Context, id authority.PersonID) (int64, error) {
	if _, err := t.tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtextextended('caracal.person.' || $1, 0))", string(id)); err != nil {
		return 0, translate("hold person", err)
	}
	var n int64
	err := t.tx.QueryRow(ctx, "SELECT count(*) FROM look_up_memberships($1)", string(id)).Scan(&n)
	return n, translate("count memberships", err)
}
