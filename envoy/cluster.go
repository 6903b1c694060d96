package envoy

import (
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	dfpclusterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dynamic_forward_proxy/v3"
	dfpcachev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/dynamic_forward_proxy/v3"
	headermutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	upstreamcodecv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/upstream_codec/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	upstreamhttpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const (
	protocolOptionsName = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
	dynamicCluster      = "envoy.clusters.dynamic_forward_proxy"
	upstreamTLS         = "envoy.transport_sockets.tls"

	// http1Suffix names the twin of a TLS cluster that never speaks HTTP/2: a WebSocket handshake is HTTP/1.1, and an
	// upstream that has negotiated HTTP/2 refuses it.
	http1Suffix = "-h1"

	connectTimeout = 5 * time.Second
	// idleTimeout is below what common servers keep idle connections for, so that a request is rarely sent on a
	// connection that the upstream is closing. Nothing is retried.
	idleTimeout = 50 * time.Second
	// maxPerCluster bounds connections, pending and running requests of one cluster; all public hosts share one.
	maxPerCluster  = 20_000
	maxCachedHosts = 20_000
	bufferBytes    = 64 << 10
)

// publicClusters lead to whatever public host a request names.
func publicClusters() []*clusterv3.Cluster {
	return append(
		dynamic(RoutePublicTLS, publicValidation()),
		dynamic(RoutePublicPlain, nil)...,
	)
}

// dynamic builds a cluster that connects to the host named by :authority, resolved by the shared DNS cache; with trust
// also its HTTP/1.1 twin.
func dynamic(name string, trust *tlsv3.CommonTlsContext) []*clusterv3.Cluster {
	build := func(name string, options *anypb.Any) *clusterv3.Cluster {
		c := upstreamCluster(name, options)
		c.LbPolicy = clusterv3.Cluster_CLUSTER_PROVIDED
		c.ClusterDiscoveryType = &clusterv3.Cluster_ClusterType{ClusterType: &clusterv3.Cluster_CustomClusterType{
			Name: dynamicCluster,
			TypedConfig: pack(&dfpclusterv3.ClusterConfig{
				ClusterImplementationSpecifier: &dfpclusterv3.ClusterConfig_DnsCacheConfig{DnsCacheConfig: dnsCache()},
			}),
		}}
		if trust != nil {
			c.TransportSocket = transportSocket(&tlsv3.UpstreamTlsContext{CommonTlsContext: trust})
		}
		return c
	}
	filters := upstreamFilters(publicOnly())
	if trust == nil {
		return []*clusterv3.Cluster{build(name, http1Options(nameFromAuthority(), filters))} // Envoy wants the names in plain text too
	}
	return []*clusterv3.Cluster{
		build(name, negotiatedOptions(nameFromAuthority(), filters)),
		build(name+http1Suffix, http1Options(nameFromAuthority(), filters)),
	}
}

// upstreamCluster holds what all clusters outside the gateway process have in common.
func upstreamCluster(name string, options *anypb.Any) *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name:                          name,
		ConnectTimeout:                durationpb.New(connectTimeout),
		PerConnectionBufferLimitBytes: wrapperspb.UInt32(bufferBytes),
		CircuitBreakers:               breakers(maxPerCluster),
		TypedExtensionProtocolOptions: map[string]*anypb.Any{protocolOptionsName: options},
	}
}

// dnsCache is shared by the filter that resolves and by every cluster that connects by name; Envoy demands that all
// copies are equal.
func dnsCache() *dfpcachev3.DnsCacheConfig {
	return &dfpcachev3.DnsCacheConfig{
		Name:                  "public",
		DnsLookupFamily:       clusterv3.Cluster_V4_PREFERRED,
		DnsMinRefreshRate:     durationpb.New(5 * time.Second),
		DnsQueryTimeout:       durationpb.New(5 * time.Second),
		MaxHosts:              wrapperspb.UInt32(maxCachedHosts),
		ResolvedAddressFilter: resolvedAddressFilter(),
	}
}

