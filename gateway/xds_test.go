package gateway

import (
	"context"
	"log/slog"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	statusv3 "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/caracal-gateway/caracal/envoy"
)

// table is a route table with ways of one key.
func table(key string, bounds ...string) *routev3.RouteConfiguration {
	is := func(name, value string) *routev3.HeaderMatcher {
		return &routev3.HeaderMatcher{Name: name, HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{
			StringMatch: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: value}},
		}}
	}
	host := &routev3.VirtualHost{}
	for _, bound := range bounds {
		host.Routes = append(host.Routes, &routev3.Route{
			Match:  &routev3.RouteMatch{Headers: []*routev3.HeaderMatcher{is(envoy.RouteHeader, key), is(envoy.BoundHeader, bound)}},
			Action: &routev3.Route_Route{Route: &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: envoy.ClusterSelf}}},
		})
	}
	return &routev3.RouteConfiguration{Name: envoy.GatewayRoutes, VirtualHosts: []*routev3.VirtualHost{host}}
}

// A request goes by the route table of when its headers came. One that came before the table has a way for short ones, and
// is decided on after, would find no route: it is watched.
func TestAShortWayIsTakenOnceAllRequestsKnowIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &xds{held: map[resource.Type]map[string]string{}}
		short := envoy.Short(2)
		taken := func() (watched, ends bool) {
			return x.Accepted(envoy.Way("shop", envoy.BoundWatched)), x.Accepted(envoy.Way("shop", short))
		}
		x.hold(resource.RouteType, table("shop", envoy.BoundWatched), "1")
		elapse(time.Hour)
		x.hold(resource.RouteType, table("shop", envoy.BoundWatched, short), "2")
		if watched, ends := taken(); !watched || ends {
			t.Errorf("at once: watched %t, short %t", watched, ends)
		}
		elapse(overlap - 1)
		x.hold(resource.RouteType, table("shop", envoy.BoundWatched, short), "3") // a table that changes it in nothing
		if watched, ends := taken(); !watched || ends {
			t.Errorf("while requests may not know it: watched %t, short %t", watched, ends)
		}
		elapse(1)
		if watched, ends := taken(); !watched || !ends {
			t.Errorf("later: watched %t, short %t", watched, ends)
		}
		x.hold(resource.RouteType, table("shop", envoy.BoundWatched), "4")
		if watched, ends := taken(); !watched || ends {
			t.Errorf("without the way: watched %t, short %t", watched, ends)
		}
		x.hold(resource.RouteType, table("shop", envoy.BoundWatched, short), "5")
		if _, ends := taken(); ends {
			t.Error("a way that comes back is taken at once")
		}
	})
}

func must[T any](value T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

// answering stands for an Envoy on one stream, which answers for what it is sent one type at a time.
type answering struct {
	t     *testing.T
	x     *xds
	nonce string
}

// say takes what is served of a type, or refuses it.
func (a *answering) say(kind resource.Type, refusal *statusv3.Status) {
	a.t.Helper()
	a.nonce += "."
	snapshot := must(a.x.cache.GetSnapshot(a.x.node))(a.t)
	response := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: kind, Nonce: a.nonce}
	for name, served := range snapshot.GetResources(kind) {
		response.Resources = append(response.Resources, &discoveryv3.Resource{
			Name: name, Version: snapshot.GetVersionMap(kind)[name], Resource: must(anypb.New(served))(a.t),
		})
	}
	a.x.onResponse(1, nil, response)
	if err := a.x.onRequest(1, &discoveryv3.DeltaDiscoveryRequest{TypeUrl: kind, ResponseNonce: a.nonce, ErrorDetail: refusal}); err != nil {
		a.t.Fatal(err)
	}
}

// What Envoy is sent it accepts one type after the other, in no order that anybody promises.
func TestEnvoyHasItsConfigurationOnceItHasAcceptedEachTypeOfIt(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	fixed := envoy.Fixed(envoy.Local{
		NodeID: "test", AuthzSocket: "/run/a", XDSSocket: "/run/x", SelfSocket: "/run/s", AdminSocket: "/run/d",
		Listen: netip.MustParseAddrPort("127.0.0.1:8443"), Forward: netip.MustParseAddrPort("127.0.0.1:3128"), Roots: []byte("roots"),
	})
	catalog := func(hosts ...string) envoy.Resources {
		var upstreams []envoy.Upstream
		for _, host := range hosts {
			upstreams = append(upstreams, envoy.Upstream{Host: host, Port: 8080, ConnectTo: "127.0.0.1:9", Addresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
		}
		return envoy.Merge(fixed, must(envoy.Catalog(upstreams))(t))
	}
	every := []resource.Type{resource.ListenerType, resource.ClusterType, resource.RouteType, resource.SecretType}
	for _, last := range every {
		x := must(newXDS(context.Background(), "test", envoy.Merge(fixed, envoy.BuiltIn()), &clientCertificates{log: log}, func(string) {}, log))(t)
		a := &answering{t: t, x: x}
		wanted := func(when string, current, forwards bool) {
			t.Helper()
			if got := x.Verdict(); got.current != current || got.forwards != forwards {
				t.Errorf("%s %s: %+v, want current %t, forwards %t", last, when, got, current, forwards)
			}
		}
		serve := func(r envoy.Resources) {
			if err := x.Serve(context.Background(), r); err != nil {
				t.Fatal(err)
			}
		}
		forwarding := last == resource.ListenerType || last == resource.SecretType
		for _, kind := range every {
			a.say(kind, nil)
		}
		wanted("with what is built in", true, false)
		serve(catalog("one.test"))
		for _, kind := range every {
			if kind != last {
				a.say(kind, nil)
			}
		}
		// Listeners and secrets are the same with every catalog.
		wanted("is accepted last, and has not been", forwarding, forwarding)
		a.say(last, nil)
		wanted("is accepted last", true, true)
		serve(catalog("one.test", "two.test"))
		wanted("before a change is accepted", false, true)
		for _, kind := range every {
			a.say(kind, nil)
		}
		wanted("after a change", true, true)
	}
}

func TestAnEnvoyThatRefusesAClusterForwardsToTheRest(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	own := envoy.Fixed(envoy.Local{NodeID: "test", Listen: netip.MustParseAddrPort("127.0.0.1:8443")})
	x := must(newXDS(context.Background(), "test", envoy.Merge(own, envoy.BuiltIn()), &clientCertificates{log: log}, func(string) {}, log))(t)
	a := &answering{t: t, x: x}
	a.say(resource.ClusterType, nil)
	upstream := envoy.Upstream{Host: "one.test", Port: 8080, ConnectTo: "127.0.0.1:9", Addresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	if err := x.Serve(context.Background(), envoy.Merge(own, must(envoy.Catalog([]envoy.Upstream{upstream}))(t))); err != nil {
		t.Fatal(err)
	}
	a.say(resource.RouteType, nil)
	if got := x.Verdict(); got.forwards {
		t.Errorf("before it has said anything of its clusters: %+v", got)
	}
	a.say(resource.ClusterType, &statusv3.Status{Message: "it will not do"})
	if got := x.Verdict(); !got.forwards || got.current || got.refusal == "" {
		t.Errorf("after it has refused one: %+v", got)
	}
	if x.Accepted(envoy.Way(upstream.Route(), envoy.BoundWatched)) || !x.Accepted(envoy.Way(envoy.RoutePublicTLS, envoy.BoundWatched)) {
		t.Error("decisions choose what it refused, or not what it accepted")
	}
}
