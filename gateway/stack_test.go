package gateway_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	gosync "sync"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
	"github.com/caracal-gateway/caracal/controlplane/api"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
	"github.com/caracal-gateway/caracal/controlplane/serve"
	"github.com/caracal-gateway/caracal/controlplane/sync"
	"github.com/caracal-gateway/caracal/extauthz"
	"github.com/caracal-gateway/caracal/gateway"
	"github.com/caracal-gateway/caracal/internal/echo"
	"github.com/caracal-gateway/caracal/internal/pgtest"
	"github.com/caracal-gateway/caracal/provision"
	"github.com/caracal-gateway/caracal/token"
)

var cluster = pgtest.Cluster{Prepare: postgres.Migrate}

const (
	setupKey = "setup-key-of-these-tests-only"
	team     = "my-team"
	// upstreamHost is private, reached at the echo upstream, and of the resource api:echo/all.
	upstreamHost = "echo.caracal.test"
)

// stack is all of Caracal but its gateways: a real control plane on a real database, with one workspace, an agent that
// may be given everything on the echo upstream, and that upstream.
type stack struct {
	*controlplane.Service
	t        *testing.T
	url      string
	database string // URL
	ownerURL string // of the database, for the role that owns the tables

	stopControl func() // ends the control plane
	log         *lines

	owner      controlplane.Caller
	ownerKey   string
	agent      authority.PrincipalID
	agentKey   string
	gatewayKey token.APIKey
	keyID      authority.KeyID // the gateway key's

	upstream *echo.Recorder
	address  string // of the upstream
	ca       *echo.CA
}

func newStack(t *testing.T) *stack {
	t.Helper()
	t.Parallel()
	s := &stack{t: t, log: &lines{}, upstream: &echo.Recorder{}}
	showIfFailed(t, "control plane", s.log)
	s.serveUpstream()
	s.serveControlPlane()
	made := must(s.CreateWorkspace(t.Context(), must(s.Authenticate(t.Context(), controlplane.Credential{Bearer: setupKey}))(t), controlplane.NewWorkspace{Name: team, Slug: team}))(t).Value
	s.ownerKey, s.owner = made.APIKey, must(s.Authenticate(t.Context(), controlplane.Credential{Bearer: made.APIKey}))(t)
	agent := must(s.RegisterPrincipal(t.Context(), s.owner, controlplane.NewPrincipal{Name: "agent", Type: authority.Agent}))(t).Value
	s.agent, s.agentKey = agent.ID, agent.APIKey
	must(s.CreatePolicy(t.Context(), s.owner, controlplane.NewPolicy{
		PrincipalID: s.agent, AllowedResources: []string{"api:echo/*"}, AllowedActions: []string{"*"}, MaxValiditySeconds: 3600,
	}))(t)
	s.destination(upstreamHost, nil)
	key := must(s.CreateKey(t.Context(), s.owner, controlplane.NewKey{Kind: authority.KeyGateway, Name: "edge"}))(t).Value
	s.gatewayKey, s.keyID = must(token.ParseAPIKey(key.APIKey))(t), key.ID
	return s
}

func (s *stack) serveUpstream() {
	var err error
	if s.ca, err = echo.NewCA(); err != nil {
		s.t.Fatal(err)
	}
	certificate := must(s.ca.Leaf("*.caracal.test", upstreamHost, "filed.caracal.test", "variable.caracal.test", "missing.caracal.test"))(s.t)
	listener := must(net.Listen("tcp", "127.0.0.1:0"))(s.t)
	s.address = listener.Addr().String()
	s.until(func(ctx context.Context) error {
		return echo.Serve(ctx, listener, certificate, echo.Handler(s.upstream))
	})
}

func (s *stack) serveControlPlane() {
	s.ownerURL, s.database = cluster.New(s.t)
	s.serveDatabase("127.0.0.1:0")
}

