package abuse_test

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	procv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/envoy"
	"github.com/caracal-gateway/caracal/extauthz"
	"github.com/caracal-gateway/caracal/internal/abuse"
	"github.com/caracal-gateway/caracal/lease"
)

// carried is a case's message as a client of a proxy sends it: the target is where the request goes, and the caller says
// who it is in the header that proxies read.
type carried struct {
	scheme, authority, path string
	lines                   []string
}

// carriedOf is false for a case that is about something that requests of this kind have not.
func carriedOf(m abuse.Message) (carried, bool) {
	var q carried
	targets := 0
	for _, line := range m.Lines {
		name, value, _ := strings.Cut(line, ":")
		switch strings.ToLower(name) {
		case "x-caracal-target-url":
			targets++
			var rest string
			var ok bool
			if q.scheme, rest, ok = strings.Cut(strings.TrimSpace(value), "://"); !ok {
				return q, false
			}
			end := strings.IndexAny(rest, "/?")
			if end < 0 {
				end = len(rest)
			}
			q.authority, q.path = rest[:end], rest[end:]
		case "authorization":
			q.lines = append(q.lines, "proxy-authorization:"+value)
		default:
			q.lines = append(q.lines, line)
		}
	}
	if q.path == "" || q.path[0] == '?' {
		q.path = "/" + q.path
	}
	has := func(name string) bool {
		return slices.ContainsFunc(m.Fields(), func(f abuse.Field) bool { return f.Name == name && f.Value != "" })
	}
	http := q.authority != "" && (q.scheme == "https" || q.scheme == "http")
	return q, http && targets == 1 && has("x-caracal-mandate") && !has("host") && !has("proxy-authorization") && m.Path == "/api/proxy" && m.Host == "gateway.test"
}

// forwarded is the check of the message in absolute form.
func (q carried) forwarded(method string) *authv3.CheckRequest {
	return q.check(envoy.ModeForward, method, q.authority, q.path, q.lines)
}

func (q carried) check(mode, method, authority, path string, lines []string) *authv3.CheckRequest {
	list := []*corev3.HeaderValue{raw(":authority", authority), raw(":method", method), raw(":scheme", q.scheme)}
	if path != "" {
		list = append(list, raw(":path", path))
	}
	for _, field := range (abuse.Message{Lines: lines}).Fields() {
		list = append(list, raw(field.Name, field.Value))
	}
	proto := "http"
	if mode == envoy.ModeInside {
		proto = q.scheme
	}
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Id: "1", Method: method, Path: path, Host: authority, Scheme: q.scheme, Protocol: "HTTP/1.1",
			HeaderMap: &corev3.HeaderMap{Headers: append(list, raw("x-forwarded-proto", proto))},
		}},
		ContextExtensions: map[string]string{envoy.ModeKey: mode},
	}}
}

// port is the authority with a port, as a CONNECT has it.
func (q carried) withPort() string {
	if host := q.authority[strings.LastIndexByte(q.authority, ']')+1:]; strings.Contains(host, ":") {
		return q.authority
	}
	if q.scheme == "http" {
		return q.authority + ":80"
	}
	return q.authority + ":443"
}

// says reports whether a line is one by which a caller says who it is and what it may do.
func says(line string) bool {
	name, _, _ := strings.Cut(strings.ToLower(line), ":")
	return name == "proxy-authorization" || name == "x-caracal-mandate"
}

// desk is a decision service on its socket, and Envoy's side of it.
type desk struct {
	*stage
	service *extauthz.Service
	watches procv3.ExternalProcessorClient
	events  *recorder
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{stage: newStage(t, start), events: &recorder{}}
	d.names["port.trap"], d.names["port.gateway"] = "9", "8443"
	clock := extauthz.NewClock(func() time.Duration { return 0 }, func() time.Time { return start })
	d.service = extauthz.New(extauthz.Config{
		Clock: clock, Recorder: d.events, Routes: func(string) bool { return true }, Read: extauthz.ReadClocks, Log: slog.New(slog.DiscardHandler),
		Credentials: extauthz.NewCredentials("", func(string) (string, bool) { return "", false }),
	})
	snapshot, err := extauthz.NewSnapshot(t.Context(), d.Reader())
	if err != nil {
		t.Fatal(err)
	}
	d.service.Enforce(snapshot, extauthz.Change{All: true})
	d.service.Hold(lease.From(extauthz.ReadClocks(), 1, lease.MaxTerm))
	path := filepath.Join(t.TempDir(), "socket")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- d.service.Serve(ctx, listener) }()
	connection, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = connection.Close()
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	d.watches = procv3.NewExternalProcessorClient(connection)
	return d
}

