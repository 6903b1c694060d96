package gateway_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/gateway"
)

func withProxyPort(t *testing.T) func(*gateway.Config) {
	return func(c *gateway.Config) { c.ProxyListen = freePort(t) }
}

// inspected is a client that goes through the proxy port and trusts what the gateway says is the workspace's inspection CA.
func (e *edge) inspected(ca string, http2 bool) *http.Client {
	e.t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(ca)) {
		e.t.Fatalf("the CA is %q", ca)
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!http2)
	protocols.SetHTTP2(http2)
	transport := &http.Transport{
		Proxy:           http.ProxyURL(&url.URL{Scheme: "http", Host: e.config.ProxyListen.String(), User: url.UserPassword("-", e.jwt)}),
		TLSClientConfig: &tls.Config{RootCAs: roots}, Protocols: protocols,
	}
	e.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func (e *edge) ca() string {
	e.t.Helper()
	return e.self(e.agentKey, http.MethodGet, "/api/v1/inspection-ca", nil).member("certificate")
}

func (e *edge) inside(client *http.Client, path string) (answer, error) {
	return send(client, must(http.NewRequestWithContext(e.t.Context(), http.MethodPost, "https://"+upstreamHost+path, strings.NewReader("{}")))(e.t))
}

func TestRequestsInsideOfTLSAreDecidedOn(t *testing.T) {
	s := newStack(t)
	e := s.edge(withProxyPort(t))
	ca := e.ca()
	if direct := s.call(s.agentKey, http.MethodGet, "/api/v1/workspaces/"+team+"/inspection-ca", nil).member("certificate"); direct != ca {
		t.Error("the gateway tells another CA than the control plane")
	}
	if want := "proxy_port=" + e.config.ProxyListen.String(); !strings.Contains(e.gatewayLog.String(), want) {
		t.Errorf("the log does not say %s", want)
	}
	if got, want := e.self("", http.MethodGet, "/health", nil).body, fmt.Sprintf(`"proxy":{"port":%d,"inspects":true}`, e.config.ProxyListen.Port()); !strings.Contains(got, want) {
		t.Errorf("health is %s, without %s", got, want)
	}
	e.issue(600, "execute")
	for protocol, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		t.Run("allowed over "+protocol, func(t *testing.T) {
			if got := must(e.inside(e.inspected(ca, http2), "/v1"))(t); got.status != http.StatusOK {
				t.Errorf("answered %d %s", got.status, got.body)
			}
		})
	}
	t.Run("denied", func(t *testing.T) {
		r := must(http.NewRequestWithContext(t.Context(), http.MethodDelete, "https://"+upstreamHost+"/v1", nil))(t)
		if got := must(send(e.inspected(ca, true), r))(t); got.status != http.StatusForbidden || got.member("decision_id") == "" {
			t.Errorf("answered %d %s", got.status, got.body)
		}
	})
	if issued := s.events("event_type=inspection_certificate_issued"); len(issued) != 1 {
		t.Errorf("%d certificates were issued", len(issued))
	}
	file := filepath.Join(e.stateDir, "inspection.pem")
	if stat := must(os.Stat(file))(t); stat.Mode().Perm() != 0o600 {
		t.Errorf("what is kept has the mode %s", stat.Mode())
	}

	t.Run("after a restart, by what was kept", func(t *testing.T) {
		if err := e.running.stop(); err != nil {
			t.Fatal(err)
		}
		kept := must(os.ReadFile(file))(t)
		e.start()
		eventually(t, "requests are decided on again", func() bool {
			got, err := e.inside(e.inspected(ca, false), "/v1")
			return err == nil && got.status == http.StatusOK
		})
		if again := must(os.ReadFile(file))(t); string(again) != string(kept) {
			t.Error("the process has another certificate")
		}
		if issued := s.events("event_type=inspection_certificate_issued"); len(issued) != 1 {
			t.Errorf("%d certificates were issued", len(issued))
		}
	})
}

// The control plane of a rig knows of no inspection.
func TestWithAnOlderControlPlaneNoTunnelIsLookedInto(t *testing.T) {
	r := newRig(t)
	r.proxyListen = freePort(t)
	r.start()
	health := r.health(func(a answer) bool {
		return a.status == http.StatusOK && strings.Contains(a.body, "TLS cannot be seen inside")
	}, "health says so")
	if !strings.HasPrefix(health.body, `{"status":"degraded"`) {
		t.Errorf("health is %s", health.body)
	}
	if got := must(r.proxy("/v1"))(t); got.status != http.StatusOK {
		t.Errorf("what needs no tunnel is answered %d %s", got.status, got.body)
	}
	request := "CONNECT echo.caracal.test:9443 HTTP/1.1\r\nHost: echo.caracal.test:9443\r\nProxy-Authorization: Bearer " + r.world.Token(r.world.Agent.ID) + "\r\n\r\n"
	got := exchange(t, must(net.Dial("tcp", r.proxyListen.String()))(t), request)
	wantDenied(t, got, http.StatusServiceUnavailable, authority.ReasonInspectionUnavailable)
	if !strings.Contains(r.log.String(), "the control plane does not certify gateways for inspection: upgrade it") {
		t.Error("the log does not say why")
	}
}
