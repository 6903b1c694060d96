package main

import (
	"fmt"
	"os"
	"strconv"
)

// What the plain Envoy's proxy port does with the hosts that it knows, as the gateway does with its destinations.
const (
	plainHost     = "plain.bench.test"     // requests in plain text
	opaqueHost    = "opaque.bench.test"    // tunnels that are carried unseen
	inspectedHost = "inspected.bench.test" // tunnels that are looked into
)

// plainEnvoy writes the configuration of an Envoy that does what the gateway's does, and asks nobody: its port, those of
// the upstreams, and the certificates that it ends TLS with and checks the upstream by.
func plainEnvoy(file, listen string, o *origin) error {
	text := fmt.Sprintf(plainEnvoyConfig, portOf(listen), strconv.Quote(string(o.chain)), strconv.Quote(string(o.key)),
		portOf(o.plain.Listener.Addr().String()), portOf(o.secure.Listener.Addr().String()), portOf(o.secure.Listener.Addr().String()), strconv.Quote(o.ca.PEM()))
	return os.WriteFile(file, []byte(text), 0o600)
}

const plainEnvoyConfig = `
bootstrap_extensions:
- name: envoy.bootstrap.internal_listener
  typed_config: {"@type": type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener}
static_resources:
  listeners:
  - name: proxy
    address: {socket_address: {address: 127.0.0.1, port_value: %s}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: proxy
          upgrade_configs: [{upgrade_type: CONNECT}]
          route_config:
            virtual_hosts:
            - name: opaque
              domains: ["opaque.bench.test:443"]
              routes: [{match: {connect_matcher: {}}, route: {cluster: opaque, timeout: 0s, upgrade_configs: [{upgrade_type: CONNECT, connect_config: {}}]}}]
            - name: inspected
              domains: ["*.bench.test:443", "inspected.bench.test:443"]
              routes: [{match: {connect_matcher: {}}, route: {cluster: inside, timeout: 0s, upgrade_configs: [{upgrade_type: CONNECT, connect_config: {}}]}}]
            - name: all
              domains: ["*"]
              routes: [{match: {prefix: "/"}, route: {cluster: plain, timeout: 0s}}]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  - name: inside
    internal_listener: {}
    filter_chains:
    - transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            alpn_protocols: [h2, http/1.1]
            tls_certificates: [{certificate_chain: {inline_string: %s}, private_key: {inline_string: %s}}]
      filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: inside
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{match: {prefix: "/"}, route: {cluster: secure, timeout: 0s}}]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
  - name: plain
    connect_timeout: 1s
    circuit_breakers: {thresholds: [{max_connections: 100000, max_pending_requests: 100000, max_requests: 100000}]}
    load_assignment:
      cluster_name: plain
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %s}}}}]}]
  - name: opaque
    connect_timeout: 1s
    circuit_breakers: {thresholds: [{max_connections: 100000, max_pending_requests: 100000, max_requests: 100000}]}
    load_assignment:
      cluster_name: opaque
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %s}}}}]}]
  - name: inside
    circuit_breakers: {thresholds: [{max_connections: 100000, max_pending_requests: 100000, max_requests: 100000}]}
    load_assignment:
      cluster_name: inside
      endpoints: [{lb_endpoints: [{endpoint: {address: {envoy_internal_address: {server_listener_name: inside}}}}]}]
    transport_socket:
      name: envoy.transport_sockets.internal_upstream
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.internal_upstream.v3.InternalUpstreamTransport
        transport_socket:
          name: envoy.transport_sockets.raw_buffer
          typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer}
  - name: secure
    connect_timeout: 1s
    circuit_breakers: {thresholds: [{max_connections: 100000, max_pending_requests: 100000, max_requests: 100000}]}
    load_assignment:
      cluster_name: secure
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %s}}}}]}]
    transport_socket:
      name: envoy.transport_sockets.tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        sni: inspected.bench.test
        common_tls_context: {validation_context: {trusted_ca: {inline_string: %s}}}
`
