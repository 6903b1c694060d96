package envoy_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/caracal-gateway/caracal/envoy"
	"github.com/caracal-gateway/caracal/internal/nameserver"
)

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// local is a private upstream on a port of this machine.
func local(host string, port uint16) envoy.Upstream {
	return envoy.Upstream{Host: host, Port: port, ConnectTo: net.JoinHostPort("127.0.0.1", portText(port)), Addresses: loopback}
}

func localTLS(host string, port uint16, ca string) envoy.Upstream {
	u := local(host, port)
	u.TLS, u.CA = true, ca
	return u
}

// startBroken serves TCP connections by a function.
func startBroken(t *testing.T, serve func(net.Conn)) uint16 {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return // the test is over
			}
			go func() {
				defer connection.Close()
				serve(connection)
			}()
		}
	}()
	return listener.Addr().(*net.TCPAddr).AddrPort().Port()
}

func closedPort(t *testing.T) uint16 {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).AddrPort().Port()
}

func readRequest(connection net.Conn) {
	_, _ = http.ReadRequest(bufio.NewReader(connection)) // a request that does not come is no concern of the test's
}

func TestEveryReplyOfEnvoysOwnIsTheContractsJSON(t *testing.T) {
	ca := string(authority(t).pem)
	patient := startUpstream(t, "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) { <-q.Context().Done() }))
	failing := startUpstream(t, "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Content-Type", "text/x-own")
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprint(w, "the upstream's own words")
	}))
	misnamed := startUpstream(t, "127.0.0.1:0", nil, "other.test")
	plain := startUpstream(t, "127.0.0.1:0", nil)
	reset := startBroken(t, readRequest)
	garbage := startBroken(t, func(c net.Conn) { readRequest(c); fmt.Fprint(c, "what is this\r\n\r\n") })
	dns := nameserver.Start(t, map[string][]string{"private.test": {"10.0.0.1"}, "nowhere.test": {}})

	upstreams := map[string]envoy.Upstream{
		"patient":  local("patient.test", patient.port),
		"failing":  local("failing.test", failing.port),
		"refused":  local("refused.test", closedPort(t)),
		"reset":    local("reset.test", reset),
		"garbage":  local("garbage.test", garbage),
		"misnamed": localTLS("named.test", misnamed.port, ca),
		"no TLS":   localTLS("plain.test", plain.port, ca),
		"barred":   {Host: "barred.test", Port: plain.port, ConnectTo: "localhost:" + portText(plain.port), Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}},
		"no name":  {Host: "absent.test", Port: 80, Addresses: loopback},
	}
	r := startRig(t, setup{
		local: func(l *envoy.Local) { l.Resolvers = []netip.AddrPort{dns} },
		resources: func(l envoy.Local) envoy.Resources {
			var list []envoy.Upstream
			for _, u := range upstreams {
				list = append(list, u)
			}
			return envoy.Merge(envoy.Fixed(l), catalog(t, list...))
		},
	})
	to := func(name string, headers ...string) *authv3.CheckResponse {
		set := map[string]string{":authority": upstreams[name].Host}
		for i := 0; i < len(headers); i += 2 {
			set[headers[i]] = headers[i+1]
		}
		return permit(upstreams[name].Route(), set)
	}
	public := func(authority string) *authv3.CheckResponse {
		return permit(envoy.RoutePublicTLS, map[string]string{":authority": authority})
	}
	const get = "GET /api/proxy HTTP/1.1\r\nHost: gateway.test\r\n\r\n"
	for name, c := range map[string]struct {
		answer  *authv3.CheckResponse
		request string
		want    refusal
	}{
		"a route that Envoy does not have": {permit("unknown", nil), get, refusal{503, "route_not_ready", decisionID}},
		"a permission without a route":     {permit("", nil), get, refusal{503, "route_not_ready", decisionID}},
		"a denial without a body":          {bareDenial(), get, refusal{503, "decision_unavailable", nil}},
		"a header that cannot be sent":     {to("patient", "x-broken", "a\r\nb"), get, refusal{503, "decision_unavailable", decisionID}},

		"a public name with a private address": {public("private.test"), get, refusal{403, "target_not_allowed", decisionID}},
		"a private address":                    {public("10.0.0.1"), get, refusal{403, "target_not_allowed", decisionID}},
		"this machine's name":                  {public("localhost"), get, refusal{403, "target_not_allowed", decisionID}},
		"an upstream at an unlisted address":   {to("barred"), get, refusal{403, "target_not_allowed", decisionID}},
		"a name that does not exist":           {public("absent.test"), get, refusal{502, "upstream_unreachable", decisionID}},
		"a name without addresses":             {public("nowhere.test"), get, refusal{502, "upstream_unreachable", decisionID}},
		"a destination's name does not exist":  {to("no name"), get, refusal{503, "upstream_unreachable", decisionID}},
		"a closed port":                        {to("refused"), get, refusal{503, "upstream_unreachable", decisionID}},
		"an upstream that hangs up":            {to("reset"), get, refusal{503, "upstream_unreachable", decisionID}},
		"an upstream that speaks no HTTP":      {to("garbage"), get, refusal{502, "upstream_unreachable", decisionID}},
		"a certificate of another name":        {to("misnamed"), get, refusal{503, "upstream_unreachable", decisionID}},
		"an upstream that speaks no TLS":       {to("no TLS"), get, refusal{503, "upstream_unreachable", decisionID}},
		"the decision's time is over":          {to("patient", "x-envoy-upstream-stream-duration-ms", "50"), get, refusal{504, "upstream_timeout", decisionID}},
		"the decision's time is over before the request is": {
			to("patient", "x-envoy-upstream-stream-duration-ms", "50"),
			"POST /api/proxy HTTP/1.1\r\nHost: g\r\nContent-Length: 9\r\n\r\nsome", refusal{504, "upstream_timeout", decisionID},
		},
		"a time limit for the answer": {to("patient", "x-envoy-upstream-rq-timeout-ms", "50"), get, refusal{504, "upstream_timeout", decisionID}},

		"bytes that are no HTTP":         {nil, "\x16\x03\x01\x00\x01\x00 what\r\n\r\n", refusal{400, "malformed_request", nil}},
		"two lengths of the body":        {nil, "POST / HTTP/1.1\r\nHost: g\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", refusal{400, "malformed_request", nil}},
		"a length and chunks":            {nil, "POST / HTTP/1.1\r\nHost: g\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", refusal{400, "malformed_request", nil}},
		"an unknown transfer encoding":   {nil, "POST / HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: xchunked\r\n\r\n", refusal{400, "malformed_request", nil}},
		"a header with an underscore":    {nil, "GET / HTTP/1.1\r\nHost: g\r\nx_caracal_mandate: 1\r\n\r\n", refusal{400, "malformed_request", nil}},
		"a space after a header's name":  {nil, "GET / HTTP/1.1\r\nHost: g\r\nX-Caracal-Mandate : 1\r\n\r\n", refusal{400, "malformed_request", nil}},
		"no host":                        {nil, "GET / HTTP/1.1\r\n\r\n", refusal{400, "malformed_request", nil}},
		"a fragment in the path":         {nil, "GET /a#b HTTP/1.1\r\nHost: g\r\n\r\n", refusal{400, "malformed_request", nil}},
		"bytes beyond ASCII in the path": {nil, "GET /\xc3\xa9 HTTP/1.1\r\nHost: g\r\n\r\n", refusal{400, "malformed_request", nil}},
		"a URL without a path":           {nil, "GET http://g?q=1 HTTP/1.1\r\nHost: g\r\n\r\n", refusal{400, "malformed_request", nil}},
		"no path but a star":             {nil, "OPTIONS * HTTP/1.1\r\nHost: g\r\n\r\n", refusal{400, "malformed_request", nil}},
		"headers that are too large":     {nil, "GET / HTTP/1.1\r\nHost: g\r\nX-Large: " + strings.Repeat("x", 40<<10) + "\r\n\r\n", refusal{431, "malformed_request", nil}},
		"too many headers":               {nil, "GET / HTTP/1.1\r\nHost: g\r\n" + strings.Repeat("x-a: 1\r\n", 110) + "\r\n", refusal{431, "malformed_request", nil}},
		"HTTP/1.0":                       {nil, "GET / HTTP/1.0\r\nHost: g\r\n\r\n", refusal{426, "malformed_request", nil}},
		"an upgrade to something else":   {nil, "GET / HTTP/1.1\r\nHost: g\r\nConnection: upgrade\r\nUpgrade: telnet\r\n\r\n", refusal{400, "malformed_request", nil}},
		"https in the URL":               {nil, "GET https://g/ HTTP/1.1\r\nHost: g\r\n\r\n", refusal{400, "malformed_request", nil}},
	} {
		t.Run(name, func(t *testing.T) {
			r.authz.answer(func(*authv3.CheckRequest) *authv3.CheckResponse { return c.answer })
			got := r.raw(c.request)
			if diff := cmp.Diff(c.want, got.refusal(t)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if asked := len(r.authz.asked()) > 0; asked != (c.answer != nil) {
				t.Errorf("decision service asked: %v", asked)
			}
			for _, name := range []string{"Server", "X-Envoy-Upstream-Service-Time"} {
				if got.Header.Get(name) != "" {
					t.Errorf("the reply carries %s: %s", name, got.Header.Get(name))
				}
			}
		})
	}
	t.Run("what an upstream answers stays as it is", func(t *testing.T) {
		r.authz.answer(func(*authv3.CheckRequest) *authv3.CheckResponse { return to("failing") })
		got := r.raw(get)
		if got.Status != 503 || got.Body != "the upstream's own words" || got.Header.Get("Content-Type") != "text/x-own" {
			t.Errorf("got %+v", got)
		}
	})
}

