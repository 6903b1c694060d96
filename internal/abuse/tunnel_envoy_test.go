package abuse_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/caracal-gateway/caracal/internal/abuse"
)

// secure opens a tunnel and ends up in TLS with the gateway for a name, as a client that trusts the workspace's CA.
func (f *front) secure(t *testing.T, authority, name, caller string, protocols ...string) *tls.Conn {
	t.Helper()
	root, err := x509.ParseCertificate(f.inspection.Certificate())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(root)
	connection := tls.Client(f.tunnelTo(t, authority, caller), &tls.Config{RootCAs: roots, ServerName: name, NextProtos: protocols})
	if err := connection.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	return connection
}

const echoAuthority = "echo.caracal.test:9443"

// TestTLSInsideOfATunnelIsReadInOneWay sends messages to the host that the tunnel was opened to, and to others.
func TestTLSInsideOfATunnelIsReadInOneWay(t *testing.T) {
	f := newFront(t)
	const host = "Host: " + echoAuthority + "\r\n"
	for name, x := range map[string]exchange{
		"a request":                         {"GET /a HTTP/1.1\r\n" + host + "\r\n", []int{200}, []string{"/a"}},
		"two requests":                      {"GET /a HTTP/1.1\r\n" + host + "\r\nGET /b HTTP/1.1\r\n" + host + "\r\n", []int{200, 200}, []string{"/a", "/b"}},
		"another host behind a permitted":   {"GET /a HTTP/1.1\r\n" + host + "\r\nGET /b HTTP/1.1\r\nHost: evil.test\r\n\r\n", []int{200, 421}, []string{"/a"}},
		"the scheme's own port":             {"GET /a HTTP/1.1\r\nHost: echo.caracal.test\r\n\r\n", []int{421}, nil},
		"plain text in the absolute form":   {"GET http://" + echoAuthority + "/a HTTP/1.1\r\n" + host + "\r\n", []int{421}, nil},
		"the absolute form":                 {"GET https://" + echoAuthority + "/a HTTP/1.1\r\n" + host + "\r\n", []int{200}, []string{"/a"}},
		"another host in the absolute form": {"GET https://evil.test/a HTTP/1.1\r\n" + host + "\r\n", []int{421}, nil},
		"a tunnel":                          {"CONNECT " + echoAuthority + " HTTP/1.1\r\n" + host + "${credentials}\r\n", []int{403}, nil},
		"a length and chunks":               {"POST /a HTTP/1.1\r\n" + host + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /b HTTP/1.1\r\n\r\n", []int{400}, nil},
		"somebody else's credentials":       {"DELETE /a HTTP/1.1\r\n" + host + "${nobody}\r\n", []int{200}, []string{"/a"}},
		"a rule that is not covered":        {"GET /refunds HTTP/1.1\r\n" + host + "\r\n", []int{403}, nil},
		"what the proxy says of itself":     {"GET /a HTTP/1.1\r\n" + host + "X-Forwarded-Proto: http\r\nX-Caracal-Int-Route: self\r\n\r\n", []int{200}, []string{"/a"}},
	} {
		t.Run(name, func(t *testing.T) { f.play(t, f.secure(t, echoAuthority, "echo.caracal.test", "agent"), x) })
	}
	t.Run("and the name in TLS is the tunnel's", func(t *testing.T) {
		other := f.tunnelTo(t, "evil.test:443", "agent") // makes the gateway have a certificate for it
		defer other.Close()
		f.play(t, f.secure(t, echoAuthority, "evil.test", "agent"), exchange{"GET /a HTTP/1.1\r\n" + host + "\r\n", []int{421}, nil})
		f.play(t, f.secure(t, "evil.test:443", "echo.caracal.test", "agent"), exchange{"GET /a HTTP/1.1\r\n" + host + "\r\n", []int{421}, nil})
	})
}

// TestAnHTTP2ConnectionIsForItsOwnHost reuses one connection for another host, as clients do that coalesce them. It goes on
// for its own.
func TestAnHTTP2ConnectionIsForItsOwnHost(t *testing.T) {
	f := newFront(t)
	dial := func(context.Context, string, string) (net.Conn, error) {
		return f.secure(t, echoAuthority, "echo.caracal.test", "agent", "h2"), nil
	}
	transport := &http.Transport{DialTLSContext: dial, ForceAttemptHTTP2: true}
	connection, err := transport.NewClientConn(t.Context(), "https", echoAuthority)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	f.upstream.Reset()
	get := func(host string) int {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+host+"/a", nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := connection.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if response.ProtoMajor != 2 {
			t.Fatalf("the answer is in %s", response.Proto)
		}
		return response.StatusCode
	}
	for _, step := range []struct {
		host string
		want int
	}{{echoAuthority, 200}, {"api.model.test", 421}, {"echo.caracal.test", 421}, {echoAuthority, 200}} {
		if got := get(step.host); got != step.want {
			t.Errorf("%s: %d, want %d", step.host, got, step.want)
		}
	}
	if seen := f.upstream.Requests(); len(seen) != 2 {
		t.Errorf("the upstream got %d requests, want 2", len(seen))
	}
}

// TestTunnelsOfARealEnvoyStandEveryCase sends the bytes of each case that is not about who asks through a tunnel of its own.
func TestTunnelsOfARealEnvoyStandEveryCase(t *testing.T) {
	f, played := newFront(t), 0
	for _, c := range cases(t, abuse.AtEnvoy) {
		m := f.message(t, c)
		q, ok := carriedOf(m)
		asksWho := c.Request.Caller != "" || c.Request.Forged != nil || c.AnswerAt(abuse.AtEnvoy).Status == http.StatusUnauthorized
		if !ok || asksWho || c.Request.Protocol == "h2" || c.Request.Lines != nil || q.scheme != "https" || q.withPort() != echoAuthority {
			continue
		}
		played++
		t.Run(c.ID, func(t *testing.T) {
			f.upstream.Reset()
			connection := f.secure(t, echoAuthority, "echo.caracal.test", "agent")
			inner := abuse.Message{Method: m.Method, Path: q.path, Host: q.authority, Body: m.Body}
			for _, line := range q.lines {
				if name, _, _ := strings.Cut(line, ":"); name != "proxy-authorization" {
					inner.Lines = append(inner.Lines, line)
				}
			}
			got := sendOn(t, connection, inner, c.AnswerAt(abuse.AtEnvoy).Closed)
			if c.Answer.Status == http.StatusBadRequest && got.status == http.StatusBadRequest && got.Error == "malformed_request" {
				got.Error = c.AnswerAt(abuse.AtEnvoy).Error // Envoy itself reads the path here, and refuses it before it asks
			}
			wantAnswer(t, c, abuse.AtEnvoy, got)
			seen := slices.DeleteFunc(f.upstream.Requests(), brokenOff)
			if c.Upstream == nil {
				if len(seen) != 0 {
					t.Errorf("%s: the upstream got %+v, want nothing", c.Title, seen)
				}
				return
			}
			if len(seen) != 1 {
				t.Fatalf("%s: the upstream got %d requests, want 1: %+v", c.Title, len(seen), seen)
			}
			wantUpstream(t, c, arrivedAt(seen[0]))
		})
	}
	if played < 100 {
		t.Errorf("%d cases were played", played)
	}
}

// TestNoTunnelReachesThisMachine opens tunnels to names that lead here, and to the gateway's own ports.
func TestNoTunnelReachesThisMachine(t *testing.T) {
	f := newFront(t)
	for name := range resolutions() {
		t.Run(name, func(t *testing.T) {
			f.play(t, f.tunnelTo(t, name+":80", "agent"), exchange{"GET /a HTTP/1.1\r\nHost: " + name + "\r\n\r\n", []int{403}, nil})
		})
	}
	for _, address := range []string{"localhost:80", "127.0.0.1:80", "[::1]:80", "2130706433:80", "0x7f.1:80", f.proxy.String(), f.listen.String()} {
		t.Run(address, func(t *testing.T) {
			connection := f.dialProxy(t)
			if _, err := fmt.Fprintf(connection, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", address, address, f.credentials("agent")); err != nil {
				t.Fatal(err)
			}
			var head [12]byte
			if _, err := io.ReadFull(connection, head[:]); err != nil {
				t.Fatal(err)
			}
			if address != "localhost:80" && bytes.HasSuffix(head[:], []byte(" 200")) {
				t.Errorf("a tunnel is opened: %s", head[:])
			}
		})
	}
	if n := f.trapped.Load(); n != 0 {
		t.Errorf("%d connections were made to this machine", n)
	}
}
