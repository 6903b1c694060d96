package envoy_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	rbacconfigv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/caracal-gateway/caracal/envoy"
	"github.com/caracal-gateway/caracal/internal/nameserver"
)

// withUpstreams is a gateway whose catalog has the upstreams.
func withUpstreams(t *testing.T, upstreams ...envoy.Upstream) func(envoy.Local) envoy.Resources {
	return func(l envoy.Local) envoy.Resources { return envoy.Merge(envoy.Fixed(l), catalog(t, upstreams...)) }
}

// loopbackIsPublic makes this machine stand for the public internet.
func loopbackIsPublic(r envoy.Resources) envoy.Resources {
	editAll(r, func(_ string, m protoreflect.Message) {
		switch m := m.Interface().(type) {
		case *matcherv3.AddressMatcher:
			m.Ranges = slices.DeleteFunc(m.Ranges, func(c *xdscorev3.CidrRange) bool { return c.GetAddressPrefix() == "127.0.0.0" })
		case *rbacconfigv3.Policy:
			m.Permissions = slices.DeleteFunc(m.Permissions, func(p *rbacconfigv3.Permission) bool {
				return strings.Contains(p.String(), "127.0.0.0")
			})
		}
	})
	return r
}

func TestTheUpstreamGetsExactlyWhatWasDecided(t *testing.T) {
	up := startUpstream(t, "127.0.0.1:0", nil)
	target := local("api.test", up.port)
	r := startRig(t, setup{resources: withUpstreams(t, target)})

	for _, path := range []string{
		"/v1/chat?model=a&b=%20c", "//a//b", "/a/../b", "/a/%2e%2e/b;x=1/c", "/@scope%2fname", "/a%252fb", "/a\\b", "/a%5cb", "/%61", "/a|b\"<>^`{}", "/x?y=/../%2f//z",
	} {
		t.Run(path, func(t *testing.T) {
			before := len(up.seen())
			r.authz.answer(func(*authv3.CheckRequest) *authv3.CheckResponse {
				return permit(target.Route(), map[string]string{":path": path, ":authority": "api.test:8080", ":scheme": "http"})
			})
			if got := r.raw("POST /api/proxy HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 4\r\n\r\nbody"); got.Status != 200 || got.Body != "reached" {
				t.Fatalf("got %+v", got)
			}
			seen := up.seen()[before:]
			want := []received{{Method: "POST", Host: "api.test:8080", URI: path, Proto: "HTTP/1.1", Body: "body"}}
			if diff := cmp.Diff(want, seen, cmpopts.IgnoreFields(received{}, "Header")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	for _, path := range []string{"//a//b", "/a/../b", "/a%2fb;c", "/a\\b?x=/.."} {
		t.Run("the decision service sees "+path, func(t *testing.T) {
			r.authz.answer(func(*authv3.CheckRequest) *authv3.CheckResponse { return deny(403, denial) })
			r.raw("GET " + path + " HTTP/1.1\r\nHost: gateway.test\r\n\r\n")
			if got := r.authz.asked()[0].GetAttributes().GetRequest().GetHttp().GetPath(); got != path {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestTheUpstreamSeesTheCallersHeadersAndNothingOfOurs(t *testing.T) {
	up := startUpstream(t, "127.0.0.1:0", nil)
	target := local("api.test", up.port)
	r := startRig(t, setup{resources: withUpstreams(t, target)})
	r.authz.answer(func(*authv3.CheckRequest) *authv3.CheckResponse {
		return permit(target.Route(), map[string]string{
			":authority":                          "api.test",
			"authorization":                       "Bearer for-the-upstream",
			"x-envoy-upstream-stream-duration-ms": "5000",
		}, "x-caracal-mandate")
	})
	const own = "Accept: */*\r\nUser-Agent: agent/1\r\nX-Twice: a\r\nX-Twice: b\r\nX-Empty:\r\nX-Request-Id: mine\r\nVia: 1.1 mine\r\nForwarded: for=mine\r\nTraceparent: mine\r\nCookie: a=b; c=d\r\n"
	got := r.raw("GET /api/proxy HTTP/1.1\r\nHost: gateway.test\r\nAuthorization: Bearer of-the-caller\r\n" + own +
		"X-Caracal-Mandate: m\r\nX-Caracal-Target-URL: u\r\nX-Caracal-Anything: a\r\nX-Caracal-Int-Route: public-plain\r\nX-Caracal-Int-Other: a\r\n" +
		"X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: a\r\nX-Forwarded-Client-Cert: a\r\n" +
		"X-Envoy-Original-Path: /a\r\nX-Envoy-Upstream-Rq-Timeout-Ms: 1\r\nX-Envoy-Retry-On: 5xx\r\nX-Envoy-Anything: a\r\n" +
		"X-Original-Url: /a\r\nX-Rewrite-Url: /a\r\nProxy-Authorization: a\r\nProxy-Connection: keep-alive\r\nProxy-Anything: a\r\n\r\n")
	if got.Status != 200 {
		t.Fatalf("got %+v", got)
	}
	want := http.Header{
		"Accept": {"*/*"}, "User-Agent": {"agent/1"}, "X-Twice": {"a", "b"}, "X-Empty": {""}, "X-Request-Id": {"mine"}, "Via": {"1.1 mine"},
		"Forwarded": {"for=mine"}, "Traceparent": {"mine"}, "Cookie": {"a=b; c=d"}, "Authorization": {"Bearer for-the-upstream"},
	}
	if diff := cmp.Diff(want, up.seen()[0].Header); diff != "" {
		t.Errorf("upstream (-want +got):\n%s", diff)
	}

	var names []string
	for _, h := range r.authz.asked()[0].GetAttributes().GetRequest().GetHttp().GetHeaderMap().GetHeaders() {
		names = append(names, h.GetKey())
	}
	// These two are Envoy's own words: how the connection came in.
	reserved := slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		return name == "x-envoy-external-address" || name == "x-forwarded-proto" ||
			!strings.HasPrefix(name, "x-caracal-int-") && !strings.HasPrefix(name, "x-envoy-") && !strings.HasPrefix(name, "x-forwarded-") &&
				name != "x-original-url" && name != "x-rewrite-url"
	})
	if len(reserved) > 0 {
		t.Errorf("the decision service was told the caller's %q", reserved)
	}
	if !slices.Contains(names, "x-caracal-mandate") {
		t.Errorf("the decision service was told only %q", names)
	}
}

func TestTheResponseComesBackUnchanged(t *testing.T) {
	up := startUpstream(t, "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Server", "the upstream/1")
		h.Set("Date", "Sun, 06 Nov 1994 08:49:37 GMT")
		h["X-Twice"] = []string{"a", "b"}
		h.Set("Location", "http://169.254.169.254/latest")
		h.Set("Content-Type", "application/x-own")
		h.Set("X-Request-Id", "the upstream's")
		w.WriteHeader(http.StatusFound)
		fmt.Fprint(w, "body")
	}))
	target := local("api.test", up.port)
	r := startRig(t, setup{resources: withUpstreams(t, target)})
	r.authz.answer(func(*authv3.CheckRequest) *authv3.CheckResponse { return permit(target.Route(), nil) })
	want := answer{302, http.Header{
		"Server": {"the upstream/1"}, "Date": {"Sun, 06 Nov 1994 08:49:37 GMT"}, "X-Twice": {"a", "b"}, "Location": {"http://169.254.169.254/latest"},
		"Content-Type": {"application/x-own"}, "X-Request-Id": {"the upstream's"}, "Content-Length": {"4"},
	}, "body"}
	if diff := cmp.Diff(want, r.get("/api/proxy")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := len(up.seen()); got != 1 {
		t.Errorf("the upstream got %d requests: a redirect was followed", got)
	}
}

func TestADecisionChoosesTheRouteAndNothingElseDoes(t *testing.T) {
	one, two := startUpstream(t, "127.0.0.1:0", nil), startUpstream(t, "127.0.0.1:0", nil)
	first, second := local("api.test", one.port), local("api.test", two.port)
	second.Port = first.Port // the same host and port, reached elsewhere
	r := startRig(t, setup{resources: withUpstreams(t, first, second)})
	send := func(route string) answer {
		r.authz.answer(func(*authv3.CheckRequest) *authv3.CheckResponse {
			return permit(route, map[string]string{":authority": "api.test"})
		})
		return r.raw("GET /api/proxy HTTP/1.1\r\nHost: gateway.test\r\n" + envoy.RouteHeader + ": " + second.Route() + "\r\n\r\n")
	}
	if got := send(""); got.Status != 503 || len(one.seen())+len(two.seen()) != 0 {
		t.Errorf("a header of the client's chose the route: %+v", got)
	}
	if got := send(first.Route()); got.Status != 200 || len(one.seen()) != 1 || len(two.seen()) != 0 {
		t.Errorf("the decision's route was not taken: %+v", got)
	}
	for _, route := range []string{envoy.ClusterAuthz, envoy.ClusterXDS, first.Route() + "-h1", strings.ToUpper(first.Route()), first.Route() + "," + second.Route()} {
		if got := send(route); got.Status != 503 || len(one.seen()) != 1 || len(two.seen()) != 0 {
			t.Errorf("route %q was taken: %+v", route, got)
		}
	}
}

func TestEachWayInHasItsMode(t *testing.T) {
	certified := func(l *envoy.Local) { l.Certificate, l.PrivateKey = authority(t).issue(t, "gateway.test") }
	for name, c := range map[string]struct {
		local   func(*envoy.Local)
		request string
		want    string
	}{
		"the gateway port":                {nil, "GET /api/proxy HTTP/1.1\r\nHost: g\r\n\r\n", envoy.ModeGateway},
		"CONNECT to the gateway port":     {nil, "CONNECT h.test:443 HTTP/1.1\r\nHost: h.test:443\r\n\r\n", envoy.ModeGateway},
		"a mode that the client claims":   {nil, "GET / HTTP/1.1\r\nHost: g\r\nx-caracal-mode: forward\r\n\r\n", envoy.ModeGateway},
		"plain HTTP beside TLS":           {certified, "GET /api/proxy HTTP/1.1\r\nHost: g\r\n\r\n", envoy.ModePlain},
		"CONNECT over plain HTTP, beside": {certified, "CONNECT h.test:443 HTTP/1.1\r\nHost: h.test:443\r\n\r\n", envoy.ModePlain},
	} {
		t.Run(name, func(t *testing.T) {
			r := startRig(t, setup{local: c.local, resources: withUpstreams(t)})
			r.authz.answer(func(*authv3.CheckRequest) *authv3.CheckResponse { return deny(403, denial) })
			if got := r.raw(c.request); got.Status != 403 || got.Body != denial {
				t.Errorf("got %+v", got)
			}
			if got := r.authz.beside(envoy.ModeKey); !slices.Equal(got, []string{c.want}) {
				t.Errorf("mode %q, want %q", got, c.want)
			}
		})
	}
}

func TestTLSServesEverythingAndPlainHTTPOnlyHealthAndSync(t *testing.T) {
	up := startUpstream(t, "127.0.0.1:0", nil)
	target := local("api.test", up.port)
	r := startRig(t, setup{
		local:     func(l *envoy.Local) { l.Certificate, l.PrivateKey = authority(t).issue(t, "gateway.test") },
		resources: withUpstreams(t, target),
	})
	permitTo := func(route string) {
		r.authz.answer(func(*authv3.CheckRequest) *authv3.CheckResponse { return permit(route, nil) })
	}
	secure := func(h2 bool, path string) (answer, string) {
		var protocol string
		request, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
			TLSHandshakeDone: func(s tls.ConnectionState, _ error) { protocol = s.NegotiatedProtocol },
		}), http.MethodGet, "https://gateway.test"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		return r.do(r.client(h2), request), protocol
	}
	permitTo(target.Route())
	for _, h2 := range []bool{true, false} {
		got, protocol := secure(h2, "/api/proxy")
		if got.Status != 200 || got.Body != "reached" || (protocol == "h2") != h2 {
			t.Errorf("over TLS: %+v by %q", got, protocol)
		}
	}
	reached := len(up.seen())
	if got := r.get("/api/proxy").refusal(t); got != (refusal{426, "tls_required", decisionID}) {
		t.Errorf("plain: %+v", got)
	}
	if len(up.seen()) != reached {
		t.Error("plain HTTP reached the upstream")
	}
	permitTo(envoy.RouteSelf)
	for _, path := range []string{"/health", "/ready", "/admin/sync"} {
		if got := r.get(path); got.Status != 200 || got.Body != "self GET "+path {
			t.Errorf("plain %s: %+v", path, got)
		}
	}
	for _, path := range []string{"/health/", "//health", "/a/../health", "/api/v1/token", "/admin", "/Health", "/health%20"} {
		if got := r.get(path).refusal(t); got.Error != "tls_required" {
			t.Errorf("plain %s: %+v", path, got)
		}
	}
	if got, _ := secure(true, "/api/v1/token"); got.Status != 200 || got.Body != "self GET /api/v1/token" {
		t.Errorf("agent API over TLS: %+v", got)
	}
}

func TestBeforeTheFirstBundleOnlyHealthAndSyncWork(t *testing.T) {
	r := startRig(t, setup{self: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.Header.Get(envoy.RouteHeader) != "" {
			t.Errorf("%s arrived", envoy.RouteHeader)
		}
		fmt.Fprintf(w, "self %s %s", q.Method, q.URL)
	})})
	r.authz.answer(func(*authv3.CheckRequest) *authv3.CheckResponse { return permit(envoy.RouteSelf, nil) })
	for _, path := range []string{"/health", "/ready", "/admin/sync", "/health?a=b"} {
		if got := r.get(path); got.Status != 200 || got.Body != "self GET "+path {
			t.Errorf("%s: %+v", path, got)
		}
	}
	for _, path := range []string{"/api/proxy", "/api/v1/mandates", "/"} {
		if got := r.get(path).refusal(t); got != (refusal{503, "route_not_ready", decisionID}) {
			t.Errorf("%s: %+v", path, got)
		}
	}
}

func TestCONNECTIsRefusedAfterACheck(t *testing.T) {
	r := startRig(t, setup{resources: withUpstreams(t)})
	for name, c := range map[string]struct {
		answer *authv3.CheckResponse
		want   refusal
	}{
		"denied":    {deny(403, denial), refusal{403, "mandate_revoked", decisionID}},
		"permitted": {permit(envoy.RoutePublicPlain, nil), refusal{503, "route_not_ready", decisionID}},
	} {
		for _, target := range []string{"h.test:443", "127.0.0.1:22", "[::1]:443"} {
			r.authz.answer(func(*authv3.CheckRequest) *authv3.CheckResponse { return c.answer })
			got := r.raw(fmt.Sprintf("CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", target, target))
			if diff := cmp.Diff(c.want, got.refusal(t)); diff != "" {
				t.Errorf("%s %s (-want +got):\n%s", name, target, diff)
			}
			if len(r.authz.asked()) != 1 {
				t.Errorf("%s %s: asked %d times", name, target, len(r.authz.asked()))
			}
		}
	}
	if !r.alive() {
		t.Error("Envoy is gone")
	}
}

func TestPublicUpstreamsAreReachedByName(t *testing.T) {
	plain := startUpstream(t, "127.0.0.1:0", nil)
	secure := startUpstream(t, "127.0.0.1:0", nil, "named.test", "own.test")
	stranger := startUpstream(t, "127.0.0.1:0", nil, "other.test")
	dns := nameserver.Start(t, map[string][]string{"plain.test": {"127.0.0.1"}, "named.test": {"127.0.0.1"}, "own.test": {"127.0.0.1"}, "sub.own.test": {"127.0.0.1"}})
	ownCA := envoy.Upstream{Host: "own.test", Port: secure.port, TLS: true, CA: string(authority(t).pem)}
	r := startRig(t, setup{
		local: func(l *envoy.Local) { l.Resolvers = []netip.AddrPort{dns} },
		resources: func(l envoy.Local) envoy.Resources {
			return loopbackIsPublic(withUpstreams(t, ownCA)(l))
		},
	})
	for name, c := range map[string]struct {
		route, host string
		port        uint16
		want        int
	}{
		"plain text":                          {envoy.RoutePublicPlain, "plain.test", plain.port, 200},
		"TLS under the public roots":          {envoy.RoutePublicTLS, "named.test", secure.port, 200},
		"TLS with another name":               {envoy.RoutePublicTLS, "named.test", stranger.port, 503},
		"TLS under a CA of the destination's": {ownCA.Route(), "own.test", secure.port, 200},
		"that CA, but another name":           {ownCA.Route(), "named.test", secure.port, 503},
	} {
		t.Run(name, func(t *testing.T) {
			r.authz.answer(func(*authv3.CheckRequest) *authv3.CheckResponse {
				return permit(c.route, map[string]string{":authority": net.JoinHostPort(c.host, portText(c.port)), ":path": "/x", ":scheme": "https"})
			})
			if got := r.get("/api/proxy"); got.Status != c.want {
				t.Errorf("got %+v, want %d", got, c.want)
			}
		})
	}
	if refused := r.updates.refused(); refused != nil {
		t.Errorf("Envoy refused %q", refused)
	}
	if got := secure.seen()[0].Proto; got != "HTTP/2.0" {
		t.Errorf("the upstream was spoken to in %s", got)
	}
}

func TestWebSocketsReachAnUpstreamThatPrefersHTTP2(t *testing.T) {
	up := startUpstream(t, "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if !strings.EqualFold(q.Header.Get("Upgrade"), "websocket") {
			http.Error(w, "no upgrade", http.StatusBadRequest)
			return
		}
		connection, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			http.Error(w, "not HTTP/1.1", http.StatusInternalServerError)
			return
		}
		defer connection.Close()
		fmt.Fprint(connection, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
		line, _ := buffered.ReadString('\n')
		fmt.Fprint(connection, "echo "+line)
	}), "api.test")
	target := localTLS("api.test", up.port, string(authority(t).pem))
	r := startRig(t, setup{resources: withUpstreams(t, target)})
	r.authz.answer(func(*authv3.CheckRequest) *authv3.CheckResponse {
		return permit(target.Route(), map[string]string{":authority": "api.test"})
	})
	connection, err := net.Dial("tcp", r.address)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	if err := connection.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(connection, "GET /api/proxy HTTP/1.1\r\nHost: g\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Key: a\r\nSec-WebSocket-Version: 13\r\n\r\n")
	reader := bufio.NewReader(connection)
	response, err := http.ReadResponse(reader, nil)
	if err != nil || response.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("handshake: %+v, %v", response, err)
	}
	defer response.Body.Close()
	fmt.Fprint(connection, "hello\n")
	if line, err := reader.ReadString('\n'); line != "echo hello\n" {
		t.Errorf("got %q, %v", line, err)
	}
	if got := r.get("/api/proxy"); got.Status != 400 || up.seen()[1].Proto != "HTTP/2.0" {
		t.Errorf("a plain request: %+v by %s", got, up.seen()[1].Proto)
	}
}

