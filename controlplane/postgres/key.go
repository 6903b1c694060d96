package postgres

import (
	"context"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres/internal/query"
)

// InsertKey adds an API key by its hash.
func (t *Tx) InsertKey(ctx context.Context, k authority.Key, hash []byte) error {
	err := t.q.InsertKey(ctx, query.InsertKeyParams{
		ID: k.ID, WorkspaceID: k.WorkspaceID, Kind: k.Kind, Name: k.Name, PrincipalID: k.PrincipalID,
		CreatedAt: k.CreatedAt, ExpiresAt: k.ExpiresAt, RevokedAt: k.RevokedAt, Hash: hash,
	})
	return translate("insert key", err)
}

// Key reads an API key.
func (t *Tx) Key(ctx context.Context, id authority.KeyID) (authority.Key, error) {
	row, err := t.q.Key(ctx, query.KeyParams{WorkspaceID: t.workspace, ID: id})
	return authority.Key(row), translate("read key", err)
}

// KeyFilter narrows Keys; a zero field does not.
type KeyFilter struct {
	Kind        authority.KeyKind
	PrincipalID authority.PrincipalID
}

// Keys lists API keys.
func (t *Tx) Keys(ctx context.Context, f KeyFilter, p Page) ([]authority.Key, error) {
	rows, err := t.q.Keys(ctx, query.KeysParams{
		WorkspaceID: t.workspace, WithKind: string(f.Kind), WithPrincipal: string(f.PrincipalID),
		AfterID: p.AfterID, AfterTime: p.AfterTime, Size: p.Size,
	})
	list := make([]authority.Key, len(rows))
	for i, row := range rows {
		list[i] = authority.Key(row)
	}
	return list, translate("list keys", err)
}

// RevokeKey ends an API key.
func (t *Tx) RevokeKey(ctx context.Context, id authority.KeyID, at time.Time) error {
	err := t.q.RevokeKey(ctx, query.RevokeKeyParams{WorkspaceID: t.workspace, ID: id, RevokedAt: at})
	return translate("revoke key", err)
}

// CountOtherOwnerKeys counts the owners' keys that hold at an instant, but for one.
func (t *Tx) CountOtherOwnerKeys(ctx context.Context, but authority.KeyID, at time.Time) (int, error) {
	n, err := t.q.CountOtherOwnerKeys(ctx, query.CountOtherOwnerKeysParams{WorkspaceID: t.workspace, ID: but, At: at})
	return int(n), translate("count keys", err)
}

// AgentKey is what proves an agent's or service's API key.
type AgentKey struct {
	ID          authority.KeyID
	PrincipalID authority.PrincipalID
	Hash        []byte
	ExpiresAt   *time.Time
}

// LiveAgentKeys reads the agents' keys that hold at an instant.
func (t *Tx) LiveAgentKeys(ctx context.Context, at time.Time) ([]AgentKey, error) {
	rows, err := t.q.LiveAgentKeys(ctx, query.LiveAgentKeysParams{WorkspaceID: t.workspace, At: at})
	keys := make([]AgentKey, len(rows))
	for i, row := range rows {
		keys[i] = AgentKey(row)
	}
	return keys, translate("read agents' keys", err)
}
