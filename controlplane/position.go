package controlplane

import "bytes"

// Position is how far a gateway is: the state that its decisions enforce. The zero Position is that of one that has none.
type Position struct {
	Timeline string
	Revision uint64
	Digest   []byte // of the state
}

func (p Position) is(q Position) bool {
	return p.Revision == q.Revision && p.Timeline == q.Timeline && bytes.Equal(p.Digest, q.Digest)
}

// standpoint is a Position that maps can be keyed by.
type standpoint struct {
	timeline string
	revision uint64
	digest   string
}

func (p Position) standpoint() standpoint {
	return standpoint{p.Timeline, p.Revision, string(p.Digest)}
}

// step is a sealed delta, which brings whoever is at one position to another.
type step struct {
	from, to Position
	sealed   []byte
	// claimed marks a step from where a gateway says that it is, which nobody here has seen. It leads on only if that is so.
	claimed bool
}

const (
	// maxSteps and maxStepBytes bound what a replica keeps of a workspace for gateways that are behind.
	maxSteps     = 1024
	maxStepBytes = 16 << 20
)

// steps are the newest of those that were made. The zero value is ready.
type steps struct {
	from  map[standpoint]step
	order []standpoint // the oldest first
	bytes int
}

// add keeps a step, and forgets the oldest ones if there are too many.
func (s *steps) add(next step) {
	key := next.from.standpoint()
	if _, known := s.from[key]; known {
		return
	}
	if s.from == nil {
		s.from = map[standpoint]step{}
	}
	s.from[key] = next
	s.order = append(s.order, key)
	s.bytes += len(next.sealed)
	for len(s.order) > maxSteps || s.bytes > maxStepBytes {
		s.bytes -= len(s.from[s.order[0]].sealed)
		delete(s.from, s.order[0])
		s.order = s.order[1:]
	}
}

// leads reports whether steps lead from a position, which the database has had, to another, and how many bytes they are
// together.
func (s *steps) leads(from, to Position) (size int64, leads bool) {
	for !from.is(to) {
		next, ok := s.from[from.standpoint()]
		if !ok || next.claimed || next.to.Revision <= from.Revision {
			return 0, false
		}
		size += int64(len(next.sealed))
		from = next.to
	}
	return size, true
}