// bareDenial says no and nothing else.
func bareDenial() *authv3.CheckResponse {
	return &authv3.CheckResponse{Status: &rpcstatus.Status{Code: int32(codes.PermissionDenied)}}
}

func TestWhatTheDecisionServiceSaysReachesTheClient(t *testing.T) {
	r := startRig(t, setup{})
	for _, code := range []int{400, 401, 403, 407, 428, 429, 503} {
		r.authz.answer(func(*authv3.CheckRequest) *authv3.CheckResponse { return deny(code, denial) })
		got := r.get("/api/proxy")
		if got.Status != code || got.Body != denial || got.Header.Get("Content-Type") != "application/json" {
			t.Errorf("a denial with %d arrived as %+v", code, got)
		}
	}
	const words, plain = "The mandate does not cover it.\n", "text/plain; charset=utf-8"
	r.authz.answer(func(*authv3.CheckRequest) *authv3.CheckResponse {
		answer := deny(403, words)
		answer.GetDeniedResponse().Headers = []*corev3.HeaderValueOption{setHeader("content-type", plain)}
		return answer
	})
	if got := r.get("/api/proxy"); got.Status != 403 || got.Body != words || got.Header.Get("Content-Type") != plain {
		t.Errorf("a denial in plain text arrived as %+v", got)
	}
	r.authz.answer(func(*authv3.CheckRequest) *authv3.CheckResponse {
		return &authv3.CheckResponse{
			Status: &rpcstatus.Status{Code: int32(codes.Unavailable)},
			HttpResponse: &authv3.CheckResponse_ErrorResponse{ErrorResponse: &authv3.DeniedHttpResponse{
				Status:  &typev3.HttpStatus{Code: 503},
				Headers: deny(503, "").GetDeniedResponse().GetHeaders(),
				Body:    denial,
			}},
			DynamicMetadata: decisionMetadata(),
		}
	})
	if got := r.get("/api/proxy"); got.Status != 503 || got.Body != denial {
		t.Errorf("an error that the service explains arrived as %+v", got)
	}
}

