package abuse_test

import (
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/envoy"
	"github.com/caracal-gateway/caracal/extauthz"
	"github.com/caracal-gateway/caracal/internal/abuse"
	"github.com/caracal-gateway/caracal/lease"
	"github.com/caracal-gateway/caracal/token"
)

var start = time.Date(2026, 1, 15, 10, 30, 0, 0, time.UTC)

// TestTheDecisionServiceStandsEveryCase gives the service what Envoy would, without what Envoy does for it before.
func TestTheDecisionServiceStandsEveryCase(t *testing.T) {
	s := newStage(t, start)
	s.names["port.trap"], s.names["port.gateway"] = "9", "8443"
	clock := extauthz.NewClock(func() time.Duration { return 0 }, func() time.Time { return start })
	events := &recorder{}
	service := extauthz.New(extauthz.Config{
		Clock: clock, Recorder: events, Routes: func(string) bool { return true }, Read: extauthz.ReadClocks, Log: slog.New(slog.DiscardHandler),
		Credentials: extauthz.NewCredentials("", func(string) (string, bool) { return "", false }),
	})
	snapshot, err := extauthz.NewSnapshot(t.Context(), s.Reader())
	if err != nil {
		t.Fatal(err)
	}
	service.Enforce(snapshot, extauthz.Change{All: true})
	service.Hold(lease.From(extauthz.ReadClocks(), 1, lease.MaxTerm))

	for _, c := range cases(t, abuse.AtCheck) {
		t.Run(c.ID, func(t *testing.T) {
			events.reset()
			check := described(s.message(t, c))
			answer, err := service.Check(t.Context(), check)
			if err != nil {
				t.Fatalf("%s: the check failed: %v", c.Title, err)
			}
			if c.Upstream != nil {
				wantUpstream(t, c, forwarded(t, check, answer))
			} else {
				wantAnswer(t, c, abuse.AtCheck, refusalOf(t, answer))
			}
			events.wantOne(t, c)
		})
	}
}

// described is what Envoy tells about a message: pseudo-headers first, two hosts as one, names in lower case, and what
// it adds itself.
func described(m abuse.Message) *authv3.CheckRequest {
	host := []string{}
	if m.Host != "" {
		host = append(host, m.Host)
	}
	var rest []*corev3.HeaderValue
	for _, field := range m.Fields() {
		if field.Name == "host" {
			host = append(host, field.Value)
			continue
		}
		rest = append(rest, raw(field.Name, field.Value))
	}
	authorities := strings.Join(host, ",")
	list := append([]*corev3.HeaderValue{
		raw(":authority", authorities), raw(":path", m.Path), raw(":method", m.Method), raw(":scheme", "http"),
	}, rest...)
	list = append(list, raw("x-forwarded-proto", "http"), raw("x-envoy-external-address", "192.0.2.2"))
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Id: "1", Method: m.Method, Path: m.Path, Host: authorities, Scheme: "http", Protocol: "HTTP/1.1",
			HeaderMap: &corev3.HeaderMap{Headers: list},
		}},
		ContextExtensions: map[string]string{envoy.ModeKey: envoy.ModeGateway},
	}}
}

func raw(name, value string) *corev3.HeaderValue {
	return &corev3.HeaderValue{Key: name, RawValue: []byte(value)}
}

// refusalOf reads a denial.
func refusalOf(t *testing.T, answer *authv3.CheckResponse) reply {
	t.Helper()
	denied := answer.GetDeniedResponse()
	if denied == nil || answer.GetStatus().GetCode() == 0 {
		t.Fatalf("the answer is no denial: %v", answer)
	}
	r := reply{status: int(denied.GetStatus().GetCode())}
	if err := json.Unmarshal([]byte(denied.GetBody()), &r); err != nil {
		t.Fatalf("the denial's body %q: %v", denied.GetBody(), err)
	}
	return r
}

