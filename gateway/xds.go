package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secretv3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	xdsserver "github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/protobuf/proto"

	"github.com/caracal-gateway/caracal/envoy"
)

// xds serves the gateway's Envoy its configuration as delta ADS over a Unix socket, and knows which of it Envoy has
// accepted. It never serves less than a whole configuration: to a running Envoy an empty one means to close everything.
type xds struct {
	node   string
	cache  cache.SnapshotCache
	server xdsserver.Server
	mint   *mint // of the certificates that Envoy asks for by the way
	log    *slog.Logger
	// certificates are served beside every configuration that names them.
	certificates *clientCertificates
	// report is told each verdict of Envoy's: an empty message means accepted.
	report func(message string)

	serving sync.Mutex      // one change of what is served at a time
	served  envoy.Resources // without the certificates
	named   []string        // the certificates that it names

	mu       sync.Mutex
	sent     map[sentKey]*discoveryv3.DeltaDiscoveryResponse // awaiting Envoy's verdict
	begun    map[streamType]bool                             // what Envoy asks for on its live streams
	held     map[resource.Type]map[string]string             // versions of what Envoy has accepted, by type and name
	routes   map[string]way                                  // ways through the accepted route table, by their names
	forwards bool                                            // it has had a route table and all clusters that this leads to
	shown    map[string]bool                                 // names of the client certificates that Envoy has
	refusal  string                                          // Envoy's last refusal, empty since the last acceptance of that type
	refused  string                                          // the type that the refusal is about
}

// way is one through the accepted route table.
type way struct {
	clusters []string  // that it may lead to
	watched  bool      // whether what takes it is
	since    time.Time // when it was accepted first
}

// overlap is how long after Envoy has accepted a way requests may still be under way that do not know it: each goes by the
// route table that was there when its headers came, until it is decided on.
const overlap = envoy.CheckTimeout + time.Second

type sentKey struct {
	stream int64
	nonce  string
}

type streamType struct {
	stream  int64
	typeURL string
}

func newXDS(ctx context.Context, node string, first envoy.Resources, certificates *clientCertificates, report func(string), log *slog.Logger) (*xds, error) {
	x := &xds{
		node: node, log: log, report: report, certificates: certificates,
		cache: cache.NewSnapshotCache(true, cache.IDHash{}, nil),
		sent:  map[sentKey]*discoveryv3.DeltaDiscoveryResponse{},
		begun: map[streamType]bool{},
		held:  map[resource.Type]map[string]string{},
		shown: map[string]bool{},
	}
	if err := x.Serve(ctx, first); err != nil {
		return nil, err
	}
	x.server = xdsserver.NewServer(ctx, x.cache, xdsserver.CallbackFuncs{
		StreamDeltaRequestFunc:  x.onRequest,
		StreamDeltaResponseFunc: x.onResponse,
		DeltaStreamClosedFunc:   x.onClosed,
	})
	return x, nil
}

// Serve makes the resources the configuration of this gateway's Envoy. Versions are digests of the content, so that
// what did not change is not sent again.
func (x *xds) Serve(ctx context.Context, r envoy.Resources) error {
	x.serving.Lock()
	defer x.serving.Unlock()
	x.served, x.named = r, envoy.ClientCertificates(r)
	x.certificates.take(x.named)
	return x.serve(ctx)
}

// Reread reads the client certificates again, and serves them if they have changed.
func (x *xds) Reread(ctx context.Context) error {
	x.serving.Lock()
	defer x.serving.Unlock()
	if !x.certificates.take(x.named) {
		return nil
	}
	return x.serve(ctx)
}

// serve makes what is served Envoy's configuration. The caller holds the lock of that.
func (x *xds) serve(ctx context.Context) error {
	r := envoy.Merge(x.served, envoy.Resources{Secrets: x.certificates.secrets()})
	byType := map[resource.Type][]types.Resource{
		resource.ListenerType: pack(r.Listeners),
		resource.ClusterType:  pack(r.Clusters),
		resource.RouteType:    pack(r.Routes),
		resource.SecretType:   pack(r.Secrets),
	}
	snapshot, err := cache.NewSnapshot("", byType)
	if err != nil {
		return fmt.Errorf("assemble Envoy configuration: %w", err)
	}
	if err := snapshot.ConstructVersionMap(); err != nil {
		return fmt.Errorf("assemble Envoy configuration: %w", err)
	}
	if err := x.cache.SetSnapshot(ctx, x.node, snapshot); err != nil {
		return fmt.Errorf("serve Envoy configuration: %w", err)
	}
	return nil
}

