package gateway_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/gateway"
	"github.com/caracal-gateway/caracal/internal/pki"
)

// documentedEnvoy is the file that the documentation shows.
func documentedEnvoy(t *testing.T) string {
	t.Helper()
	page := string(must(os.ReadFile("../docs/own-envoy.md"))(t))
	_, rest, found := strings.Cut(page, "```yaml\nstatic_resources:")
	file, _, closed := strings.Cut(rest, "```")
	if !found || !closed {
		t.Fatal("docs/own-envoy.md shows no file for Envoy")
	}
	return "static_resources:" + file
}

// stranger is an Envoy with a configuration that is not the gateway's.
type stranger struct {
	base    string
	process *exec.Cmd
}

// stranger starts one from the documented file, in which names and addresses are replaced by what the test has.
func (e *edge) stranger(client tls.Certificate, servers *pki.CA, change ...string) *stranger {
	e.t.Helper()
	dir, listen := e.t.TempDir(), freePort(e.t)
	write := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			e.t.Fatal(err)
		}
		return path
	}
	var chain []byte
	for _, der := range client.Certificate {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(client.PrivateKey))(e.t)})
	upstreamAddress, upstreamPort, _ := strings.Cut(e.address, ":")
	file := strings.NewReplacer(append(change,
		"port_value: 10000", fmt.Sprintf("port_value: %d", listen.Port()),
		"address: gateway.internal, port_value: 9191", fmt.Sprintf("address: 127.0.0.1, port_value: %d", e.config.Foreign.Listen.Port()),
		"address: api.example.com, port_value: 443", "address: "+upstreamAddress+", port_value: "+upstreamPort,
		"gateway.internal", "gateway.test",
		"api.example.com", upstreamHost,
		"/etc/envoy/envoy.crt", write("envoy.crt", chain), "/etc/envoy/envoy.key", write("envoy.key", key),
		"/etc/envoy/gateway-ca.pem", write("gateway-ca.pem", []byte(servers.PEM())),
		"/etc/ssl/certs/ca-certificates.crt", write("upstream-ca.pem", e.stack.ca.PEM()),
	)...).Replace(documentedEnvoy(e.t))
	s := &stranger{base: "http://" + listen.String()}
	s.process = exec.Command(envoyBinary(e.t), "-c", write("envoy.yaml", []byte(file)), "--concurrency", "1", "--disable-hot-restart", "-l", "warning")
	log := &lines{}
	showIfFailed(e.t, "Envoy of somebody else", log)
	s.process.Stdout, s.process.Stderr = log, log
	if err := s.process.Start(); err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() {
		_ = s.process.Process.Kill() // it may be gone already
		_ = s.process.Wait()
	})
	eventually(e.t, "the Envoy of somebody else listens", func() bool {
		_, err := attempt(e.client(), "", http.MethodGet, s.base+"/", nil, nil)
		return err == nil
	})
	return s
}

// ask sends a request for the upstream through somebody else's Envoy.
func (e *edge) ask(s *stranger, path string, header http.Header) answer {
	e.t.Helper()
	r := must(http.NewRequestWithContext(e.t.Context(), http.MethodPost, s.base+path, strings.NewReader("{}")))(e.t)
	r.Host = upstreamHost
	for name, values := range header {
		r.Header[name] = values
	}
	return must(send(e.client(), r))(e.t)
}

func TestAnEnvoyOfSomebodyElsesAsksForDecisions(t *testing.T) {
	s := newStack(t)
	servers, clients := pki.New(t), pki.New(t)
	chain, key := servers.Server(t, pki.DNS("gateway.test"))
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(clients.PEM()))
	e := s.edge(func(c *gateway.Config) {
		c.Foreign = &gateway.Foreign{Listen: freePort(t), Certificate: must(tls.X509KeyPair(chain, key))(t), Clients: pool}
	})
	mandate := e.issue(600, "execute")
	known := e.stranger(clients.Client(t, pki.DNS("envoy.test")), servers)
	mapped := e.stranger(clients.Client(t), servers, "encode_raw_headers: true", "encode_raw_headers: false")
	unknown := e.stranger(pki.New(t).Client(t), servers)
	caller := http.Header{"X-Caracal-Authorization": {"Bearer " + e.jwt}, "Authorization": {"Bearer of-the-upstream"}}

	for name, through := range map[string]*stranger{"raw headers": known, "a map of headers": mapped} {
		t.Run("with "+name+" a request is allowed by what it is", func(t *testing.T) {
			got := e.ask(through, "/v1/x?q=v", caller)
			if got.status != http.StatusOK || !regexp.MustCompile("^dec_").MatchString(got.header.Get("X-Caracal-Decision-Id")) || got.header.Get("X-Caracal-Selected-Mandate") != mandate {
				t.Fatalf("answered %d %v %s", got.status, got.header, got.body)
			}
			seen := e.upstream.Requests()
			last := seen[len(seen)-1]
			if last.Path != "/v1/x?q=v" || last.Host != upstreamHost || last.Header.Get("Authorization") != "Bearer of-the-upstream" {
				t.Errorf("the upstream saw %+v", last)
			}
			for header := range last.Header {
				if strings.HasPrefix(header, "X-Caracal-") || strings.HasPrefix(header, "X-Envoy-Upstream") {
					t.Errorf("the upstream saw %s", header)
				}
			}
		})
	}
	reached := len(e.upstream.Requests())
	got := e.ask(known, "/v1/x", http.Header{"X-Caracal-Authorization": {"Bearer " + e.jwt}, "X-Caracal-Mandate": {string(authority.NewID[authority.MandateID]())}})
	wantDenied(t, got, http.StatusForbidden, authority.ReasonMandateNotFound)
	wantDenied(t, e.ask(known, "/v1/x", nil), http.StatusUnauthorized, authority.ReasonAuthRequired)
	if got := e.ask(unknown, "/v1/x", caller); got.status != http.StatusServiceUnavailable {
		t.Errorf("an Envoy that the gateway does not know passes on %d %s", got.status, got.body)
	}
	if now := len(e.upstream.Requests()); now != reached {
		t.Errorf("%d requests that were not allowed reached the upstream", now-reached)
	}

	short := e.issue(2, "execute")
	caller.Set("X-Caracal-Mandate", short)
	began := time.Now()
	r := must(http.NewRequestWithContext(t.Context(), http.MethodPost, known.base+"/stream?n=1000&ms=50", strings.NewReader("{}")))(t)
	r.Host, r.Header = upstreamHost, caller
	if got, err := send(e.client(), r); err == nil {
		t.Errorf("a stream outlives its mandate: %d, after %s", got.status, time.Since(began))
	}

	eventually(t, "it is on record", func() bool {
		recorded := e.events("event_type=allowed&mandate_id=" + short)
		return len(recorded) == 1 && recorded[0].Request.Mode == "foreign" && recorded[0].Detail["envoy"] == "envoy.test"
	})
	if err := e.running.stop(); err != nil {
		t.Fatal(err)
	}
	caller.Set("X-Caracal-Mandate", mandate)
	if got := e.ask(known, "/v1/x", caller); got.status != http.StatusServiceUnavailable {
		t.Errorf("without a gateway it passes on %d %s", got.status, got.body)
	}
}
