package lease_test

import (
	"fmt"
	"time"

	"github.com/caracal-gateway/caracal/lease"
)

// model is one configuration: how many take part, and which faults there are. Messages may be late, lost, repeated or
// overtaken, and every part may pause between any two steps, in all of them.
type model struct {
	rules rules
	tick  time.Duration
	terms []time.Duration // the workspace's choice, and what it is changed to

	gateways, replicas, changes, exchanges int

	slow      uint8 // how many ticks the clock of a gateway may miss in a term
	once      bool  // and in the whole run
	prompt    bool  // what is on its way arrives within a tick or never, and decisions take no longer; else as long as it may
	watches   bool  // live streams
	freezes   bool  // gateway processes that stand still beside a running Envoy
	kills     bool  // gateway processes that end and start again from what is on disk
	surrender bool  // gateway processes that end in good order
	fullDisk  bool  // what is to be kept may not be
	forgets   bool  // replicas that start again
	restores  bool  // a database that is set back to its beginning
}

// step is what happens between two states.
type step struct {
	what string
	a, b uint8
}

func (t step) String() string { return fmt.Sprintf("%s (%d, %d)", t.what, t.a, t.b) }

type visit func(step, state)

// next visits every state that can follow.
func (m *model) next(s state, to visit) {
	m.tickAll(s, to)
	for g := range m.gateways {
		m.live(s, g, to)
		m.answer(s, g, to)
		m.stop(s, g, to)
		m.deliver(s, g, to)
		for r := range m.replicas {
			m.look(s, r, g, to)
		}
	}
	for r := range m.replicas {
		m.finish(s, r, to)
		if m.forgets && s.replicas[r] != (replica{}) {
			after := s
			after.replicas[r] = replica{}
			to(step{"replica starts again", uint8(r), 0}, after)
		}
	}
	m.administer(s, to)
}

// ticks is how many ticks a duration takes at most.
func (m *model) ticks(d time.Duration) uint8 { return uint8((d + m.tick - 1) / m.tick) }

func (m *model) longest() time.Duration {
	var longest time.Duration
	for _, t := range m.terms {
		longest = max(longest, t)
	}
	return longest
}

// tickAll lets time pass. The clock of each gateway may miss the tick, if it has not missed one within a term.
func (m *model) tickAll(s state, to visit) {
	for lags := range uint8(1 << m.gateways) {
		after, possible := s, true
		for g := range m.gateways {
			lag := lags>>g&1 == 1
			possible = possible && (!lag || s.gateways[g].lag <= (m.slow-1)*m.window() && m.slow > 0)
			m.age(&after.gateways[g], lag)
		}
		if !possible {
			continue
		}
		whole := m.ticks(m.longest() + lease.Margin(m.longest()))
		for r := range after.replicas {
			for g := range after.replicas[r].sight {
				older(&after.replicas[r].sight[g].age, after.replicas[r].sight[g].number != 0, whole)
				older(&after.replicas[r].sight[g].poll, after.replicas[r].sight[g].poll != 0, whole+1)
			}
			for c := range after.replicas[r].progress {
				older(&after.replicas[r].progress[c].age, after.replicas[r].progress[c].clear == 1, 2)
			}
		}
		to(step{"tick", lags, 0}, after)
	}
}

// window is in how many ticks a clock that missed one is paid back.
func (m *model) window() uint8 {
	if m.once {
		return 1
	}
	return m.ticks(m.longest()) + m.slow
}

func older(age *uint8, counts bool, most uint8) {
	if counts && *age < most {
		*age++
	}
}

func (m *model) age(gw *gateway, lag bool) {
	if gw.mode == frozen {
		stalled := 1 + m.ticks(lease.Stall)
		older(&gw.still, true, stalled)
		if gw.still == stalled { // the tick in which it froze may have been about to end
			gw.watch = 0
		}
	}
	if gw.decision == permitted {
		gw.decision, gw.judged = undecided, 0
	}
	if m.prompt {
		gw.exchange = [2]exchange{}
		if gw.mode == running {
			gw.decision, gw.judged = undecided, 0
		}
	}
	if lag {
		gw.lag += m.window()
		return
	}
	if !m.once {
		gw.lag = max(gw.lag, 1) - 1
	}
	for _, left := range []*uint8{&gw.lease.left, &gw.file.left} {
		if *left > 0 {
			*left--
		}
	}
	for i := range gw.exchange {
		older(&gw.exchange[i].age, gw.exchange[i].stage != noExchange, 3*m.ticks(m.longest()))
	}
	m.lapse(gw)
}

