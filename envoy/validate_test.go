package envoy_test

import (
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbacconfigv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	setstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/set_filter_state/v3"
	authzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	upstreamhttpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/caracal-gateway/caracal/envoy"
)

// whole is a complete configuration with every kind of upstream, on a gateway with a certificate.
func whole(t *testing.T) (*bootstrapv3.Bootstrap, envoy.Resources) {
	t.Helper()
	ca, err := os.ReadFile("testdata/ca.pem")
	if err != nil {
		t.Fatal(err)
	}
	l := withForward(withTLS(exampleLocal()))
	return envoy.Bootstrap(l), envoy.Merge(envoy.Fixed(l), catalog(t, exampleUpstreams(string(ca))...))
}

func TestEveryConfigurationThatIsBuiltIsValid(t *testing.T) {
	_, full := whole(t)
	plain := exampleLocal()
	plain.Resolvers = []netip.AddrPort{netip.MustParseAddrPort("[::1]:53")}
	open := withForward(withTLS(exampleLocal()))
	open.ForwardPlain = true
	for name, r := range map[string]struct {
		bootstrap *bootstrapv3.Bootstrap
		resources envoy.Resources
	}{
		"a full catalog behind TLS":             {envoy.Bootstrap(withForward(withTLS(exampleLocal()))), full},
		"a proxy port for plain HTTP and TLS":   {envoy.Bootstrap(open), envoy.Merge(envoy.Fixed(open), catalog(t))},
		"an empty catalog":                      {envoy.Bootstrap(plain), envoy.Merge(envoy.Fixed(plain), catalog(t))},
		"no bundle yet":                         {envoy.Bootstrap(plain), envoy.Merge(envoy.Fixed(plain), envoy.BuiltIn())},
		"an Envoy that somebody else started":   {nil, full},
		"what comes out of the wire form again": {envoy.Bootstrap(withForward(withTLS(exampleLocal()))), clone(t, full)},
	} {
		t.Run(name, func(t *testing.T) {
			if err := envoy.Validate(r.bootstrap, r.resources); err != nil {
				t.Error(err)
			}
		})
	}
}

// change edits every message of one type in a whole configuration.
func change[M proto.Message](edits func(M)) func(*bootstrapv3.Bootstrap, *envoy.Resources) {
	return func(b *bootstrapv3.Bootstrap, r *envoy.Resources) {
		visit := func(_ string, m protoreflect.Message) {
			if m, ok := m.Interface().(M); ok {
				edits(m)
			}
		}
		edit(b.ProtoReflect(), "Bootstrap", visit)
		editAll(*r, visit)
	}
}

func forwarding(edits func(*routev3.Route, *routev3.RouteAction)) func(*bootstrapv3.Bootstrap, *envoy.Resources) {
	return change(func(r *routev3.Route) {
		if action := r.GetRoute(); action != nil {
			edits(r, action)
		}
	})
}

func TestAConfigurationThatCouldFailOpenIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*bootstrapv3.Bootstrap, *envoy.Resources)
		want   string
	}{
		"ext_authz lets pass when it fails": {
			change(func(a *authzv3.ExtAuthz) { a.FailureModeAllow = true }),
			"failure_mode_allow is set: requests would pass when no decision comes",
		},
		"ext_authz in shadow mode": {
			change(func(a *authzv3.ExtAuthz) { a.ShadowMode = true }),
			"shadow_mode is set: denials would be ignored",
		},
		"ext_authz for a part of the requests": {
			change(func(a *authzv3.ExtAuthz) {
				a.FilterEnabled = &corev3.RuntimeFractionalPercent{RuntimeKey: "x"}
			}),
			"filter_enabled is set",
		},
		"ext_authz that waits for ever": {
			change(func(a *authzv3.ExtAuthz) { a.GetGrpcService().Timeout.Nanos = 0 }),
			"grpc_service.timeout",
		},
		"ext_authz that answers an error with another status": {
			change(func(a *authzv3.ExtAuthz) { a.StatusOnError = nil }),
			"status_on_error",
		},
		"ext_authz asks somebody else": {
			change(func(a *authzv3.ExtAuthz) { a.GetGrpcService().GetEnvoyGrpc().ClusterName = "public-plain" }),
			"grpc_service.envoy_grpc.cluster_name is \"public-plain\"",
		},
		"ext_authz does not choose the route again": {
			change(func(a *authzv3.ExtAuthz) { a.ClearRouteCache = false }),
			"clear_route_cache",
		},
		"ext_authz disabled on a route": {
			change(func(r *routev3.Route) { r.TypedPerFilterConfig = disabled() }),
			"disabled is set: requests on this route would pass without a decision",
		},
		"a tunnel where requests are decided on": {
			forwarding(func(r *routev3.Route, a *routev3.RouteAction) {
				if r.GetMatch().GetConnectMatcher() == nil {
					a.UpgradeConfigs = []*routev3.RouteAction_UpgradeConfig{{UpgradeType: "CONNECT", ConnectConfig: &routev3.RouteAction_UpgradeConfig_ConnectConfig{}}}
				}
			}),
			"upgrade_configs is set: tunnels would open where requests were decided on",
		},
		"an upstream that is a listener of the gateway": {
			change(func(c *clusterv3.Cluster) {
				for _, e := range c.GetLoadAssignment().GetEndpoints() {
					e.LbEndpoints[0].GetEndpoint().Address = &corev3.Address{Address: &corev3.Address_EnvoyInternalAddress{
						EnvoyInternalAddress: &corev3.EnvoyInternalAddress{
							AddressNameSpecifier: &corev3.EnvoyInternalAddress_ServerListenerName{ServerListenerName: envoy.ListenerInside},
						},
					}}
				}
			}),
			"envoy_internal_address is set: requests would enter another listener without a decision",
		},
		"ext_authz disabled on a virtual host": {
			change(func(v *routev3.VirtualHost) { v.TypedPerFilterConfig = disabled() }),
			"disabled is set: requests on this route would pass without a decision",
		},
		"ext_authz disabled on a route table": {
			change(func(c *routev3.RouteConfiguration) { c.TypedPerFilterConfig = disabled() }),
			"disabled is set: requests on this route would pass without a decision",
		},
		"a filter disabled by the generic setting": {
			change(func(r *routev3.Route) {
				r.TypedPerFilterConfig = map[string]*anypb.Any{"envoy.filters.http.ext_authz": packed(&routev3.FilterConfig{Disabled: true})}
			}),
			"typed_per_filter_config",
		},
		"no ext_authz in the filter chain": {
			change(func(m *hcmv3.HttpConnectionManager) { m.HttpFilters = m.HttpFilters[1:] }),
			"http_filters[0].name",
		},
		"ext_authz after another filter": {
			change(func(m *hcmv3.HttpConnectionManager) {
				m.HttpFilters[0], m.HttpFilters[1] = m.HttpFilters[1], m.HttpFilters[0]
			}),
			"http_filters[0].name",
		},
		"ext_authz switched off in the filter chain": {
			change(func(f *hcmv3.HttpFilter) { f.Disabled = true }),
			"disabled is set: the filter would be skipped",
		},
		"upgrades past ext_authz": {
			change(func(u *hcmv3.HttpConnectionManager_UpgradeConfig) {
				u.Filters = []*hcmv3.HttpFilter{{Name: "envoy.filters.http.router"}}
			}),
			"filters is set: upgrades would pass other filters",
		},
		"paths are normalised after the decision": {
			change(func(m *hcmv3.HttpConnectionManager) { m.NormalizePath = wrapperspb.Bool(true) }),
			"normalize_path", //nolint:misspell // Envoy spells it so
		},
		"clients may set internal headers": {
			change(func(m *hcmv3.HttpConnectionManager) { m.EarlyHeaderMutationExtensions = nil }),
			"early_header_mutation_extensions",
		},
		"a forwarding route without the header of a decision": {
			forwarding(func(r *routev3.Route, _ *routev3.RouteAction) { r.Match.Headers = nil }),
			"match.headers",
		},
		"a forwarding route for any value of the header": {
			forwarding(func(r *routev3.Route, _ *routev3.RouteAction) {
				r.Match.Headers = []*routev3.HeaderMatcher{{Name: envoy.RouteHeader, HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true}}}
			}),
			"match.headers",
		},
		"a decision for one upstream leads to another": {
			forwarding(func(_ *routev3.Route, a *routev3.RouteAction) {
				a.ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: envoy.RoutePublicPlain}
			}),
			"route.cluster is \"public-plain\"",
		},
		"a route to the decision service": {
			forwarding(func(_ *routev3.Route, a *routev3.RouteAction) {
				a.ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: envoy.ClusterAuthz}
			}),
			"route.cluster is \"authz\"",
		},
		"a cluster chosen by a header": {
			forwarding(func(_ *routev3.Route, a *routev3.RouteAction) {
				a.ClusterSpecifier = &routev3.RouteAction_ClusterHeader{ClusterHeader: "x"}
			}),
			"cluster_header is set: a header would choose",
		},
		"a redirect": {
			change(func(r *routev3.Route) { r.Action = &routev3.Route_Redirect{Redirect: &routev3.RedirectAction{}} }),
			"redirect is set",
		},
		"internal redirects": {
			forwarding(func(_ *routev3.Route, a *routev3.RouteAction) {
				a.InternalRedirectPolicy = &routev3.InternalRedirectPolicy{}
			}),
			"internal_redirect_policy is set",
		},
		"retries": {
			forwarding(func(_ *routev3.Route, a *routev3.RouteAction) { a.RetryPolicy = &routev3.RetryPolicy{RetryOn: "5xx"} }),
			"retry_policy is set",
		},
		"a mirror": {
			forwarding(func(_ *routev3.Route, a *routev3.RouteAction) {
				a.RequestMirrorPolicies = []*routev3.RouteAction_RequestMirrorPolicy{{Cluster: "public-plain"}}
			}),
			"request_mirror_policies is set",
		},
		"a rewritten path": {
			forwarding(func(_ *routev3.Route, a *routev3.RouteAction) { a.PrefixRewrite = "/admin" }),
			"prefix_rewrite is set",
		},
		"a rewritten host": {
			forwarding(func(_ *routev3.Route, a *routev3.RouteAction) {
				a.HostRewriteSpecifier = &routev3.RouteAction_HostRewriteLiteral{HostRewriteLiteral: "evil.example"}
			}),
			"host_rewrite_literal is set",
		},
		"the route header reaches upstreams": {
			change(func(v *routev3.VirtualHost) { v.RequestHeadersToRemove = nil }),
			"request_headers_to_remove",
		},
		"a virtual host of its own for some name": {
			change(func(c *routev3.RouteConfiguration) {
				c.VirtualHosts = append(c.VirtualHosts, &routev3.VirtualHost{Name: "b", Domains: []string{"b.example"}})
			}),
			"virtual_hosts[1]",
		},
		"no rule on the addresses of a cluster": {
			change(func(o *upstreamhttpv3.HttpProtocolOptions) {
				if len(o.HttpFilters) > 1 {
					o.HttpFilters = o.HttpFilters[1:]
				}
			}),
			"http_filters",
		},
		"a public cluster's rule allows in place of denying": {
			change(func(r *rbacconfigv3.RBAC) { r.Action = rbacconfigv3.RBAC_ALLOW }),
			"rules.action",
		},
		"a range missing from the address filter": {
			change(func(a *matcherv3.AddressMatcher) { a.Ranges = a.Ranges[1:] }),
			"resolved_address_filter.ranges[0]",
		},
		"headers of clients about certificates are believed": {
			change(func(m *hcmv3.HttpConnectionManager) {
				m.ForwardClientCertDetails = hcmv3.HttpConnectionManager_ALWAYS_FORWARD_ONLY
			}),
			"forward_client_cert_details",
		},
		"an upstream's certificate is not checked": {
			change(func(c *tlsv3.CertificateValidationContext) {
				c.TrustChainVerification = tlsv3.CertificateValidationContext_ACCEPT_UNTRUSTED
			}),
			"trust_chain_verification is set",
		},
		"a certificate of another name is accepted": {
			change(func(c *tlsv3.CertificateValidationContext) { c.MatchTypedSubjectAltNames = nil }),
			"match_typed_subject_alt_names",
		},
		"a file of the gateway's host": {
			change(func(d *corev3.DataSource) { d.Specifier = &corev3.DataSource_Filename{Filename: "/etc/passwd"} }),
			"filename is set",
		},
		"admin on TCP": {
			func(b *bootstrapv3.Bootstrap, _ *envoy.Resources) {
				b.Admin.Address = &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{Address: "127.0.0.1"}}}
			},
			"bootstrap: a node id, an admin socket",
		},
		"admin for every user": {
			func(b *bootstrapv3.Bootstrap, _ *envoy.Resources) { b.Admin.GetAddress().GetPipe().Mode = 0o666 },
			"bootstrap: admin.address.pipe.mode is 438, want 384",
		},
		"a listener in the bootstrap": {
			func(b *bootstrapv3.Bootstrap, _ *envoy.Resources) {
				b.StaticResources.Listeners = []*listenerv3.Listener{{Name: "x"}}
			},
			"static_resources.listeners",
		},
		"a second listener": {
			func(_ *bootstrapv3.Bootstrap, r *envoy.Resources) {
				r.Listeners = append(r.Listeners, &listenerv3.Listener{Name: "x"})
			},
			`listener "x" is not one that belongs here`,
		},
		"tunnels that share connections, and with them the decision on one": {
			change(func(v *setstatev3.FilterStateValue) { v.FactoryKey = "envoy.string" }),
			"on_request_headers[0].object_key is set: tunnels would share connections",
		},
		"a decision on a tunnel whose kind follows from its name": {
			change(func(v *setstatev3.FilterStateValue) { v.FactoryKey = "" }),
			"on_request_headers[0].object_key is set: tunnels would share connections",
		},
		"a decision on a tunnel that its connection is not told apart by": {
			change(func(v *setstatev3.FilterStateValue) { v.SharedWithUpstream = setstatev3.FilterStateValue_NONE }),
			"shared_with_upstream",
		},
		"plain HTTP serves everything beside TLS": {
			change(func(rds *hcmv3.Rds) { rds.RouteConfigName = envoy.GatewayRoutes }),
			"rds.route_config_name is \"gateway\", want \"gateway-plain\"",
		},
		"a cluster that is not ours": {
			func(_ *bootstrapv3.Bootstrap, r *envoy.Resources) {
				r.Clusters = append(r.Clusters, &clusterv3.Cluster{Name: "other"})
			},
			"cluster \"other\": not the cluster of an upstream",
		},
		"a cluster in place of the decision service": {
			func(_ *bootstrapv3.Bootstrap, r *envoy.Resources) {
				r.Clusters = append(r.Clusters, &clusterv3.Cluster{Name: envoy.ClusterAuthz})
			},
			"cluster \"authz\": not the cluster of an upstream",
		},
		"two clusters of one name": {
			func(_ *bootstrapv3.Bootstrap, r *envoy.Resources) { r.Clusters = append(r.Clusters, r.Clusters[0]) },
			"is there twice",
		},
		"the settings of another upstream under a key": {
			func(_ *bootstrapv3.Bootstrap, r *envoy.Resources) {
				i := slices.IndexFunc(r.Clusters, func(c *clusterv3.Cluster) bool { return strings.HasPrefix(c.GetName(), "echo.") })
				endpoint(r.Clusters[i]).PortSpecifier = &corev3.SocketAddress_PortValue{PortValue: 22}
			},
			"the name does not follow from the settings",
		},
		"an unknown secret": {
			func(_ *bootstrapv3.Bootstrap, r *envoy.Resources) {
				r.Secrets = append(r.Secrets, &tlsv3.Secret{Name: "x"})
			},
			"the secrets are not those of the gateway",
		},
		"no public roots": {
			func(_ *bootstrapv3.Bootstrap, r *envoy.Resources) { r.Secrets = r.Secrets[:1] },
			"secret \"public-roots\" is missing",
		},
		"no routes": {
			func(_ *bootstrapv3.Bootstrap, r *envoy.Resources) { r.Routes = nil },
			"routes \"gateway-plain\" is missing",
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

func disabled() map[string]*anypb.Any {
	return map[string]*anypb.Any{"envoy.filters.http.ext_authz": packed(&authzv3.ExtAuthzPerRoute{Override: &authzv3.ExtAuthzPerRoute_Disabled{Disabled: true}})}
}

func packed(m proto.Message) *anypb.Any {
	a, err := anypb.New(m)
	if err != nil {
		panic(err)
	}
	return a
}

func endpoint(c *clusterv3.Cluster) *corev3.SocketAddress {
	return c.GetLoadAssignment().GetEndpoints()[0].GetLbEndpoints()[0].GetEndpoint().GetAddress().GetSocketAddress()
}

func TestTheCatalogsPartHoldsNothingElse(t *testing.T) {
	_, full := whole(t)
	for name, c := range map[string]struct {
		resources envoy.Resources
		want      string
	}{
		"nothing at all":        {envoy.Resources{}, "routes \"gateway\" is missing"},
		"the gateway's secrets": {envoy.Merge(catalog(t), envoy.Resources{Secrets: full.Secrets}), "secret \"listener\" is not one that belongs here"},
		"a listener":            {envoy.Merge(catalog(t), envoy.Resources{Listeners: full.Listeners}), "listener \"forward\" is not one that belongs here"},
		"the plain port's routes": {
			envoy.Merge(catalog(t), envoy.Resources{Routes: []*routev3.RouteConfiguration{{Name: envoy.PlainRoutes}}}),
			"routes \"gateway-plain\" is not one that belongs here",
		},
		"a public cluster": {
			envoy.Merge(catalog(t), envoy.Resources{Clusters: []*clusterv3.Cluster{{Name: envoy.RoutePublicTLS}}}),
			"cluster \"public-tls\": not the cluster of an upstream",
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := envoy.ValidateCatalog(c.resources)
			if err == nil {
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("refused because of %q, want %q", err, c.want)
			}
		})
	}
	if err := envoy.ValidateCatalog(catalog(t, exampleUpstreams(string(authority(t).pem))...)); err != nil {
		t.Errorf("a catalog: %v", err)
	}
	if err := envoy.ValidateCatalog(envoy.BuiltIn()); err != nil {
		t.Errorf("the built-in routes: %v", err)
	}
}
