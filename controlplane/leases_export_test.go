package controlplane

import (
	"context"
	"slices"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
)

// Lookout is what one replica has seen of the leases that run.
type Lookout struct {
	s *Service
	l lookout
}

// NewLookout begins to watch with the replica's own clock.
func (s *Service) NewLookout() *Lookout { return &Lookout{s: s} }

// Look reads the leases that run, and ends those that have run out.
func (o *Lookout) Look(ctx context.Context) error { return o.s.lookOnce(ctx, &o.l) }

// Running are the leases that run, as a replica reads them.
func (s *Service) Running(ctx context.Context) ([]postgres.RunningLease, error) {
	return s.store.LookUpLeases(ctx)
}

// GrantAll answers renewals of one process that came in together.
func (s *Service) GrantAll(ctx context.Context, c Caller, id authority.GatewayID, renewals ...Renewal) ([]Granted, error) {
	all := make([]application, len(renewals))
	for i, r := range renewals {
		all[i] = application{id, c.key, r}
	}
	return s.grant(ctx, c.workspace, all)
}

// Conclude writes that leases are over which were read at some time before.
func (s *Service) Conclude(ctx context.Context, leases []postgres.RunningLease) error {
	for w, ended := range byWorkspace(leases) {
		if err := s.conclude(ctx, w, ended); err != nil {
			return err
		}
	}
	return nil
}

// Fencing are the names of the operations that take authority away.
func Fencing() []string {
	var names []string
	for _, op := range table() {
		if op.fences {
			names = append(names, op.name)
		}
	}
	slices.Sort(names)
	return names
}
