package lease_test

import (
	"math/bits"
	"time"

	"github.com/caracal-gateway/caracal/lease"
)

// The state of the model. Every field is one byte, so that a state is small, comparable and hashed as a block of memory.
//
// Times are kept relative to the present, in ticks, and no further back than matters; lease numbers are kept as ranks.
// What differs only in when it happens is the same state, and the search ends without a bound on time.
type state struct {
	gateways [2]gateway
	replicas [2]replica
	database database
}

// place is a position: the timeline in the upper bits, the revision in the lower two.
type place uint8

func at2(timeline, revision uint8) place { return place(timeline<<2 | revision) }

func (p place) timeline() uint8 { return uint8(p) >> 2 }
func (p place) revision() uint8 { return uint8(p) & 3 }

func timelineName(timeline uint8) string { return string(rune('a' + timeline)) }

// position is the place as the rules know it.
func (p place) position() lease.Position {
	return lease.Position{Timeline: timelineName(p.timeline()), Revision: uint64(p.revision())}
}

const (
	running uint8 = iota
	frozen        // the process stands still, its Envoy does not
	down
)

const (
	undecided uint8 = iota
	judged          // from the state in gateway.judged; the answer is not given yet
	permitted       // the answer is on its way to Envoy, or the request to its upstream
	opening         // the answer let Envoy open a watched stream, which is not registered yet
)

type gateway struct {
	mode     uint8
	still    uint8 // ticks that it has been frozen for
	lag      uint8 // ticks until its clock may miss as many as it may
	enforced place
	said     place // what this process has acknowledged
	kept     place // on disk
	lease    held
	file     held  // the lease on disk
	fileAt   place // what was enforced when the lease was kept
	decision uint8
	judged   place
	watch    uint8    // the mandate of the live stream; 0 for none
	acked    [2]uint8 // in each timeline, one more than the revision that was acknowledged; 0 for none
	given    uint8    // number of the lease that was surrendered, on its way
	exchange [2]exchange
}

// held is a lease: its number, and how many ticks are left of it on the gateway's clock.
type held struct{ number, left uint8 }

const (
	noExchange uint8 = iota
	sent             // the renewal is on its way
	checked          // the control plane has looked at the fence without holding it
	granted          // the answer is on its way
)

// exchange is a renewal and its answer. Each may be delivered late, often, or never.
type exchange struct {
	stage  uint8
	orphan uint8 // the process that asked has ended
	age    uint8 // ticks since it was sent, on the gateway's clock
	at     place // what it says to be enforced
	held   uint8 // the lowest number that it says may be used
	number uint8 // that was granted
	term   uint8 // that was granted: index
}

type replica struct {
	sight    [2]sight    // of each gateway's lease
	progress [2]progress // of each change
}

type sight struct{ number, age, poll uint8 }

type progress struct{ clear, age uint8 }

type database struct {
	now      place // timeline and revision
	fence    uint8
	term     uint8 // index of the workspace's setting
	restored uint8
	redone   uint8 // the revocation that the restore lost was reported, and applied again
	standing [2]standing
	change   [2]change
}

type standing struct{ enforced, lease, over, term, wait uint8 }

const (
	unmade uint8 = iota
	pending
	effective
	forgotten // by the restored database: nobody knows of it any more
)

// change is the revocation of one mandate: the mandate's number is one more than the index.
type change struct {
	state uint8
	at    place
	holds uint8 // bits of the gateways that it has to wait for
}

// denies reports whether a gateway that enforces a place denies a mandate.
func (s *state) denies(p place, mandate int) bool {
	c := &s.database.change[mandate]
	if c.state == unmade {
		return false
	}
	if c.at.timeline() == p.timeline() {
		return p.revision() >= c.at.revision()
	}
	return mandate == 0 && p.timeline() == 1 && s.database.redone == 1
}

// base is what every clock says at present.
const base = 1000 * time.Hour

func epoch() time.Time { return time.Date(2024, 1, 15, 10, 30, 0, 0, time.UTC) }

func (m *model) reading(ticks int) lease.Reading {
	boot := base + time.Duration(ticks)*m.tick
	return lease.Reading{Boot: boot, Wall: epoch().Add(boot)}
}

func (m *model) leaseOf(h held) lease.Lease {
	return lease.Lease{Number: uint64(h.number), End: m.reading(int(h.left))}
}

func (m *model) heldOf(l lease.Lease) held {
	left := max(0, (l.End.Boot-base+m.tick-1)/m.tick)
	return held{number: uint8(l.Number), left: uint8(left)}
}

func (m *model) standingOf(s standing) lease.Standing {
	return lease.Standing{
		Enforced: uint64(s.enforced), Lease: uint64(s.lease), Over: s.over == 1, Term: m.terms[s.term], Wait: m.terms[s.wait],
	}
}

// stand writes a standing back. A number that was granted is the highest of the gateway's; ranks are made of it later.
func (m *model) stand(s *state, g int, after lease.Standing) {
	row := &s.database.standing[g]
	row.enforced = uint8(after.Enforced)
	if after.Lease != uint64(row.lease) {
		row.lease = s.highest(g) + 1
	}
	row.over = bit(after.Over)
	row.term, row.wait = m.termIndex(after.Term), m.termIndex(after.Wait)
}

func (m *model) termIndex(term time.Duration) uint8 {
	for i, t := range m.terms {
		if t == term {
			return uint8(i)
		}
	}
	return 0 // of a gateway that never had a lease
}

func bit(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}

// numbers are all lease numbers of a gateway that the state holds.
func (s *state) numbers(g int) [10]*uint8 {
	gw := &s.gateways[g]
	return [...]*uint8{
		&gw.lease.number, &gw.file.number, &gw.given,
		&gw.exchange[0].held, &gw.exchange[0].number, &gw.exchange[1].held, &gw.exchange[1].number,
		&s.replicas[0].sight[g].number, &s.replicas[1].sight[g].number, &s.database.standing[g].lease,
	}
}

func (s *state) highest(g int) uint8 {
	var top uint8
	for _, n := range s.numbers(g) {
		top = max(top, *n)
	}
	return top
}

// rank replaces the lease numbers of each gateway by their ranks.
func (s *state) rank() {
	for g := range s.gateways {
		numbers := s.numbers(g)
		used := uint32(1)
		for _, n := range numbers {
			used |= 1 << *n
		}
		if used&(used+1) == 0 { // none is left out
			continue
		}
		for _, n := range numbers {
			*n = uint8(bits.OnesCount32(used & (1<<*n - 1)))
		}
	}
}

// mirrored is the state with its gateways exchanged, and turned the one with its replicas exchanged: neither differs from
// the other in what can happen.
func (s state) mirrored() state {
	s.gateways[0], s.gateways[1] = s.gateways[1], s.gateways[0]
	s.database.standing[0], s.database.standing[1] = s.database.standing[1], s.database.standing[0]
	for i := range s.database.change {
		h := s.database.change[i].holds
		s.database.change[i].holds = h>>1&1 | h<<1&2
	}
	for r := range s.replicas {
		s.replicas[r].sight[0], s.replicas[r].sight[1] = s.replicas[r].sight[1], s.replicas[r].sight[0]
	}
	return s
}

func (s state) turned() state {
	s.replicas[0], s.replicas[1] = s.replicas[1], s.replicas[0]
	return s
}
