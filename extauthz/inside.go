package extauthz

import (
	"maps"
	"slices"
	"strings"

	"github.com/caracal-gateway/caracal/authority"
)

// tunnel is an open CONNECT whose payload is looked into. Requests inside of it are asked by whoever opened it.
type tunnel struct {
	decision authority.DecisionID
	request  *request // the CONNECT
	host     string
	port     uint16
}

// asker is the request whose connection and credential say who asks: the one that opened the tunnel that a request came
// through, else the request itself. Nothing that is said inside of a tunnel identifies anybody.
func (r *request) asker() *request {
	if r.within != nil {
		return r.within.request
	}
	return r
}

// insideTarget reads the target of a request inside of a tunnel. The name that the client asked for in TLS and the request's
// own host and port are those that the tunnel was opened to.
func (s *Service) insideTarget(j *judgement) (authority.Target, error) {
	target, err := absoluteTarget(j)
	if err != nil {
		return target, err
	}
	r := j.request
	switch through := r.within; {
	case r.secure != (target.Scheme == "https"):
		err = deny(authority.ReasonTargetMismatch, "The request says %s:// in a connection that is not.", target.Scheme)
	case r.secure && strings.ToLower(r.sni) != through.host:
		err = deny(authority.ReasonTargetMismatch, "The tunnel was opened to another host than the one that the TLS inside of it names.")
	case target.Host != through.host || target.Port != through.port:
		err = deny(authority.ReasonTargetMismatch, "The request is for another host or port than the tunnel was opened to.")
	}
	return target, err
}

// tunnel finds the live tunnel of a decision. One that was ended is refused for the reason that it was ended for.
func (ws *watches) tunnel(id authority.DecisionID) (*tunnel, error) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	w := ws.tunnels[id]
	if w == nil {
		return nil, ws.ended.why(id)
	}
	if why := w.why.Load(); why != nil {
		return nil, why
	}
	return w.tunnel, nil
}

// maxEnded is of how many tunnels that were ended is remembered why.
const maxEnded = 1024

// endings remember why the last tunnels that were ended were: requests inside of them may be on their way still.
type endings struct {
	reasons map[authority.DecisionID]*Denial
	order   []authority.DecisionID // a ring, once it is full
	next    int                    // in the ring
}

func (e *endings) add(id authority.DecisionID, why *Denial) {
	if len(e.order) < maxEnded {
		e.order = append(e.order, id)
	} else {
		delete(e.reasons, e.order[e.next])
		e.order[e.next] = id
		e.next = (e.next + 1) % maxEnded
	}
	e.reasons[id] = why
}

// why is the reason that a tunnel was ended for, as far as that is known.
func (e *endings) why(id authority.DecisionID) *Denial {
	if why := e.reasons[id]; why != nil {
		return why
	}
	return because(authority.ReasonTunnelUnknown)
}

// open counts a tunnel. The caller holds the lock.
func (ws *watches) open(w *watch) {
	if w.tunnel != nil {
		ws.tunnels[w.decision] = w
		of := ws.hosts[w.tunnel.host]
		if of == nil {
			of = openers{}
			ws.hosts[w.tunnel.host] = of
		}
		of[w.caller]++
	}
}

// closed forgets a tunnel. The caller holds the lock.
func (ws *watches) closed(w *watch) {
	if w.tunnel == nil || ws.tunnels[w.decision] != w {
		return
	}
	delete(ws.tunnels, w.decision)
	if why := w.why.Load(); why != nil {
		ws.ended.add(w.decision, why)
	}
	of := ws.hosts[w.tunnel.host]
	if of[w.caller]--; of[w.caller] == 0 {
		delete(of, w.caller)
	}
	if len(of) == 0 {
		delete(ws.hosts, w.tunnel.host)
	}
}

// openers are who has how many tunnels open; whoever has none is not in it.
type openers map[authority.PrincipalID]int

// Tunnellers are who has a tunnel to a host open whose payload is looked into, in the order of their ids: only they have a
// use for a certificate of that name.
func (s *Service) Tunnellers(host string) []authority.PrincipalID {
	s.watches.mu.Lock()
	defer s.watches.mu.Unlock()
	return slices.Sorted(maps.Keys(s.watches.hosts[host]))
}
