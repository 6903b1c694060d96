package gateway_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/gateway"
)

// exchange sends a request as it is and reads its answer.
func exchange(t *testing.T, connection net.Conn, request string) answer {
	t.Helper()
	defer connection.Close()
	if _, err := fmt.Fprint(connection, request); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if strings.HasPrefix(request, "CONNECT ") && response.StatusCode == http.StatusOK {
		return answer{response.StatusCode, response.Header, ""} // what comes next is the tunnel's
	}
	return answer{response.StatusCode, response.Header, string(must(io.ReadAll(response.Body))(t))}
}

// encrypt gives both ports of a gateway a certificate.
func (s *stack) encrypt(c *gateway.Config) {
	s.t.Helper()
	certificate := must(s.ca.Leaf("127.0.0.1"))(s.t)
	for _, der := range certificate.Certificate {
		c.Certificate = append(c.Certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	c.PrivateKey = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(certificate.PrivateKey))(s.t)})
}

// anotherAddress is one of this host's that is not its loopback's. What comes from there to a loopback address looks to
// Envoy as if it came from another host.
func anotherAddress(t *testing.T) net.IP {
	t.Helper()
	for _, address := range must(net.InterfaceAddrs())(t) {
		if network, ok := address.(*net.IPNet); ok && network.IP.To4() != nil && !network.IP.IsLoopback() {
			return network.IP
		}
	}
	t.Fatal("this test needs an IPv4 address beside the loopback's; give the host a network interface")
	return nil
}

// The proxy port of a gateway with a certificate takes plain text from its own host only, unless that is allowed; keys that
// live long it takes from there and over TLS, whatever else is allowed.
func TestWhoMaySpeakPlainTextToAProxyPortWithACertificate(t *testing.T) {
	s := newStack(t)
	another := anotherAddress(t)
	encrypted := func(plain bool) *edge {
		e := s.edge(func(c *gateway.Config) {
			s.encrypt(c)
			c.ProxyListen, c.ProxyPlain = netip.AddrPortFrom(netip.IPv4Unspecified(), freePort(t).Port()), plain
		})
		e.issue(600, "execute")
		return e
	}
	strict, lenient := encrypted(false), encrypted(true)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.ca.PEM())
	loopback := net.IPv4(127, 0, 0, 1)
	token := func(e *edge) string { return e.jwt }
	key := func(e *edge) string { return e.agentKey }
	for sentence, c := range map[string]struct {
		to       *edge
		from, at net.IP
		secure   bool
		shown    func(*edge) string
		status   int
		reason   string
	}{
		"a token, in plain text, by loopback":                  {strict, loopback, loopback, false, token, 200, ""},
		"a key, in plain text, by loopback":                    {strict, loopback, loopback, false, key, 200, ""},
		"a token, in plain text, by another address of it":     {strict, another, another, false, token, 200, ""},
		"a key, in plain text, by another address of it":       {strict, another, another, false, key, 407, "authentication_failed"},
		"a token, in plain text, from elsewhere":               {strict, another, loopback, false, token, 403, "tls_required"},
		"a key, in plain text, from elsewhere":                 {strict, another, loopback, false, key, 403, "tls_required"},
		"a token, over TLS, from elsewhere":                    {strict, another, loopback, true, token, 200, ""},
		"a key, over TLS, from elsewhere":                      {strict, another, loopback, true, key, 200, ""},
		"a key, over TLS, by loopback":                         {strict, loopback, loopback, true, key, 200, ""},
		"a key that is none, over TLS":                         {strict, loopback, loopback, true, func(e *edge) string { return e.agentKey + "x" }, 407, "authentication_failed"},
		"a token, in plain text that is allowed, elsewhere":    {lenient, another, loopback, false, token, 200, ""},
		"a key, in plain text that is allowed, from elsewhere": {lenient, another, loopback, false, key, 407, "authentication_failed"},
		"a key, over TLS beside plain text that is allowed":    {lenient, another, loopback, true, key, 200, ""},
	} {
		t.Run(sentence, func(t *testing.T) {
			dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: c.from}}
			connection := must(dialer.DialContext(t.Context(), "tcp", fmt.Sprintf("%s:%d", c.at, c.to.config.ProxyListen.Port())))(t)
			if c.secure {
				connection = tls.Client(connection, &tls.Config{RootCAs: roots, ServerName: "127.0.0.1"})
			}
			credential := base64.StdEncoding.EncodeToString([]byte("-:" + c.shown(c.to)))
			got := exchange(t, connection, "CONNECT "+upstreamHost+":443 HTTP/1.1\r\nHost: "+upstreamHost+":443\r\nProxy-Authorization: Basic "+credential+"\r\n\r\n")
			if got.status != c.status || got.member("error") != c.reason {
				t.Errorf("answered %d %s, want %d %q", got.status, got.body, c.status, c.reason)
			}
		})
	}
}

func TestAtTheProxyPortWhatNobodyPermitsIsDenied(t *testing.T) {
	s := newStack(t)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.ca.PEM())
	plain := func(e *edge) net.Conn { return must(net.Dial("tcp", e.config.ProxyListen.String()))(t) }
	secure := func(e *edge) net.Conn {
		return must(tls.Dial("tcp", e.config.ProxyListen.String(), &tls.Config{RootCAs: roots}))(t)
	}
	for sentence, c := range map[string]struct {
		encrypted bool
		dial      func(*edge) net.Conn
	}{
		"without a certificate, in plain HTTP":                {false, plain},
		"with one, over TLS":                                  {true, secure},
		"with one, in plain HTTP from the gateway's own host": {true, plain},
	} {
		t.Run(sentence, func(t *testing.T) {
			e := s.edge(func(c2 *gateway.Config) {
				c2.ProxyListen = freePort(t)
				if c.encrypted {
					s.encrypt(c2)
				}
			})
			for _, request := range []string{
				"CONNECT " + upstreamHost + ":443 HTTP/1.1\r\nHost: " + upstreamHost + ":443\r\n\r\n",
				"CONNECT " + upstreamHost + ":443 HTTP/1.0\r\n\r\n",
				"GET http://" + upstreamHost + "/ HTTP/1.1\r\nHost: " + upstreamHost + "\r\n\r\n",
			} {
				got := exchange(t, c.dial(e), request)
				if got.status < 400 || got.status == http.StatusServiceUnavailable || got.member("decision_id") == "" {
					t.Errorf("%q is answered %d %s, want a denial of the decision service", request, got.status, got.body)
				}
			}
		})
	}
}

func TestNoDestinationLeadsToTheProxyPort(t *testing.T) {
	s := newStack(t)
	e := s.edge(func(c *gateway.Config) { c.ProxyListen = freePort(t) })
	must(s.CreateDestination(t.Context(), s.owner, authority.Destination{
		Name: "loop", Host: "loop.caracal.test", Ports: []uint16{80}, TLS: authority.TLSNone,
		ConnectTo: e.config.ProxyListen.String(), Addresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")},
		Rules: []authority.Rule{{Path: "/**", Resource: "api:echo/all", Methods: map[string]authority.Action{"POST": authority.Execute}}},
	}))(t)
	mandate := e.issue(600, "execute")
	r := e.request(http.MethodPost, mandate, upstreamHost, "/")
	r.Header.Set("X-Caracal-Target-URL", "http://loop.caracal.test/")
	wantDenied(t, must(send(e.client(), r))(t), http.StatusForbidden, authority.ReasonTargetNotAllowed)
}