// lapse ends the stream of a gateway whose lease has ended.
func (m *model) lapse(gw *gateway) {
	if gw.mode == running && m.rules.cutsAtLapse && !m.rules.holds(m.leaseOf(gw.lease), m.reading(0)) {
		gw.watch = 0
	}
}

// name is the position of a place, as gateways and the control plane speak of it.
func (m *model) name(p place) lease.Position {
	if !m.rules.newTimeline {
		return lease.Position{Timeline: timelineName(0), Revision: uint64(p.revision())}
	}
	return p.position()
}

// committed calls f with every state that was ever sent to gateways.
func (m *model) committed(s *state, f func(place)) {
	var first uint8
	for c := range s.database.change {
		if s.database.change[c].state != unmade && s.database.change[c].at.timeline() == 0 {
			first++
		}
	}
	for revision := range first + 1 {
		f(at2(0, revision))
	}
	if s.database.restored == 0 {
		return
	}
	for revision := bit(m.rules.newTimeline); revision <= s.database.now.revision(); revision++ {
		f(at2(1, revision))
	}
}

// live is what a running gateway does on its own account: it renews, takes grants and states, and acknowledges.
func (m *model) live(s state, g int, to visit) {
	gw := &s.gateways[g]
	if gw.mode != running {
		return
	}
	after := s
	if m.exchanges == 2 {
		after.gateways[g].exchange[1] = gw.exchange[0]
	}
	x := exchange{stage: sent, at: gw.said, held: gw.lowest()}
	if m.rules.renewsAhead {
		x.at = gw.enforced
	}
	if len(m.terms) == 1 {
		x.held = 0 // makes no difference
	}
	after.gateways[g].exchange[0] = x
	to(step{"gateway renews", uint8(g), 0}, after)

	for i := range m.exchanges {
		m.take(s, g, i, to)
	}
	m.committed(&s, func(p place) {
		successor := m.rules.newTimeline && p.timeline() == gw.enforced.timeline()+1
		if p == gw.enforced || !m.rules.accepts(m.name(gw.enforced), m.name(p), successor) {
			return
		}
		m.apply(s, g, p, to)
		if !m.rules.swapsFirst {
			m.acknowledge(s, g, p, to)
		}
	})
	m.acknowledge(s, g, gw.enforced, to)
	if m.fullDisk && gw.file != (held{}) {
		after := s
		after.gateways[g].file, after.gateways[g].fileAt = held{}, 0
		to(step{"gateway removes the lease on disk", uint8(g), 0}, after)
	}
}

// lowest is the lowest number of the leases that the gateway may decide by, in memory or from disk; 0 for none.
func (gw *gateway) lowest() uint8 {
	var lowest uint8
	for _, l := range []held{gw.lease, gw.file} {
		if l.left > 0 && (lowest == 0 || l.number < lowest) {
			lowest = l.number
		}
	}
	return lowest
}

func (m *model) take(s state, g, i int, to visit) {
	x := s.gateways[g].exchange[i]
	if x.stage != granted || x.orphan == 1 {
		return
	}
	after := s
	gw := &after.gateways[g]
	l := m.rules.from(m.reading(-int(x.age)), m.reading(0), uint64(x.number), m.terms[x.term])
	gw.lease = m.heldOf(m.rules.adopt(m.leaseOf(gw.lease), l))
	gw.exchange[i] = exchange{}
	m.lapse(gw)
	if !m.kills || m.fullDisk {
		to(step{"gateway takes the grant", uint8(g), uint8(i)}, after)
	}
	if m.kills {
		gw.file, gw.fileAt = gw.lease, gw.enforced
		to(step{"gateway takes and keeps the grant", uint8(g), uint8(i)}, after)
	}
}

func (m *model) apply(s state, g int, p place, to visit) {
	after := s
	gw := &after.gateways[g]
	gw.enforced = p
	if !m.kills || m.fullDisk {
		to(step{"gateway enforces", uint8(g), uint8(p)}, after)
	}
	if m.kills {
		gw.kept = p
		to(step{"gateway enforces and keeps", uint8(g), uint8(p)}, after)
	}
}

