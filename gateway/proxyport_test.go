package gateway_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
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
	return answer{response.StatusCode, response.Header, string(must(io.ReadAll(response.Body))(t))}
}

func TestAtTheProxyPortWhatNobodyPermitsIsDenied(t *testing.T) {
	s := newStack(t)
	certificate := must(s.ca.Leaf("127.0.0.1"))(t)
	key := must(x509.MarshalPKCS8PrivateKey(certificate.PrivateKey))(t)
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
					for _, der := range certificate.Certificate {
						c2.Certificate = append(c2.Certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
					}
					c2.PrivateKey = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
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
