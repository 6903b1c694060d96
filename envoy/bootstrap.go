package envoy

import (
	"net/netip"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	metricsv3 "github.com/envoyproxy/go-control-plane/envoy/config/metrics/v3"
	overloadv3 "github.com/envoyproxy/go-control-plane/envoy/config/overload/v3"
	internallistenerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/bootstrap/internal_listener/v3"
	caresv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/network/dns_resolver/cares/v3"
	connectionsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const (
	adminMode      = 0o600
	maxConnections = 20_000
	// maxPerListener is how many of them may be at one port: whoever uses up one leaves room at the other.
	maxPerListener = maxConnections * 4 / 5
	// maxCalls bounds what is under way to the gateway process; running into it refuses requests.
	maxCalls = 100_000
)

// Bootstrap is what Envoy starts from: where the gateway process is, and nothing that a catalog could change.
func Bootstrap(l Local) *bootstrapv3.Bootstrap {
	return &bootstrapv3.Bootstrap{
		Node: &corev3.Node{Id: l.NodeID, Cluster: "caracal-gateway"},
		Admin: &bootstrapv3.Admin{Address: &corev3.Address{Address: &corev3.Address_Pipe{
			Pipe: &corev3.Pipe{Path: l.AdminSocket, Mode: adminMode},
		}}},
		StaticResources: &bootstrapv3.Bootstrap_StaticResources{Clusters: []*clusterv3.Cluster{
			gatewayProcess(ClusterAuthz, l.AuthzSocket, grpcOptions()),
			gatewayProcess(ClusterSelf, l.SelfSocket, http1Options(nil, nil)),
			gatewayProcess(ClusterXDS, l.XDSSocket, grpcOptions()),
		}},
		BootstrapExtensions: []*corev3.TypedExtensionConfig{{
			Name: "envoy.bootstrap.internal_listener", TypedConfig: pack(&internallistenerv3.InternalListener{}),
		}},
		// Envoy would keep some fifteen figures for each name that a certificate was made of.
		StatsConfig: &metricsv3.StatsConfig{StatsMatcher: &metricsv3.StatsMatcher{StatsMatcher: &metricsv3.StatsMatcher_ExclusionList{
			ExclusionList: &matcherv3.ListStringMatcher{Patterns: []*matcherv3.StringMatcher{startsWith("sds."), contains(".ssl.certificate.")}},
		}}},
		DynamicResources: &bootstrapv3.Bootstrap_DynamicResources{
			AdsConfig: &corev3.ApiConfigSource{
				ApiType:                   corev3.ApiConfigSource_DELTA_GRPC,
				TransportApiVersion:       corev3.ApiVersion_V3,
				SetNodeOnFirstMessageOnly: true,
				GrpcServices: []*corev3.GrpcService{{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{
					EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{
						ClusterName: ClusterXDS,
						RetryPolicy: &corev3.RetryPolicy{RetryBackOff: &corev3.BackoffStrategy{
							BaseInterval: durationpb.New(100 * time.Millisecond),
							MaxInterval:  durationpb.New(500 * time.Millisecond),
						}},
					},
				}}},
			},
			CdsConfig: ads(),
			LdsConfig: ads(),
		},
		TypedDnsResolverConfig: resolver(l.Resolvers),
		LayeredRuntime: &bootstrapv3.LayeredRuntime{Layers: []*bootstrapv3.RuntimeLayer{{
			Name:           "connections",
			LayerSpecifier: &bootstrapv3.RuntimeLayer_StaticLayer{StaticLayer: perListener(ListenerGateway, ListenerForward)},
		}}},
		OverloadManager: &overloadv3.OverloadManager{ResourceMonitors: []*overloadv3.ResourceMonitor{{
			Name: "envoy.resource_monitors.global_downstream_max_connections",
			ConfigType: &overloadv3.ResourceMonitor_TypedConfig{TypedConfig: pack(&connectionsv3.DownstreamConnectionsConfig{
				MaxActiveDownstreamConnections: maxConnections,
			})},
		}}},
	}
}

// perListener bounds how many connections listeners take, by Envoy's names for that.
func perListener(names ...string) *structpb.Struct {
	limits := &structpb.Struct{Fields: map[string]*structpb.Value{}}
	for _, name := range names {
		limits.Fields["envoy.resource_limits.listener."+name+".connection_limit"] = structpb.NewNumberValue(maxPerListener)
	}
	return limits
}

// ads asks on the one configuration stream, and waits: a gateway without its configuration opens no port.
func ads() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ResourceApiVersion:    corev3.ApiVersion_V3,
		InitialFetchTimeout:   durationpb.New(0),
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
	}
}

// resolver is the one resolver of the whole Envoy. Search domains are off: a short name must not reach a host of the
// operator's own network.
func resolver(servers []netip.AddrPort) *corev3.TypedExtensionConfig {
	config := &caresv3.CaresDnsResolverConfig{
		DnsResolverOptions:  &corev3.DnsResolverOptions{NoDefaultSearchDomain: true},
		QueryTimeoutSeconds: wrapperspb.UInt64(2),
		QueryTries:          wrapperspb.UInt32(2),
	}
	for _, server := range servers {
		config.Resolvers = append(config.Resolvers, socketAddress(server.Addr().String(), server.Port()))
	}
	return &corev3.TypedExtensionConfig{Name: "envoy.network.dns_resolver.cares", TypedConfig: pack(config)}
}

// gatewayProcess is a cluster with one endpoint: a Unix socket of the gateway process.
func gatewayProcess(name, socket string, options *anypb.Any) *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name:                 name,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		ConnectTimeout:       durationpb.New(250 * time.Millisecond),
		LoadAssignment: assignment(name, &corev3.Address{Address: &corev3.Address_Pipe{
			Pipe: &corev3.Pipe{Path: socket},
		}}),
		CircuitBreakers:               breakers(maxCalls),
		TypedExtensionProtocolOptions: map[string]*anypb.Any{protocolOptionsName: options},
	}
}

func assignment(cluster string, address *corev3.Address) *endpointv3.ClusterLoadAssignment {
	return &endpointv3.ClusterLoadAssignment{
		ClusterName: cluster,
		Endpoints: []*endpointv3.LocalityLbEndpoints{{LbEndpoints: []*endpointv3.LbEndpoint{{
			HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: address}},
		}}}},
	}
}

func socketAddress(host string, port uint16) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address:       host,
		PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(port)},
	}}}
}

// breakers replaces Envoy's defaults of 1024, which one busy host could use up for all others.
func breakers(limit uint32) *clusterv3.CircuitBreakers {
	return &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{
		MaxConnections:     wrapperspb.UInt32(limit),
		MaxPendingRequests: wrapperspb.UInt32(limit),
		MaxRequests:        wrapperspb.UInt32(limit),
	}}}
}