func TestServerSentEventsArriveAsTheyAreSent(t *testing.T) {
	release := make(chan struct{})
	up := startUpstream(t, "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "data: 1\n\n")
		_ = http.NewResponseController(w).Flush() // the test fails on what does not arrive
		select {
		case <-release:
		case <-q.Context().Done():
		}
		fmt.Fprint(w, "data: 2\n\n")
	}))
	target := local("api.test", up.port)
	r := startRig(t, setup{resources: withUpstreams(t, target)})
	r.authz.answer(func(*authv3.CheckRequest) *authv3.CheckResponse { return permit(target.Route(), nil) })
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://gateway.test/api/proxy", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := r.client(false).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	reader := bufio.NewReader(response.Body)
	if line, err := reader.ReadString('\n'); line != "data: 1\n" {
		t.Fatalf("got %q, %v", line, err)
	}
	close(release)
	if rest, err := io.ReadAll(reader); string(rest) != "\ndata: 2\n\n" {
		t.Errorf("got %q, %v", rest, err)
	}
}

func TestAStreamEndsWhenItsTimeIsOver(t *testing.T) {
	up := startUpstream(t, "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		fmt.Fprint(w, "data: 1\n\n")
		_ = http.NewResponseController(w).Flush() // the test fails on what does not arrive
		<-q.Context().Done()
	}))
	target := local("api.test", up.port)
	r := startRig(t, setup{resources: withUpstreams(t, target)})
	r.authz.answer(func(*authv3.CheckRequest) *authv3.CheckResponse {
		return permit(target.Route(), map[string]string{"x-envoy-upstream-stream-duration-ms": "200"})
	})
	response, err := r.client(false).Get("http://gateway.test/api/proxy")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); err == nil || string(body) != "data: 1\n\n" {
		t.Errorf("the stream ended with %q, %v; want it cut", body, err)
	}
}
