package controlplane

import (
	"context"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
	"github.com/caracal-gateway/caracal/controlplane/replica"
	"github.com/caracal-gateway/caracal/token"
)

// Replica is this process among the replicas of the control plane.
func (s *Service) Replica() *replica.Replica { return s.replica }

// ClaimedKey is the key that a credential claims to be, proven or not; empty where it is no API key.
func ClaimedKey(credential string) authority.KeyID {
	key, err := token.ParseAPIKey(credential)
	if err != nil {
		return ""
	}
	return key.ID
}

// keepKeysUsed writes down when keys were last used.
func (s *Service) keepKeysUsed(ctx context.Context, seen []replica.Sighting) error {
	type pairs struct {
		ids   []string
		times []time.Time
	}
	byWorkspace := map[authority.WorkspaceID]*pairs{}
	for _, sighting := range seen {
		p := byWorkspace[sighting.Workspace]
		if p == nil {
			p = &pairs{}
			byWorkspace[sighting.Workspace] = p
		}
		p.ids, p.times = append(p.ids, sighting.Subject), append(p.times, sighting.At)
	}
	for workspace, p := range byWorkspace {
		err := s.store.Write(ctx, workspace, func(ctx context.Context, tx *postgres.Tx) error {
			return tx.KeepKeysUsed(ctx, p.ids, p.times)
		})
		if err != nil {
			return s.tell(ctx, err)
		}
	}
	return nil
}