func pack[T types.Resource](resources []T) []types.Resource {
	packed := make([]types.Resource, len(resources))
	for i, r := range resources {
		packed[i] = r
	}
	return packed
}

// Accepted reports whether Envoy has accepted the way with this name and every cluster that it may lead to. A decision
// chooses no other. What can be watched instead does not take a way that some requests do not know yet.
func (x *xds) Accepted(name string) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	w := x.routes[name]
	if !w.watched && time.Since(w.since) < overlap {
		return false
	}
	return x.leads(w)
}

// leads reports whether Envoy has accepted every cluster that a way may lead to. The caller holds the lock.
func (x *xds) leads(w way) bool {
	absent := func(name string) bool {
		_, accepted := x.held[resource.ClusterType][name]
		return !accepted && name != envoy.ClusterSelf
	}
	return len(w.clusters) > 0 && !slices.ContainsFunc(w.clusters, absent)
}

// Shows reports whether Envoy has the client certificate with a name, which is still good.
func (x *xds) Shows(name string) bool {
	x.mu.Lock()
	has := x.shown[name]
	x.mu.Unlock()
	return has && x.certificates.holds(name)
}

// verdict is what Envoy makes of the configuration that it is served.
type verdict struct {
	refusal  string // Envoy's own words about what it does not accept, empty when it accepts all of it
	current  bool   // it has accepted everything that it is served now
	forwards bool   // it has accepted a route table that forwards anything but to the gateway itself, and where that leads
}

// Verdict is Envoy's present one.
func (x *xds) Verdict() verdict {
	snapshot, err := x.cache.GetSnapshot(x.node)
	x.mu.Lock()
	defer x.mu.Unlock()
	return verdict{refusal: x.refusal, current: err == nil && x.holds(snapshot), forwards: x.forwards}
}

// holds reports whether Envoy has accepted each resource of a snapshot in its version. The caller holds the lock.
func (x *xds) holds(snapshot cache.ResourceSnapshot) bool {
	for _, kind := range []resource.Type{resource.ListenerType, resource.ClusterType, resource.RouteType, resource.SecretType} {
		for name, version := range snapshot.GetVersionMap(kind) {
			if x.held[kind][name] != version {
				return false
			}
		}
	}
	return true
}

// follow notes whether Envoy can forward by what it has accepted: every way leads on, or where it refuses clusters, which
// waiting does not mend, one does. What it gets after that comes piece by piece, and each decision looks whether its own way
// is complete. The caller holds the lock.
func (x *xds) follow() {
	complete, partial := len(x.routes) > 1, false
	for name, w := range x.routes {
		leads := x.leads(w)
		complete = complete && leads
		partial = partial || leads && name != envoy.Way(envoy.RouteSelf, "")
	}
	if complete || partial && x.refused == resource.ClusterType {
		x.forwards = true
	}
}

// Run serves on the listener until ctx ends.
func (x *xds) Run(ctx context.Context, listener net.Listener) error {
	server := grpc.NewServer(
		// Envoy pings at this rate also when nothing else is said; grpc-go's default would close the connection.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: envoy.KeepaliveInterval / 2, PermitWithoutStream: true}),
	)
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(server, x.server)
	secretv3.RegisterSecretDiscoveryServiceServer(server, secrets{mint: x.mint})
	stop := context.AfterFunc(ctx, server.Stop)
	defer stop()
	if err := server.Serve(listener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve xDS: %w", err)
	}
	return nil
}

func (x *xds) onResponse(stream int64, _ *discoveryv3.DeltaDiscoveryRequest, resp *discoveryv3.DeltaDiscoveryResponse) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.sent[sentKey{stream, resp.GetNonce()}] = resp
}

func (x *xds) onRequest(stream int64, req *discoveryv3.DeltaDiscoveryRequest) error {
	if err := x.begin(stream, req); err != nil || req.GetResponseNonce() == "" {
		return err
	}
	x.mu.Lock()
	key := sentKey{stream, req.GetResponseNonce()}
	resp := x.sent[key]
	delete(x.sent, key)
	x.mu.Unlock()
	if resp == nil {
		return nil
	}
	if refusal := req.GetErrorDetail(); refusal != nil {
		x.note(resp.GetTypeUrl(), refusal.GetMessage())
		x.log.Error("envoy refused its configuration; the last accepted one stays", "type", resp.GetTypeUrl(), "message", refusal.GetMessage())
		x.report(refusal.GetMessage())
		return nil
	}
	if err := x.accept(resp); err != nil {
		return err
	}
	x.report(x.note(resp.GetTypeUrl(), ""))
	return nil
}

