package controlplane

import (
	"context"
	"fmt"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
	"github.com/caracal-gateway/caracal/token"
)

// endedKept is for how long a mandate that ended stays in bundles, so that a gateway can tell that it did.
const endedKept = 24 * time.Hour

// Bundle is the sealed state of a workspace at one revision.
type Bundle struct {
	Revision uint64
	Sealed   bundle.Sealed
}

// Snapshot seals the caller's workspace as of one revision, for a gateway.
func (s *Service) Snapshot(ctx context.Context, c Caller) (Bundle, error) {
	var (
		state bundle.Snapshot
		keys  workspaceKeys
	)
	_, err := read(ctx, s, c, allowed("snapshot"), func(ctx context.Context, tx *postgres.Tx) (struct{}, error) {
		var err error
		if keys, err = s.openKeys(ctx, tx, c.workspace); err != nil {
			return struct{}{}, err
		}
		state, err = s.state(ctx, tx)
		return struct{}{}, err
	})
	if err != nil {
		return Bundle{}, err
	}
	return s.sealBundle(state, keys)
}

// state reads all that a gateway decides from. What has ended is left out as of the time of the revision, not of the
// reading: a gateway refuses another state under a revision that it enforces.
func (s *Service) state(ctx context.Context, tx *postgres.Tx) (bundle.Snapshot, error) {
	var (
		b   bundle.Snapshot
		err error
	)
	if b.Workspace, err = tx.Workspace(ctx); err != nil {
		return b, err
	}
	asOf, err := tx.RevisedAt(ctx)
	if err != nil {
		return b, err
	}
	if b.Principals, err = tx.AllPrincipals(ctx); err != nil {
		return b, err
	}
	if b.Workspace.State() == authority.WorkspaceDeleted {
		// No mandate is left to decide from, even for a gateway that does not know what a deleted workspace is.
		b.Mandates = []authority.Mandate{}
	} else if b.Mandates, err = tx.MandatesEndingAfter(ctx, asOf.Add(-endedKept)); err != nil {
		return b, err
	}
	if b.ActivePolicies, err = tx.CountActivePolicies(ctx); err != nil {
		return b, err
	}
	if b.Destinations, err = tx.AllDestinations(ctx); err != nil {
		return b, err
	}
	if b.ClientAuthorities, err = tx.ClientAuthorities(ctx); err != nil {
		return b, err
	}
	if b.Rego, err = tx.ActiveRego(ctx); err != nil {
		return b, err
	}
	if b.TrustedIssuers, err = trusted(ctx, tx); err != nil {
		return b, err
	}
	keys, err := tx.LiveAgentKeys(ctx, asOf)
	for _, k := range keys {
		b.AgentKeys = append(b.AgentKeys, bundle.AgentKey(k))
	}
	b.Revision, b.IssuedAt = b.Workspace.Revision, s.now()
	return b, err
}

// sealBundle completes a state with what follows from it, and signs it.
func (s *Service) sealBundle(b bundle.Snapshot, keys workspaceKeys) (Bundle, error) {
	var err error
	if b.Envoy, err = bundle.EnvoyConfiguration(b.Destinations); err != nil {
		return Bundle{}, fmt.Errorf("configure Envoy: %w", err)
	}
	b.Deployment, b.Timeline = keys.set.Deployment, keys.set.Timeline
	signer, err := keys.signer(token.PurposeBundle, b.IssuedAt)
	if err != nil {
		return Bundle{}, err
	}
	keySet, err := token.SealKeySet(keys.root, keys.set)
	if err != nil {
		return Bundle{}, err
	}
	sealed, err := bundle.Seal(b, signer, keySet)
	if err != nil {
		return Bundle{}, err
	}
	return Bundle{Revision: b.Revision, Sealed: sealed}, nil
}

// Subscribe wakes its receiver after each committed change of the caller's workspace, within a second for changes of
// other replicas while Run runs. Wake-ups coalesce. The caller must call cancel.
func (s *Service) Subscribe(c Caller) (wake <-chan struct{}, cancel func()) {
	return s.changes.subscribe(c.workspace)
}
