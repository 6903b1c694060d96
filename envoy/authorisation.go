package envoy

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
)

const authorisationFilter = "envoy.filters.http.ext_authz"

// authorisation asks the decision service. Whatever keeps an answer from coming refuses the request. Headers go as raw
// bytes, each copy by itself, so that the service judges what the upstream would get. The route is chosen again only
// when the answer set [RouteHeader]. There are no mutation rules: with them a rewrite that Envoy refuses would be
// dropped silently and the request would go to its original host.
func authorisation(mode string) *hcmv3.HttpFilter {
	service := toGateway(durationpb.New(CheckTimeout))
	service.InitialMetadata = []*corev3.HeaderValue{{Key: ModeKey, Value: mode}}
	if mode == ModeInside {
		service.InitialMetadata = append(service.InitialMetadata, &corev3.HeaderValue{Key: OuterKey, Value: "%FILTER_STATE(" + outerState + ":PLAIN)%"})
	}
	return httpFilter(authorisationFilter, &authzv3.ExtAuthz{
		Services:               &authzv3.ExtAuthz_GrpcService{GrpcService: service},
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

func toGateway(timeout *durationpb.Duration) *corev3.GrpcService {
	return &corev3.GrpcService{
		Timeout: timeout,
		TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{
			EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: ClusterAuthz},
		},
	}
}
