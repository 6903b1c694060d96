package envoy_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	accesslogdatav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	procv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	secretv3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	cachev3 "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	serverv3 "github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"

	"github.com/caracal-gateway/caracal/envoy"
	"github.com/caracal-gateway/caracal/provision"
)

// patience bounds every wait for a condition.
const patience = 20 * time.Second

// rig is one real Envoy with everything around it: the servers of the gateway process, and their records.
type rig struct {
	t       *testing.T
	local   envoy.Local
	dir     string
	authz   *decider
	watcher *watcher
	cache   cachev3.SnapshotCache
	updates *updates
	// address is where the gateway port ended up, forward where the proxy port did.
	address, forward string
	minter           *minter

	mu      sync.Mutex
	grpc    *grpc.Server // decisions
	xds     *grpc.Server // configuration
	process *exec.Cmd
}

// setup says how a rig differs from a plain gateway without a bundle.
type setup struct {
	local     func(*envoy.Local)
	resources func(envoy.Local) envoy.Resources
	self      http.Handler
	bootstrap func(*bootstrapv3.Bootstrap)
	// between gives the socket that Envoy is told for the decision service's, nil for that itself.
	between func(socket string) string
}

func startRig(t *testing.T, s setup) *rig {
	t.Helper()
	dir, err := os.MkdirTemp("", "caracal-envoy-") // short: a socket's path has at most 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	r := &rig{t: t, dir: dir, authz: &decider{}, minter: &minter{t: t}, watcher: newWatcher(), updates: &updates{}}
	r.local = envoy.Local{
		NodeID:      "gw-test",
		AuthzSocket: filepath.Join(dir, "authz.sock"),
		XDSSocket:   filepath.Join(dir, "xds.sock"),
		SelfSocket:  filepath.Join(dir, "self.sock"),
		AdminSocket: filepath.Join(dir, "admin.sock"),
		Listen:      netip.MustParseAddrPort("127.0.0.1:0"),
		Roots:       authority(t).pem,
	}
	if s.local != nil {
		s.local(&r.local)
	}
	if s.resources == nil {
		s.resources = func(l envoy.Local) envoy.Resources { return envoy.Merge(envoy.Fixed(l), envoy.BuiltIn()) }
	}
	if s.self == nil {
		s.self = http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) { fmt.Fprintf(w, "self %s %s", q.Method, q.URL) })
	}
	r.serveConfiguration(s.resources(r.local))
	r.serveDecisions()
	r.serveSelf(s.self)
	seen := r.local
	if s.between != nil {
		seen.AuthzSocket = s.between(seen.AuthzSocket)
	}
	bootstrap := envoy.Bootstrap(seen)
	if s.bootstrap != nil {
		s.bootstrap(bootstrap)
	}
	r.startEnvoy(bootstrap)
	return r
}

func (r *rig) serveConfiguration(resources envoy.Resources) {
	r.cache = cachev3.NewSnapshotCache(true, cachev3.IDHash{}, nil)
	r.serve(resources)
	server := serverv3.NewServer(r.t.Context(), r.cache, serverv3.CallbackFuncs{
		StreamDeltaRequestFunc: r.updates.request,
	})
	g := newGRPCServer()
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(g, server)
	secretv3.RegisterSecretDiscoveryServiceServer(g, r.minter)
	r.run(g, r.local.XDSSocket)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.xds = g
}

// stopConfiguration ends the configuration server as a crash does.
func (r *rig) stopConfiguration() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.xds.Stop()
	_ = os.Remove(r.local.XDSSocket) // the server may have removed it
}

