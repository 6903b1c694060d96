package envoy

import (
	"cmp"
	"net/http"
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/durationpb"
)

// selfTimeout bounds a request to the gateway process itself; a write of the agent API waits until it is enforced.
const selfTimeoutSeconds = 150

// forward is a route that a decision can choose.
type forward struct {
	key string
	// tunnel says that only a CONNECT takes it, whose payload goes to the cluster; anything else takes any other.
	tunnel bool
	// cluster is where it leads, unless that has the name of the key.
	cluster string
	// twin says that WebSocket handshakes take the HTTP/1.1 twin of the cluster.
	twin bool
	// authority is a regular expression that :authority must match, where the cluster connects to what that names.
	authority string
	// short are the durations, in seconds, of requests that may end by themselves.
	short []int64
}

func publicForwards(short shorts) []forward {
	return []forward{
		{key: RoutePublicPlain, short: short[RoutePublicPlain]},
		{key: RoutePublicTLS, twin: true, short: short[RoutePublicTLS]},
		{key: RoutePublicTunnel, tunnel: true, cluster: RoutePublicPlain},
		{key: RouteInside, tunnel: true, cluster: ClusterInside},
	}
}

// BuiltIn is the catalog's part before there is a bundle: health, readiness and sync work, everything else is refused.
func BuiltIn() Resources {
	return Resources{Routes: []*routev3.RouteConfiguration{
		routeTable(GatewayRoutes, append(selfPaths(), refusals(http.StatusServiceUnavailable)...)),
	}}
}

// gatewayRoutes forwards what carries the key of a route and refuses everything else, whichever way it came. A request
// meets the refusals first; the decision service answers, and the answer's key selects a route above.
func gatewayRoutes(forwards []forward) *routev3.RouteConfiguration {
	routes := []*routev3.Route{toSelf(everyPath())}
	for _, f := range forwards {
		routes = append(routes, f.routes()...)
	}
	return routeTable(GatewayRoutes, append(routes, refusals(http.StatusServiceUnavailable)...))
}

// plainRoutes serve plain HTTP on a port that has a certificate.
func plainRoutes() *routev3.RouteConfiguration {
	return routeTable(PlainRoutes, append(selfPaths(), refusals(http.StatusUpgradeRequired)...))
}

func routeTable(name string, routes []*routev3.Route) *routev3.RouteConfiguration {
	return &routev3.RouteConfiguration{
		Name: name,
		VirtualHosts: []*routev3.VirtualHost{{
			Name:                   "all",
			Domains:                []string{"*"},
			Routes:                 routes,
			RequestHeadersToRemove: []string{RouteHeader, BoundHeader},
		}},
	}
}

func everyPath() *routev3.RouteMatch {
	return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}}
}

func connects() *routev3.RouteMatch {
	return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_ConnectMatcher_{ConnectMatcher: &routev3.RouteMatch_ConnectMatcher{}}}
}

func exactPath(path string) *routev3.RouteMatch {
	return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Path{Path: path}}
}

// selfPaths are what the gateway process answers to anyone.
func selfPaths() []*routev3.Route {
	return []*routev3.Route{toSelf(exactPath("/health")), toSelf(exactPath("/ready")), toSelf(exactPath("/admin/sync"))}
}

func toSelf(match *routev3.RouteMatch) *routev3.Route {
	match.Headers = []*routev3.HeaderMatcher{headerIs(RouteHeader, RouteSelf)}
	return &routev3.Route{
		Name:  RouteSelf,
		Match: match,
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: ClusterSelf},
			Timeout:          &durationpb.Duration{Seconds: selfTimeoutSeconds},
		}},
		TypedPerFilterConfig: unwatched(),
	}
}

// routes lead to the cluster of the same name, one for requests that are watched and one for each duration of short ones.
// Nothing limits what is watched but what the decision set. What is short ends so long after its headers came, wherever it
// is then: a name that does not resolve or a connection that is not made would keep it past the decision's own limit.
func (f forward) routes() []*routev3.Route {
	if f.tunnel {
		return []*routev3.Route{f.tunnelRoute()}
	}
	to := func(cluster, bound string, headers ...*routev3.HeaderMatcher) *routev3.Route {
		match := everyPath()
		match.Headers = append([]*routev3.HeaderMatcher{headerIs(RouteHeader, f.key), headerIs(BoundHeader, bound)}, headers...)
		return &routev3.Route{
			Name:  cluster,
			Match: match,
			Action: &routev3.Route_Route{Route: &routev3.RouteAction{
				ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: cluster},
				Timeout:          &durationpb.Duration{},
			}},
		}
	}
	var chosen []*routev3.HeaderMatcher
	if f.authority != "" {
		chosen = append(chosen, authorityMatches(f.authority))
	}
	var routes []*routev3.Route
	if f.twin {
		// A handshake opens a connection that nothing bounds but its watch.
		routes = append(routes, to(f.key+http1Suffix, BoundWatched, append(slices.Clone(chosen), isWebSocket())...))
	}
	routes = append(routes, to(f.key, BoundWatched, chosen...))
	for _, seconds := range f.short {
		short := to(f.key, Short(seconds), chosen...)
		short.GetRoute().MaxStreamDuration = &routev3.RouteAction_MaxStreamDuration{MaxStreamDuration: &durationpb.Duration{Seconds: seconds}}
		short.TypedPerFilterConfig = unwatched()
		routes = append(routes, short)
	}
	return routes
}

// tunnelRoute leads the payload of a CONNECT to a cluster. Nothing bounds it but its watch.
func (f forward) tunnelRoute() *routev3.Route {
	match := connects()
	match.Headers = []*routev3.HeaderMatcher{headerIs(RouteHeader, f.key), headerIs(BoundHeader, BoundWatched)}
	return &routev3.Route{
		Name:  f.key,
		Match: match,
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: cmp.Or(f.cluster, f.key)},
			Timeout:          &durationpb.Duration{},
			UpgradeConfigs:   []*routev3.RouteAction_UpgradeConfig{{UpgradeType: "CONNECT", ConnectConfig: &routev3.RouteAction_UpgradeConfig_ConnectConfig{}}},
		}},
	}
}

func authorityMatches(expression string) *routev3.HeaderMatcher {
	return &routev3.HeaderMatcher{
		Name: ":authority",
		HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: &matcherv3.StringMatcher{
			MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: expression}},
		}},
	}
}

func headerIs(name, value string) *routev3.HeaderMatcher {
	return &routev3.HeaderMatcher{
		Name:                 name,
		HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: exactly(value)},
	}
}

func isWebSocket() *routev3.HeaderMatcher {
	match := exactly("websocket")
	match.IgnoreCase = true
	return &routev3.HeaderMatcher{Name: "upgrade", HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: match}}
}

// refusals end what no decision gave a route that Envoy has. A CONNECT has no path.
func refusals(status uint32) []*routev3.Route {
	refuse := func(name string, match *routev3.RouteMatch) *routev3.Route {
		return &routev3.Route{
			Name:   name,
			Match:  match,
			Action: &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: status}},
		}
	}
	return []*routev3.Route{refuse("refused-connect", connects()), refuse("refused", everyPath())}
}
