package extauthz

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/lease"
)

const (
	// againTime is how long all live streams together may take to be judged again. What has not been by then is cut: no
	// policy holds up a revocation for longer.
	againTime = 5 * time.Second
	// againTries is how often the policy is asked about one of them when it does not answer in time.
	againTries = 3
	// cutTime is how long Envoy may take to end a stream before the stream to Envoy is broken off.
	cutTime = time.Second
	// lookTime is how often all clocks are looked at.
	lookTime = time.Second
)

// again judges a permitted request from a state, as it was made: by the credential that its caller showed, at the time
// when that was shown, for the same target, and by the same mandate unless it only admits to a tunnel. The basis is what it
// rests on from now on; the error is why it is permitted no more.
func (s *Service) again(ctx context.Context, state *enforced, p *permitted) (basis, error) {
	j := &judgement{id: p.decision, at: s.clock.Now(), shown: p.at, snapshot: state.snapshot, request: p.request, pinned: p.mandate}
	last := p.at.Add(maxExchange)
	if !j.at.Before(last) {
		return basis{}, because(authority.ReasonExpired)
	}
	var found basis
	err := s.guard(func() error {
		r, err := s.judge(ctx, j)
		if err != nil {
			return err
		}
		if late := ctx.Err(); late != nil {
			return fmt.Errorf("judge again: %w", late)
		}
		if r.route != p.route {
			return deny(authority.ReasonTargetNotAllowed, "The way to the target is another since the request was permitted.")
		}
		found = r.basis(last)
		return nil
	})
	return found, err
}

// insist judges a live stream again until its policy has had its time more than once: many are judged together, and a
// stream that was permitted does not end because there was much to do.
func (s *Service) insist(ctx context.Context, state *enforced, p *permitted) (basis, error) {
	for tries := againTries; ; tries-- {
		rests, err := s.again(ctx, state, p)
		var denial *Denial
		if tries <= 1 || ctx.Err() != nil || !errors.As(err, &denial) || denial.Reason != authority.ReasonPolicyTimeout {
			return rests, err
		}
	}
}

// judgeAgain judges live streams from a state and ends those that it denies. It returns them, those among them too that
// were told to end for another reason before and may not have, and how many it has ended itself.
func (s *Service) judgeAgain(state *enforced, touched []*watch) (denied []*watch, ended int) {
	if len(touched) == 0 {
		return nil, 0
	}
	ctx, cancel := context.WithTimeout(context.Background(), againTime)
	defer cancel()
	var (
		group errgroup.Group
		found sync.Mutex // guards what is returned
	)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for _, w := range touched {
		group.Go(func() error {
			rests, err := s.insist(ctx, state, &w.permitted)
			if err == nil {
				s.watches.settle(w, rests)
				return nil
			}
			first := w.end(s.explain(&judgement{id: w.decision}, err))
			found.Lock()
			defer found.Unlock()
			if denied = append(denied, w); first {
				ended++
			}
			return nil
		})
	}
	_ = group.Wait() // none of them fails
	return denied, ended
}

// endAll has every live stream end and returns them. The caller holds the lock.
func (ws *watches) endAll(why *Denial) []*watch {
	all := make([]*watch, 0, len(ws.live))
	for w := range ws.live {
		w.end(why)
		all = append(all, w)
	}
	return all
}

// awaitEnds waits until streams that were told to end are over. Each ends itself in cutTime, whatever Envoy does.
func awaitEnds(told []*watch) {
	for _, w := range told {
		<-w.over
	}
}

// register takes the watch of a request that was permitted: judged from the state that is enforced, in the same moment in
// which the watch becomes one that an exchange of the state finds.
func (s *Service) register(ctx context.Context, id authority.DecisionID) (*watch, error) {
	p, err := s.watches.claim(id, s.read().Boot)
	if err != nil {
		return nil, err
	}
	w := &watch{permitted: *p, cut: make(chan struct{}), over: make(chan struct{})}
	live := false
	defer func() {
		if !live {
			s.watches.abandon(p)
		}
	}()
	for ctx.Err() == nil {
		state := s.current.Load()
		var denied error
		if w.number != state.number {
			var rests basis
			if rests, denied = s.again(ctx, state, &w.permitted); denied == nil {
				w.basis = rests
			}
			w.number = state.number
		}
		switch verdict, err := s.admit(w, denied); verdict {
		case lease.Passes:
			live = err == nil
			return w, err
		case lease.Superseded:
		default:
			return nil, because(authority.ReasonLeaseExpired)
		}
	}
	return nil, errRestless()
}