// serveDatabase has a control plane of its database listen at an address, until the returned function is called.
func (s *stack) serveDatabase(address string) (stop func()) {
	store := must(postgres.Open(postgres.Config{URL: s.database, MaxConns: 16}))(s.t)
	s.t.Cleanup(store.Close)
	log := slog.New(slog.NewTextHandler(s.log, nil))
	var err error
	s.Service, err = controlplane.New(controlplane.Config{
		Store: store, MasterKey: bytes.Repeat([]byte{7}, 32), SetupKey: setupKey, Log: log, Now: time.Now,
		IssuerNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	rest := must(api.New(api.Config{Service: s.Service, Log: log}))(s.t)
	var listener net.Listener
	eventually(s.t, "the control plane's address is free", func() bool {
		listener, err = net.Listen("tcp", address)
		return err == nil
	})
	s.url = "http://" + listener.Addr().String()
	service := s.Service
	s.stopControl = s.until(func(ctx context.Context) error {
		return serve.Run(ctx, serve.Config{Listener: listener, REST: rest, GRPC: sync.New(ctx, service, time.Now, log), Log: log})
	})
	return s.stopControl
}

// until runs something until the test is over, or the returned function is called.
func (s *stack) until(run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	stop = gosync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			s.t.Error(err)
		}
	})
	s.t.Cleanup(stop)
	return stop
}

// destination adds a host that leads to the upstream, whatever live mandates come to cover by it.
func (s *stack) destination(host string, credential *authority.Credential) authority.Destination {
	s.t.Helper()
	wanted := authority.Destination{
		Name: strings.Split(host, ".")[0], Host: host, Ports: []uint16{443}, TLS: authority.TLSRequired, CA: string(s.ca.PEM()),
		ConnectTo: s.address, Addresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, Credential: credential,
		Rules: []authority.Rule{{Path: "/**", Resource: "api:echo/all", Methods: map[string]authority.Action{
			"GET": authority.Read, "PUT": authority.Write, "POST": authority.Execute,
		}}},
	}
	return accepted(s, func(c controlplane.Caller) (controlplane.Written[authority.Destination], error) {
		return s.CreateDestination(s.t.Context(), c, wanted)
	}).Value
}

// accepted makes a change of the catalog as the owner, who accepts what live mandates come to cover by it, or lose.
func accepted[T any](s *stack, change func(controlplane.Caller) (T, error)) T {
	s.t.Helper()
	done, err := change(s.owner)
	var touches *controlplane.ChangesAuthority
	if errors.As(err, &touches) {
		done, err = change(s.owner.Accepting(touches.Report.Digest))
	}
	return must(done, err)(s.t)
}

// terms of a mandate of the agent's, as they travel.
func (s *stack) terms(seconds int, actions ...string) map[string]any {
	return map[string]any{
		"issuer_id": s.owner.Principal().ID, "subject_id": s.agent, "resource_scope": []string{"api:echo/all"},
		"action_scope": actions, "validity_seconds": seconds,
	}
}

// call makes a REST call to the control plane.
func (s *stack) call(key, method, path string, body any) answer {
	s.t.Helper()
	return call(s.t, http.DefaultClient, key, method, s.url+path, body)
}

// events are the owner's view of events, by filter.
func (s *stack) events(filter string) []authority.Event {
	s.t.Helper()
	var page struct {
		Items []authority.Event `json:"items"`
	}
	got := s.call(s.ownerKey, http.MethodGet, "/api/v1/events?limit=200&"+filter, nil)
	if err := json.Unmarshal([]byte(got.body), &page); err != nil || got.status != http.StatusOK {
		// A list of events is a bare list.
		if err := json.Unmarshal([]byte(got.body), &page.Items); err != nil || got.status != http.StatusOK {
			s.t.Fatalf("events are answered %d %s", got.status, got.body)
		}
	}
	return page.Items
}

// edge is one gateway of the stack.
type edge struct {
	*stack
	running    *running
	listen     netip.AddrPort
	base       string // URL of the gateway port
	stateDir   string
	config     gateway.Config
	gatewayLog *lines
	jwt        string
}

// edge starts a gateway and waits until it enforces what the control plane has.
func (s *stack) edge(configure ...func(*gateway.Config)) *edge {
	s.t.Helper()
	e := &edge{stack: s, listen: freePort(s.t), gatewayLog: &lines{}}
	showIfFailed(s.t, "gateway", e.gatewayLog)
	var err error
	if e.stateDir, err = os.MkdirTemp("", "edge-"); err != nil { // its sockets need a short path
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = os.RemoveAll(e.stateDir) })
	control := must(url.Parse(s.url))(s.t)
	e.config = gateway.Config{
		Control: control, Key: s.gatewayKey, Workspace: team, Interval: time.Second, Listen: e.listen, Roots: s.ca.PEM(),
		StateDir: e.stateDir, EnvoyPath: envoyBinary(s.t), Instance: e.listen.String(), Version: "test",
		Credentials: extauthz.NewCredentials("", func(string) (string, bool) { return "", false }),
		Log:         slog.New(slog.NewTextHandler(e.gatewayLog, nil)),
	}
	for _, change := range configure {
		change(&e.config)
	}
	e.base = "http://" + e.listen.String()
	if e.config.Certificate != nil {
		e.base = "https://" + e.listen.String()
	}
	e.start()
	e.ready()
	return e
}

