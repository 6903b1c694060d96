package envoy

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
)

const authorisationFilter = "envoy.filters.http.ext_authz"

// authorisation asks the decision service. Whatever keeps an answer from coming refuses the request. Headers go as raw
// bytes, each copy by itself, so that the service judges what the upstream would get. The route is chosen again only
// when the answer set [RouteHeader]. There are no mutation rules: with them a rewrite that Envoy refuses would be
// dropped silently and the request would go to its original host.
func authorisation() *hcmv3.HttpFilter {
	return httpFilter(authorisationFilter, &authzv3.ExtAuthz{
		Services:               &authzv3.ExtAuthz_GrpcService{GrpcService: toGateway(durationpb.New(CheckTimeout))},
		TransportApiVersion:    corev3.ApiVersion_V3,
		StatusOnError:          &typev3.HttpStatus{Code: typev3.StatusCode_ServiceUnavailable},
		ValidateMutations:      true,
		EncodeRawHeaders:       true,
		IncludePeerCertificate: true,
		IncludeTlsSession:      true,
		ClearRouteCache:        true,
		ClearRouteCacheHeaders: []string{RouteHeader},
	})
}

// wayInContext tells the decision service by which way a request came.
func wayInContext(mode string) *anypb.Any {
	return pack(&authzv3.ExtAuthzPerRoute{Override: &authzv3.ExtAuthzPerRoute_CheckSettings{
		CheckSettings: &authzv3.CheckSettings{ContextExtensions: map[string]string{ModeKey: mode}},
	}})
}

func toGateway(timeout *durationpb.Duration) *corev3.GrpcService {
	return &corev3.GrpcService{
		Timeout: timeout,
		TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{
			EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: ClusterAuthz},
		},
	}
}