// upstreamFilters run once the address to connect to is known: the address rule, then the removal of everything that an
// upstream must not see, then the codec. No trailers go on: they come after the decision, which knows nothing of them.
func upstreamFilters(rule *hcmv3.HttpFilter) []*hcmv3.HttpFilter {
	return []*hcmv3.HttpFilter{
		rule,
		httpFilter("envoy.filters.http.header_mutation", &headermutationv3.HeaderMutation{
			Mutations: &headermutationv3.Mutations{
				RequestMutations: removeHeaders(startsWith("x-caracal-"), startsWith("x-envoy-"), startsWith("x-forwarded-"), startsWith("proxy-")),

				RequestTrailersMutations: removeHeaders(anything()),
			},
		}),
		httpFilter("envoy.filters.http.upstream_codec", &upstreamcodecv3.UpstreamCodec{}),
	}
}

func removeHeaders(names ...*matcherv3.StringMatcher) []*mutationv3.HeaderMutation {
	mutations := make([]*mutationv3.HeaderMutation, len(names))
	for i, name := range names {
		mutations[i] = &mutationv3.HeaderMutation{Action: &mutationv3.HeaderMutation_RemoveOnMatch_{
			RemoveOnMatch: &mutationv3.HeaderMutation_RemoveOnMatch{KeyMatcher: name},
		}}
	}
	return mutations
}

func startsWith(prefix string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: prefix}}
}

func contains(part string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Contains{Contains: part}}
}

func exactly(text string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: text}}
}

func anything() *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: ".*"}}}
}

func httpFilter(name string, config proto.Message) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(config)}}
}

// publicValidation trusts the public roots, which the gateway delivers as a secret: a configuration from the control
// plane names no file of the gateway's host.
func publicValidation() *tlsv3.CommonTlsContext {
	return &tlsv3.CommonTlsContext{ValidationContextType: &tlsv3.CommonTlsContext_ValidationContextSdsSecretConfig{
		ValidationContextSdsSecretConfig: secret(SecretPublicRoots),
	}}
}

func transportSocket(config proto.Message) *corev3.TransportSocket {
	return &corev3.TransportSocket{
		Name:       upstreamTLS,
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: pack(config)},
	}
}

// nameFromAuthority takes the name for SNI and certificate from the request, which the decision service wrote.
func nameFromAuthority() *corev3.UpstreamHttpProtocolOptions {
	return &corev3.UpstreamHttpProtocolOptions{AutoSni: true, AutoSanValidation: true}
}

// grpcOptions speak HTTP/2 to the gateway process and notice within seconds when it hangs.
func grpcOptions() *anypb.Any {
	return pack(&upstreamhttpv3.HttpProtocolOptions{
		UpstreamProtocolOptions: &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig_{
			ExplicitHttpConfig: &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig{
				ProtocolConfig: &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{
					Http2ProtocolOptions: &corev3.Http2ProtocolOptions{
						ConnectionKeepalive: &corev3.KeepaliveSettings{
							Interval: durationpb.New(KeepaliveInterval),
							Timeout:  durationpb.New(KeepaliveInterval),
						},
					},
				},
			},
		},
	})
}

// http1Options speak HTTP/1.1 only.
func http1Options(names *corev3.UpstreamHttpProtocolOptions, filters []*hcmv3.HttpFilter) *anypb.Any {
	return pack(&upstreamhttpv3.HttpProtocolOptions{
		CommonHttpProtocolOptions:   &corev3.HttpProtocolOptions{IdleTimeout: durationpb.New(idleTimeout)},
		UpstreamHttpProtocolOptions: names,
		HttpFilters:                 filters,
		UpstreamProtocolOptions: &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig_{
			ExplicitHttpConfig: &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig{
				ProtocolConfig: &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{
					HttpProtocolOptions: &corev3.Http1ProtocolOptions{},
				},
			},
		},
	})
}

// negotiatedOptions let TLS choose between HTTP/2 and HTTP/1.1.
func negotiatedOptions(names *corev3.UpstreamHttpProtocolOptions, filters []*hcmv3.HttpFilter) *anypb.Any {
	return pack(&upstreamhttpv3.HttpProtocolOptions{
		CommonHttpProtocolOptions:   &corev3.HttpProtocolOptions{IdleTimeout: durationpb.New(idleTimeout)},
		UpstreamHttpProtocolOptions: names,
		HttpFilters:                 filters,
		UpstreamProtocolOptions: &upstreamhttpv3.HttpProtocolOptions_AutoConfig{
			AutoConfig: &upstreamhttpv3.HttpProtocolOptions_AutoHttpConfig{
				HttpProtocolOptions:  &corev3.Http1ProtocolOptions{},
				Http2ProtocolOptions: &corev3.Http2ProtocolOptions{},
			},
		},
	})
}
