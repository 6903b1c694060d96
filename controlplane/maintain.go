package controlplane

import (
	"context"
	"errors"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
)

// maintain is the choke point of the changes that the service makes by itself, for which nobody asks: one transaction with
// its revision and its events, whose actor is empty. A change that tells nothing has found nothing to do.
func (s *Service) maintain(ctx context.Context, w authority.WorkspaceID, apply func(context.Context, *postgres.Tx, *change) error) error {
	err := s.store.Write(ctx, w, func(ctx context.Context, tx *postgres.Tx) error {
		ch := &change{caller: Caller{workspace: w}, at: s.now()}
		var err error
		if ch.revision, err = tx.AdvanceRevision(ctx, ch.at, false); err != nil {
			return err
		}
		if err := apply(ctx, tx, ch); err != nil {
			return err
		}
		if len(ch.events) == 0 {
			return errGiveUp
		}
		return tx.AppendEvents(ctx, ch.events)
	})
	if errors.Is(err, errGiveUp) {
		return nil
	}
	if err == nil {
		s.changes.wake(w)
	}
	return err
}
