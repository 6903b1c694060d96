package postgres

import (
	"context"
	"net/netip"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres/internal/query"
)

// InsertKey adds an API key by its hash.
func (t *Tx) InsertKey(ctx context.Context, k authority.Key, hash []byte) error {
	err := t.q.InsertKey(ctx, query.InsertKeyParams{
		ID: k.ID, WorkspaceID: k.WorkspaceID, Kind: k.Kind, Name: k.Name, PrincipalID: k.PrincipalID,
		Role: k.Role, Workspaces: append([]string{}, k.Workspaces...), AllowedNetworks: append([]netip.Prefix{}, k.AllowedNetworks...),
		CreatedAt: k.CreatedAt, ExpiresAt: k.ExpiresAt, RevokedAt: k.RevokedAt, Replaces: k.Replaces, SingleUse: k.SingleUse, Hash: hash,
	})
	return translate("insert key", err)
}

// Key reads an API key.
func (t *Tx) Key(ctx context.Context, id authority.KeyID) (authority.Key, error) {
	row, err := t.q.Key(ctx, query.KeyParams{WorkspaceID: t.workspace, ID: id})
	return authority.Key(row), translate("read key", err)
}

// KeyState says whether a key opens anything.
type KeyState string

// The states of keys.
const (
	KeyActive  KeyState = "active"
	KeyExpired KeyState = "expired"
	KeyRevoked KeyState = "revoked"
)

// KeyFilter narrows Keys; a zero field does not.
type KeyFilter struct {
	NamePrefix  string
	Kind        authority.KeyKind
	PrincipalID authority.PrincipalID
	State       KeyState
	Created     Created
}

// Keys lists API keys as of an instant, by creation or by name.
func (t *Tx) Keys(ctx context.Context, f KeyFilter, at time.Time, p Page) ([]authority.Key, error) {
	s := t.from("id, workspace_id, kind, name, principal_id, role, workspaces, allowed_networks, created_at, expires_at, "+
		"revoked_at, last_used_at, replaces, single_use", "api_keys").
		where(f.Kind != "", "kind = ?", string(f.Kind)).
		where(f.PrincipalID != "", "principal_id = ?", string(f.PrincipalID)).
		where(f.State == KeyActive, "revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?)", at).
		where(f.State == KeyExpired, "revoked_at IS NULL AND expires_at <= ?", at).
		where(f.State == KeyRevoked, "(revoked_at IS NOT NULL) = ?", true).
		named(f.NamePrefix).created(f.Created).page(p)
	list, err := collect[authority.Key](ctx, t, s)
	return list, translate("list keys", err)
}

// RevokeKey ends an API key.
func (t *Tx) RevokeKey(ctx context.Context, id authority.KeyID, at time.Time) error {
	err := t.q.RevokeKey(ctx, query.RevokeKeyParams{WorkspaceID: t.workspace, ID: id, RevokedAt: at})
	return translate("revoke key", err)
}

// EndKey makes an API key expire at an instant.
func (t *Tx) EndKey(ctx context.Context, id authority.KeyID, at time.Time) error {
	err := t.q.EndKey(ctx, query.EndKeyParams{WorkspaceID: t.workspace, ID: id, ExpiresAt: at})
	return translate("end key", err)
}

// SuccessorOfKey is the key that was rotated from another; empty where none was.
func (t *Tx) SuccessorOfKey(ctx context.Context, id authority.KeyID) (authority.KeyID, error) {
	successor, err := t.q.SuccessorOfKey(ctx, query.SuccessorOfKeyParams{WorkspaceID: t.workspace, ID: string(id)})
	return authority.KeyID(successor), translate("read successor of key", err)
}

// RevokeKeysOf ends every API key of a principal, and names those that it ended.
func (t *Tx) RevokeKeysOf(ctx context.Context, id authority.PrincipalID, at time.Time) ([]authority.KeyID, error) {
	ended, err := t.q.RevokeKeysOf(ctx, query.RevokeKeysOfParams{WorkspaceID: t.workspace, PrincipalID: id, RevokedAt: at})
	return ended, translate("revoke keys", err)
}

// RevokeWideKeysOf ends the API keys of a principal that open other workspaces too, and names those that it ended.
func (t *Tx) RevokeWideKeysOf(ctx context.Context, id authority.PrincipalID, at time.Time) ([]authority.KeyID, error) {
	ended, err := t.q.RevokeWideKeysOf(ctx, query.RevokeWideKeysOfParams{WorkspaceID: t.workspace, PrincipalID: id, RevokedAt: at})
	return ended, translate("revoke keys", err)
}

// WaysIn counts by how many ways owners can come in: those that hold, and those among them that no time ends.
type WaysIn struct {
	Live    int64
	Lasting int64
}

// OwnersWaysIn counts the ways in of active owners at an instant: their keys, and their identities of an OpenID provider.
func (t *Tx) OwnersWaysIn(ctx context.Context, provider string, at time.Time) (WaysIn, error) {
	row, err := t.q.OwnersWaysIn(ctx, query.OwnersWaysInParams{WorkspaceID: t.workspace, Provider: provider, At: at})
	return WaysIn(row), translate("count owners' ways in", err)
}

// AgentKey is what proves an agent's or service's API key.
type AgentKey struct {
	ID          authority.KeyID
	PrincipalID authority.PrincipalID
	Hash        []byte
	ExpiresAt   *time.Time
	// AllowedNetworks are where the key may be used from; empty means anywhere.
	AllowedNetworks []netip.Prefix
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
