package extauthz_test

import (
	"cmp"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/envoy"
	"github.com/caracal-gateway/caracal/extauthz"
	"github.com/caracal-gateway/caracal/internal/world"
	"github.com/caracal-gateway/caracal/lease"
)

var start = time.Date(2026, 1, 15, 10, 30, 0, 0, time.UTC)

// bench is a Service over a world, with everything that it needs and its clock at the world's time.
type bench struct {
	*world.World
	service *extauthz.Service
	events  *recorder

	routes  func(string) bool
	secrets map[string]string
	elapsed time.Duration
}

// newBench makes one; edits change what the service is made from.
func newBench(t testing.TB, edits ...func(*extauthz.Config)) *bench {
	b := &bench{
		World:   world.New(t, start),
		events:  &recorder{},
		routes:  func(string) bool { return true },
		secrets: map[string]string{"CARACAL_CREDENTIAL_MODEL": "s3cret"},
	}
	clock := extauthz.NewClock(func() time.Duration { return b.elapsed }, func() time.Time { return start })
	config := extauthz.Config{
		Clock:    clock,
		Recorder: b.events,
		Credentials: extauthz.NewCredentials("", func(name string) (string, bool) {
			value, ok := b.secrets[name]
			return value, ok
		}),
		Routes: func(key string) bool { return b.routes(key) },
		Read:   b.read,
		Log:    slog.New(slog.DiscardHandler),
	}
	for _, edit := range edits {
		edit(&config)
	}
	b.service = extauthz.New(config)
	clock.Anchor(start, 0)
	b.service.Hold(lease.From(b.read(), 1, lease.MaxTerm))
	return b
}

// read is what the clocks of the bench's host say.
func (b *bench) read() lease.Reading {
	return lease.Reading{Boot: b.elapsed, Wall: start.Add(b.elapsed)}
}

// enforce makes the service decide from the world as it is now.
func (b *bench) enforce(t testing.TB) {
	t.Helper()
	snapshot, err := extauthz.NewSnapshot(context.Background(), b.Reader())
	if err != nil {
		t.Fatal(err)
	}
	b.service.Enforce(snapshot, extauthz.Change{All: true})
}

func (b *bench) check(t testing.TB, check *authv3.CheckRequest) *authv3.CheckResponse {
	t.Helper()
	answer, err := b.service.Check(context.Background(), check)
	if err != nil {
		t.Fatalf("Check returned an error, which costs the caller the reason: %v", err)
	}
	return answer
}

type recorder struct {
	mu       sync.Mutex
	events   []authority.Event
	outcomes map[authority.DecisionID]authority.Outcome
	panics   bool
}

func (r *recorder) Record(e authority.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.panics {
		panic("the recorder is broken")
	}
	r.events = append(r.events, e)
}

func (r *recorder) Outcome(id authority.DecisionID, o authority.Outcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.outcomes == nil {
		r.outcomes = map[authority.DecisionID]authority.Outcome{}
	}
	r.outcomes[id] = o
}

func (r *recorder) outcome(id authority.DecisionID) (authority.Outcome, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	o, ok := r.outcomes[id]
	return o, ok
}

func (r *recorder) all() []authority.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]authority.Event(nil), r.events...)
}

func (r *recorder) last(t testing.TB) authority.Event {
	t.Helper()
	all := r.all()
	if len(all) == 0 {
		t.Fatal("no event was recorded")
	}
	return all[len(all)-1]
}

// pair is a header as it came.
type pair struct{ name, value string }

// asked is a request in the way in which Envoy describes it: raw headers in their order, pseudo-headers first.
type asked struct {
	mode, method, path, host string
	headers                  []pair

	scheme string // http, unless it says otherwise
	source string // 192.0.2.2, unless it says otherwise
	secure bool   // over TLS, for the name in sni
	sni    string
	outer  string // the decision on the CONNECT that it comes inside of
}

// proxied is the call that the main job makes.
func (b *bench) proxied(headers ...pair) asked {
	return asked{
		mode: envoy.ModeGateway, method: "POST", path: "/api/proxy", host: "localhost:8443",
		headers: append([]pair{
			{"user-agent", "curl/7.88.1"},
			{"accept", "*/*"},
			{"authorization", "Bearer " + b.Token(b.Agent.ID)},
			{"x-caracal-mandate", string(b.Mandate.ID)},
			{"x-caracal-target-url", "https://echo.caracal.test:9443/v1/chat/completions?stream=true&key=v4lue"},
			{"content-type", "application/json"},
			{"content-length", "17"},
			{"x-forwarded-for", "192.0.2.2"},
			{"x-forwarded-proto", "http"},
			{"x-envoy-external-address", "192.0.2.2"},
		}, headers...),
	}
}

// with replaces a header, or adds it.
func (a asked) with(name, value string) asked {
	a = a.without(name)
	a.headers = append(a.headers, pair{name, value})
	return a
}

func (a asked) without(name string) asked {
	var kept []pair
	for _, h := range a.headers {
		if h.name != name {
			kept = append(kept, h)
		}
	}
	a.headers = kept
	return a
}

// plus adds a header beside what is there.
func (a asked) plus(name, value string) asked {
	a.headers = append(append([]pair(nil), a.headers...), pair{name, value})
	return a
}

