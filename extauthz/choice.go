package extauthz

import (
	"iter"
	"slices"
	"time"

	"github.com/caracal-gateway/caracal/authority"
)

// kind is what two mandates of one subject share that differ in nothing but when they hold and who asked for them. Either
// both of them pass the checks at an instant of both, or neither.
type kind struct {
	terms, scope, issuer, bond uint32
	parent                     key
	delegated                  bool
}

func (c *compact) kind() kind {
	return kind{c.terms, c.scope, c.issuer, c.bond, c.parent, c.delegated}
}

// window is when mandates of a kind may hold: within their parent's time. Without a parent that is always, and never when
// the parent is revoked.
type window struct {
	from, until    time.Time
	bounded, never bool
}

func (w *window) has(c *compact) bool {
	return !w.bounded || !time.Unix(int64(c.from), 0).Before(w.from) && !time.Unix(int64(c.until), 0).After(w.until)
}

// candidate is the mandate of a kind that is preferred to the others of it.
type candidate struct {
	window
	best *compact
}

// offer takes a mandate of the kind over when it is preferred: for its later end, then for its lower id.
func (d *candidate) offer(c *compact) {
	if d.never || !d.has(c) {
		return
	}
	if d.best == nil || c.until > d.best.until || c.until == d.best.until && c.id.compare(d.best.id) < 0 {
		d.best = c
	}
}

// fitting are the mandates of a presenter of which the checks have to be made, of those that hold at an instant and whose
// scope fits, but for some that are passed over: of each kind the one that is preferred. However many there are, little is
// done for each of them, and the scope is looked at once for all that share it.
func (t *mandates) fitting(presenter authority.PrincipalID, at time.Time, passed []authority.MandateID, fits func(authority.Scope) bool) iter.Seq[authority.Mandate] {
	return func(yield func(authority.Mandate) bool) {
		for _, d := range t.candidates(presenter, at, passed, fits) {
			if d.best != nil && !yield(t.meanings.expand(d.best, d.best.id.id(), t.owner)) {
				return
			}
		}
		for m := range t.oddOf(presenter) {
			if m.HoldsAt(at) && !slices.Contains(passed, m.ID) && fits(m.Scope()) && !yield(m) {
				return
			}
		}
	}
}

func (t *mandates) candidates(presenter authority.PrincipalID, at time.Time, passed []authority.MandateID, fits func(authority.Scope) bool) map[kind]*candidate {
	found := map[kind]*candidate{}
	known := map[uint32]bool{} // whether a scope fits
	var (
		last kind // most often the next is of the same
		of   *candidate
	)
	now := at.Unix() // the times of compact mandates are whole seconds, and a fraction changes nothing
	for c := range t.records(presenter) {
		if now < int64(c.from) || now >= int64(c.until) || len(passed) > 0 && slices.Contains(passed, c.id.id()) {
			continue
		}
		if k := c.kind(); of == nil || k != last {
			fit, seen := known[c.scope]
			if !seen {
				s := &t.meanings.scopes[c.scope]
				fit = fits(authority.Scope{Resources: s.resources, Actions: s.actions})
				known[c.scope] = fit
			}
			if !fit {
				continue
			}
			if of, seen = found[k]; !seen {
				of = &candidate{window: t.window(c)}
				found[k] = of
			}
			last = k
		}
		of.offer(c)
	}
	return found
}

// window is that of the mandate's kind.
func (t *mandates) window(c *compact) window {
	if !c.delegated {
		return window{}
	}
	parent, known := t.get(c.parent.id())
	return window{from: parent.ValidFrom, until: parent.ValidUntil, bounded: true, never: !known || parent.Revoked}
}

// selects finds the mandate that a request is judged by when its caller, the presenter of the inquiry, names none: not one
// that is passed over.
func (s *Snapshot) selects(q authority.Inquiry, passed []authority.MandateID, actions ...authority.Action) (authority.MandateID, bool) {
	fitting := s.mandates.fitting(q.Presenter, q.At, passed, func(scope authority.Scope) bool {
		return scope.Actions.Covers(actions) && scope.Matches(q.Resource)
	})
	return authority.Select(s, fitting, q, actions...)
}
