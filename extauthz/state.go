package extauthz

import (
	"context"
	"errors"
	"time"

	"github.com/caracal-gateway/caracal/authority"
)

// statePatience is how long a request waits at most for what it has seen to be enforced here.
const statePatience = 50 * time.Millisecond

// State is what decisions from the snapshot know of the workspace.
func (s *Snapshot) State() authority.State {
	return authority.State{Timeline: s.timeline, Workspace: s.workspace.ID, Revision: s.revision}
}

// AwaitStates waits until what is enforced knows the states that a request names in its X-Caracal-State header, for at
// most 50 milliseconds. The error is a *Denial: nothing is decided from a state before one that the request has seen.
func (s *Service) AwaitStates(ctx context.Context, header string) error {
	if header == "" {
		return nil
	}
	seen, err := authority.ParseStates(header)
	if err != nil {
		var known *authority.Error
		if errors.As(err, &known) {
			return deny(authority.ReasonMalformedHeader, "The header X-Caracal-State %s.", known.Message)
		}
		return because(authority.ReasonMalformedHeader)
	}
	ctx, cancel := context.WithTimeout(ctx, statePatience)
	defer cancel()
	return s.Await(ctx, seen)
}

// Await waits until what is enforced knows states, or ctx ends. The error is a *Denial.
func (s *Service) Await(ctx context.Context, seen []authority.State) error {
	for {
		state := s.current.Load()
		if state.snapshot == nil {
			return errNoState()
		}
		switch state.snapshot.State().Compare(seen, state.snapshot.keys.Succeeds) {
		case authority.UpToDate:
			return nil
		case authority.Lost:
			return because(authority.ReasonStateUnknown)
		case authority.Behind:
		}
		select {
		case <-state.superseded:
		case <-ctx.Done():
			return because(authority.ReasonStateBehind)
		}
	}
}