func TestWithoutADecisionNothingPasses(t *testing.T) {
	r := startRig(t, setup{})
	want := refusal{503, "decision_unavailable", nil}
	check := func(t *testing.T) {
		t.Helper()
		if diff := cmp.Diff(want, r.get("/health").refusal(t)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	t.Run("the service answers with an error", func(t *testing.T) {
		for _, code := range []codes.Code{codes.PermissionDenied, codes.Unavailable, codes.Internal, codes.Unimplemented} {
			r.authz.answerWith(func(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error) {
				return nil, status.Error(code, "broken")
			})
			check(t)
		}
	})
	t.Run("the service is silent", func(t *testing.T) {
		over := make(chan struct{})
		defer close(over)
		r.authz.answerWith(func(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error) {
			<-over
			return permit(envoy.RouteSelf, nil), nil
		})
		check(t)
	})
	t.Run("the service is away, and back", func(t *testing.T) {
		r.authz.answer(func(*authv3.CheckRequest) *authv3.CheckResponse { return permit(envoy.RouteSelf, nil) })
		if got := r.get("/health"); got.Status != 200 {
			t.Fatalf("before: %+v", got)
		}
		r.stopDecisions()
		check(t)
		r.serveDecisions()
		eventually(t, "requests pass again", func() bool { return r.get("/health").Status == 200 })
	})
}
