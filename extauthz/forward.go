package extauthz

import (
	"net/netip"
	"strings"

	"github.com/caracal-gateway/caracal/authority"
)

// forwardTarget reads the target of a request to the proxy port, which is the URL that the client asked the proxy for.
func (s *Service) forwardTarget(j *judgement) (authority.Target, error) {
	if s.isOwnPort(j.request.host) {
		return authority.Target{}, deny(authority.ReasonTargetNotAllowed, "This is the gateway's proxy port: name it as the proxy of a client, as in http_proxy=http://%s", j.request.host)
	}
	return absoluteTarget(j)
}

// absoluteTarget reads the scheme, authority and path of a request as one URL.
func absoluteTarget(j *judgement) (authority.Target, error) {
	r := j.request
	switch {
	case strings.ContainsAny(r.host, "/?#"):
		return authority.Target{}, deny(authority.ReasonInvalidTarget, "The host has a character that does not belong there.")
	case !strings.HasPrefix(r.path, "/"):
		return authority.Target{}, deny(authority.ReasonInvalidTarget, "The path does not begin with a slash.")
	}
	raw := r.scheme + "://" + r.host + r.path
	if j.tells(raw) {
		return authority.Target{}, errTargetTells()
	}
	return authority.ParseTarget(raw)
}

// isOwnPort reports whether a host that is an address, or this host by its name, goes with a port of the gateway's own: a
// client that takes the proxy for a server.
func (s *Service) isOwnPort(host string) bool {
	address, err := netip.ParseAddrPort(strings.Replace(host, "localhost:", "127.0.0.1:", 1))
	if err != nil {
		return false
	}
	for _, own := range s.listeners {
		if own.Port() == address.Port() && (own.Addr().IsUnspecified() || own.Addr() == address.Addr().Unmap()) {
			return true
		}
	}
	return false
}

func errTargetTells() error {
	return deny(authority.ReasonInvalidTarget, "The target URL holds a credential of Caracal, which no upstream may see.")
}
