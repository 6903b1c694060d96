package extauthz

import (
	"cmp"
	"hash/maphash"
	"iter"
	"slices"
	"sort"

	"github.com/caracal-gateway/caracal/authority"
)

// leafSize is how many places are in a leaf on average, at most, when an index is made: those that a change of one copies.
const leafSize = 512

// place says where a mandate of a subject is: 32 bits of the subject's hash, then the first 32 of the mandate's key. More
// than one mandate may have the same place, and more than one subject the same hash.
type place uint64

// subjects is an index of the compact mandates that are not revoked, by their subjects. It never changes; apply gives
// another one, which shares with it what is the same.
type subjects struct {
	seed   maphash.Seed
	leaves [][]place // in ascending order all through; none is empty, and equal places are in one leaf
	count  int
}

// move is a place that a mandate comes to or leaves.
type move struct {
	place
	gone bool
}

// listed reports whether the index has the mandate.
func (c *compact) listed() bool { return c.end == 0 }

func (k key) prefix() uint32 { return uint32(k.high >> 32) }

func placeOf(seed maphash.Seed, subject authority.PrincipalID, k key) place {
	return place(uint64(hashOf(seed, subject))<<32 | uint64(k.prefix()))
}

func hashOf(seed maphash.Seed, subject authority.PrincipalID) uint32 {
	return uint32(maphash.String(seed, string(subject)))
}

// newSubjects makes an index of places, which it puts in order.
func newSubjects(seed maphash.Seed, places []place) *subjects {
	slices.Sort(places)
	return &subjects{seed: seed, leaves: inLeaves(make([][]place, 0, len(places)/leafSize+1), places), count: len(places)}
}

// inLeaves appends leaves of places, which are in order.
func inLeaves(to [][]place, places []place) [][]place {
	for len(places) > 0 {
		end := min(leafSize, len(places))
		for end < len(places) && places[end] == places[end-1] {
			end++
		}
		to = append(to, append(make([]place, 0, end), places[:end]...))
		places = places[end:]
	}
	return to
}

// leaf is the number of the leaf that has a place, or would have it.
func (s *subjects) leaf(p place) int {
	return max(0, sort.Search(len(s.leaves), func(i int) bool { return s.leaves[i][0] > p })-1)
}

// apply gives the index after moves. A place that a mandate leaves is one that it has.
func (s *subjects) apply(moves []move) *subjects {
	if len(moves) == 0 {
		return s
	}
	slices.SortFunc(moves, func(a, b move) int { return cmp.Compare(a.place, b.place) })
	next := &subjects{seed: s.seed, leaves: make([][]place, 0, len(s.leaves)+1), count: s.count}
	done := 0
	for len(moves) > 0 {
		at := s.leaf(moves[0].place)
		end := len(moves)
		if at+1 < len(s.leaves) {
			end = sort.Search(len(moves), func(i int) bool { return moves[i].place >= s.leaves[at+1][0] })
		}
		var before []place
		if at < len(s.leaves) {
			before = s.leaves[at]
			next.leaves = append(next.leaves, s.leaves[done:at]...)
			done = at + 1
		}
		leaf := moved(before, moves[:end])
		next.count += len(leaf) - len(before)
		next.take(leaf)
		moves = moves[end:]
	}
	if done < len(s.leaves) {
		next.leaves = append(next.leaves, s.leaves[done:]...)
	}
	return next.tightened()
}

// take appends a leaf, in parts where it is large.
func (s *subjects) take(leaf []place) {
	switch {
	case len(leaf) > 2*leafSize:
		s.leaves = inLeaves(s.leaves, leaf)
	case len(leaf) > 0:
		s.leaves = append(s.leaves, leaf)
	}
}

// moved gives a leaf after moves, which are in order.
func moved(leaf []place, moves []move) []place {
	size := len(leaf)
	for _, m := range moves {
		if m.gone {
			size--
		} else {
			size++
		}
	}
	next := make([]place, 0, max(size, 0))
	for len(moves) > 0 {
		at, count := moves[0].place, 0
		for ; len(leaf) > 0 && leaf[0] < at; leaf = leaf[1:] {
			next = append(next, leaf[0])
		}
		for ; len(leaf) > 0 && leaf[0] == at; leaf = leaf[1:] {
			count++
		}
		for ; len(moves) > 0 && moves[0].place == at; moves = moves[1:] {
			if moves[0].gone {
				count--
			} else {
				count++
			}
		}
		for range count {
			next = append(next, at)
		}
	}
	return append(next, leaf...)
}

// tightened gives the same index in leaves of the right size when they have come to hold little each.
func (s *subjects) tightened() *subjects {
	if len(s.leaves) < 16 || s.count > len(s.leaves)*leafSize/4 {
		return s
	}
	return &subjects{seed: s.seed, leaves: inLeaves(nil, slices.Concat(s.leaves...)), count: s.count}
}

// prefixes are the first bits of the keys of mandates whose subjects have a hash, in ascending order and each once.
func (s *subjects) prefixes(hash uint32) iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		first := place(uint64(hash) << 32)
		last := first - 1 // none: it may be that of another hash
		for i := s.leaf(first); i < len(s.leaves); i++ {
			leaf := s.leaves[i]
			at, _ := slices.BinarySearch(leaf, first)
			for _, p := range leaf[at:] {
				if uint32(p>>32) != hash {
					return
				}
				if p != last && !yield(uint32(p)) {
					return
				}
				last = p
			}
		}
	}
}

// records are the compact mandates of a subject that are not revoked.
func (t *mandates) records(subject authority.PrincipalID) iter.Seq[*compact] {
	return func(yield func(*compact) bool) {
		for prefix := range t.subjects.prefixes(hashOf(t.subjects.seed, subject)) {
			first := key{high: uint64(prefix) << 32}
			s := t.shards[t.at(first)]
			for i, _ := s.find(first); i < len(s.records) && s.records[i].id.prefix() == prefix; i++ {
				c := &s.records[i]
				if c.listed() && t.meanings.principals[c.subject] == subject && !yield(c) {
					return
				}
			}
		}
	}
}

// oddOf are the mandates of a subject that are neither revoked nor compact, without their signatures. All that are not
// compact are gone through: there are few.
func (t *mandates) oddOf(subject authority.PrincipalID) iter.Seq[authority.Mandate] {
	return func(yield func(authority.Mandate) bool) {
		for _, odd := range t.odd.all() {
			m := odd.value.Mandate
			m.Signature = ""
			if m.SubjectID == subject && !m.Revoked && !yield(m) {
				return
			}
		}
	}
}