// admit makes a watch live unless its request was denied, or what it was judged from is enforced no more.
func (s *Service) admit(w *watch, denied error) (lease.Verdict, error) {
	s.watches.mu.Lock()
	defer s.watches.mu.Unlock()
	verdict, _ := s.pass(w.number)
	switch {
	case verdict != lease.Passes:
		return verdict, nil
	case denied != nil:
		return verdict, denied
	case s.watches.stopped != nil:
		return verdict, s.watches.stopped
	case !s.clock.Now().Before(w.ends):
		return verdict, because(authority.ReasonExpired)
	}
	s.watches.add(w)
	if w.place == 0 {
		s.wakeTender()
	}
	return verdict, nil
}

// tend ends streams whose mandate or lease comes to its end, until ctx ends.
func (s *Service) tend(ctx context.Context) error {
	alarm, err := s.alarm()
	if err != nil {
		return err
	}
	defer alarm.Close()
	for {
		if err := alarm.Set(s.look()); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-alarm.Rings():
		case <-s.tender:
		}
	}
}

func (s *Service) wakeTender() {
	select {
	case s.tender <- struct{}{}:
	default:
	}
}

// look ends what is over, and says when to look again: when something else will be, and soon in any case, since no timer
// sees a wall clock that is set. Tunnels that look for another mandate hold up no end of anything else, however many they are.
func (s *Service) look() time.Duration {
	var due []*watch
	for {
		next, over := s.sweep(s.clock.Now(), s.read())
		due = append(due, over...)
		for len(due) > 0 && due[0].why.Load() != nil {
			due = due[1:]
		}
		if len(due) == 0 {
			return next
		}
		s.renew(due[0])
		due = due[1:]
	}
}

// sweep ends what is over. What only admits to a tunnel may rest on something else, and is returned.
func (s *Service) sweep(now time.Time, reading lease.Reading) (time.Duration, []*watch) {
	s.watches.mu.Lock()
	defer s.watches.mu.Unlock()
	s.watches.forget(reading.Boot)
	if len(s.watches.live) == 0 {
		return lookTime, nil
	}
	held := s.current.Load().lease
	if !held.Holds(reading) {
		s.watches.endAll(because(authority.ReasonLeaseExpired))
		return lookTime, nil
	}
	var over []*watch
	next := min(lookTime, held.End.Boot-reading.Boot, held.End.Wall.Sub(reading.Wall))
	for w := s.watches.ending.first(); w != nil; w = s.watches.ending.first() {
		if now.Before(w.ends) {
			next = min(next, w.ends.Sub(now))
			break
		}
		s.watches.ending.take(w)
		if w.tunnel != nil && w.why.Load() == nil {
			over = append(over, w)
			continue
		}
		w.end(because(authority.ReasonExpired))
	}
	return max(next, time.Millisecond), over
}

// renew has a tunnel rest on another mandate than the one that has come to its end, or ends it.
func (s *Service) renew(w *watch) {
	ctx, cancel := context.WithTimeout(context.Background(), checkTime)
	defer cancel()
	for {
		state := s.current.Load()
		rests, err := s.again(ctx, state, &w.permitted)
		s.watches.mu.Lock()
		present := s.current.Load().number == state.number
		switch {
		case err != nil && (present || ctx.Err() != nil):
			w.end(s.explain(&judgement{id: w.decision}, err))
			present = true
		case err == nil && present:
			s.watches.rebase(w, rests)
		}
		s.watches.mu.Unlock()
		if present {
			return
		}
	}
}

// settle has a tunnel that was judged again rest on what it was found to. Whatever else was judged again rests on what it did.
func (ws *watches) settle(w *watch, rests basis) {
	if w.tunnel == nil {
		return
	}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.rebase(w, rests)
}
