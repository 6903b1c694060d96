package controlplane

import (
	"context"
	"fmt"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
	"github.com/caracal-gateway/caracal/token"
)

// signingLifetime is how long a workspace's signing keys sign.
const signingLifetime = 10 * 365 * 24 * time.Hour

// signingMargin lets another replica, whose clock may be behind, sign with a key at once.
const signingMargin = time.Minute

// workspaceKeys are the private keys of a workspace, opened.
type workspaceKeys struct {
	root    token.Root
	set     token.KeySet
	signing []token.SigningKey // newest first
}

// newKeys makes the keys of a new workspace, sealed for the store.
func (s *Service) newKeys(w authority.WorkspaceID, now time.Time) []postgres.SealedKey {
	root := token.NewRoot()
	sealed := []postgres.SealedKey{{
		ID: string(w), Purpose: string(token.PurposeRoot), NotBefore: now, RetireAt: now.Add(signingLifetime),
		Sealed: s.vault.Seal(string(w), token.PurposeRoot, root.Seed()),
	}}
	for _, purpose := range []token.Purpose{token.PurposeToken, token.PurposeMandate, token.PurposeBundle} {
		key := token.NewSigningKey(purpose, now.Add(-signingMargin), now.Add(signingLifetime))
		sealed = append(sealed, postgres.SealedKey{
			ID: key.ID, Purpose: string(purpose), NotBefore: key.NotBefore, RetireAt: key.RetireAt,
			Sealed: s.vault.Seal(key.ID, purpose, key.Seed()),
		})
	}
	return sealed
}

// keys opens the keys of a workspace in a transaction of their own.
func (s *Service) keys(ctx context.Context, w authority.WorkspaceID) (workspaceKeys, error) {
	var keys workspaceKeys
	err := s.store.Read(ctx, w, func(ctx context.Context, tx *postgres.Tx) error {
		var err error
		keys, err = s.openKeys(ctx, tx, w)
		return err
	})
	return keys, err
}

// openKeys reads and opens the keys of the transaction's workspace; ErrNotFound when there is no such workspace.
func (s *Service) openKeys(ctx context.Context, tx *postgres.Tx, w authority.WorkspaceID) (workspaceKeys, error) {
	sealed, err := tx.SigningKeys(ctx)
	if err != nil {
		return workspaceKeys{}, err
	}
	if len(sealed) == 0 {
		return workspaceKeys{}, postgres.ErrNotFound
	}
	deployment, err := s.deploymentOf(ctx, tx)
	if err != nil {
		return workspaceKeys{}, err
	}
	// Keys are only ever added, so that their number grows with every change of the set.
	keys := workspaceKeys{set: token.KeySet{
		Deployment: deployment.ID, Workspace: w, Timeline: deployment.Timeline, Version: uint64(len(sealed)),
	}}
	for _, k := range sealed {
		if err := keys.open(s.vault, k); err != nil {
			return workspaceKeys{}, fmt.Errorf("open signing key of %s: %w", w, err)
		}
	}
	return keys, nil
}

func (k *workspaceKeys) open(vault token.Vault, sealed postgres.SealedKey) error {
	purpose := token.Purpose(sealed.Purpose)
	seed, err := vault.Open(sealed.ID, purpose, sealed.Sealed)
	if err != nil {
		return err
	}
	if purpose == token.PurposeRoot {
		k.root, err = token.ParseRoot(seed)
		return err
	}
	terms := token.KeyTerms{ID: sealed.ID, Purpose: purpose, NotBefore: sealed.NotBefore, RetireAt: sealed.RetireAt}
	key, err := token.ParseSigningKey(terms, seed)
	if err != nil {
		return err
	}
	k.signing = append(k.signing, key)
	k.set.Keys = append(k.set.Keys, key.Public())
	return nil
}

// signer is the newest key of a purpose that signs now.
func (k workspaceKeys) signer(purpose token.Purpose, now time.Time) (token.SigningKey, error) {
	for _, key := range k.signing {
		if key.Purpose == purpose && !now.Before(key.NotBefore) && now.Before(key.RetireAt) {
			return key, nil
		}
	}
	return token.SigningKey{}, fmt.Errorf("workspace %s has no %s key that signs now", k.set.Workspace, purpose)
}
