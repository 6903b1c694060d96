package envoy_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"testing"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/caracal-gateway/caracal/envoy"
)

// startDemanding serves only clients that show a certificate of the tests' CA, and tells them its name.
func startDemanding(t *testing.T, names ...string) uint16 {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	chain, key := authority(t).issue(t, names...)
	own, err := tls.X509KeyPair(chain, key)
	if err != nil {
		t.Fatal(err)
	}
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM(authority(t).pem)
	server := &http.Server{
		ReadHeaderTimeout: patience,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			w.Header().Set("Connection", "close") // each request shows what is shown then
			fmt.Fprint(w, q.TLS.PeerCertificates[0].Subject.CommonName)
		}),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{own}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients},
	}
	go func() { _ = server.ServeTLS(listener, "", "") }() // until the test closes it
	t.Cleanup(func() { _ = server.Close() })
	return listener.Addr().(*net.TCPAddr).AddrPort().Port()
}

func TestAnUpstreamIsShownTheCertificateThatItsDestinationNames(t *testing.T) {
	demanding := localTLS("bank.test", startDemanding(t, "bank.test"), string(authority(t).pem))
	bare := demanding
	demanding.ClientCertificate = "bank"
	plain := local("plain.test", startUpstream(t, "127.0.0.1:0", nil).port)
	r := startRig(t, setup{resources: withUpstreams(t, demanding, bare, plain)})
	shown := func(subject string) *tlsv3.Secret {
		chain, key := authority(t).issue(t, subject)
		return envoy.ClientCertificate("bank", chain, key)
	}
	serve := func(secrets ...*tlsv3.Secret) {
		all := withUpstreams(t, demanding, bare, plain)(r.local)
		all.Secrets = append(all.Secrets, secrets...)
		r.serve(all)
	}
	try := func(u envoy.Upstream) answer {
		r.authz.answer(func(*authv3.CheckRequest) *authv3.CheckResponse {
			return permit(u.Route(), map[string]string{":authority": u.Host})
		})
		return r.get("/api/proxy")
	}
	// What else there is does not wait for a certificate that is not there.
	if got := try(plain); got.Status != http.StatusOK {
		t.Errorf("another upstream: %+v", got)
	}
	if got := try(demanding); got.Status != http.StatusServiceUnavailable {
		t.Errorf("without the certificate: %+v", got)
	}
	serve(shown("first"))
	eventually(t, "the certificate is shown", func() bool { got := try(demanding); return got.Status == http.StatusOK && got.Body == "first" })
	if got := try(bare); got.Status == http.StatusOK {
		t.Errorf("a destination that names none was shown one: %+v", got)
	}
	serve(shown("second"))
	eventually(t, "another certificate is shown", func() bool { got := try(demanding); return got.Status == http.StatusOK && got.Body == "second" })
	if refused := r.updates.refused(); refused != nil {
		t.Errorf("Envoy refused %q", refused)
	}
}
