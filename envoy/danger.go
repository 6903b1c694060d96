package envoy

import (
	"fmt"
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	setstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/set_filter_state/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protopath"
	"google.golang.org/protobuf/reflect/protorange"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// dangers are settings that the gateway never uses, and what each would do. They are looked for wherever they could be,
// whatever this package builds.
func dangers() map[protoreflect.FullName]string {
	const (
		authz   = "envoy.extensions.filters.http.ext_authz.v3."
		route   = "envoy.config.route.v3."
		proc    = "envoy.extensions.filters.http.ext_proc.v3."
		manager = "envoy.extensions.filters.network.http_connection_manager.v3."
	)
	return map[protoreflect.FullName]string{
		authz + "ExtAuthz.failure_mode_allow":            "requests would pass when no decision comes",
		authz + "ExtAuthz.failure_mode_allow_header_add": "requests would pass when no decision comes",
		authz + "ExtAuthz.shadow_mode":                   "denials would be ignored",
		authz + "ExtAuthz.filter_enabled":                "some requests would pass without a decision",
		authz + "ExtAuthz.filter_enabled_metadata":       "some requests would pass without a decision",
		authz + "ExtAuthz.decoder_header_mutation_rules": "rewrites of the target would be dropped silently",
		authz + "ExtAuthz.allowed_headers":               "the decision would not see every header that the upstream gets",
		authz + "ExtAuthz.disallowed_headers":            "the decision would not see every header that the upstream gets",
		authz + "ExtAuthz.http_service":                  "decisions would be taken elsewhere",
		authz + "ExtAuthzPerRoute.disabled":              "requests on this route would pass without a decision",
		authz + "CheckSettings.grpc_service":             "decisions on this route would be taken elsewhere",
		authz + "CheckSettings.http_service":             "decisions on this route would be taken elsewhere",

		proc + "ExternalProcessor.failure_mode_allow":         "live streams would go on when nobody watches them",
		proc + "ExternalProcessor.observability_mode":         "a watch could not end its stream",
		proc + "ExternalProcessor.disable_immediate_response": "a watch could not end its stream",
		proc + "ExternalProcessor.allow_mode_override":        "a stream could be told to go unwatched",
		proc + "ExternalProcessor.max_message_timeout":        "a request could be told to wait for ever",
		proc + "ExternalProcessor.http_service":               "streams would be watched elsewhere",
		proc + "MetadataOptions.receiving_namespaces":         "a watch could change the record of its decision",
		proc + "ExtProcPerRoute.disabled":                     "requests on this route would go unwatched",
		proc + "ExtProcOverrides.grpc_service":                "streams on this route would be watched elsewhere",
		proc + "ExtProcOverrides.failure_mode_allow":          "live streams would go on when nobody watches them",
		proc + "ExtProcOverrides.async_mode":                  "a request would go upstream before it is watched",
		proc + "ExtProcOverrides.metadata_options":            "a watch would not know which decision it is of",
		proc + "ExtProcOverrides.processing_request_modifier": "a watch would not know which decision it is of",

		manager + "HttpFilter.disabled":                         "the filter would be skipped",
		manager + "HttpFilter.is_optional":                      "an Envoy that does not know the filter would skip it",
		manager + "HttpFilter.config_discovery":                 "the filter could be replaced",
		manager + "HttpConnectionManager.UpgradeConfig.filters": "upgrades would pass other filters than requests do",
		manager + "HttpConnectionManager.scoped_routes":         "requests would be routed by another table",

		route + "Route.redirect":                              "clients would be sent to where no decision was made for",
		route + "Route.filter_action":                         "the route would be chosen after the decision",
		route + "RouteAction.cluster_header":                  "a header would choose where requests go",
		route + "RouteAction.weighted_clusters":               "requests would go to several upstreams",
		route + "RouteAction.cluster_specifier_plugin":        "a plugin would choose where requests go",
		route + "RouteAction.inline_cluster_specifier_plugin": "a plugin would choose where requests go",
		route + "RouteAction.internal_redirect_policy":        "Envoy would follow redirects that nobody decided on",
		route + "RouteAction.internal_redirect_action":        "Envoy would follow redirects that nobody decided on",
		route + "RouteAction.retry_policy":                    "a request that was permitted once would be sent twice",
		route + "RouteAction.hedge_policy":                    "a request that was permitted once would be sent twice",
		route + "RouteAction.request_mirror_policies":         "requests would be copied to another upstream",
		route + "RouteAction.prefix_rewrite":                  "the upstream would get another path than was decided on",
		route + "RouteAction.regex_rewrite":                   "the upstream would get another path than was decided on",
		route + "RouteAction.path_rewrite_policy":             "the upstream would get another path than was decided on",
		route + "RouteAction.host_rewrite_literal":            "the upstream would get another host than was decided on",
		route + "RouteAction.host_rewrite_header":             "the upstream would get another host than was decided on",
		route + "RouteAction.host_rewrite_path_regex":         "the upstream would get another host than was decided on",
		route + "RouteAction.auto_host_rewrite":               "the upstream would get another host than was decided on",
		upgradeConfigs:                                        "tunnels would open where requests were decided on",
		route + "VirtualHost.matcher":                         "requests would be routed by another table",
		route + "VirtualHost.retry_policy":                    "a request that was permitted once would be sent twice",
		route + "VirtualHost.require_tls":                     "clients would be sent to where no decision was made for",
		route + "VirtualHost.request_mirror_policies":         "requests would be copied to another upstream",
		route + "RouteConfiguration.vhds":                     "routes would come from elsewhere",
		route + "RouteConfiguration.request_mirror_policies":  "requests would be copied to another upstream",

		"envoy.config.core.v3.DataSource.filename":             "a file of the gateway's host would be read",
		"envoy.config.core.v3.DataSource.environment_variable": "a secret of the gateway's host could be read",
		internalAddress:        "requests would enter another listener without a decision",
		handedOver:             "tunnels would share connections, and take the decision on one for that on another",
		trustChainVerification: "upstreams would not have to prove who they are",
		"envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext.allow_expired_certificate": "upstreams would not have to prove who they are",
	}
}

const (
	trustChainVerification protoreflect.FullName = "envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext.trust_chain_verification"
	upgradeConfigs         protoreflect.FullName = "envoy.config.route.v3.RouteAction.upgrade_configs"
	internalAddress        protoreflect.FullName = "envoy.config.core.v3.Address.envoy_internal_address"
	handedOver             protoreflect.FullName = "envoy.extensions.filters.common.set_filter_state.v3.FilterStateValue.object_key"
)

// belongs reports whether a setting is in the one place where it is no danger.
func belongs(name protoreflect.FullName, p protopath.Values) bool {
	switch name {
	case trustChainVerification: // clients are asked for a certificate, and the decision service verifies it
		return within(p, func(*tlsv3.DownstreamTlsContext) bool { return true })
	case upgradeConfigs: // the route is for tunnels only, which are decided on as such
		return within(p, func(r *routev3.Route) bool { return r.GetMatch().GetConnectMatcher() != nil })
	case internalAddress: // what comes inside of a CONNECT is decided on there
		return within(p, func(c *clusterv3.Cluster) bool { return c.GetName() == ClusterInside })
	case handedOver: // connection pools are told apart by it
		return within(p, func(v *setstatev3.FilterStateValue) bool { return v.GetFactoryKey() == hashableString })
	}
	return false
}

// within reports whether a path leads through a message of a kind that something holds for.
func within[M proto.Message](p protopath.Values, holds func(M) bool) bool {
	return slices.ContainsFunc(p.Values, func(v protoreflect.Value) bool {
		if m, is := v.Interface().(protoreflect.Message); is {
			if m, is := m.Interface().(M); is {
				return holds(m)
			}
		}
		return false
	})
}

func (r Resources) checkDangers() error {
	known := dangers()
	for _, m := range r.messages() {
		if err := checkDangers(m, known); err != nil {
			return fmt.Errorf("%q: %w", m.GetName(), err)
		}
	}
	return nil
}

func checkDangers(m proto.Message, known map[protoreflect.FullName]string) error {
	return protorange.Options{Stable: true}.Range(m.ProtoReflect(), func(p protopath.Values) error {
		step := p.Path.Index(-1)
		if step.Kind() != protopath.FieldAccessStep {
			return nil
		}
		name := step.FieldDescriptor().FullName()
		if why, dangerous := known[name]; dangerous && !belongs(name, p) {
			return fmt.Errorf("%s is set: %s", fieldPath(p.Path.String()), why)
		}
		return nil
	}, nil)
}
