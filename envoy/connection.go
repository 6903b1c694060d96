package envoy

import (
	"slices"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	grpclogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"
	dfpfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/dynamic_forward_proxy/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	earlymutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const (
	connectionFilter = "envoy.filters.network.http_connection_manager"
	maxHeadersKiB    = 32
	insideCloseDelay = 100 * time.Millisecond
	// headersTimeout is how long a client may take to send the head of a request that it has begun.
	headersTimeout = 10 * time.Second
	// restTimeout is how long a client's connection may be without a request, at first and between two: longer than clients
	// keep theirs as a rule, so that they end them and no request meets the end. Envoy's default of an hour would let
	// whoever opens connections and is silent use up what there is.
	restTimeout = 2 * time.Minute
)

// connectionManager reads HTTP and takes each request through authorisation, registration of its watch, name resolution and
// routing, in this order: nothing is resolved for a request that was not permitted, or that is permitted no more.
//
// Paths stay byte for byte as they were sent, so that the decision service judges, and refuses, what the upstream would
// get. No request id is made and no peer address appended: the upstream sees the caller's headers.
func connectionManager(mode string) *listenerv3.Filter {
	return &listenerv3.Filter{Name: connectionFilter, ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pack(&hcmv3.HttpConnectionManager{
		StatPrefix: mode,
		RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{
			ConfigSource:    ads(),
			RouteConfigName: routesOf(mode),
		}},
		HttpFilters: filters(mode),

		NormalizePath:                wrapperspb.Bool(false),
		MergeSlashes:                 false,
		PathWithEscapedSlashesAction: hcmv3.HttpConnectionManager_KEEP_UNCHANGED,
		CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{
			HeadersWithUnderscoresAction: corev3.HttpProtocolOptions_REJECT_REQUEST,
			IdleTimeout:                  durationpb.New(restTimeout),
		},
		// Some clients of proxies ask for tunnels in the words of HTTP/1.0.
		HttpProtocolOptions: &corev3.Http1ProtocolOptions{AcceptHttp_10: mode == ModeForward},
		Http2ProtocolOptions: &corev3.Http2ProtocolOptions{
			AllowConnect:                mode == ModeForward,
			MaxConcurrentStreams:        wrapperspb.UInt32(100),
			InitialStreamWindowSize:     wrapperspb.UInt32(bufferBytes),
			InitialConnectionWindowSize: wrapperspb.UInt32(1 << 20),
		},
		EarlyHeaderMutationExtensions: []*corev3.TypedExtensionConfig{removeReserved()},
		UseRemoteAddress:              wrapperspb.Bool(true),
		// What the client sent behind its certificate reaches the decision service in no other way.
		ForwardClientCertDetails:    hcmv3.HttpConnectionManager_SANITIZE_SET, //nolint:misspell // a name of Envoy
		SetCurrentClientCertDetails: &hcmv3.HttpConnectionManager_SetCurrentClientCertDetails{Chain: true},
		SkipXffAppend:               true,
		GenerateRequestId:           wrapperspb.Bool(false),
		ServerHeaderTransformation:  hcmv3.HttpConnectionManager_PASS_THROUGH,
		MaxRequestHeadersKb:         wrapperspb.UInt32(maxHeadersKiB),

		RequestHeadersTimeout: durationpb.New(headersTimeout),
		StreamIdleTimeout:     durationpb.New(5 * time.Minute),
		DelayedCloseTimeout:   durationpb.New(closeDelay(mode)),

		// Without an entry for CONNECT one would be refused before anybody was asked.
		UpgradeConfigs: []*hcmv3.HttpConnectionManager_UpgradeConfig{{UpgradeType: "websocket"}, {UpgradeType: "CONNECT"}},

		LocalReplyConfig: localReplies(),
		AccessLog:        []*accesslogv3.AccessLog{accessLog()},
	})}}
}

// closeDelay is how long a connection stays after an answer that came before the end of its request. Envoy's default of a
// second would delay the end that clients see of a cut stream. Inside of a tunnel some of it is needed: the tunnel's end of
// the connection takes a failure to write for the end of all, and what the client sends meanwhile would make it drop the
// answer before it is read.
func closeDelay(mode string) time.Duration {
	if mode == ModeInside {
		return insideCloseDelay
	}
	return 0
}

// routesOf is the route table that requests of a way in take.
func routesOf(mode string) string {
	if mode == ModePlain {
		return PlainRoutes
	}
	return GatewayRoutes
}

func filters(mode string) []*hcmv3.HttpFilter {
	chain := []*hcmv3.HttpFilter{authorisation(mode), watch(), resolution(), routing()}
	if mode == ModeForward {
		chain = slices.Insert(chain, 1, handOver())
	}
	return chain
}

// removeReserved drops what only the gateway itself may say, and headers by which a client could make an upstream see
// another path than the one that was judged, before anything reads them.
func removeReserved() *corev3.TypedExtensionConfig {
	return &corev3.TypedExtensionConfig{
		Name: "envoy.http.early_header_mutation.header_mutation",
		TypedConfig: pack(&earlymutationv3.HeaderMutation{Mutations: removeHeaders(
			startsWith(internalPrefix), startsWith("x-envoy-"), startsWith("x-forwarded-"), exactly("x-original-url"), exactly("x-rewrite-url"),
		)}),
	}
}

// resolution resolves the host of a request on its way to a cluster that connects by name.
func resolution() *hcmv3.HttpFilter {
	return httpFilter("envoy.filters.http.dynamic_forward_proxy", &dfpfilterv3.FilterConfig{
		ImplementationSpecifier: &dfpfilterv3.FilterConfig_DnsCacheConfig{DnsCacheConfig: dnsCache()},
	})
}

func routing() *hcmv3.HttpFilter {
	return httpFilter("envoy.filters.http.router", &routerv3.Router{
		SuppressEnvoyHeaders:          true,
		RejectConnectRequestEarlyData: wrapperspb.Bool(true),
	})
}

// accessLog tells the gateway process how each request ended; entries made while it is away wait for its return.
func accessLog() *accesslogv3.AccessLog {
	return &accesslogv3.AccessLog{
		Name: "envoy.access_loggers.http_grpc",
		ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: pack(&grpclogv3.HttpGrpcAccessLogConfig{
			CommonConfig: &grpclogv3.CommonGrpcAccessLogConfig{
				LogName:             AccessLogName,
				TransportApiVersion: corev3.ApiVersion_V3,
				GrpcService:         toGateway(nil),
				BufferFlushInterval: durationpb.New(200 * time.Millisecond),
				GrpcStreamRetryPolicy: &corev3.RetryPolicy{
					NumRetries: wrapperspb.UInt32(20),
					RetryBackOff: &corev3.BackoffStrategy{
						BaseInterval: durationpb.New(200 * time.Millisecond),
						MaxInterval:  durationpb.New(time.Second),
					},
				},
			},
		})},
	}
}