func envoyBinary(t *testing.T) string {
	t.Helper()
	return must(provision.Envoy(t.Context(), provision.Config{Getenv: os.Getenv, CacheDir: cacheDir(t)}))(t)
}

func (e *edge) start() {
	ctx, cancel := context.WithCancel(context.Background())
	g := &running{cancel: cancel, ended: make(chan struct{})}
	e.running = g
	go func() {
		defer close(g.ended)
		g.err = gateway.Run(ctx, e.config)
	}()
	e.t.Cleanup(func() {
		if err := g.stop(); err != nil {
			e.t.Error(err)
		}
	})
}

func showIfFailed(t *testing.T, whose string, log *lines) {
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of the %s:\n%s", whose, log)
		}
	})
}

// ready waits until the gateway says that all is well, and gets the agent's token through it.
func (e *edge) ready() {
	e.t.Helper()
	eventually(e.t, "the gateway is ready", func() bool {
		got, err := attempt(e.client(), "", http.MethodGet, e.base+"/health", nil, nil)
		return err == nil && strings.HasPrefix(got.body, `{"status":"ok"`)
	})
	e.jwt = e.self(e.agentKey, http.MethodPost, "/api/v1/token", nil).member("access_token")
	if e.jwt == "" {
		e.t.Fatal("the agent got no token through the gateway")
	}
}

func (e *edge) client() *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} // the certificate is looked at where it matters
}

// self makes a call that the gateway itself answers, or passes to the control plane.
func (e *edge) self(key, method, path string, body any) answer {
	e.t.Helper()
	return call(e.t, e.client(), key, method, e.base+path, body)
}

// issue gets the agent a mandate through the gateway.
func (e *edge) issue(seconds int, actions ...string) string {
	e.t.Helper()
	got := e.self(e.agentKey, http.MethodPost, "/api/v1/mandates", e.terms(seconds, actions...))
	if got.status != http.StatusCreated {
		e.t.Fatalf("a mandate is answered %d %s", got.status, got.body)
	}
	return got.member("mandate_id")
}

// request is a call to a host of the upstream.
func (e *edge) request(method, mandate, host, path string) *http.Request {
	r := must(http.NewRequestWithContext(e.t.Context(), method, e.base+"/api/proxy", strings.NewReader(`{"q":1}`)))(e.t)
	r.Header.Set("Authorization", "Bearer "+e.jwt)
	r.Header.Set("X-Caracal-Mandate", mandate)
	r.Header.Set("X-Caracal-Target-URL", fmt.Sprintf("https://%s%s", host, path))
	return r
}

func (e *edge) proxy(mandate, path string) answer {
	e.t.Helper()
	return must(send(e.client(), e.request(http.MethodPost, mandate, upstreamHost, path)))(e.t)
}

func call(t *testing.T, client *http.Client, key, method, url string, body any) answer {
	t.Helper()
	return must(attempt(client, key, method, url, body, nil))(t)
}

func attempt(client *http.Client, key, method, url string, body any, header http.Header) (answer, error) {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return answer{}, err
		}
	}
	r, err := http.NewRequestWithContext(context.Background(), method, url, bytes.NewReader(text))
	if err != nil {
		return answer{}, err
	}
	for name, values := range header {
		r.Header[name] = values
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	return send(client, r)
}

// wantDenied insists on a denial and its reason.
func wantDenied(t *testing.T, got answer, status int, reason authority.Reason) {
	t.Helper()
	if got.status != status || got.member("error") != string(reason) {
		t.Errorf("answered %d %s, want %d %s", got.status, got.body, status, reason)
	}
}

func must[T any](value T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s", what, patience)
		}
		pause(t)
	}
}
