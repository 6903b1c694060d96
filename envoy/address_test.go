package envoy_test

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"testing"

	dfpcachev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/dynamic_forward_proxy/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/caracal-gateway/caracal/envoy"
	"github.com/caracal-gateway/caracal/internal/nameserver"
)

// withoutAddressFilter removes the filter on what names resolve to.
func withoutAddressFilter(r envoy.Resources) envoy.Resources {
	editAll(r, func(_ string, m protoreflect.Message) {
		if c, ok := m.Interface().(*dfpcachev3.DnsCacheConfig); ok {
			c.ResolvedAddressFilter = nil
		}
	})
	return r
}

// withoutAddressRules makes the rules on what may be connected to allow everything.
func withoutAddressRules(r envoy.Resources) envoy.Resources {
	editAll(r, func(_ string, m protoreflect.Message) {
		if c, ok := m.Interface().(*rbacv3.RBAC); ok {
			c.Rules = nil
		}
	})
	return r
}

// permitTo permits every request on a route, to a host and port.
func (r *rig) permitTo(route, authority string) {
	r.authz.answer(func(*authv3.CheckRequest) *authv3.CheckResponse {
		return permit(route, map[string]string{":authority": authority, ":path": "/"})
	})
}

func unchanged(r envoy.Resources) envoy.Resources { return r }