// serve makes resources the current configuration.
func (r *rig) serve(resources envoy.Resources) {
	r.t.Helper()
	snapshot, err := cachev3.NewSnapshot("1", map[resource.Type][]types.Resource{
		resource.ListenerType: asResources(resources.Listeners),
		resource.ClusterType:  asResources(resources.Clusters),
		resource.RouteType:    asResources(resources.Routes),
		resource.SecretType:   asResources(resources.Secrets),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.cache.SetSnapshot(r.t.Context(), r.local.NodeID, snapshot); err != nil {
		r.t.Fatal(err)
	}
}

func asResources[T types.Resource](list []T) []types.Resource {
	var out []types.Resource
	for _, m := range list {
		out = append(out, m)
	}
	return out
}

func newGRPCServer() *grpc.Server {
	return grpc.NewServer(grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{
		MinTime: envoy.KeepaliveInterval / 2, PermitWithoutStream: true,
	}))
}

func (r *rig) run(g *grpc.Server, socket string) {
	listener, err := net.Listen("unix", socket)
	if err != nil {
		r.t.Fatal(err)
	}
	go func() { _ = g.Serve(listener) }() // until the test stops it
	r.t.Cleanup(g.Stop)
}

func (r *rig) serveDecisions() {
	g := newGRPCServer()
	authv3.RegisterAuthorizationServer(g, r.authz)
	accesslogv3.RegisterAccessLogServiceServer(g, r.authz)
	procv3.RegisterExternalProcessorServer(g, r.watcher)
	r.run(g, r.local.AuthzSocket)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.grpc = g
}

// stopDecisions ends the decision service as a crash does.
func (r *rig) stopDecisions() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.grpc.Stop()
	_ = os.Remove(r.local.AuthzSocket) // the server may have removed it
}

func (r *rig) serveSelf(handler http.Handler) {
	listener, err := net.Listen("unix", r.local.SelfSocket)
	if err != nil {
		r.t.Fatal(err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: patience}
	go func() { _ = server.Serve(listener) }() // until the test closes it
	r.t.Cleanup(func() { _ = server.Close() })
}

// binary finds the real Envoy, once per test process.
var binary = sync.OnceValues(func() (string, error) {
	cache, err := provision.CacheDir(os.Getenv, os.Getuid())
	if err != nil {
		return "", err
	}
	return provision.Envoy(context.Background(), provision.Config{Getenv: os.Getenv, CacheDir: cache, Progress: os.Stderr})
})

func (r *rig) startEnvoy(bootstrap *bootstrapv3.Bootstrap) {
	r.t.Helper()
	path, err := binary()
	if err != nil {
		r.t.Fatal(err)
	}
	document, err := envoy.YAML(bootstrap)
	if err != nil {
		r.t.Fatal(err)
	}
	file := filepath.Join(r.dir, "bootstrap.yaml")
	if err := os.WriteFile(file, document, 0o600); err != nil {
		r.t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(r.dir, "envoy.log"))
	if err != nil {
		r.t.Fatal(err)
	}
	defer log.Close()
	r.process = exec.Command(path, "-c", file, "--concurrency", "1", "--disable-hot-restart", "-l", "warning",
		"--component-log-level", "misc:error") // a warning for every address range, each time one is read
	r.process.Stdout, r.process.Stderr = log, log
	if err := r.process.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		_ = r.process.Process.Kill() // it may be gone already
		_ = r.process.Wait()
		if r.t.Failed() {
			text, _ := os.ReadFile(log.Name())
			r.t.Logf("Envoy's log:\n%s", text)
		}
	})
	eventually(r.t, "Envoy listens", func() bool {
		ports := r.listening()
		r.address, r.forward = ports[envoy.ListenerGateway], ports[envoy.ListenerForward]
		return r.address != ""
	})
}

// alive says whether the Envoy that was started still runs.
func (r *rig) alive() bool {
	return r.process.Process.Signal(syscall.Signal(0)) == nil && len(r.listening()) > 0
}

