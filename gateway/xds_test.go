package gateway

import (
	"testing"
	"testing/synctest"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

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
		x := &xds{}
		short := envoy.Short(2)
		taken := func() (watched, ends bool) {
			return x.Accepted(envoy.Way("shop", envoy.BoundWatched)), x.Accepted(envoy.Way("shop", short))
		}
		x.hold(table("shop", envoy.BoundWatched), "1")
		elapse(time.Hour)
		x.hold(table("shop", envoy.BoundWatched, short), "2")
		if watched, ends := taken(); !watched || ends {
			t.Errorf("at once: watched %t, short %t", watched, ends)
		}
		elapse(overlap - 1)
		x.hold(table("shop", envoy.BoundWatched, short), "3") // a table that changes it in nothing
		if watched, ends := taken(); !watched || ends {
			t.Errorf("while requests may not know it: watched %t, short %t", watched, ends)
		}
		elapse(1)
		if watched, ends := taken(); !watched || !ends {
			t.Errorf("later: watched %t, short %t", watched, ends)
		}
		x.hold(table("shop", envoy.BoundWatched), "4")
		if watched, ends := taken(); !watched || ends {
			t.Errorf("without the way: watched %t, short %t", watched, ends)
		}
		x.hold(table("shop", envoy.BoundWatched, short), "5")
		if _, ends := taken(); ends {
			t.Error("a way that comes back is taken at once")
		}
	})
}
