package extauthz

import (
	"container/heap"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caracal-gateway/caracal/authority"
)

// claimTime is how long Envoy may take from the permission of a request to its registration.
const claimTime = 5 * time.Second

// permitted is a request that was permitted, as far as it is judged by, so that it can be judged again.
type permitted struct {
	decision authority.DecisionID
	caller   authority.PrincipalID // who asked, and is charged with it
	request  *request
	at       time.Time // when it was permitted, and its caller identified
	route    string    // the key of the route that it takes
	mandate  authority.MandateID
	connects bool    // it opens a tunnel
	tunnel   *tunnel // that it opened; nil for what is none, or is not looked into
	number   uint64  // of the state that it was judged from last
	size     int
	basis
}

// basis is what a permission rests on: the mandates of a chain, their subjects and their issuers. A mandate does not change.
type basis struct {
	mandates   []authority.MandateID
	principals []authority.PrincipalID
	ends       time.Time
}

// permitted is what is kept of a request that was judged to be this.
func (j *judgement) permitted(r ruling, o obligations) *permitted {
	p := &permitted{
		decision: j.id, caller: j.caller, request: j.request.kept(), at: j.at, route: o.route, mandate: j.mandate,
		connects: j.request.asked == endpointConnect, basis: r.basis(j.at.Add(maxExchange)),
	}
	if r.admits {
		p.tunnel = &tunnel{decision: j.id, request: p.request, host: r.target.Host, port: r.target.Port}
	}
	p.size = p.request.size()
	return p
}

// basis is what the ruling rests on, until an instant at the latest.
func (r ruling) basis(ends time.Time) basis {
	b := basis{ends: ends}
	for _, m := range r.chain {
		b.mandates = append(b.mandates, m.ID)
		for _, id := range []authority.PrincipalID{m.SubjectID, m.IssuerID} {
			if !slices.Contains(b.principals, id) {
				b.principals = append(b.principals, id)
			}
		}
		if m.ValidUntil.Before(b.ends) {
			b.ends = m.ValidUntil
		}
	}
	return b
}

// kept is what a request is judged by, without the rest of it.
func (r *request) kept() *request {
	k := new(request)
	*k = *r
	k.headers = nil
	for _, h := range r.headers {
		switch h.name {
		case headerAuthorization, headerProxyAuth, headerMandate, headerTarget, headerUpstreamAuth, headerUpgrade, headerKey, headerGoogleKey:
			k.headers = append(k.headers, h)
		default:
			if visible(h.name) {
				k.headers = append(k.headers, h)
			}
		}
	}
	return k
}

// size is about how much memory a request takes, in bytes.
func (r *request) size() int {
	const each = 64 // a header's or a certificate's own, beside its text
	n := len(r.way) + len(r.method) + len(r.scheme) + len(r.host) + len(r.path) + len(r.sni) + len(r.source) + len(r.peer.leaf)
	for _, der := range r.peer.sent {
		n += each + len(der)
	}
	for _, h := range r.headers {
		n += each + len(h.name) + len(h.value)
	}
	return n
}

// watch is one live request. It ends once, for one reason.
type watch struct {
	permitted
	why   atomic.Pointer[Denial]
	cut   chan struct{} // closed when it is to end
	over  chan struct{} // closed when it has ended
	place int           // in the order of their ends; out of it when negative
}

// end tells a watch to end and reports whether nobody has before.
func (w *watch) end(why *Denial) bool {
	if !w.why.CompareAndSwap(nil, why) {
		return false
	}
	close(w.cut)
	return true
}

// watches are the requests that are watched, and those that are permitted and not registered yet.
type watches struct {
	// mu is held while a watch is registered and while what is enforced is exchanged, so that the exchange finds every
	// watch that was judged from a state before.
	mu        sync.Mutex
	awaited   map[authority.DecisionID]*permitted
	queue     []awaiting // in the order in which they are given up
	rooms     rooms      // that those take which are awaited, being registered or live
	live      map[*watch]struct{}
	mandate   index[authority.MandateID]
	principal index[authority.PrincipalID]
	ending    byEnd
	tunnels   map[authority.DecisionID]*watch // those whose payload is looked into
	hosts     map[string]openers              // of the tunnels to each
	ended     endings                         // of tunnels that are none any more
	stopped   *Denial                         // why none may begin; nil while they may
}

type awaiting struct {
	decision authority.DecisionID
	until    time.Duration // on the boot clock
}

func newWatches(each Room) *watches {
	return &watches{
		rooms:   newRooms(each),
		awaited: map[authority.DecisionID]*permitted{}, live: map[*watch]struct{}{},
		mandate: index[authority.MandateID]{}, principal: index[authority.PrincipalID]{},
		tunnels: map[authority.DecisionID]*watch{}, hosts: map[string]openers{},
		ended: endings{reasons: map[authority.DecisionID]*Denial{}},
	}
}

