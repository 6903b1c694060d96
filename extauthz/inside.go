package extauthz

import (
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

// tunnel finds the live tunnel of a decision.
func (ws *watches) tunnel(id authority.DecisionID) (*tunnel, error) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	w := ws.tunnels[id]
	if w == nil || w.why.Load() != nil {
		return nil, because(authority.ReasonTunnelUnknown)
	}
	return w.tunnel, nil
}

// open counts a tunnel. The caller holds the lock.
func (ws *watches) open(w *watch) {
	if w.tunnel != nil {
		ws.tunnels[w.decision] = w
		ws.hosts[w.tunnel.host]++
	}
}

// closed forgets a tunnel. The caller holds the lock.
func (ws *watches) closed(w *watch) {
	if w.tunnel == nil || ws.tunnels[w.decision] != w {
		return
	}
	delete(ws.tunnels, w.decision)
	if ws.hosts[w.tunnel.host]--; ws.hosts[w.tunnel.host] == 0 {
		delete(ws.hosts, w.tunnel.host)
	}
}

// Tunnelled reports whether a tunnel to a host is open whose payload is looked into: only then has anybody a use for a
// certificate of that name.
func (s *Service) Tunnelled(host string) bool {
	s.watches.mu.Lock()
	defer s.watches.mu.Unlock()
	return s.watches.hosts[host] > 0
}
