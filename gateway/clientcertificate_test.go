package gateway_test

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/extauthz"
	"github.com/caracal-gateway/caracal/gateway"
)

// demanding is an upstream that serves only who shows it a certificate, and tells them which.
func (s *stack) demanding(host string) (address string) {
	s.t.Helper()
	listener := must(net.Listen("tcp", "127.0.0.1:0"))(s.t)
	server := &http.Server{
		ReadHeaderTimeout: patience,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			w.Header().Set("Connection", "close") // each request shows what is shown then
			fmt.Fprintf(w, "shown %s", fingerprint(q.TLS.PeerCertificates[0].Raw))
		}),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{must(s.ca.Leaf(host))(s.t)}, ClientAuth: tls.RequireAnyClientCert},
	}
	go func() { _ = server.ServeTLS(listener, "", "") }() // until the test closes it
	s.t.Cleanup(func() { _ = server.Close() })
	return listener.Addr().String()
}

func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// clientCertificate makes the files of a client certificate, and tells what they are.
func (s *stack) clientCertificate(directory, name string) (shown, key string) {
	s.t.Helper()
	made := must(s.ca.Leaf("client"))(s.t)
	var chain []byte
	for _, der := range made.Certificate {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	private := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(made.PrivateKey))(s.t)})
	for file, content := range map[string][]byte{name + ".key": private, name + ".crt": chain} {
		if err := os.WriteFile(filepath.Join(directory, file), content, 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
	return fingerprint(made.Certificate[0]), strings.Split(string(private), "\n")[1]
}

func TestAClientCertificateOfTheGatewaysHostIsShownUpstream(t *testing.T) {
	const host = "bank.caracal.test"
	secrets := t.TempDir()
	s := newStack(t)
	must(s.CreateDestination(t.Context(), s.owner, authority.Destination{
		Name: "bank", Host: host, Ports: []uint16{443}, TLS: authority.TLSRequired, CA: string(s.ca.PEM()), ClientCertificate: "bank",
		ConnectTo: s.demanding(host), Addresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")},
		Rules: []authority.Rule{{Path: "/**", Resource: "api:echo/all", Methods: map[string]authority.Action{"POST": authority.Execute}}},
	}))(t)
	e := s.edge(func(c *gateway.Config) {
		c.Credentials = extauthz.NewCredentials(secrets, func(string) (string, bool) { return "", false })
	})
	mandate := e.issue(600, "execute")
	try := func() answer {
		return must(send(e.client(), e.request(http.MethodPost, mandate, host, "/")))(t)
	}
	shows := func(shown string) {
		t.Helper()
		eventually(t, "it is shown", func() bool { got := try(); return got.status == http.StatusOK && got.body == "shown "+shown })
	}
	eventually(t, "Envoy has the route", func() bool { return try().member("error") != string(authority.ReasonRouteNotReady) })
	wantDenied(t, try(), http.StatusServiceUnavailable, authority.ReasonMissingCredential)
	first, firstKey := s.clientCertificate(secrets, "bank")
	shows(first)
	second, secondKey := s.clientCertificate(secrets, "bank")
	shows(second)
	if got := must(send(e.client(), e.request(http.MethodPost, mandate, upstreamHost, "/")))(t); got.status != http.StatusOK {
		t.Errorf("another destination is answered %d %s", got.status, got.body)
	}

	for place, text := range map[string]string{
		"log of the gateway and its Envoy": e.gatewayLog.String(),
		"events":                           string(must(json.Marshal(e.events("")))(t)),
		"kept bundle":                      e.keptBundle(),
		"Envoy's configuration as shown":   e.admin("/config_dump?include_eds"),
		"state directory":                  e.stateFiles(),
	} {
		if strings.Contains(text, firstKey) || strings.Contains(text, secondKey) {
			t.Errorf("%s: a private key is in it", place)
		}
	}

	if err := os.Remove(filepath.Join(secrets, "bank.key")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is missed", func() bool { return try().status == http.StatusServiceUnavailable })
	wantDenied(t, try(), http.StatusServiceUnavailable, authority.ReasonMissingCredential)
}
