package controlplane

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
	"github.com/caracal-gateway/caracal/lease"
)

// lookoutEvery is how often a replica looks at the leases that run.
const lookoutEvery = 500 * time.Millisecond

// lookout is what one replica has seen of the leases that run, on its own clock. It begins with nothing: a replica that
// starts waits for every lease anew.
type lookout struct {
	sights map[authority.GatewayID]lease.Sight
}

// see takes note of the leases that run at an instant of the replica's steady clock, which is not before they were read,
// and answers those that have run out.
func (l *lookout) see(running []postgres.RunningLease, now time.Duration) []postgres.RunningLease {
	seen := make(map[authority.GatewayID]lease.Sight, len(running))
	var over []postgres.RunningLease
	for _, r := range running {
		sight := l.sights[r.GatewayID].See(r.Number, now)
		seen[r.GatewayID] = sight
		if sight.Over(now, r.Wait) {
			over = append(over, r)
		}
	}
	l.sights = seen
	return over
}

// lookOut marks leases as over that this replica has watched for as long as they can last.
func (s *Service) lookOut(ctx context.Context) error {
	var l lookout
	return every(ctx, lookoutEvery, func() {
		if err := s.lookOnce(ctx, &l); err != nil && ctx.Err() == nil {
			s.log.Warn("leases not looked at; it is tried again", "cause", err)
		}
	})
}

// lookOnce reads the leases that run and ends those that have run out. The clock is read after them: a lease was granted
// before it was seen.
func (s *Service) lookOnce(ctx context.Context, l *lookout) error {
	running, err := s.store.LookUpLeases(ctx)
	if err != nil {
		return err
	}
	var failed error
	for w, ended := range byWorkspace(l.see(running, s.steady())) {
		if err := s.conclude(ctx, w, ended); err != nil {
			failed = fmt.Errorf("end leases of %s: %w", w, err)
		}
	}
	return failed
}

func byWorkspace(all []postgres.RunningLease) map[authority.WorkspaceID][]postgres.RunningLease {
	sorted := map[authority.WorkspaceID][]postgres.RunningLease{}
	for _, r := range all {
		sorted[r.WorkspaceID] = append(sorted[r.WorkspaceID], r)
	}
	return sorted
}

// conclude writes that leases are over, but of gateways that have renewed them since they were read.
func (s *Service) conclude(ctx context.Context, w authority.WorkspaceID, ended []postgres.RunningLease) error {
	err := s.store.Write(ctx, w, func(ctx context.Context, tx *postgres.Tx) error {
		if _, err := tx.HoldRevision(ctx); err != nil {
			return err
		}
		at := s.now()
		for _, r := range ended {
			over, err := s.endLease(ctx, tx, r.GatewayID, r.Number, at)
			if err != nil {
				return err
			}
			if over {
				s.log.Warn("gateway's lease ran out", "gateway", r.GatewayID, "workspace", w, "lease", r.Number, "waited", r.Wait+lease.Margin(r.Wait))
			}
		}
		return nil
	})
	if err == nil {
		s.acks.wake(w)
	}
	return err
}

// steadyTime is by the clock that nobody turns: services that keep a clock right turn the others, the one since boot too. It
// stands still while the host is suspended, which only makes a wait longer.
func steadyTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC_RAW, &ts); err != nil {
		panic(fmt.Sprintf("read CLOCK_MONOTONIC_RAW: %v", err)) // every Linux since 2.6.28 has it
	}
	return time.Duration(ts.Nano())
}
