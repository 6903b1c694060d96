package controlplane

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
	"github.com/caracal-gateway/caracal/token"
)

const (
	// signingAge is when a workspace's signing keys are replaced. They may sign for twice as long, so that a control plane
	// that was away for weeks can still sign when it is back.
	signingAge      = 90 * 24 * time.Hour
	signingLifetime = 2 * signingAge
	// rootLifetime is formal: the root's fingerprint is in every gateway key, and does not change.
	rootLifetime = 10 * 365 * 24 * time.Hour
	// signingMargin lets another replica, whose clock may be behind, sign with a key at once.
	signingMargin = time.Minute
)

// purposes are what a workspace has signing keys for, beside its root.
func purposes() []token.Purpose {
	return []token.Purpose{token.PurposeToken, token.PurposeMandate, token.PurposeBundle, token.PurposeReceipt}
}

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
		ID: string(w), Purpose: string(token.PurposeRoot), NotBefore: now, RetireAt: now.Add(rootLifetime), CreatedAt: now,
		Sealed: s.vault.Seal(string(w), token.PurposeRoot, root.Seed()),
	}}
	for _, purpose := range purposes() {
		sealed = append(sealed, s.newKey(purpose, now, now.Add(-signingMargin)))
	}
	return sealed
}

// newKey makes a key that signs from an instant on, sealed for the store.
func (s *Service) newKey(purpose token.Purpose, now, notBefore time.Time) postgres.SealedKey {
	key := token.NewSigningKey(purpose, notBefore, notBefore.Add(signingLifetime))
	return postgres.SealedKey{
		ID: key.ID, Purpose: string(purpose), NotBefore: key.NotBefore, RetireAt: key.RetireAt, CreatedAt: now,
		Sealed: s.vault.Seal(key.ID, purpose, key.Seed()),
	}
}

// keys opens the keys of a workspace in a transaction of their own.
func (s *Service) keys(ctx context.Context, w authority.WorkspaceID) (workspaceKeys, error) {
	var keys workspaceKeys
	err := s.store.ReadRestored(ctx, w, func(ctx context.Context, tx *postgres.Tx) error {
		var err error
		keys, err = s.openKeys(ctx, tx, w)
		return err
	})
	return keys, err
}

// openKeys reads and opens the keys of the transaction's workspace that are in its key set; ErrNotFound when there is no
// such workspace.
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
	keys := workspaceKeys{set: token.KeySet{
		Deployment: deployment.ID, Workspace: w, Timeline: deployment.Timeline, Succeeds: deployment.Past, Version: keySetVersion(sealed),
	}}
	for _, k := range sealed {
		if k.WithdrawnAt != nil {
			continue
		}
		if err := keys.open(s.vault, k); err != nil {
			return workspaceKeys{}, fmt.Errorf("open signing key of %s: %w", w, err)
		}
	}
	return keys, nil
}

// keySetVersion grows with every change of the set: a key is added, or leaves it, and neither is ever undone.
func keySetVersion(all []postgres.SealedKey) uint64 {
	version := uint64(len(all))
	for _, k := range all {
		if k.WithdrawnAt != nil {
			version++
		}
	}
	return version
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

// verifyChain checks that a chain of mandates says what was signed, by keys that are still trusted.
func (k workspaceKeys) verifyChain(chain []authority.Mandate) error {
	for _, m := range chain {
		if err := k.set.VerifyMandate(m); err != nil {
			return err
		}
	}
	return nil
}

// ErrMasterKey says that the control plane was given another master key than the one that its database was filled under.
var ErrMasterKey = errors.New("the master key does not open the signing keys in the database: it is not the one of this deployment")

// checkMasterKey is ErrMasterKey when the service cannot open what the database holds. A deployment without workspaces
// holds nothing yet.
func (s *Service) checkMasterKey(ctx context.Context) error {
	all, err := s.store.LookUpWorkspaces(ctx)
	if err != nil {
		return err
	}
	for _, w := range all {
		_, err := s.keys(ctx, w.ID)
		switch {
		case errors.Is(err, postgres.ErrNotFound):
			continue // it was erased
		case errors.Is(err, token.ErrVault):
			return ErrMasterKey
		}
		return err
	}
	return nil
}
