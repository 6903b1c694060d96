package authority

import (
	"cmp"
	"iter"
	"time"
)

// Select chooses the mandate that a request is judged by when its caller names none. Of the candidates it takes those of
// the presenter by which every check of [Validate] holds for each of the actions, and of these the one that says most
// closely what is asked: the one with the narrowest pattern, then the fewest actions, the shortest chain, the latest end,
// the lowest id. The order of the candidates makes no difference. It is false when none is left.
//
// The inquiry's own mandate and action do not count.
func Select(registry Registry, candidates iter.Seq[Mandate], q Inquiry, actions ...Action) (MandateID, bool) {
	var best selected
	for m := range candidates {
		found := selected{id: m.ID, actions: len(m.ActionScope), level: m.Level, until: m.ValidUntil}
		if m.SubjectID != q.Presenter || !m.HoldsAt(q.At) || !m.ActionScope.Covers(actions) || !found.measure(m, q.Resource) {
			continue // cheaper to see than by all the checks
		}
		if (best.id == "" || found.compare(best) < 0) && holdsForAll(registry, m, q, actions) {
			best = found
		}
	}
	return best.id, best.id != ""
}

func holdsForAll(registry Registry, m Mandate, q Inquiry, actions []Action) bool {
	for _, action := range actions {
		q.Mandate, q.Action = m.ID, action
		if !Validate(registry, q).Holds() {
			return false
		}
	}
	return len(actions) > 0
}

// selected is what a mandate is preferred for.
type selected struct {
	id      MandateID
	breadth breadth
	actions int
	level   int
	until   time.Time
}

// measure finds the narrowest of the mandate's patterns that matches the resource, and whether there is one.
func (s *selected) measure(m Mandate, r Resource) bool {
	matches := false
	for _, p := range m.ResourceScope {
		if !p.Matches(r) {
			continue
		}
		if b := p.breadth(r); !matches || b.compare(s.breadth) < 0 {
			s.breadth, matches = b, true
		}
	}
	return matches
}

// compare is negative when s is preferred.
func (s selected) compare(other selected) int {
	return cmp.Or(
		s.breadth.compare(other.breadth),
		cmp.Compare(s.actions, other.actions),
		cmp.Compare(s.level, other.level),
		other.until.Compare(s.until),
		cmp.Compare(s.id, other.id),
	)
}

// breadth is how much of a resource a pattern that matches it leaves open. A pattern that another one covers is never
// broader than that one.
type breadth struct {
	rest    int // how many segments the final `*` takes; 0 without one
	single  int // how many single segments are `*` before it
	literal int // how many segments stand before the first `*`
}

func (b breadth) compare(other breadth) int {
	return cmp.Or(cmp.Compare(b.rest, other.rest), cmp.Compare(b.single, other.single), cmp.Compare(other.literal, b.literal))
}

// breadth is that of the pattern for a resource that it matches.
func (p ResourcePattern) breadth(r Resource) breadth {
	var b breadth
	open := false
	for pattern, resource := string(p), string(r); ; {
		segment, separator, rest := cutSegment(pattern)
		_, otherSeparator, otherRest := cutSegment(resource)
		if segment == "*" && separator == 0 {
			b.rest = 1
			for ; otherSeparator != 0; b.rest++ {
				_, otherSeparator, otherRest = cutSegment(otherRest)
			}
			return b
		}
		switch {
		case segment == "*":
			b.single, open = b.single+1, true
		case !open:
			b.literal++
		}
		if separator == 0 {
			return b
		}
		pattern, resource = rest, otherRest
	}
}
