package envoy_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	procv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/caracal-gateway/caracal/envoy"
)

const watchFilter = "envoy.filters.http.ext_proc"

// unbound takes the header away that says what ends a request.
func unbound(headers []*routev3.HeaderMatcher) []*routev3.HeaderMatcher {
	return slices.DeleteFunc(slices.Clone(headers), func(h *routev3.HeaderMatcher) bool { return h.GetName() == envoy.BoundHeader })
}

// watchedRoutes edits the routes of requests that are watched.
func watchedRoutes(edits func(*routev3.Route)) func(*bootstrapv3.Bootstrap, *envoy.Resources) {
	return forwarding(func(r *routev3.Route, _ *routev3.RouteAction) {
		watched := func(h *routev3.HeaderMatcher) bool { return h.GetStringMatch().GetExact() == envoy.BoundWatched }
		if slices.ContainsFunc(r.GetMatch().GetHeaders(), watched) {
			edits(r)
		}
	})
}

func perRoute(o *procv3.ExtProcPerRoute) map[string]*anypb.Any {
	return map[string]*anypb.Any{watchFilter: packed(o)}
}

func overriding(o *procv3.ExtProcOverrides) map[string]*anypb.Any {
	return perRoute(&procv3.ExtProcPerRoute{Override: &procv3.ExtProcPerRoute_Overrides{Overrides: o}})
}

