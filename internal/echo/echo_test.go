package echo_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/internal/echo"
	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const name = "echo.caracal.test"

type upstream struct {
	rec     *echo.Recorder
	address string
	roots   *x509.CertPool
	client  *http.Client
}

// start serves an echo; the client reaches it under its name.
func start(t *testing.T, http2 bool) upstream {
	t.Helper()
	ca, err := echo.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := ca.Leaf(name, "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u := upstream{rec: &echo.Recorder{}, address: listener.Addr().String(), roots: x509.NewCertPool()}
	if !u.roots.AppendCertsFromPEM(ca.PEM()) {
		t.Fatal("the CA's PEM holds no certificate")
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- echo.Serve(ctx, listener, leaf, echo.Handler(u.rec)) }()
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: u.roots},
		ForceAttemptHTTP2: http2,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, u.address)
		},
	}
	u.client = &http.Client{Transport: transport, Timeout: 20 * time.Second}
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
		transport.CloseIdleConnections()
	})
	return u
}

func (u upstream) do(t *testing.T, method, path, body string, header http.Header) (int, http.Header, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, "https://"+name+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for field, values := range header {
		request.Header[field] = values
	}
	response, err := u.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, response.Header, string(text)
}

func TestTheAnswerIsWhatWasReceived(t *testing.T) {
	for protocol, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2.0": true} {
		t.Run(protocol, func(t *testing.T) {
			u := start(t, http2)
			const path = "/v1/a%2Fb;x/%7e?q=%20+&q=2&"
			_, header, body := u.do(t, "PUT", path, "hello", http.Header{"X-Two": {"a", "b"}, "User-Agent": {"tester"}})
			want := echo.Request{
				Method: "PUT", Scheme: "https", Host: name, Path: path, Protocol: protocol, ServerName: name,
				Header:     http.Header{"X-Two": {"a", "b"}, "User-Agent": {"tester"}, "Content-Length": {"5"}, "Accept-Encoding": {"gzip"}},
				BodySHA256: "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
				BodyLength: 5,
			}
			var got echo.Request
			if err := json.Unmarshal([]byte(body), &got); err != nil {
				t.Fatalf("answer %q: %v", body, err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]echo.Request{want}, u.rec.Requests()); diff != "" {
				t.Errorf("recorded (-want +got):\n%s", diff)
			}
			if header.Get("Content-Type") != "application/json" || header.Get("Server") != "caracal-echo" {
				t.Errorf("header of the answer: %v", header)
			}
		})
	}
}

func TestTheEndOfThePathAsksForSomethingElse(t *testing.T) {
	u := start(t, true)
	for title, tc := range map[string]struct {
		path       string
		wantStatus int
		wantType   string
		wantBody   func(string) bool
	}{
		"a stream of events":                     {"/stream?n=2&ms=1", 200, "text/event-stream", is("id: 1\ndata: {\"n\":1,\"of\":2}\n\nid: 2\ndata: {\"n\":2,\"of\":2}\n\n")},
		"a stream under a prefix":                {"/api/v1/stream?n=1", 200, "text/event-stream", is("id: 1\ndata: {\"n\":1,\"of\":1}\n\n")},
		"a number of bytes":                      {"/x/bytes?n=70000", 200, "application/octet-stream", func(s string) bool { return len(s) == 70000 }},
		"no bytes":                               {"/bytes?n=0", 200, "application/octet-stream", is("")},
		"an answer that takes its time":          {"/slow?ms=1", 200, "application/json", has(`"path":"/slow?ms=1"`)},
		"a status":                               {"/status/503", 503, "application/json", has(`"path":"/status/503"`)},
		"a status under a prefix":                {"/a/status/404", 404, "application/json", has(`"path":"/a/status/404"`)},
		"a status without a body":                {"/status/204", 204, "", is("")},
		"a status that is none":                  {"/status/999", 400, "text/plain; charset=utf-8", has("from 200 to 599")},
		"a number that is none":                  {"/bytes?n=-1", 400, "text/plain; charset=utf-8", has("n is not a number")},
		"a special word elsewhere in the path":   {"/stream/more", 200, "application/json", has(`"path":"/stream/more"`)},
		"a WebSocket asked for without the need": {"/ws", 426, "text/plain; charset=utf-8", has("WebSocket")},
	} {
		t.Run(title, func(t *testing.T) {
			status, header, body := u.do(t, "GET", tc.path, "", nil)
			if status != tc.wantStatus || header.Get("Content-Type") != tc.wantType || !tc.wantBody(body) {
				t.Errorf("got %d %q, want %d %q; body %.200q", status, header.Get("Content-Type"), tc.wantStatus, tc.wantType, body)
			}
		})
	}
}

func is(want string) func(string) bool { return func(got string) bool { return got == want } }

func has(part string) func(string) bool {
	return func(got string) bool { return strings.Contains(got, part) }
}

func TestEventsArriveOneByOne(t *testing.T) {
	u := start(t, false)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+name+"/stream?n=2&ms=3600000", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := u.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	// The second event comes in an hour: the first does not wait for it.
	if line, err := bufio.NewReader(response.Body).ReadString('\n'); line != "id: 1\n" {
		t.Errorf("first line %q, %v", line, err)
	}
}

