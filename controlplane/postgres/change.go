package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres/internal/query"
)

// ChangeKind says what a change is of.
type ChangeKind string

// The kinds of changes.
const (
	ChangedEverything      ChangeKind = "everything" // more than is worth telling one by one
	ChangedWorkspace       ChangeKind = "workspace"
	ChangedPrincipal       ChangeKind = "principal"
	ChangedMandate         ChangeKind = "mandate"
	ChangedAgentKey        ChangeKind = "agent_key"
	ChangedDestination     ChangeKind = "destination"
	ChangedRego            ChangeKind = "rego"
	ChangedClientAuthority ChangeKind = "client_authority"
	ChangedTrustedIssuer   ChangeKind = "trusted_issuer"
	ChangedPolicy          ChangeKind = "policy"
	ChangedSigningKey      ChangeKind = "signing_key"
)

// Changed names something that is or was in a workspace and may be other than before.
type Changed struct {
	Kind ChangeKind
	ID   string
}

// ErrForgotten says that it is not known any more what has changed since a revision.
var ErrForgotten = errors.New("what changed since is forgotten")

// RevisionTime is when a revision was taken; ErrForgotten when that is not known.
func (t *Tx) RevisionTime(ctx context.Context, revision uint64) (time.Time, error) {
	at, err := t.q.RevisionTime(ctx, query.RevisionTimeParams{WorkspaceID: t.workspace, Revision: revision})
	if errors.Is(err, pgx.ErrNoRows) {
		return at, ErrForgotten
	}
	return at, translate("read time of revision", err)
}

// ChangesSince lists what may have changed after a revision, up to the present one. It is ErrForgotten when that is not
// known any more, or is more than the given number of things.
func (t *Tx) ChangesSince(ctx context.Context, from, present uint64, most int) ([]Changed, error) {
	if from > present {
		return nil, ErrForgotten
	}
	known, err := t.q.CountRevisionsSince(ctx, query.CountRevisionsSinceParams{WorkspaceID: t.workspace, Revision: from})
	if err != nil {
		return nil, translate("count revisions", err)
	}
	if uint64(known) != present-from {
		return nil, ErrForgotten
	}
	rows, err := t.q.ChangesSince(ctx, query.ChangesSinceParams{WorkspaceID: t.workspace, Revision: from, Most: int64(most) + 1})
	if err != nil {
		return nil, translate("read changes", err)
	}
	if len(rows) > most {
		return nil, ErrForgotten
	}
	all := make([]Changed, len(rows))
	for i, row := range rows {
		all[i] = Changed{ChangeKind(row.Kind), row.ID}
	}
	return all, nil
}

// MandatesEndingBetween names the mandates that ended after one instant and not after another.
func (t *Tx) MandatesEndingBetween(ctx context.Context, after, until time.Time) ([]authority.MandateID, error) {
	ids, err := t.q.MandatesEndingBetween(ctx, query.MandatesEndingBetweenParams{WorkspaceID: t.workspace, After: after, Until: until})
	return ids, translate("read ends of mandates", err)
}

// AgentKeysEndingBetween names the agents' keys that expire after one instant and not after another.
func (t *Tx) AgentKeysEndingBetween(ctx context.Context, after, until time.Time) ([]authority.KeyID, error) {
	ids, err := t.q.AgentKeysEndingBetween(ctx, query.AgentKeysEndingBetweenParams{WorkspaceID: t.workspace, After: after, Until: until})
	return ids, translate("read ends of agents' keys", err)
}

// MandatesEndingAfterOf reads those of the given mandates that MandatesEndingAfter reads; parents before children.
func (t *Tx) MandatesEndingAfterOf(ctx context.Context, ids []authority.MandateID, at time.Time) ([]authority.Mandate, error) {
	rows, err := t.q.MandatesOf(ctx, query.MandatesOfParams{WorkspaceID: t.workspace, Ids: texts(ids), Ending: at})
	list := make([]authority.Mandate, len(rows))
	for i, row := range rows {
		list[i] = authority.Mandate(row)
	}
	return list, translate("read changed mandates", err)
}

// LiveAgentKeysOf reads those of the given keys that LiveAgentKeys reads.
func (t *Tx) LiveAgentKeysOf(ctx context.Context, ids []authority.KeyID, at time.Time) ([]AgentKey, error) {
	rows, err := t.q.LiveAgentKeysOf(ctx, query.LiveAgentKeysOfParams{WorkspaceID: t.workspace, Ids: texts(ids), At: at})
	keys := make([]AgentKey, len(rows))
	for i, row := range rows {
		keys[i] = AgentKey(row)
	}
	return keys, translate("read changed agents' keys", err)
}

// EachPrincipal passes each principal, in the order of their ids, byte by byte.
func (t *Tx) EachPrincipal(ctx context.Context, take func(authority.Principal) error) error {
	const statement = `SELECT id, workspace_id, name, type, role, metadata, suspended, created_at
		FROM principals WHERE workspace_id = $1 ORDER BY id COLLATE "C"`
	err := each(ctx, t, take, func(row query.AllPrincipalsRow) authority.Principal { return authority.Principal(row) }, statement, t.workspace)
	return translate("read principals", err)
}

// EachMandateEndingAfter passes each mandate that holds, will hold, or ended after an instant, in the order of their ids,
// byte by byte.
func (t *Tx) EachMandateEndingAfter(ctx context.Context, at time.Time, take func(authority.Mandate) error) error {
	const statement = "SELECT " + mandateColumns + ` FROM mandates
		WHERE workspace_id = $1 AND valid_until > $2 AND (revoked_at IS NULL OR revoked_at > $2) ORDER BY id COLLATE "C"`
	err := each(ctx, t, take, func(row query.MandateRow) authority.Mandate { return authority.Mandate(row) }, statement, t.workspace, at)
	return translate("read mandates", err)
}

// EachLiveAgentKey passes each agents' key that holds at an instant, in the order of their ids, byte by byte.
func (t *Tx) EachLiveAgentKey(ctx context.Context, at time.Time, take func(AgentKey) error) error {
	const statement = `SELECT id, principal_id, hash, expires_at, allowed_networks FROM api_keys
		WHERE workspace_id = $1 AND kind IN ('agent', 'service') AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)
		ORDER BY id COLLATE "C"`
	err := each(ctx, t, take, func(row query.LiveAgentKeysRow) AgentKey { return AgentKey(row) }, statement, t.workspace, at)
	return translate("read agents' keys", err)
}

// each passes the rows of a statement as they come from the database: they may be more than should be held at once.
func each[Row, T any](ctx context.Context, t *Tx, take func(T) error, read func(Row) T, statement string, args ...any) error {
	rows, err := t.tx.Query(ctx, statement, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		row, err := pgx.RowToStructByPos[Row](rows)
		if err != nil {
			return err
		}
		if err := take(read(row)); err != nil {
			return err
		}
	}
	return rows.Err()
}

// ForgetRevisions forgets what changed longer ago than a time, and of each workspace more than a number of changes.
func (s *Store) ForgetRevisions(ctx context.Context, kept time.Duration, most int) error {
	err := s.look(ctx, func(conn *pgxpool.Conn) error {
		if _, err := conn.Exec(ctx, "SET statement_timeout = '10min'"); err != nil {
			return err
		}
		_, err := conn.Exec(ctx, "SELECT forget_revisions($1, $2)", kept, most)
		return err
	})
	return translate("forget revisions", err)
}
