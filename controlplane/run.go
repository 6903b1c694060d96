package controlplane

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
	"github.com/caracal-gateway/caracal/controlplane/replica"
)

const (
	revisionPoll = time.Second
	upkeepEvery  = time.Hour
	upkeepRetry  = 30 * time.Second
)

// Run keeps what must be kept while the service lives, until ctx ends: event partitions made ahead, retention, the erasure of deleted workspaces, which
// gateways are connected, and wake-ups for changes that other replicas commit. What fails is tried again.
//
// It ends early, with an error, when the database was filled under another master key.
func (s *Service) Run(ctx context.Context) error {
	g, running := errgroup.WithContext(ctx)
	g.Go(func() error { return s.requireMasterKey(running) })
	g.Go(func() error { return s.keepSigning(running) })
	g.Go(func() error { return s.follow(running) })
	g.Go(func() error { return s.watchRestoration(running) })
	g.Go(func() error { return s.beat(running) })
	g.Go(func() error { return s.lookOut(running) })
	g.Go(func() error { return s.finishReceipts(running) })
	g.Go(func() error { return s.upkeep(running) })
	g.Go(func() error { return s.followIssuers(running) })
	g.Go(func() error { return s.replica.Run(running, s.keepKeysUsed) })
	g.Go(func() error { return s.replica.Woken(running, s.woken) })
	g.Go(func() error { return s.forgetRevisions(running) })
	if err := g.Wait(); ctx.Err() == nil {
		return err
	}
	return nil
}

// requireMasterKey ends once the master key is known to be the deployment's, or not to be.
func (s *Service) requireMasterKey(ctx context.Context) error {
	tick := time.NewTicker(revisionPoll)
	defer tick.Stop()
	for {
		err := s.checkMasterKey(ctx)
		if err == nil || errors.Is(err, ErrMasterKey) {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// keepSigning has every workspace sign with keys that are not too old.
func (s *Service) keepSigning(ctx context.Context) error {
	return every(ctx, rotationEvery, func() {
		if err := s.keepKeys(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("signing keys not looked after; it is tried again", "cause", err)
		}
	})
}

// follow wakes subscribers for changes of other replicas.
func (s *Service) follow(ctx context.Context) error {
	known := map[authority.WorkspaceID]uint64{}
	return every(ctx, s.poll, func() {
		ids := s.changes.workspaces()
		if len(ids) == 0 {
			clear(known)
			return
		}
		revisions, err := s.store.LookUpRevisions(ctx, ids)
		if err != nil {
			s.log.Debug("revisions not read", "cause", err)
			return
		}
		for id, revision := range revisions {
			if known[id] != revision {
				s.changes.wakeHere(id)
			}
		}
		known = revisions
	})
}

// woken wakes those who wait here for what another replica says is new.
func (s *Service) woken(t replica.Topic, w authority.WorkspaceID) {
	switch t {
	case replica.Changes:
		s.changes.wakeHere(w)
	case replica.Acks:
		s.acks.wakeHere(w)
	}
}

const (
	// Gateways that were away for longer than revisionsKept, or while more than mostChanges things changed, are sent the
	// whole state.
	revisionsKept = time.Hour
	mostChanges   = 500_000
	forgetEvery   = 10 * time.Minute
)

// forgetRevisions forgets what changed long ago.
func (s *Service) forgetRevisions(ctx context.Context) error {
	return every(ctx, forgetEvery, func() {
		if err := s.store.ForgetRevisions(ctx, revisionsKept, mostChanges); err != nil && ctx.Err() == nil {
			s.log.Warn("old revisions not forgotten; it is tried again", "cause", err)
		}
	})
}

// beat notes that the gateways of this replica are still connected.
func (s *Service) beat(ctx context.Context) error {
	return every(ctx, heartbeat, func() {
		for w, ids := range s.connected.all() {
			err := s.store.Write(ctx, w, func(ctx context.Context, tx *postgres.Tx) error {
				if err := tx.LockGateways(ctx, ids); err != nil {
					return err
				}
				return tx.SeeGateways(ctx, ids, s.now())
			})
			if err != nil {
				s.log.Debug("heartbeat not written", "workspace", w, "gateways", len(ids), "cause", err)
			}
		}
	})
}

// upkeep makes event partitions ahead of time, and removes events, kept answers and deleted workspaces whose time is over.
func (s *Service) upkeep(ctx context.Context) error {
	var next time.Time
	return every(ctx, upkeepRetry, func() {
		if time.Now().Before(next) {
			return
		}
		err := s.store.EnsureEventPartitions(ctx, s.now())
		if err == nil {
			err = s.store.ExpireEvents(ctx)
		}
		if err == nil {
			err = s.store.ForgetAnswers(ctx)
		}
		if err == nil {
			err = s.erase(ctx)
		}
		if err == nil {
			now := s.now()
			err = s.store.ExpireSessions(ctx, now, now.Add(-s.signIn.Idle))
		}
		if err != nil {
			s.log.Warn("upkeep failed; it is tried again", "cause", err)
			return
		}
		next = time.Now().Add(upkeepEvery)
	})
}

// every runs a function now and at each tick until ctx ends.
func every(ctx context.Context, interval time.Duration, do func()) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		do()
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
