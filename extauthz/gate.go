package extauthz

import (
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/lease"
)

// enforced is what decisions are made from. It is exchanged as one and never changed, so that whoever holds one knows
// which snapshot and which lease belong together.
type enforced struct {
	snapshot *Snapshot // nil before the first
	number   uint64    // counts the snapshots that came to be enforced
	lease    lease.Lease
	// superseded is closed once another snapshot is enforced.
	superseded chan struct{}
}

// ReadClocks reads the clocks of this host that leases are held against.
func ReadClocks() lease.Reading { return lease.Reading{Boot: BootTime(), Wall: time.Now()} }

// Enforce makes a snapshot the one that decisions are made from; the change says what it decides differently. When it
// returns, no decision that is yet to be answered is made from an older one, and every live stream that the change ends
// has been cut. It returns how many those are.
//
// Only the exchange itself holds others up. Streams are judged again while decisions are made from the new state.
func (s *Service) Enforce(snapshot *Snapshot, change Change) (cut int) {
	s.enforcing.Lock()
	defer s.enforcing.Unlock()
	s.clock.Passed(snapshot.issuedAt)
	s.watches.mu.Lock()
	before := s.current.Load()
	state := &enforced{snapshot: snapshot, number: before.number + 1, lease: before.lease, superseded: make(chan struct{})}
	s.current.Store(state)
	close(before.superseded)
	touched := s.watches.touched(change)
	s.watches.mu.Unlock()
	denied, cut := s.judgeAgain(state, touched)
	awaitEnds(denied)
	return cut
}

// Hold makes a lease the one that decisions are made under. The zero Lease ends every live stream, and denies whatever is
// asked from now on. So does a lease that comes after the one before was over: streams do not outlive their lease.
func (s *Service) Hold(l lease.Lease) {
	now := s.read()
	s.watches.mu.Lock()
	defer s.watches.mu.Unlock()
	before := s.current.Load()
	if !before.lease.Holds(now) || !l.Holds(now) {
		s.watches.endAll(because(authority.ReasonLeaseExpired))
	}
	s.current.Store(&enforced{snapshot: before.snapshot, number: before.number, lease: l, superseded: before.superseded})
	s.wakeTender()
}

// Lease is the one that is held; the zero Lease when there is none.
func (s *Service) Lease() lease.Lease { return s.current.Load().lease }

// Snapshot is the one that is enforced; nil when there is none.
func (s *Service) Snapshot() *Snapshot { return s.current.Load().snapshot }

// pass is the last step of a decision that was judged from a state: the state is enforced still and covered by a lease,
// or the decision is not given.
func (s *Service) pass(judged uint64) (lease.Verdict, lease.Reading) {
	now := s.read()
	present := s.current.Load()
	return lease.Pass(judged, present.number, present.lease, now), now
}

// covered denies what is asked of a gateway without a lease.
func (s *Service) covered() error {
	if !s.current.Load().lease.Holds(s.read()) {
		return because(authority.ReasonLeaseExpired)
	}
	return nil
}

// Figures are what a gateway reports of itself.
type Figures struct {
	Decisions   uint64 // since the start, those of requests and of questions
	LiveWatches int    // live streams that end with their authority
}

// Figures counts.
func (s *Service) Figures() Figures {
	return Figures{Decisions: s.decisions.Load(), LiveWatches: s.watches.count()}
}

// End ends every live stream, for the reason given, and lets none begin: the gateway stops. When it returns they have
// been cut.
func (s *Service) End(reason authority.Reason) {
	s.watches.mu.Lock()
	s.watches.stopped = because(reason)
	told := s.watches.endAll(s.watches.stopped)
	s.watches.mu.Unlock()
	awaitEnds(told)
}
