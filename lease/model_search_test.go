package lease_test

import (
	"hash/maphash"
	"math/bits"
)

// violation is a promise that is broken.
type violation string

const (
	none        violation = ""
	permitAfter violation = "a permit after the receipt"
	streamAfter violation = "a live stream after the receipt"
	overlap     violation = "a lease that holds after it was concluded to be over"
)

// broken is the promise of a kind that a state breaks.
func (m *model) broken(s *state, kind violation) bool {
	for g := range m.gateways {
		gw := &s.gateways[g]
		if kind == overlap {
			usable := gw.mode != down && gw.lease.left > 0 || gw.file.left > 0
			if s.database.standing[g].over == 1 && usable {
				return true
			}
			continue
		}
		for c := range m.changes {
			if s.database.change[c].state != effective {
				continue
			}
			if kind == permitAfter && gw.decision == permitted && !s.denies(gw.judged, c) {
				return true
			}
			if kind == streamAfter && int(gw.watch) == c+1 {
				return true
			}
		}
	}
	return false
}

// set holds fingerprints of states, in open addressing. Two states with one fingerprint count as one; with 64 bits and
// some millions of states this is not to be expected.
type set struct {
	slots []uint64
	count int
}

func newSet() *set { return &set{slots: make([]uint64, 1<<16)} }

// add reports whether the fingerprint is new.
func (t *set) add(fingerprint uint64) bool {
	fingerprint |= 1
	if 2*t.count >= len(t.slots) {
		old := t.slots
		t.slots, t.count = make([]uint64, 4*len(old)), 0
		for _, f := range old {
			if f != 0 {
				t.add(f)
			}
		}
	}
	i := bits.RotateLeft64(fingerprint, 32) & uint64(len(t.slots)-1)
	for t.slots[i] != 0 {
		if t.slots[i] == fingerprint {
			return false
		}
		i = (i + 1) & uint64(len(t.slots)-1)
	}
	t.slots[i] = fingerprint
	t.count++
	return true
}

// fingerprint is the same for states that differ only in which gateway and which replica is which.
func (m *model) fingerprint(seed maphash.Seed, s *state) uint64 {
	least := maphash.Comparable(seed, *s)
	if m.replicas == 2 {
		least = min(least, maphash.Comparable(seed, s.turned()))
	}
	if m.gateways == 2 {
		mirrored := s.mirrored()
		least = min(least, maphash.Comparable(seed, mirrored))
		if m.replicas == 2 {
			least = min(least, maphash.Comparable(seed, mirrored.turned()))
		}
	}
	return least
}

// found is what a search came to.
type found struct {
	states   int
	depth    int  // steps from the beginning
	complete bool // every state that can be reached was looked at
	breaks   violation
	path     []step // to the state that breaks a promise
	reached  map[string]int
}

// node is a state in the order of its discovery; what led to it is kept so that a path can be told.
type node struct {
	parent uint32
	by     step
}

// search visits the states in breadth first, so that what it finds is as short as can be. It stops at a state that breaks
// one of the promises, or when it has seen limit states.
func (m *model) search(limit int, promises []violation, marks map[string]func(*state) bool) found {
	seed := maphash.MakeSeed()
	seen, result := newSet(), found{reached: map[string]int{}}
	var start state
	nodes := []node{{}}
	level, ids := []state{start}, []uint32{0}
	seen.add(m.fingerprint(seed, &start))
	for len(level) > 0 {
		var next []state
		var nextIDs []uint32
		for i := range level {
			m.next(level[i], func(by step, s state) {
				s.rank()
				if result.breaks != none || !seen.add(m.fingerprint(seed, &s)) {
					return
				}
				nodes = append(nodes, node{ids[i], by})
				next, nextIDs = append(next, s), append(nextIDs, uint32(len(nodes)-1))
				for mark, holds := range marks {
					if holds(&s) {
						result.reached[mark]++
					}
				}
				for _, p := range promises {
					if m.broken(&s, p) {
						result.breaks = p
					}
				}
			})
			if result.breaks != none || len(nodes) >= limit {
				result.states = len(nodes)
				result.path = path(nodes)
				return result
			}
		}
		level, ids = next, nextIDs
		result.depth++
	}
	result.states, result.complete = len(nodes), true
	return result
}

// path is how the last node was reached.
func path(nodes []node) []step {
	var steps []step
	for id := uint32(len(nodes) - 1); id != 0; id = nodes[id].parent {
		steps = append(steps, nodes[id].by)
	}
	for i, j := 0, len(steps)-1; i < j; i, j = i+1, j-1 {
		steps[i], steps[j] = steps[j], steps[i]
	}
	return steps
}
