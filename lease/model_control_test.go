package lease_test

import (
	"time"

	"github.com/caracal-gateway/caracal/lease"
)

// deliver hands the control plane what a gateway has sent. Any replica may take it: each works on the one database, in
// transactions.
func (m *model) deliver(s state, g int, to visit) {
	gw := &s.gateways[g]
	for i := range m.exchanges {
		m.renew(s, g, i, to)
	}
	for timeline, said := range gw.acked {
		if said > 0 {
			after := s
			m.record(&after, g, at2(uint8(timeline), said-1))
			to(step{"acknowledgement arrives", uint8(g), said - 1}, after)
		}
	}
	if gw.given != 0 {
		after := s
		after.gateways[g].given = 0
		m.stand(&after, g, m.rules.ended(m.standingOf(s.database.standing[g]), uint64(gw.given)))
		to(step{"surrender arrives", uint8(g), 0}, after)
	}
	if m.rules.silentIsOver && s.database.standing[g].lease != 0 {
		after := s
		after.database.standing[g].over = 1
		to(step{"silence counts", uint8(g), 0}, after)
	}
}

// record is the revision that an acknowledgement or a renewal counts for; the database keeps the highest.
func (m *model) record(s *state, g int, says place) uint64 {
	counts := lease.Counts(m.name(says), m.name(s.database.now).Timeline)
	row := &s.database.standing[g]
	row.enforced = max(row.enforced, uint8(counts))
	return counts
}

func (m *model) renew(s state, g, i int, to visit) {
	x := s.gateways[g].exchange[i]
	if x.stage != sent && x.stage != checked {
		return
	}
	after := s
	grantable := x.stage == checked
	if x.stage == sent {
		says := m.record(&after, g, x.at)
		grantable = m.rules.grantable(says, uint64(after.database.standing[g].enforced), uint64(s.database.fence))
	}
	if grantable && x.stage == sent && !m.rules.locked {
		after.gateways[g].exchange[i].stage = checked
		to(step{"control plane looks at the fence", uint8(g), uint8(i)}, after)
		return
	}
	if !grantable {
		to(step{"control plane withholds", uint8(g), uint8(i)}, after)
		return
	}
	term := m.terms[s.database.term]
	m.stand(&after, g, m.rules.granted(m.standingOf(after.database.standing[g]), uint64(x.held), term))
	to(step{"control plane grants, the answer is lost", uint8(g), uint8(i)}, after)
	if x.orphan == 1 {
		return
	}
	answered := &after.gateways[g].exchange[i]
	answered.stage, answered.number, answered.term = granted, after.database.standing[g].lease, s.database.term
	to(step{"control plane grants", uint8(g), uint8(i)}, after)
}

// look is what a replica does about the lease of a gateway: it sees the number, and concludes that it is over.
func (m *model) look(s state, r, g int, to visit) {
	row, seen := s.database.standing[g], s.replicas[r].sight[g]
	before := lease.Sight{Lease: uint64(seen.number), Since: base - time.Duration(seen.age)*m.tick}
	now := base
	if !m.rules.looksLater {
		if seen.poll == 0 {
			after := s
			after.replicas[r].sight[g].poll = 1
			to(step{"replica reads its clock", uint8(r), uint8(g)}, after)
			return
		}
		now -= time.Duration(seen.poll-1) * m.tick
	}
	sees := before.See(uint64(row.lease), now)
	after := s
	after.replicas[r].sight[g] = sight{number: uint8(sees.Lease)}
	if sees.Lease != 0 {
		after.replicas[r].sight[g].age = uint8((base - sees.Since) / m.tick)
	}
	to(step{"replica sees the number", uint8(r), uint8(g)}, after)
	if row.over == 0 && m.rules.over(before, base, m.terms[row.wait]) {
		after := s
		m.stand(&after, g, m.rules.ended(m.standingOf(row), before.Lease))
		to(step{"replica concludes that the lease is over", uint8(r), uint8(g)}, after)
	}
}

// revision is the one that a gateway has to enforce for a change to be in force there.
func (s *state) revision(c int) uint64 {
	if s.database.change[c].at.timeline() != s.database.now.timeline() {
		return 1 // applied again with the restore
	}
	return uint64(s.database.change[c].at.revision())
}

// finish is what a replica does about receipts.
func (m *model) finish(s state, r int, to visit) {
	for c := range m.changes {
		if s.database.change[c].state != pending {
			continue
		}
		var listed []lease.Standing
		for g := range m.gateways {
			if s.database.change[c].holds>>g&1 == 1 {
				listed = append(listed, m.standingOf(s.database.standing[g]))
			}
		}
		after := s
		p := &after.replicas[r].progress[c]
		sees := lease.Progress{Clear: p.clear == 1, Since: base - time.Duration(p.age)*m.tick}.See(s.revision(c), listed, base)
		*p = progress{clear: bit(sees.Clear)}
		if sees.Clear {
			p.age = uint8((base - sees.Since) / m.tick)
		}
		if sees.Effective(base, m.rules.settling(m.tick, 0)) {
			after.database.change[c].state = effective
			after.replicas[0].progress[c], after.replicas[1].progress[c] = progress{}, progress{}
			to(step{"receipt says enforced", uint8(r), uint8(c)}, after)
		} else {
			to(step{"replica looks at the receipt", uint8(r), uint8(c)}, after)
		}
	}
}

// administer is what people do: revoke, shorten the term, restore a backup.
func (m *model) administer(s state, to visit) {
	for c := range m.changes {
		if s.database.change[c].state == unmade {
			to(step{"revoke", uint8(c), 0}, m.revoke(s, c))
			break
		}
	}
	if int(s.database.term)+1 < len(m.terms) {
		after := s
		after.database.term++
		to(step{"the term is changed", after.database.term, 0}, after)
	}
	if m.restores && s.database.restored == 0 && s.database.change[0].state != unmade {
		to(step{"restore, nobody reports", 0, 0}, m.restore(s, false))
		for g := range m.gateways {
			if gw := &s.gateways[g]; gw.mode == running && s.denies(gw.enforced, 0) {
				to(step{"restore, the revocation is reported", 0, 0}, m.restore(s, true))
				break
			}
		}
	}
}

func (m *model) revoke(s state, c int) state {
	db := &s.database
	db.now++
	db.fence = db.now.revision()
	db.change[c] = change{state: pending, at: db.now, holds: m.holders(&s, uint64(db.fence))}
	return s
}

// holders are the gateways that a change has to wait for.
func (m *model) holders(s *state, revision uint64) uint8 {
	var holds uint8
	for g := range m.gateways {
		holds |= bit(m.rules.holdsUp(m.standingOf(s.database.standing[g]), revision)) << g
	}
	return holds
}

// restore sets the database back to before the first change, and accepts that: what is reported is applied again.
func (m *model) restore(s state, reported bool) state {
	db := &s.database
	db.restored, db.redone, db.now, db.fence = 1, bit(reported), at2(1, 0), 0
	if m.rules.newTimeline {
		db.now, db.fence = at2(1, 1), 1
	}
	for g := range m.gateways {
		row := lease.Standing{}
		db.standing[g] = standing{}
		m.stand(&s, g, m.rules.restored(row, m.longest()))
	}
	for c := range db.change {
		if db.change[c].state != unmade {
			db.change[c].state, db.change[c].holds = forgotten, 0
		}
		s.replicas[0].progress[c], s.replicas[1].progress[c] = progress{}, progress{}
	}
	if reported && m.rules.newTimeline {
		db.change[0].state, db.change[0].holds = pending, m.holders(&s, 1)
	}
	return s
}
