package api

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// ClientAddress is where a request comes from, if these proxies are trusted: what client answers, for other handlers on
// the same port.
func ClientAddress(r *http.Request, trusted []netip.Prefix) netip.Addr { return client(r, trusted) }

// client is where a request comes from: the peer of its connection or, where that is a trusted proxy, the last address of
// X-Forwarded-For that is none. What somebody else says about addresses counts for nothing. The zero address stands for
// one that cannot be read, which no network holds.
func client(r *http.Request, trusted []netip.Prefix) netip.Addr {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	from := plain(peer.Addr())
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		hop = strings.TrimSpace(hop)
		if !within(trusted, from) || hop == "" {
			break
		}
		if from, err = netip.ParseAddr(hop); err != nil {
			return netip.Addr{}
		}
		from = plain(from)
	}
	return from
}

// plain is an address in the one form in which networks hold it.
func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

func within(networks []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(a) })
}
