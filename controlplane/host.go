package controlplane

import (
	"context"
	"fmt"
	"time"
)

// maxSkew is by how much the clocks of a control plane and of its database may differ.
const maxSkew = 2 * time.Second

// RequireHost waits for the database and is an error where the clocks of the two hosts differ by more than two seconds: what
// one replica signs would not be valid yet for another. A server that may lose what it has committed is logged.
func (s *Service) RequireHost(ctx context.Context) error {
	tick := time.NewTicker(revisionPoll)
	defer tick.Stop()
	for {
		host, err := s.store.LookAtHost(ctx, time.Now)
		if err == nil {
			if !host.Durable {
				s.log.Warn("the database server runs with fsync or full_page_writes off: a crash of its host may undo revocations")
			}
			if off := host.Ahead.Abs() - host.Doubt; off > maxSkew {
				return fmt.Errorf("the clock of the database's host differs from this one's by %s: have both kept right by NTP", host.Ahead.Round(time.Millisecond))
			}
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
