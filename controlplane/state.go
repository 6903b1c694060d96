package controlplane

import (
	"context"
	"sync"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
)

// Trail is where the operations of a caller leave the last state that they wrote or read. The zero Trail is ready, and safe
// for concurrent use.
type Trail struct {
	mu   sync.Mutex
	last authority.State
}

// Last is the last state; the zero State where there is none yet.
func (t *Trail) Last() authority.State {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last
}

func (t *Trail) leave(s authority.State) {
	if t == nil || s.Revision == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = s
}

// Seen gives the caller the states that it has seen. What it asks next is answered from no state before them: it is
// state_behind where the database does not have them yet, and state_unknown where they are of before a restore from a
// backup. States of other workspaces than the one that is asked about do not count.
func (c Caller) Seen(states []authority.State) Caller {
	c.seen = states
	return c
}

// Leaving has what the caller does leave a trail.
func (c Caller) Leaving(t *Trail) Caller {
	c.trail = t
	return c
}

// abreast reports as an error that the transaction does not see what its caller has seen.
func (s *Service) abreast(ctx context.Context, tx *postgres.Tx, c Caller) error {
	if len(c.seen) == 0 {
		return nil
	}
	deployment, err := s.deploymentOf(ctx, tx)
	if err != nil {
		return err
	}
	switch tx.State().Compare(c.seen, deployment.Past) {
	case authority.UpToDate:
	case authority.Behind:
		return &authority.Error{
			Code: authority.CodeStateBehind, Field: authority.StateHeader, Message: authority.ReasonStateBehind.Message(),
		}
	case authority.Lost:
		return &authority.Error{
			Code: authority.CodeStateUnknown, Field: authority.StateHeader, Message: authority.ReasonStateUnknown.Message(),
		}
	}
	return nil
}

// deploymentOf is the transaction's deployment. It is read once for each timeline.
func (s *Service) deploymentOf(ctx context.Context, tx *postgres.Tx) (postgres.Deployment, error) {
	if d := s.deployment.Load(); d != nil && d.Timeline == tx.State().Timeline {
		return *d, nil
	}
	d, err := tx.Deployment(ctx)
	if err != nil {
		return d, err
	}
	s.deployment.Store(&d)
	return d, nil
}
