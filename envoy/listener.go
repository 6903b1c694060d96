package envoy

import (
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Fixed builds what the gateway serves beside the catalog's part and what does not change while it runs: the listener
// (a change would cut live streams), the clusters of public hosts, and the secrets.
func Fixed(l Local) Resources {
	r := Resources{
		Listeners: []*listenerv3.Listener{listener(l)},
		Clusters:  publicClusters(),
		Secrets:   secrets(l),
	}
	if l.servesTLS() {
		r.Routes = []*routev3.RouteConfiguration{plainRoutes()}
	}
	r.sort()
	return r
}

func listener(l Local) *listenerv3.Listener {
	built := &listenerv3.Listener{
		Name:                          ListenerGateway,
		Address:                       socketAddress(l.Listen.Addr().String(), l.Listen.Port()),
		PerConnectionBufferLimitBytes: wrapperspb.UInt32(bufferBytes),
	}
	if !l.servesTLS() {
		built.FilterChains = []*listenerv3.FilterChain{{
			Name:    "plain",
			Filters: []*listenerv3.Filter{connectionManager(GatewayRoutes)},
		}}
		return built
	}
	built.ListenerFiltersTimeout = durationpb.New(5 * time.Second)
	built.ListenerFilters = []*listenerv3.ListenerFilter{{
		Name:       "envoy.filters.listener.tls_inspector",
		ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: pack(&tlsinspectorv3.TlsInspector{})},
	}}
	built.FilterChains = []*listenerv3.FilterChain{
		{
			Name:                          "tls",
			FilterChainMatch:              &listenerv3.FilterChainMatch{TransportProtocol: "tls"},
			TransportSocket:               serveTLS(),
			TransportSocketConnectTimeout: durationpb.New(10 * time.Second),
			Filters:                       []*listenerv3.Filter{connectionManager(GatewayRoutes)},
		},
		{
			Name:             "plain",
			FilterChainMatch: &listenerv3.FilterChainMatch{TransportProtocol: "raw_buffer"},
			Filters:          []*listenerv3.Filter{connectionManager(PlainRoutes)},
		},
	}
	return built
}

// askForCertificate asks each client for a certificate and takes any, or none: Envoy makes sure that the client holds the
// private key, and the decision service whom the certificate identifies, for every request. So the listener stays as it is
// when the workspace's authorities change, an authority that is taken away counts no more on connections that are open, and
// a certificate that identifies nobody gets an answer that says so and is recorded, instead of a broken handshake.
func askForCertificate() *tlsv3.CommonTlsContext_ValidationContext {
	return &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{
		TrustChainVerification: tlsv3.CertificateValidationContext_ACCEPT_UNTRUSTED,
	}}
}

func serveTLS() *corev3.TransportSocket {
	return transportSocket(&tlsv3.DownstreamTlsContext{RequireClientCertificate: wrapperspb.Bool(false), CommonTlsContext: &tlsv3.CommonTlsContext{
		TlsParams:                      &tlsv3.TlsParameters{TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_2},
		AlpnProtocols:                  []string{"h2", "http/1.1"},
		TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{secret(SecretListener)},
		ValidationContextType:          askForCertificate(),
	}})
}
