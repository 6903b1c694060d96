package extauthz

import (
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/envoy"
)

// headerDuration bounds the whole exchange, in milliseconds. Envoy ends the stream when the time is over, whatever it
// carries, and does not pass the header on.
const headerDuration = "x-envoy-upstream-stream-duration-ms"

// Permit lets one request pass, in one way. A check that went the whole way makes one; the zero Permit lets nothing
// pass.
type Permit struct {
	granted bool
	// selected is the mandate that was chosen, which the caller is told of; empty for one that it named.
	selected authority.MandateID
	// decision is told to the caller by its id where Envoy does not record it; empty where that does.
	decision authority.DecisionID
	set      []*corev3.HeaderValueOption
	remove   []string
}

// permitSelf lets a request through to the gateway process itself, which judges it on its own, and tells it of the client's
// address and certificate: it sees Envoy's connection only.
func permitSelf(r *request, holder authority.PrincipalID) Permit {
	p := Permit{granted: true}
	p.put(envoy.RouteHeader, envoy.RouteSelf)
	p.put(envoy.AddressHeader, r.source)
	if r.peer.shown() {
		p.put(envoy.CertificateHeader, string(r.peer.thumbprint))
	}
	if holder != "" {
		p.put(envoy.HolderHeader, string(holder))
	}
	for _, h := range r.headers {
		if isFromEdge(h.name) {
			p.takeAway(h.name)
		}
	}
	return p
}

// permitTarget lets a request through to the target that was judged, and to nothing else: scheme, authority and path
// are written back from the parsed target.
func permitTarget(j *judgement, target authority.Target, o obligations) Permit {
	r := j.request
	p := Permit{granted: true, selected: j.chosen()}
	p.put(":scheme", target.Scheme)
	p.put(":authority", target.Authority())
	p.put(":path", target.RequestPath())
	p.put(envoy.RouteHeader, o.route)
	p.put(envoy.BoundHeader, o.ends)
	p.put(headerDuration, strconv.FormatInt(o.bound.Milliseconds(), 10))
	if upstream := r.value(headerUpstreamAuth); upstream != "" && o.credential.name != headerAuthorization {
		p.put(headerAuthorization, upstream)
	}
	if o.credential.name != "" {
		p.put(o.credential.name, o.credential.value)
	}
	p.strip(j)
	return p
}

// permitTunnel opens a tunnel to the host and port that were judged, and to nothing else.
func permitTunnel(j *judgement, target authority.Target, o obligations) Permit {
	p := Permit{granted: true, selected: j.chosen()}
	p.put(":authority", net.JoinHostPort(target.Host, strconv.Itoa(int(target.Port))))
	p.put(envoy.RouteHeader, o.route)
	p.put(envoy.BoundHeader, o.ends)
	if o.bound > 0 {
		p.put(headerDuration, strconv.FormatInt(o.bound.Milliseconds(), 10))
	}
	p.strip(j)
	return p
}

// strip takes away whatever of a request's headers no upstream may see.
func (p *Permit) strip(j *judgement) {
	for _, h := range j.request.headers {
		if !j.mayReachUpstream(h) || j.tells(h.value) {
			p.takeAway(h.name)
		}
	}
}

// chosen is the mandate that was selected for a caller that named none; empty for one that did.
func (j *judgement) chosen() authority.MandateID {
	if !j.selected {
		return ""
	}
	return j.mandate
}

func (p *Permit) put(name, value string) {
	p.set = append(p.set, overwrite(name, value))
}

// takeAway removes every header of a name. Envoy removes after it sets, so what is set stays out of the list: setting
// replaces all that the caller sent. Envoy finds no route for a request without x-forwarded-proto, which it makes
// itself, so that one is left to its own configuration, which removes it after routing.
func (p *Permit) takeAway(name string) {
	if name == headerTransport {
		return
	}
	isSet := func(option *corev3.HeaderValueOption) bool { return option.GetHeader().GetKey() == name }
	if !slices.ContainsFunc(p.set, isSet) && !slices.Contains(p.remove, name) {
		p.remove = append(p.remove, name)
	}
}

// whole reports whether the permit can be told to Envoy as it is: an empty or broken value would make Envoy send
// something else than what was judged.
func (p Permit) whole() bool {
	for _, option := range p.set {
		if !isHeaderValue(option.GetHeader().GetValue()) {
			return false
		}
	}
	return p.granted && len(p.set) > 0
}

// mayReachUpstream reports whether a caller's header goes on unchanged. What identified the caller does not.
func (j *judgement) mayReachUpstream(h header) bool {
	if slices.Contains(j.credential.headers, h.name) || h.name == headerAuthorization && !modeOf(j.request.asked).keepsAuthorization {
		return false
	}
	return mayReachUpstream(h)
}

// mayReachUpstream reports whether a header may go on, whoever sends it. What says who the caller is, what is between callers
// and the gateway or between proxies, and what makes servers take another path for the judged one may not.
func mayReachUpstream(h header) bool {
	switch h.name {
	case "x-original-url", "x-rewrite-url":
		return false
	}
	return !strings.HasPrefix(h.name, ours) && !strings.HasPrefix(h.name, "proxy-") && !isFromEdge(h.name) && !tellsOfPeer(h.name)
}

// tellsOfPeer reports whether proxies tell servers of a client's certificate in a header: RFC 9440, and what was usual
// before. A caller that sends one would be whom it likes to an upstream that believes it.
func tellsOfPeer(name string) bool {
	switch name {
	case "client-cert", "client-cert-chain", "x-spiffe-id":
		return true
	}
	for _, prefix := range []string{"x-ssl-", "ssl-client-", "x-client-cert"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// isFromEdge reports whether a header is one that Envoy adds, or that stands for one.
func isFromEdge(name string) bool {
	return strings.HasPrefix(name, "x-envoy-") || strings.HasPrefix(name, "x-forwarded-")
}

// bound is how long an exchange may last: until the first of its chain's mandates expires, and no longer than the
// workspace, the destination and the policy allow. A limit of 0 is none.
func bound(now time.Time, chain []authority.Mandate, limits ...time.Duration) time.Duration {
	least := maxExchange
	for _, mandate := range chain {
		least = min(least, mandate.ValidUntil.Sub(now))
	}
	for _, limit := range limits {
		if limit > 0 {
			least = min(least, limit)
		}
	}
	return least.Truncate(time.Millisecond)
}

// maxExchange bounds every exchange, also in a workspace that sets no limit.
const maxExchange = 24 * time.Hour