func (a asked) check() *authv3.CheckRequest {
	transport := map[bool]string{false: "http", true: "https"}[a.secure]
	if !slices.Contains(a.headers, pair{"x-forwarded-proto", transport}) {
		a = a.with("x-forwarded-proto", transport)
	}
	a.scheme, a.source = cmp.Or(a.scheme, "http"), cmp.Or(a.source, "192.0.2.2")
	list := []*corev3.HeaderValue{
		{Key: ":authority", RawValue: []byte(a.host)},
		{Key: ":method", RawValue: []byte(a.method)},
		{Key: ":scheme", RawValue: []byte(a.scheme)},
	}
	if a.path != "" {
		list = append(list, &corev3.HeaderValue{Key: ":path", RawValue: []byte(a.path)})
	}
	for _, h := range a.headers {
		list = append(list, &corev3.HeaderValue{Key: h.name, RawValue: []byte(h.value)})
	}
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		TlsSession: &authv3.AttributeContext_TLSSession{Sni: a.sni}, // also without TLS
		Source: &authv3.AttributeContext_Peer{Address: &corev3.Address{Address: &corev3.Address_SocketAddress{
			SocketAddress: &corev3.SocketAddress{Address: a.source, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 60980}},
		}}},
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Id: "18221812780971847111", Method: a.method, Path: a.path, Host: a.host, Scheme: a.scheme, Protocol: "HTTP/1.1",
			HeaderMap: &corev3.HeaderMap{Headers: list},
		}},
		ContextExtensions: map[string]string{envoy.ModeKey: a.mode, envoy.OuterKey: a.outer},
	}}
}

// denied is what a caller is told.
type denied struct {
	Status     int    `json:"-"`
	Error      string `json:"error"`
	Message    string `json:"message"`
	Code       string `json:"code"`
	DecisionID string `json:"decision_id"`
}

// wantDenial holds an answer against everything that a denial must be.
func wantDenial(t testing.TB, answer *authv3.CheckResponse) denied {
	t.Helper()
	response := answer.GetDeniedResponse()
	if response == nil || answer.GetOkResponse() != nil {
		t.Fatalf("the answer is no denial: %v", answer)
	}
	if answer.GetStatus() == nil || answer.GetStatus().GetCode() == 0 {
		t.Fatalf("the denial has the status OK, which Envoy takes for a permission: %v", answer)
	}
	d := denied{Status: int(response.GetStatus().GetCode())}
	if d.Status < 400 || d.Status > 599 {
		t.Errorf("a denial with HTTP status %d", d.Status)
	}
	if err := json.Unmarshal([]byte(response.GetBody()), &d); err != nil {
		t.Fatalf("the body %q: %v", response.GetBody(), err)
	}
	if strings.Contains(response.GetBody(), `\u003`) || !strings.HasSuffix(response.GetBody(), "}\n") {
		t.Errorf("the body is no line that people read: %q", response.GetBody())
	}
	headers := map[string]string{}
	for _, h := range response.GetHeaders() {
		headers[h.GetHeader().GetKey()] = h.GetHeader().GetValue()
	}
	if headers["content-type"] != "application/json" || headers["cache-control"] != "no-store" {
		t.Errorf("headers of the denial: %v", headers)
	}
	if (d.Status == http.StatusUnauthorized) != (headers["www-authenticate"] != "") {
		t.Errorf("status %d with www-authenticate %q", d.Status, headers["www-authenticate"])
	}
	if (d.Status == http.StatusProxyAuthRequired) != (headers["proxy-authenticate"] != "") {
		t.Errorf("status %d with proxy-authenticate %q", d.Status, headers["proxy-authenticate"])
	}
	if _, err := authority.ParseID[authority.DecisionID](d.DecisionID); err != nil || d.Message == "" {
		t.Errorf("the body says %+v", d)
	}
	return d
}

// permission is what Envoy is told to do with a request that may pass.
type permission struct {
	set      map[string]string
	remove   map[string]bool
	metadata map[string]string
}

func wantPermission(t testing.TB, answer *authv3.CheckResponse) permission {
	t.Helper()
	ok := answer.GetOkResponse()
	if ok == nil || answer.GetStatus() == nil || answer.GetStatus().GetCode() != 0 {
		t.Fatalf("the answer is no permission: %v", answer)
	}
	p := permission{map[string]string{}, map[string]bool{}, map[string]string{}}
	for _, h := range ok.GetHeaders() {
		name := h.GetHeader().GetKey()
		if len(h.GetHeader().GetRawValue()) > 0 || h.GetHeader().GetValue() == "" {
			t.Errorf("%s is set to nothing: Envoy reads value only", name)
		}
		if h.GetAppendAction() != corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD {
			t.Errorf("%s is set beside what the caller sent", name)
		}
		if _, twice := p.set[name]; twice {
			t.Errorf("%s is set twice", name)
		}
		p.set[name] = h.GetHeader().GetValue()
	}
	for _, name := range ok.GetHeadersToRemove() {
		if _, set := p.set[name]; set {
			t.Errorf("%s is set and then removed: Envoy removes last", name)
		}
		if name == "x-forwarded-proto" {
			t.Error("x-forwarded-proto is removed: Envoy finds no route without it")
		}
		p.remove[name] = true
	}
	for name, value := range answer.GetDynamicMetadata().GetFields() {
		p.metadata[name] = value.GetStringValue()
	}
	return p
}