// expect keeps a request until Envoy registers it, for some seconds at most.
func (ws *watches) expect(p *permitted, now time.Duration) error {
	if p.size > maxKept {
		return deny(authority.ReasonMalformedHeader, "The target and the headers that the request is judged by have %d bytes, more than %d: a request of that size has to be short.", p.size, maxKept)
	}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.forget(now)
	if err := ws.rooms.take(p); err != nil {
		return err
	}
	ws.awaited[p.decision] = p
	ws.queue = append(ws.queue, awaiting{p.decision, now + claimTime})
	return nil
}

// forget gives up requests that Envoy did not register in time. The caller holds the lock.
func (ws *watches) forget(now time.Duration) {
	n := 0
	for n < len(ws.queue) && now >= ws.queue[n].until {
		if p, waits := ws.awaited[ws.queue[n].decision]; waits {
			delete(ws.awaited, p.decision)
			ws.rooms.give(p)
		}
		n++
	}
	ws.queue = ws.queue[n:]
}

// claim takes a request that is awaited, once. It keeps its room, until it was live or is abandoned.
func (ws *watches) claim(id authority.DecisionID, now time.Duration) (*permitted, error) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.forget(now)
	p, waits := ws.awaited[id]
	if !waits {
		return nil, deny(authority.ReasonNoDecision, "The gateway does not know the decision that the request was permitted by, or no longer.")
	}
	delete(ws.awaited, id)
	return p, nil
}

// abandon gives up a request that was claimed and does not become live.
func (ws *watches) abandon(p *permitted) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.rooms.give(p)
}

// add makes a watch live. The caller holds the lock.
func (ws *watches) add(w *watch) {
	ws.live[w] = struct{}{}
	ws.mandate.add(w.mandates, w)
	ws.principal.add(w.principals, w)
	heap.Push(&ws.ending, w)
	ws.open(w)
}

// rebase has a live watch rest on something else. The caller holds the lock.
func (ws *watches) rebase(w *watch, b basis) {
	if _, live := ws.live[w]; !live {
		return
	}
	ws.mandate.remove(w.mandates, w)
	ws.principal.remove(w.principals, w)
	ws.ending.take(w)
	w.basis = b
	ws.mandate.add(w.mandates, w)
	ws.principal.add(w.principals, w)
	heap.Push(&ws.ending, w)
}

// remove forgets a watch that is over.
func (ws *watches) remove(w *watch) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	delete(ws.live, w)
	ws.rooms.give(&w.permitted)
	ws.mandate.remove(w.mandates, w)
	ws.principal.remove(w.principals, w)
	ws.ending.take(w)
	ws.closed(w)
}

// touched are the watches that a change may end. The caller holds the lock.
func (ws *watches) touched(c Change) []*watch {
	found := map[*watch]struct{}{}
	if c.All {
		found = ws.live
	} else {
		for _, id := range c.Mandates {
			for w := range ws.mandate[id] {
				found[w] = struct{}{}
			}
		}
		for _, id := range c.Principals {
			for w := range ws.principal[id] {
				found[w] = struct{}{}
			}
		}
	}
	list := make([]*watch, 0, len(found))
	for w := range found {
		list = append(list, w)
	}
	return list
}

// count is how many watches are live.
func (ws *watches) count() int {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	return len(ws.live)
}

// index finds the watches that rest on one thing.
type index[K comparable] map[K]map[*watch]struct{}

func (x index[K]) add(keys []K, w *watch) {
	for _, k := range keys {
		if x[k] == nil {
			x[k] = map[*watch]struct{}{}
		}
		x[k][w] = struct{}{}
	}
}

func (x index[K]) remove(keys []K, w *watch) {
	for _, k := range keys {
		delete(x[k], w)
		if len(x[k]) == 0 {
			delete(x, k)
		}
	}
}

// byEnd orders watches by when they end.
type byEnd []*watch

// first is the watch that ends before all others; nil when there is none.
func (b byEnd) first() *watch {
	if len(b) == 0 {
		return nil
	}
	return b[0]
}

// take takes a watch out of the order.
func (b *byEnd) take(w *watch) {
	if w.place >= 0 {
		heap.Remove(b, w.place)
		w.place = -1
	}
}

func (b byEnd) Len() int           { return len(b) }
func (b byEnd) Less(i, j int) bool { return b[i].ends.Before(b[j].ends) }
func (b byEnd) Swap(i, j int) {
	b[i], b[j] = b[j], b[i]
	b[i].place, b[j].place = i, j
}

// Push is for container/heap.
func (b *byEnd) Push(w any) {
	added := w.(*watch)
	added.place = len(*b)
	*b = append(*b, added)
}

// Pop is for container/heap.
func (b *byEnd) Pop() any {
	last := (*b)[len(*b)-1]
	(*b)[len(*b)-1] = nil
	*b = (*b)[:len(*b)-1]
	return last
}