// TestNoAddressOfThisMachineOrItsNetworkIsReached has no name grammar before it: the decision permits everything. Each of
// the other two ways in which such an address is refused is tried with the other one removed.
func TestNoAddressOfThisMachineOrItsNetworkIsReached(t *testing.T) {
	four := startUpstream(t, "127.0.0.1:0", nil)
	six := startUpstream(t, net.JoinHostPort("::1", portText(four.port)), nil)
	dns := nameserver.Start(t, map[string][]string{
		"loopback.test": {"127.0.0.1"}, "loopback6.test": {"::1"}, "mapped.test": {"::ffff:127.0.0.1"}, "zero.test": {"0.0.0.0"}, "zero6.test": {"::"},
		"ten.test": {"10.0.0.1"}, "metadata.test": {"169.254.169.254"}, "metadata6.test": {"fd00:ec2::254"}, "shared.test": {"100.64.0.1"},
		"platform.test": {"168.63.129.16"}, "unique.test": {"fc00::1"}, "link.test": {"fe80::1"}, "nat64.test": {"64:ff9b::7f00:1"},
		"nat64local.test": {"64:ff9b:1::7f00:1"}, "sixtofour.test": {"2002:7f00:1::1"}, "multicast.test": {"224.0.0.1"}, "multicast6.test": {"ff02::1"},
		"broadcast.test": {"255.255.255.255"}, "protocol.test": {"192.0.0.192"}, "benchmark.test": {"198.18.0.1"},
		"compatible.test": {"::7f00:1"}, "translated.test": {"::ffff:0:7f00:1"}, "unassigned.test": {"4000::1"},
		"alias.test": {"second.alias.test"}, "second.alias.test": {"loopback.test"}, "mixed.test": {"10.0.0.1", "127.0.0.1", "::1"},
	})
	targets := []string{
		"loopback.test", "loopback6.test", "mapped.test", "zero.test", "zero6.test", "ten.test", "metadata.test", "metadata6.test", "shared.test",
		"platform.test", "unique.test", "link.test", "nat64.test", "nat64local.test", "sixtofour.test", "multicast.test", "multicast6.test",
		"broadcast.test", "protocol.test", "benchmark.test", "compatible.test", "translated.test", "unassigned.test", "alias.test", "mixed.test",
		"localhost", "LOCALHOST", "127.0.0.1", "127.1.2.3", "10.0.0.1", "169.254.169.254", "0.0.0.0",
		"[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[fd00:ec2::254]", "[64:ff9b::7f00:1]",
	}
	ways := map[string]func(r *rig, host string) answer{
		"the gateway port, plain": func(r *rig, host string) answer {
			r.permitTo(envoy.RoutePublicPlain, host)
			return r.get("/api/proxy")
		},
		"the gateway port, TLS": func(r *rig, host string) answer {
			r.permitTo(envoy.RoutePublicTLS, host)
			return r.get("/api/proxy")
		},
		"the proxy port": func(r *rig, host string) answer {
			r.permitTo(envoy.RoutePublicPlain, host)
			got, _ := r.ask("GET http://" + host + "/ HTTP/1.1\r\nHost: " + host + "\r\n\r\n")
			return got
		},
		"an opaque tunnel": func(r *rig, host string) answer {
			r.permitTunnel(envoy.RoutePublicTunnel)
			got, _ := r.ask(connectTo(host))
			return got
		},
		"inside a tunnel": func(r *rig, host string) answer {
			r.permitTunnel(envoy.RouteInside)
			_, connection := r.ask(connectTo("inspected.test:80"))
			r.permitTo(envoy.RoutePublicTLS, host)
			fmt.Fprint(connection, "GET / HTTP/1.1\r\nHost: "+host+"\r\n\r\n")
			return r.read(connection)
		},
	}
	spellings := []string{"2130706433", "0x7f.1", "127.1", "017700000001", "0", "127.0.0.1."} // resolvers that parse numbers take these for 127.0.0.1
	for name, remove := range map[string]func(envoy.Resources) envoy.Resources{
		"with everything":           unchanged,
		"by the filter on names":    withoutAddressRules,
		"by the rule on connecting": withoutAddressFilter,
	} {
		t.Run(name, func(t *testing.T) {
			r := startRig(t, setup{
				local: func(l *envoy.Local) {
					proxying(l)
					l.Resolvers = []netip.AddrPort{dns}
				},
				resources: func(l envoy.Local) envoy.Resources { return remove(withUpstreams(t)(l)) },
			})
			for way, try := range ways {
				for _, host := range targets {
					if got := try(r, host+":"+portText(four.port)).refusal(t); got != (refusal{403, "target_not_allowed", decisionID}) {
						t.Errorf("%s by %s: %+v", host, way, got)
					}
				}
				for _, host := range spellings {
					if got := try(r, host+":"+portText(four.port)).refusal(t); got.Error != "target_not_allowed" && got.Error != "upstream_unreachable" {
						t.Errorf("%s by %s: %+v", host, way, got)
					}
				}
			}
		})
	}
	if made := four.connected(t) + six.connected(t); made != 0 {
		t.Errorf("%d connections were made to this machine", made)
	}
	t.Run("the targets are reached when nothing refuses them", func(t *testing.T) {
		r := startRig(t, setup{
			local: func(l *envoy.Local) {
				proxying(l)
				l.Resolvers = []netip.AddrPort{dns}
			},
			resources: func(l envoy.Local) envoy.Resources {
				return withoutAddressRules(withoutAddressFilter(withUpstreams(t)(l)))
			},
		})
		for _, way := range []string{"the gateway port, plain", "the proxy port", "an opaque tunnel"} {
			for _, host := range []string{"loopback.test", "loopback6.test", "localhost", "127.0.0.1", "[::1]"} {
				if got := ways[way](r, host+":"+portText(four.port)); got.Status != http.StatusOK {
					t.Errorf("%s by %s: %+v", host, way, got)
				}
			}
		}
	})
}

