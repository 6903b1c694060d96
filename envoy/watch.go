package envoy

import (
	procv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
)

const watchFilter = "envoy.filters.http.ext_proc"

// watch opens a gRPC stream to the gateway process for a request that was permitted, before anything of it goes upstream,
// and keeps it until the response is over: for the trailers that may still come. The gateway process ends the request by
// a word on that stream, and so does whatever breaks it. No header and no byte of a body goes by it; what it says of the
// request is the metadata that the decision answered with.
//
// A route is watched unless it says otherwise, so that one which says nothing is.
func watch() *hcmv3.HttpFilter {
	return httpFilter(watchFilter, &procv3.ExternalProcessor{
		GrpcService: toGateway(nil),
		ProcessingMode: &procv3.ProcessingMode{
			RequestHeaderMode:   procv3.ProcessingMode_SEND,
			ResponseHeaderMode:  procv3.ProcessingMode_SKIP,
			RequestTrailerMode:  procv3.ProcessingMode_SKIP,
			ResponseTrailerMode: procv3.ProcessingMode_SEND,
		},
		MessageTimeout:   durationpb.New(CheckTimeout),
		ForwardRules:     &procv3.HeaderForwardingRules{DisallowedHeaders: &matcherv3.ListStringMatcher{Patterns: []*matcherv3.StringMatcher{anything()}}},
		RouteCacheAction: procv3.ExternalProcessor_RETAIN,
		MetadataOptions: &procv3.MetadataOptions{ForwardingNamespaces: &procv3.MetadataOptions_MetadataNamespaces{
			Untyped: []string{MetadataNamespace},
		}},
	})
}

// unwatched is for routes whose requests end by themselves.
func unwatched() map[string]*anypb.Any {
	return map[string]*anypb.Any{watchFilter: pack(&procv3.ExtProcPerRoute{Override: &procv3.ExtProcPerRoute_Overrides{
		Overrides: &procv3.ExtProcOverrides{ProcessingMode: &procv3.ProcessingMode{
			RequestHeaderMode:   procv3.ProcessingMode_SKIP,
			ResponseHeaderMode:  procv3.ProcessingMode_SKIP,
			RequestTrailerMode:  procv3.ProcessingMode_SKIP,
			ResponseTrailerMode: procv3.ProcessingMode_SKIP,
		}},
	}})}
}
