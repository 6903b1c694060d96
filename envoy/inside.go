package envoy

import (
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	setstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/set_filter_state/v3"
	sethttpstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/set_filter_state/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	internalv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/internal_upstream/v3"
	rawbufferv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	snimapperv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/cert_mappers/sni/v3"
	ondemandv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/cert_selectors/on_demand_secret/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// outerState is where the id of the decision on a CONNECT goes along into the listener that its payload reaches.
const outerState = "caracal.outer"

// hashableString makes a string one that connection pools are told apart by.
const hashableString = "envoy.hashable_string"

// NoName is what the gateway process is asked a certificate for where a client names no server. It is no host.
const NoName = "no-name"

// handOver keeps the id of the decision on a CONNECT for the connection that its payload becomes. Nothing else goes
// along: what the decision rests on stays with the gateway process. In a pool that tunnels share, all connections get the id
// of the tunnel that the pool was made for, hence the kind of string.
func handOver() *hcmv3.HttpFilter {
	return httpFilter("envoy.filters.http.set_filter_state", &sethttpstatev3.Config{OnRequestHeaders: []*setstatev3.FilterStateValue{{
		Key:        &setstatev3.FilterStateValue_ObjectKey{ObjectKey: outerState},
		FactoryKey: hashableString,
		Value: &setstatev3.FilterStateValue_FormatString{FormatString: &corev3.SubstitutionFormatString{
			Format: &corev3.SubstitutionFormatString_TextFormatSource{
				TextFormatSource: inlineText("%DYNAMIC_METADATA(" + MetadataNamespace + ":" + MetadataDecisionID + ")%"),
			},
			OmitEmptyValues: true,
		}},
		SharedWithUpstream: setstatev3.FilterStateValue_ONCE,
	}}})
}

// insideCluster leads into the listener for what comes inside of a CONNECT.
func insideCluster() *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name:                 ClusterInside,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		ConnectTimeout:       durationpb.New(time.Second),
		LoadAssignment: assignment(ClusterInside, &corev3.Address{Address: &corev3.Address_EnvoyInternalAddress{
			EnvoyInternalAddress: &corev3.EnvoyInternalAddress{
				AddressNameSpecifier: &corev3.EnvoyInternalAddress_ServerListenerName{ServerListenerName: ListenerInside},
			},
		}}),
		CircuitBreakers:               breakers(maxConnections),
		PerConnectionBufferLimitBytes: wrapperspb.UInt32(bufferBytes),
		TransportSocket: &corev3.TransportSocket{
			Name: "envoy.transport_sockets.internal_upstream",
			ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: pack(&internalv3.InternalUpstreamTransport{
				TransportSocket: &corev3.TransportSocket{
					Name:       "envoy.transport_sockets.raw_buffer",
					ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: pack(&rawbufferv3.RawBuffer{})},
				},
			})},
		},
	}
}

// insideListener takes the payload of a CONNECT for HTTP, in plain text or in TLS. For TLS the gateway process makes a
// certificate of the name that the client asks for, when it asks.
func insideListener() *listenerv3.Listener {
	return &listenerv3.Listener{
		Name:                          ListenerInside,
		ListenerSpecifier:             &listenerv3.Listener_InternalListener{InternalListener: &listenerv3.Listener_InternalListenerConfig{}},
		PerConnectionBufferLimitBytes: wrapperspb.UInt32(bufferBytes),
		ListenerFiltersTimeout:        durationpb.New(inspectTimeout),
		ListenerFilters:               []*listenerv3.ListenerFilter{inspectTLS()},
		FilterChains:                  []*listenerv3.FilterChain{tlsChain(serveMinted(), ModeInside), plainChain(ModeInside)},
	}
}

// serveMinted takes its certificates from the gateway process, one for each name. Sessions are not resumed: each
// connection asks, so that a name that is refused from now on is refused.
func serveMinted() *corev3.TransportSocket {
	return transportSocket(&tlsv3.DownstreamTlsContext{
		SessionTicketKeysType:            &tlsv3.DownstreamTlsContext_DisableStatelessSessionResumption{DisableStatelessSessionResumption: true},
		DisableStatefulSessionResumption: true,
		CommonTlsContext: &tlsv3.CommonTlsContext{
			TlsParams:     &tlsv3.TlsParameters{TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_2},
			AlpnProtocols: []string{"h2", "http/1.1"},
			CustomTlsCertificateSelector: &corev3.TypedExtensionConfig{
				Name: "envoy.tls.certificate_selectors.on_demand_secret",
				TypedConfig: pack(&ondemandv3.Config{
					ConfigSource: fromGateway(),
					CertificateMapper: &corev3.TypedExtensionConfig{
						Name:        "envoy.tls.certificate_mappers.sni",
						TypedConfig: pack(&snimapperv3.SNI{DefaultValue: NoName}),
					},
				}),
			},
		},
	})
}

// fromGateway asks the gateway process on a stream of its own for each thing: names come and go, and one that is waited
// for holds up nothing else.
func fromGateway() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ResourceApiVersion: corev3.ApiVersion_V3,
		ConfigSourceSpecifier: &corev3.ConfigSource_ApiConfigSource{ApiConfigSource: &corev3.ApiConfigSource{
			ApiType:             corev3.ApiConfigSource_DELTA_GRPC,
			TransportApiVersion: corev3.ApiVersion_V3,
			GrpcServices: []*corev3.GrpcService{{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{
				EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: ClusterXDS},
			}}},
		}},
	}
}