func TestAConfigurationThatCouldLeaveAStreamUnwatchedIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*bootstrapv3.Bootstrap, *envoy.Resources)
		want   string
	}{
		"streams go on when nobody watches them": {
			change(func(p *procv3.ExternalProcessor) { p.FailureModeAllow = true }),
			"failure_mode_allow is set: live streams would go on when nobody watches them",
		},
		"a watch that only looks on": {
			change(func(p *procv3.ExternalProcessor) { p.ObservabilityMode = true }),
			"observability_mode is set: a watch could not end its stream",
		},
		"a watch that may not end its stream": {
			change(func(p *procv3.ExternalProcessor) { p.DisableImmediateResponse = true }),
			"disable_immediate_response is set",
		},
		"a watch that may be told to watch less": {
			change(func(p *procv3.ExternalProcessor) { p.AllowModeOverride = true }),
			"allow_mode_override is set",
		},
		"a watch that may put its answer off": {
			change(func(p *procv3.ExternalProcessor) { p.MaxMessageTimeout = durationpb.New(time.Hour) }),
			"max_message_timeout is set",
		},
		"a watch that is registered with somebody else": {
			change(func(p *procv3.ExternalProcessor) { p.GetGrpcService().GetEnvoyGrpc().ClusterName = "public-plain" }),
			"grpc_service.envoy_grpc.cluster_name is \"public-plain\"",
		},
		"a watch that hears nothing of requests": {
			change(func(p *procv3.ExternalProcessor) {
				p.GetProcessingMode().RequestHeaderMode = procv3.ProcessingMode_SKIP
			}),
			"processing_mode.request_header_mode",
		},
		"a watch that ends with the request's headers": {
			change(func(p *procv3.ExternalProcessor) {
				p.GetProcessingMode().ResponseTrailerMode = procv3.ProcessingMode_SKIP
			}),
			"processing_mode.response_trailer_mode",
		},
		"a watch that does not know its decision": {
			change(func(p *procv3.ExternalProcessor) { p.MetadataOptions = nil }),
			"metadata_options is missing",
		},
		"a watch that may write the record of its decision": {
			change(func(p *procv3.ExternalProcessor) {
				p.GetMetadataOptions().ReceivingNamespaces = &procv3.MetadataOptions_MetadataNamespaces{Untyped: []string{envoy.MetadataNamespace}}
			}),
			"receiving_namespaces is set",
		},
		"no watch in the filter chain": {
			change(func(m *hcmv3.HttpConnectionManager) { m.HttpFilters = slices.Delete(m.HttpFilters, 1, 2) }),
			"http_filters[1].name",
		},
		"a watch before the decision": {
			change(func(m *hcmv3.HttpConnectionManager) {
				m.HttpFilters[0], m.HttpFilters[1] = m.HttpFilters[1], m.HttpFilters[0]
			}),
			"http_filters[0].name",
		},
		"a watch after names are resolved": {
			change(func(m *hcmv3.HttpConnectionManager) {
				m.HttpFilters[1], m.HttpFilters[2] = m.HttpFilters[2], m.HttpFilters[1]
			}),
			"http_filters[1].name",
		},
		"a process that stands still for long": {
			change(func(k *corev3.KeepaliveSettings) { k.Timeout = durationpb.New(time.Minute) }),
			"connection_keepalive.timeout",
		},
		"a cut connection that lingers": {
			change(func(m *hcmv3.HttpConnectionManager) { m.DelayedCloseTimeout = nil }),
			"delayed_close_timeout",
		},
		"a watch disabled on a route": {
			watchedRoutes(func(r *routev3.Route) {
				r.TypedPerFilterConfig = perRoute(&procv3.ExtProcPerRoute{Override: &procv3.ExtProcPerRoute_Disabled{Disabled: true}})
			}),
			"disabled is set: requests on this route would go unwatched",
		},
		"a watch disabled on a route by the generic setting": {
			watchedRoutes(func(r *routev3.Route) {
				r.TypedPerFilterConfig = map[string]*anypb.Any{watchFilter: packed(&routev3.FilterConfig{Disabled: true})}
			}),
			"typed_per_filter_config",
		},
		"a watch skipped on a route": {
			watchedRoutes(func(r *routev3.Route) {
				r.TypedPerFilterConfig = overriding(&procv3.ExtProcOverrides{ProcessingMode: &procv3.ProcessingMode{RequestHeaderMode: procv3.ProcessingMode_SKIP}})
			}),
			"typed_per_filter_config",
		},
		"a watch skipped on a whole table": {
			change(func(v *routev3.VirtualHost) {
				v.TypedPerFilterConfig = overriding(&procv3.ExtProcOverrides{ProcessingMode: &procv3.ProcessingMode{RequestHeaderMode: procv3.ProcessingMode_SKIP}})
			}),
			"typed_per_filter_config",
		},
		"a route whose streams go on when nobody watches them": {
			watchedRoutes(func(r *routev3.Route) {
				r.TypedPerFilterConfig = overriding(&procv3.ExtProcOverrides{FailureModeAllow: wrapperspb.Bool(true)})
			}),
			"failure_mode_allow is set: live streams would go on when nobody watches them",
		},
		"a route that is watched by somebody else": {
			watchedRoutes(func(r *routev3.Route) {
				r.TypedPerFilterConfig = overriding(&procv3.ExtProcOverrides{GrpcService: &corev3.GrpcService{}})
			}),
			"grpc_service is set: streams on this route would be watched elsewhere",
		},
		"a forwarding route for requests that nothing ends": {
			forwarding(func(r *routev3.Route, _ *routev3.RouteAction) { r.Match.Headers = unbound(r.Match.Headers) }),
			"match.headers",
		},
		"a route for short requests that takes those to be watched": {
			forwarding(func(r *routev3.Route, _ *routev3.RouteAction) {
				for _, h := range r.GetMatch().GetHeaders() {
					if strings.HasPrefix(h.GetStringMatch().GetExact(), "short-") {
						h.HeaderMatchSpecifier = &routev3.HeaderMatcher_PresentMatch{PresentMatch: true}
					}
				}
			}),
			"match.",
		},
		"a short request that nothing ends before the upstream is connected to": {
			forwarding(func(_ *routev3.Route, a *routev3.RouteAction) { a.MaxStreamDuration = nil }),
			"route.max_stream_duration is missing",
		},
		"a short request that lasts for longer": {
			change(func(d *routev3.RouteAction_MaxStreamDuration) { d.MaxStreamDuration.Seconds = 60 }),
			"max_stream_duration.max_stream_duration.seconds is 60, want",
		},
		"a request that is not watched and longer than any short one": {
			forwarding(func(r *routev3.Route, a *routev3.RouteAction) {
				if a.MaxStreamDuration == nil {
					return
				}
				a.MaxStreamDuration.MaxStreamDuration.Seconds = 61
				for _, h := range r.GetMatch().GetHeaders() {
					if h.GetName() == envoy.BoundHeader {
						h.GetStringMatch().MatchPattern = &matcherv3.StringMatcher_Exact{Exact: envoy.Short(61)}
					}
				}
			}),
			"routes \"gateway\"",
		},
	} {
		t.Run(name, func(t *testing.T) {
			b, r := whole(t)
			c.change(b, &r)
			err := envoy.Validate(b, r)
			if err == nil {
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("refused because of %q, want %q", err, c.want)
			}
		})
	}
}