func TestAWebSocketSendsBackEveryMessage(t *testing.T) {
	u := start(t, false)
	//nolint:bodyclose // the library closes the body of the handshake
	socket, _, err := websocket.Dial(t.Context(), "wss://"+name+"/under/a/prefix/ws", &websocket.DialOptions{
		HTTPClient: u.client, HTTPHeader: http.Header{"Origin": {"https://elsewhere.test"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = socket.CloseNow() }()
	for kind, message := range map[websocket.MessageType]string{websocket.MessageText: "grüße", websocket.MessageBinary: "\x00\xff" + strings.Repeat("x", 100_000)} {
		if err := socket.Write(t.Context(), kind, []byte(message)); err != nil {
			t.Fatal(err)
		}
		socket.SetReadLimit(1 << 20)
		gotKind, got, err := socket.Read(t.Context())
		if err != nil || gotKind != kind || string(got) != message {
			t.Errorf("%s: got %s of %d bytes, %v", kind, gotKind, len(got), err)
		}
	}
	seen := u.rec.Find("Origin", "https://elsewhere.test")
	want := []echo.Request{{Method: "GET", Scheme: "https", Host: name, Path: "/under/a/prefix/ws", Protocol: "HTTP/1.1", ServerName: name}}
	if diff := cmp.Diff(want, seen, cmpopts.IgnoreFields(echo.Request{}, "Header")); diff != "" {
		t.Errorf("recorded (-want +got):\n%s", diff)
	}
}

func TestARequestIsRecordedBeforeItsBodyCame(t *testing.T) {
	u := start(t, false)
	connection, err := tls.Dial("tcp", u.address, &tls.Config{RootCAs: u.roots, ServerName: name})
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	if _, err := io.WriteString(connection, "POST /half HTTP/1.1\r\nHost: "+name+"\r\nContent-Length: 10\r\n\r\nhalf"); err != nil {
		t.Fatal(err)
	}
	tick, deadline := time.NewTicker(time.Millisecond), time.After(10*time.Second)
	defer tick.Stop()
	for len(u.rec.Requests()) == 0 {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("not recorded")
		}
	}
	if got := u.rec.Requests()[0]; got.Path != "/half" || got.BodySHA256 != "" {
		t.Errorf("recorded %+v", got)
	}
}

func TestTheRecorderFindsForgetsAndIsBounded(t *testing.T) {
	rec := &echo.Recorder{}
	handler := echo.Handler(rec)
	send := func(n int) {
		request, err := http.NewRequest(http.MethodGet, fmt.Sprintf("/%d", n), http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		request.RequestURI = request.URL.Path
		request.Header.Set("X-N", fmt.Sprint(n))
		handler.ServeHTTP(discard{http.Header{}}, request)
	}
	const most = 10_000
	for n := range most + 2 {
		send(n)
	}
	all := rec.Requests()
	if len(all) != most || all[0].Path != "/2" || all[most-1].Path != "/10001" {
		t.Errorf("remembers %d requests", len(all))
	}
	if found := rec.Find("x-n", "77"); len(found) != 1 || found[0].Path != "/77" {
		t.Errorf("found %+v", found)
	}
	if found := rec.Find("x-n", "1"); found != nil {
		t.Errorf("found what was forgotten: %+v", found)
	}
	rec.Reset()
	if left := rec.Requests(); len(left) != 0 {
		t.Errorf("%d requests are left after a reset", len(left))
	}
}

type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}

func TestACAIsKeptInItsDirectoryUntilItIsAboutToEnd(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	first, err := echo.OpenCA(dir)
	if err != nil {
		t.Fatal(err)
	}
	second, err := echo.OpenCA(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(first.PEM()), string(second.PEM())); diff != "" {
		t.Errorf("opened again it differs:\n%s", diff)
	}
	leaf, err := second.Leaf(name)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(first.PEM())
	if _, err := leaf.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name}); err != nil {
		t.Errorf("a certificate of the second is not trusted by the first: %v", err)
	}
	if info, err := os.Stat(filepath.Join(dir, "ca.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's file: %v, %v", info, err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "ca.pem")); err != nil || string(text) != string(first.PEM()) {
		t.Errorf("the certificate's file: %q, %v", text, err)
	}

	if err := os.WriteFile(filepath.Join(dir, "ca.key"), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	third, err := echo.OpenCA(dir)
	if err != nil || string(third.PEM()) == string(first.PEM()) {
		t.Errorf("a damaged one is not made anew: %v", err)
	}
}

func TestOnlyTheNamesOfItsCertificateAreTrusted(t *testing.T) {
	u := start(t, true)
	for server, wantOK := range map[string]bool{name: true, "127.0.0.1": true, "other.caracal.test": false} {
		connection, err := tls.Dial("tcp", u.address, &tls.Config{RootCAs: u.roots, ServerName: server})
		if err == nil {
			err = connection.Close()
		}
		if (err == nil) != wantOK {
			t.Errorf("as %s: %v", server, err)
		}
	}
}
