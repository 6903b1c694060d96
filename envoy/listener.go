package envoy

import (
	"net/netip"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Fixed builds what the gateway serves beside the catalog's part and what does not change while it runs: the listeners
// (a change would cut live streams), the clusters of public hosts, and the secrets.
func Fixed(l Local) Resources {
	r := Resources{
		Listeners: []*listenerv3.Listener{gatewayListener(l)},
		Clusters:  ownClusters(),
		Secrets:   secrets(l),
	}
	if l.forwards() {
		r.Listeners = append(r.Listeners, forwardListener(l), insideListener())
	}
	if l.servesTLS() {
		r.Routes = []*routev3.RouteConfiguration{plainRoutes()}
	}
	r.sort()
	return r
}

// ownClusters are those that every catalog's routes may lead to.
func ownClusters() []*clusterv3.Cluster { return append(publicClusters(), insideCluster()) }

const (
	// inspectTimeout is how long a client may take until it is known whether it speaks TLS.
	inspectTimeout = 5 * time.Second
	// handshakeTimeout is how long its handshake may take.
	handshakeTimeout = 10 * time.Second
)

// gatewayListener speaks TLS where there is a certificate; plain HTTP beside it reaches little.
func gatewayListener(l Local) *listenerv3.Listener {
	if !l.servesTLS() {
		return listener(ListenerGateway, l.Listen, plainChain(ModeGateway))
	}
	return listener(ListenerGateway, l.Listen, tlsChain(serveTLS(), ModeGateway), plainChain(ModePlain))
}

// forwardListener speaks plain HTTP, as most clients of proxies do, and TLS beside it where there is a certificate. Then
// what comes from another host in plain text learns that it has to speak TLS, unless that is allowed.
func forwardListener(l Local) *listenerv3.Listener {
	switch plain := plainChain(ModeForward); {
	case !l.servesTLS():
		return listener(ListenerForward, l.Forward, plain)
	case l.ForwardPlain:
		return listener(ListenerForward, l.Forward, tlsChain(serveTLS(), ModeForward), plain)
	default:
		return listener(ListenerForward, l.Forward, tlsChain(serveTLS(), ModeForward), fromThisHost(plain), plainChain(ModePlain))
	}
}

// fromThisHost narrows a chain to clients that are on this host.
func fromThisHost(chain *listenerv3.FilterChain) *listenerv3.FilterChain {
	chain.Name += "-near"
	chain.FilterChainMatch.SourceType = listenerv3.FilterChainMatch_SAME_IP_OR_LOOPBACK
	return chain
}

// listener takes what is plain text by its last chain; one that has another beside it looks first.
func listener(name string, address netip.AddrPort, chains ...*listenerv3.FilterChain) *listenerv3.Listener {
	built := &listenerv3.Listener{
		Name:                          name,
		Address:                       socketAddress(address.Addr().String(), address.Port()),
		PerConnectionBufferLimitBytes: wrapperspb.UInt32(bufferBytes),
		FilterChains:                  chains,
	}
	if len(chains) == 1 {
		chains[0].FilterChainMatch = nil
		return built
	}
	built.ListenerFiltersTimeout = durationpb.New(inspectTimeout)
	built.ListenerFilters = []*listenerv3.ListenerFilter{inspectTLS()}
	return built
}

func inspectTLS() *listenerv3.ListenerFilter {
	return &listenerv3.ListenerFilter{
		Name:       "envoy.filters.listener.tls_inspector",
		ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: pack(&tlsinspectorv3.TlsInspector{})},
	}
}

func tlsChain(socket *corev3.TransportSocket, mode string) *listenerv3.FilterChain {
	return &listenerv3.FilterChain{
		Name:                          "tls",
		FilterChainMatch:              &listenerv3.FilterChainMatch{TransportProtocol: "tls"},
		TransportSocket:               socket,
		TransportSocketConnectTimeout: durationpb.New(handshakeTimeout),
		Filters:                       []*listenerv3.Filter{connectionManager(mode)},
	}
}

func plainChain(mode string) *listenerv3.FilterChain {
	return &listenerv3.FilterChain{
		Name:             "plain",
		FilterChainMatch: &listenerv3.FilterChainMatch{TransportProtocol: "raw_buffer"},
		Filters:          []*listenerv3.Filter{connectionManager(mode)},
	}
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