// begin takes over what Envoy holds of a type when it first asks for it on a stream: nothing after a start of Envoy's, and
// the configuration of an earlier gateway process if Envoy has outlived that. Of what it holds in the present version it is
// sent nothing that it could accept.
func (x *xds) begin(stream int64, req *discoveryv3.DeltaDiscoveryRequest) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	first := streamType{stream, req.GetTypeUrl()}
	if x.begun[first] {
		return nil
	}
	x.begun[first] = true
	snapshot, err := x.cache.GetSnapshot(x.node)
	if err != nil {
		return fmt.Errorf("find what Envoy holds: %w", err)
	}
	delete(x.held, req.GetTypeUrl())
	switch req.GetTypeUrl() {
	case resource.ClusterType:
		x.forwards = false
	case resource.RouteType:
		x.routes, x.forwards = nil, false
	case resource.SecretType:
		x.shown = map[string]bool{}
	}
	present, served := snapshot.GetVersionMap(req.GetTypeUrl()), snapshot.GetResources(req.GetTypeUrl())
	for name, version := range req.GetInitialResourceVersions() {
		if present[name] == version {
			x.hold(req.GetTypeUrl(), served[name], version)
		}
	}
	x.follow()
	return nil
}

// note keeps the last refusal until the same type of resource is accepted, and gives the one that is kept.
func (x *xds) note(typeURL, refusal string) string {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case refusal != "":
		x.refusal, x.refused = refusal, typeURL
		x.follow()
	case x.refused == typeURL:
		x.refusal, x.refused = "", ""
	}
	return x.refusal
}

// accept remembers what decisions may name from now on.
func (x *xds) accept(resp *discoveryv3.DeltaDiscoveryResponse) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, name := range resp.GetRemovedResources() {
		delete(x.held[resp.GetTypeUrl()], name)
		switch {
		case resp.GetTypeUrl() == resource.RouteType && name == envoy.GatewayRoutes:
			x.routes, x.forwards = nil, false
		case resp.GetTypeUrl() == resource.SecretType:
			if name, is := envoy.ClientCertificateOf(name); is {
				delete(x.shown, name)
			}
		}
	}
	for _, res := range resp.GetResources() {
		m, err := res.GetResource().UnmarshalNew()
		if err != nil {
			return fmt.Errorf("decode what Envoy accepted: %w", err)
		}
		x.hold(resp.GetTypeUrl(), m, res.GetVersion())
	}
	x.follow()
	return nil
}

// hold remembers a resource of a type that Envoy has. The caller holds the lock.
func (x *xds) hold(kind resource.Type, m proto.Message, version string) {
	if x.held[kind] == nil {
		x.held[kind] = map[string]string{}
	}
	x.held[kind][cache.GetResourceName(m)] = version
	switch m := m.(type) {
	case *tlsv3.Secret:
		if name, is := envoy.ClientCertificateOf(m.GetName()); is {
			x.shown[name] = true
		}
	case *routev3.RouteConfiguration:
		if m.GetName() == envoy.GatewayRoutes {
			x.routes = x.ways(m)
		}
	}
}

// ways lists the ways through a route table. A WebSocket takes another cluster than the rest. The caller holds the lock.
func (x *xds) ways(table *routev3.RouteConfiguration) map[string]way {
	found, now := map[string]way{}, time.Now()
	for _, host := range table.GetVirtualHosts() {
		for _, route := range host.GetRoutes() {
			values := map[string]string{}
			for _, header := range route.GetMatch().GetHeaders() {
				values[header.GetName()] = header.GetStringMatch().GetExact()
			}
			key, bound := values[envoy.RouteHeader], values[envoy.BoundHeader]
			if key == "" {
				continue
			}
			name := envoy.Way(key, bound)
			w, again := found[name]
			if !again {
				w.watched, w.since = bound == envoy.BoundWatched, now
				if former, known := x.routes[name]; known {
					w.since = former.since
				}
			}
			w.clusters = append(w.clusters, route.GetRoute().GetCluster())
			found[name] = w
		}
	}
	return found
}

func (x *xds) onClosed(stream int64, _ *corev3.Node) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for key := range x.sent {
		if key.stream == stream {
			delete(x.sent, key)
		}
	}
	for first := range x.begun {
		if first.stream == stream {
			delete(x.begun, first)
		}
	}
}