func (r *rig) admin(method, path string) (string, error) {
	client := &http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", r.local.AdminSocket)
		},
	}}
	request, err := http.NewRequestWithContext(r.t.Context(), method, "http://admin"+path, nil)
	if err != nil {
		return "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}

// listening gives the addresses of the ports that are open, by the name of the listener.
func (r *rig) listening() map[string]string {
	if ready, err := r.admin(http.MethodGet, "/ready"); err != nil || !strings.HasPrefix(ready, "LIVE") {
		return nil
	}
	text, err := r.admin(http.MethodGet, "/listeners?format=json")
	if err != nil {
		return nil
	}
	var answer struct {
		Statuses []struct {
			Name    string `json:"name"`
			Address struct {
				Socket struct {
					Address string `json:"address"`
					Port    int    `json:"port_value"`
				} `json:"socket_address"`
			} `json:"local_address"`
		} `json:"listener_statuses"`
	}
	if json.Unmarshal([]byte(text), &answer) != nil {
		return nil
	}
	ports := map[string]string{}
	for _, listener := range answer.Statuses {
		if socket := listener.Address.Socket; socket.Port != 0 {
			ports[listener.Name] = fmt.Sprintf("%s:%d", socket.Address, socket.Port)
		}
	}
	return ports
}

// eventually polls until the condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited %s in vain: %s", patience, what)
		}
	}
}

// updates remembers what Envoy refused.
type updates struct {
	mu       sync.Mutex
	refusals []string
	accepted map[string]int
}

func (u *updates) request(_ int64, q *discoveryv3.DeltaDiscoveryRequest) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if q.GetErrorDetail() != nil {
		u.refusals = append(u.refusals, q.GetErrorDetail().GetMessage())
	} else if q.GetResponseNonce() != "" {
		if u.accepted == nil {
			u.accepted = map[string]int{}
		}
		u.accepted[q.GetTypeUrl()]++
	}
	return nil
}

func (u *updates) refused() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]string(nil), u.refusals...)
}

// answered counts how often Envoy accepted resources of a kind.
func (u *updates) answered(kind string) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.accepted[kind]
}

// decider is the decision service and the receiver of the access log.
type decider struct {
	authv3.UnimplementedAuthorizationServer
	accesslogv3.UnimplementedAccessLogServiceServer

	mu      sync.Mutex
	decide  func(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error)
	checks  []*authv3.CheckRequest
	told    []metadata.MD // beside the checks
	entries []*accesslogdatav3.HTTPAccessLogEntry
}

func (d *decider) answer(decide func(*authv3.CheckRequest) *authv3.CheckResponse) {
	d.answerWith(func(_ context.Context, q *authv3.CheckRequest) (*authv3.CheckResponse, error) { return decide(q), nil })
}

func (d *decider) answerWith(decide func(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.decide, d.checks, d.told = decide, nil, nil
}

func (d *decider) Check(ctx context.Context, q *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	d.mu.Lock()
	d.checks = append(d.checks, q)
	beside, _ := metadata.FromIncomingContext(ctx)
	d.told = append(d.told, beside)
	decide := d.decide
	d.mu.Unlock()
	if decide == nil {
		return deny(500, "nobody set an answer"), nil
	}
	return decide(ctx, q)
}

func (d *decider) asked() []*authv3.CheckRequest {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]*authv3.CheckRequest(nil), d.checks...)
}

// beside gives the value of a key of the metadata that came with each check; "-" where there was none.
func (d *decider) beside(key string) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var values []string
	for _, told := range d.told {
		values = append(values, strings.Join(append(told.Get(key), map[bool][]string{true: {"-"}}[len(told.Get(key)) == 0]...), ","))
	}
	return values
}

func (d *decider) StreamAccessLogs(stream accesslogv3.AccessLogService_StreamAccessLogsServer) error {
	for {
		message, err := stream.Recv()
		if err != nil {
			return err // Envoy is gone
		}
		d.mu.Lock()
		d.entries = append(d.entries, message.GetHttpLogs().GetLogEntry()...)
		d.mu.Unlock()
	}
}

func (d *decider) logged() []*accesslogdatav3.HTTPAccessLogEntry {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]*accesslogdatav3.HTTPAccessLogEntry(nil), d.entries...)
}