func (d *desk) check(t *testing.T, check *authv3.CheckRequest) *authv3.CheckResponse {
	t.Helper()
	d.events.reset()
	answer, err := d.service.Check(t.Context(), check)
	if err != nil {
		t.Fatalf("the check failed: %v", err)
	}
	return answer
}

// open registers the watch of a CONNECT that was permitted; the tunnel is open until the test ends.
func (d *desk) open(t *testing.T, answer *authv3.CheckResponse) authority.DecisionID {
	t.Helper()
	stream, err := d.watches.Process(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&procv3.ProcessingRequest{
		Request: &procv3.ProcessingRequest_RequestHeaders{RequestHeaders: &procv3.HttpHeaders{}},
		MetadataContext: &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{
			envoy.MetadataNamespace: answer.GetDynamicMetadata(),
		}},
	}); err != nil {
		t.Fatal(err)
	}
	if first, err := stream.Recv(); err != nil || first.GetRequestHeaders() == nil {
		t.Fatalf("the tunnel is not opened: %v, %v", first, err)
	}
	return authority.DecisionID(answer.GetDynamicMetadata().GetFields()[envoy.MetadataDecisionID].GetStringValue())
}

// atProxy is what a case's answer is at the proxy port, which asks for credentials in its own words.
func atProxy(a abuse.Answer) abuse.Answer {
	if a.Status == http.StatusUnauthorized {
		a.Status = http.StatusProxyAuthRequired
	}
	return a
}

// TestTheProxyPortStandsEveryCase plays what cases are about as requests in absolute form.
func TestTheProxyPortStandsEveryCase(t *testing.T) {
	d, played := newDesk(t), 0
	for _, c := range cases(t, abuse.AtCheck) {
		m := d.message(t, c)
		q, ok := carriedOf(m)
		if !ok {
			continue
		}
		played++
		t.Run(c.ID, func(t *testing.T) {
			check := q.forwarded(m.Method)
			answer := d.check(t, check)
			if c.Upstream != nil {
				wantUpstream(t, c, forwarded(t, check, answer))
			} else {
				c.Answer = atProxy(c.Answer)
				wantAnswer(t, c, abuse.AtCheck, refusalOf(t, answer))
			}
			d.events.wantOne(t, c)
		})
	}
	if played < 200 {
		t.Errorf("%d cases were played", played)
	}
}

// TestTunnelsStandEveryCase plays them through a CONNECT: either that is refused for what the case is refused for, or the
// request inside is.
func TestTunnelsStandEveryCase(t *testing.T) {
	d, outside, within := newDesk(t), 0, 0
	for _, c := range cases(t, abuse.AtCheck) {
		m := d.message(t, c)
		q, ok := carriedOf(m)
		if !ok || strings.ContainsAny(q.authority, ",") {
			continue
		}
		t.Run(c.ID, func(t *testing.T) {
			connect := d.check(t, q.check(envoy.ModeForward, http.MethodConnect, q.withPort(), "", slices.DeleteFunc(slices.Clone(q.lines), func(line string) bool { return !says(line) })))
			if connect.GetOkResponse() == nil {
				outside++
				c.Answer = atProxy(c.Answer)
				wantAnswer(t, c, abuse.AtCheck, refusalOf(t, connect))
				d.events.wantOne(t, c)
				return
			}
			within++
			check := q.check(envoy.ModeInside, m.Method, q.authority, q.path, slices.DeleteFunc(slices.Clone(q.lines), says))
			check.Attributes.ContextExtensions[envoy.OuterKey] = string(d.open(t, connect))
			if q.scheme == "https" {
				host, _, _ := strings.Cut(strings.TrimSuffix(strings.ToLower(q.withPort()), "."), ":")
				check.Attributes.TlsSession = &authv3.AttributeContext_TLSSession{Sni: strings.TrimSuffix(host, ".")}
			}
			answer := d.check(t, check)
			if c.Upstream != nil {
				wantUpstream(t, c, forwarded(t, check, answer))
			} else {
				wantAnswer(t, c, abuse.AtCheck, refusalOf(t, answer))
			}
			d.events.wantOne(t, c)
		})
	}
	if outside < 50 || within < 50 {
		t.Errorf("%d cases were decided outside and %d inside", outside, within)
	}
}