// TestAPrivateUpstreamIsReachedAtItsAddressesOnly gives a name an address that its destination does not list.
func TestAPrivateUpstreamIsReachedAtItsAddressesOnly(t *testing.T) {
	up := startUpstream(t, "127.0.0.1:0", nil)
	dns := nameserver.Start(t, map[string][]string{"here.test": {"127.0.0.1"}, "moved.test": {"127.0.0.1"}})
	listed := envoy.Upstream{Host: "here.test", Port: up.port, Addresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	elsewhere := envoy.Upstream{Host: "here.test", Port: up.port, Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	public := envoy.Upstream{Host: "moved.test", Port: 80, ConnectTo: "here.test:" + portText(up.port)}
	r := startRig(t, setup{
		local:     func(l *envoy.Local) { l.Resolvers = []netip.AddrPort{dns} },
		resources: withUpstreams(t, listed, elsewhere, public),
	})
	try := func(u envoy.Upstream) answer {
		r.authz.answer(func(*authv3.CheckRequest) *authv3.CheckResponse {
			return permit(u.Route(), map[string]string{":authority": u.Host})
		})
		return r.get("/api/proxy")
	}
	eventually(t, "the name is resolved", func() bool { return try(listed).Status == http.StatusOK })
	for name, u := range map[string]envoy.Upstream{"another range": elsewhere, "public addresses only": public} {
		before := up.connected(t)
		eventually(t, "the name is resolved", func() bool { return try(u).Status != http.StatusServiceUnavailable })
		if got := try(u).refusal(t); got != (refusal{403, "target_not_allowed", decisionID}) {
			t.Errorf("%s: %+v", name, got)
		}
		if made := up.connected(t) - before; made != 0 {
			t.Errorf("%s: %d connections were made", name, made)
		}
	}
}

// TestANameThatChangesLeadsToNoOtherAddress has the address of a name change while it is in use, and be one of several, as
// those who answer for a name may have it.
func TestANameThatChangesLeadsToNoOtherAddress(t *testing.T) {
	here := startUpstream(t, "127.0.0.1:0", nil)
	there := startUpstream(t, "127.0.0.2:"+portText(here.port), nil)
	var moved atomic.Bool
	var asked atomic.Int64 // since it moved
	dns := nameserver.Answering(t, func(name string) []string {
		switch {
		case name == "mixed.test":
			return []string{"127.0.0.2", "127.0.0.1"}
		case name == "moving.test" && moved.Load():
			asked.Add(1)
			return []string{"127.0.0.2"}
		case name == "moving.test":
			return []string{"127.0.0.1"}
		}
		return nil
	})
	listed := func(host string, tunnel bool) envoy.Upstream {
		return envoy.Upstream{Host: host, Port: here.port, Addresses: ranges("127.0.0.1/32"), Tunnel: tunnel}
	}
	all := []envoy.Upstream{listed("moving.test", false), listed("mixed.test", false), listed("moving.test", true), listed("mixed.test", true)}
	r := startRig(t, setup{
		local: func(l *envoy.Local) {
			proxying(l)
			l.Resolvers = []netip.AddrPort{dns}
		},
		resources: withUpstreams(t, all...),
	})
	try := func(u envoy.Upstream) answer {
		if u.Tunnel {
			r.permitTunnel(u.Route())
			got, _ := r.ask(connectTo(u.Host + ":" + portText(u.Port)))
			return got
		}
		r.authz.answer(func(*authv3.CheckRequest) *authv3.CheckResponse {
			return permit(u.Route(), map[string]string{":authority": u.Host})
		})
		return r.get("/api/proxy")
	}
	moving := []envoy.Upstream{all[0], all[2]}
	for _, u := range moving {
		eventually(t, u.Host+" is reached", func() bool { return try(u).Status == http.StatusOK })
	}
	moved.Store(true)
	eventually(t, "both are asked for again", func() bool { return asked.Load() >= 4 })
	for _, u := range all {
		refused := false
		for range 20 {
			refused = refused || try(u).Status == http.StatusForbidden
		}
		if u.Host == "moving.test" && !refused {
			t.Errorf("%s (tunnel: %v) is still reached", u.Host, u.Tunnel)
		}
	}
	if made := there.connected(t); made != 0 {
		t.Errorf("%d connections were made to the other address", made)
	}
}