// forwarded is the request that Envoy makes of the one that it asked about and the answer.
func forwarded(t *testing.T, check *authv3.CheckRequest, answer *authv3.CheckResponse) arrived {
	t.Helper()
	ok := answer.GetOkResponse()
	if ok == nil || answer.GetStatus().GetCode() != 0 {
		t.Fatalf("the answer is no permission: %v", answer)
	}
	headers := map[string][]string{}
	for _, h := range check.GetAttributes().GetRequest().GetHttp().GetHeaderMap().GetHeaders() {
		headers[h.GetKey()] = append(headers[h.GetKey()], string(h.GetRawValue()))
	}
	for _, h := range ok.GetHeaders() {
		headers[h.GetHeader().GetKey()] = []string{h.GetHeader().GetValue()}
	}
	for _, name := range ok.GetHeadersToRemove() {
		delete(headers, name)
	}
	// Envoy's own configuration, and nothing that the service answers, keeps these from the upstream.
	for _, name := range []string{envoy.RouteHeader, envoy.BoundHeader, "x-envoy-upstream-stream-duration-ms", "x-forwarded-proto"} {
		delete(headers, name)
	}
	return arrived{method: headers[":method"][0], host: headers[":authority"][0], path: headers[":path"][0], headers: headers}
}

// reply is what a caller is told.
type reply struct {
	status int
	Error  string `json:"error"`
	Code   string `json:"code"`
	grpc   int
	reset  bool
	closed bool
}

func wantAnswer(t *testing.T, c abuse.Case, level abuse.Level, got reply) {
	t.Helper()
	want := c.AnswerAt(level)
	if diff := cmp.Diff(want, abuse.Answer{Status: got.status, Error: got.Error, Code: got.Code, GRPC: got.grpc, Reset: got.reset, Closed: got.closed}); diff != "" {
		t.Errorf("%s (-want +got):\n%s", c.Title, diff)
	}
}

// arrived is a request as the upstream gets it; names of headers are in lower case.
type arrived struct {
	method, host, path string
	headers            map[string][]string
}

// wantUpstream also holds a request to what is true of all: nothing that is between caller and gateway arrives, and no
// credential of ours in any header.
func wantUpstream(t *testing.T, c abuse.Case, got arrived) {
	t.Helper()
	want := c.Upstream
	if got.method != want.Method || got.host != want.Host || got.path != want.Path {
		t.Errorf("%s: the upstream gets %s %s %s, want %s %s %s", c.Title, got.method, got.host, got.path, want.Method, want.Host, want.Path)
	}
	for name, values := range want.Headers {
		if diff := cmp.Diff(values, got.headers[name]); diff != "" {
			t.Errorf("%s: header %s (-want +got):\n%s", c.Title, name, diff)
		}
	}
	absent := append([]string{"x-caracal-", "x-envoy-", "x-forwarded-", "proxy-"}, want.Absent...)
	for name, values := range got.headers {
		if slices.ContainsFunc(absent, func(prefix string) bool { return strings.HasPrefix(name, prefix) }) {
			t.Errorf("%s: the upstream gets the header %s", c.Title, name)
		}
		if slices.ContainsFunc(values, token.Recognise) {
			t.Errorf("%s: the upstream gets a credential of ours in %s", c.Title, name)
		}
	}
}

// recorder keeps the events of decisions.
type recorder struct {
	mu     sync.Mutex
	events []authority.Event
}

func (r *recorder) Record(e authority.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

func (r *recorder) Outcome(authority.DecisionID, authority.Outcome) {}

func (r *recorder) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = nil
}

// wantOne checks that the decision is on record with the reason that the caller was told.
func (r *recorder) wantOne(t *testing.T, c abuse.Case) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.events) != 1 || string(r.events[0].Reason) != c.Answer.Error {
		t.Errorf("%s: the record is %+v, want one event with the reason %q", c.Title, r.events, c.Answer.Error)
	}
}