func (m *model) acknowledge(s state, g int, p place, to visit) {
	gw := &s.gateways[g]
	said := &gw.acked[p.timeline()]
	kept := gw.kept
	if !m.kills {
		kept = p
	}
	undrained := m.rules.drains && gw.decision == judged && gw.judged != p
	uncut := m.rules.cutsAtSwap && gw.watch != 0 && s.denies(p, int(gw.watch-1))
	known := gw.said == p && *said > p.revision()
	if known || undrained || uncut || !m.rules.acknowledgeable(m.name(p), m.name(kept), gw.file.number != 0) {
		return
	}
	gw.said, *said = p, max(*said, p.revision()+1)
	to(step{"gateway acknowledges", uint8(g), uint8(p)}, s)
}

// answer is what a running gateway does about requests.
func (m *model) answer(s state, g int, to visit) {
	after := s
	gw := &after.gateways[g]
	if gw.mode != running {
		return
	}
	switch gw.decision {
	case undecided:
		if gw.lease.left > 0 {
			gw.decision, gw.judged = judged, gw.enforced
			to(step{"gateway judges", uint8(g), 0}, after)
		}
	case judged:
		verdict := m.rules.pass(uint64(gw.judged), uint64(gw.enforced), m.leaseOf(gw.lease), m.reading(0))
		if verdict != lease.Passes {
			gw.decision, gw.judged = undecided, 0
			to(step{"gateway denies", uint8(g), uint8(verdict)}, after)
			break
		}
		gw.decision = permitted
		to(step{"gateway permits", uint8(g), 0}, after)
		if m.watches {
			gw.decision = opening
			to(step{"gateway permits a stream", uint8(g), 0}, after)
		}
	case opening:
		m.register(s, g, to)
	}
	if watch := s.gateways[g].watch; watch != 0 && s.denies(s.gateways[g].enforced, int(watch-1)) {
		after := s
		after.gateways[g].watch = 0
		to(step{"stream is cut", uint8(g), 0}, after)
	}
}

func (m *model) register(s state, g int, to visit) {
	for c := range m.changes {
		after := s
		gw := &after.gateways[g]
		from, holds := gw.judged, true
		if m.rules.rejudges {
			verdict := lease.Pass(uint64(gw.enforced), uint64(gw.enforced), m.leaseOf(gw.lease), m.reading(0))
			from, holds = gw.enforced, verdict == lease.Passes
		}
		gw.decision, gw.judged = undecided, 0
		if holds && !s.denies(from, c) {
			gw.watch = uint8(c + 1)
		}
		to(step{"stream is registered", uint8(g), uint8(c)}, after)
	}
}

// stop is how a gateway process stands still, ends, and starts.
func (m *model) stop(s state, g int, to visit) {
	gw := &s.gateways[g]
	after := s
	changed := &after.gateways[g]
	switch {
	case gw.mode == running && m.freezes:
		changed.mode, changed.still = frozen, 0
		to(step{"gateway freezes", uint8(g), 0}, after)
	case gw.mode == frozen:
		changed.mode, changed.still = running, 0
		m.lapse(changed)
		to(step{"gateway goes on", uint8(g), 0}, after)
	case gw.mode == down:
		changed.mode, changed.enforced, changed.said = running, gw.kept, gw.kept
		kept := lease.Kept{BootID: bootID, Gateway: gatewayID, State: m.name(gw.fileAt), Sent: m.reading(-1000), Lease: m.leaseOf(gw.file)}
		if l, ok := m.rules.resume(kept, m.name(gw.kept), m.reading(0)); ok {
			changed.lease = m.heldOf(l)
		}
		to(step{"gateway starts", uint8(g), 0}, after)
		return
	}
	if m.kills {
		after := s
		after.gateways[g].end()
		to(step{"gateway is killed", uint8(g), 0}, after)
	}
	if m.surrender && gw.mode == running && gw.lease.number != 0 {
		after := s
		ended := &after.gateways[g]
		ended.given = ended.lease.number
		ended.file, ended.fileAt = held{}, 0
		ended.end()
		to(step{"gateway stops and surrenders", uint8(g), 0}, after)
	}
}

// end is what is left of a process: an answer that is on its way, and renewals that nobody waits for.
func (gw *gateway) end() {
	gw.mode, gw.still, gw.lease, gw.watch = down, 0, held{}, 0
	if gw.decision != permitted {
		gw.decision, gw.judged = undecided, 0
	}
	for i := range gw.exchange {
		if gw.exchange[i].stage == granted {
			gw.exchange[i] = exchange{}
		} else if gw.exchange[i].stage != noExchange {
			gw.exchange[i].orphan = 1
		}
	}
}
