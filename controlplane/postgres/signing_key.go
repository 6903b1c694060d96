package postgres

import (
	"context"
	"time"

	"github.com/caracal-gateway/caracal/controlplane/postgres/internal/query"
)

// SealedKey is a private key of the workspace, encrypted.
type SealedKey struct {
	ID        string
	Purpose   string
	Sealed    []byte
	NotBefore time.Time
	RetireAt  time.Time
	CreatedAt time.Time
	// WithdrawnAt is when the key left the workspace's key set; RevokedAt when because it was revoked.
	WithdrawnAt *time.Time
	RevokedAt   *time.Time
}

// InsertSigningKey adds a private key.
func (t *Tx) InsertSigningKey(ctx context.Context, k SealedKey) error {
	err := t.q.InsertSigningKey(ctx, query.InsertSigningKeyParams{
		WorkspaceID: t.workspace, ID: k.ID, Purpose: k.Purpose, Sealed: k.Sealed,
		NotBefore: k.NotBefore, RetireAt: k.RetireAt, CreatedAt: k.CreatedAt,
	})
	return translate("insert signing key", err)
}

// SigningKeys reads the private keys, withdrawn ones included, the newest first.
func (t *Tx) SigningKeys(ctx context.Context) ([]SealedKey, error) {
	rows, err := t.q.SigningKeys(ctx, query.SigningKeysParams{WorkspaceID: t.workspace})
	keys := make([]SealedKey, len(rows))
	for i, row := range rows {
		keys[i] = SealedKey(row)
	}
	return keys, translate("read signing keys", err)
}

// RetireSigningKey lets a key sign no longer than to an instant. It never gives a key more time.
func (t *Tx) RetireSigningKey(ctx context.Context, id string, at time.Time) error {
	err := t.q.RetireSigningKey(ctx, query.RetireSigningKeyParams{WorkspaceID: t.workspace, ID: id, RetireAt: at})
	return translate("retire signing key", err)
}

// WithdrawSigningKey takes a key out of the key set for good; revoked tells that it is no longer to be trusted.
func (t *Tx) WithdrawSigningKey(ctx context.Context, id string, at time.Time, revoked bool) error {
	params := query.WithdrawSigningKeyParams{WorkspaceID: t.workspace, ID: id, WithdrawnAt: at}
	if revoked {
		params.RevokedAt = &at
	}
	return translate("withdraw signing key", t.q.WithdrawSigningKey(ctx, params))
}

// LastMandateBefore is when the last of the mandates that were made before an instant ends; the instant when none of them
// is left that has not been revoked.
func (t *Tx) LastMandateBefore(ctx context.Context, before time.Time) (time.Time, error) {
	until, err := t.q.LastMandateBefore(ctx, query.LastMandateBeforeParams{WorkspaceID: t.workspace, Before: before})
	return until, translate("find last mandate", err)
}
