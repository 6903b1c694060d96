package gateway_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"testing"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/gateway"
)

func TestWithACertificatePlainHTTPIsForProbesOnly(t *testing.T) {
	s := newStack(t)
	certificate := must(s.ca.Leaf("127.0.0.1"))(t)
	key := must(x509.MarshalPKCS8PrivateKey(certificate.PrivateKey))(t)
	e := s.edge(func(c *gateway.Config) {
		for _, der := range certificate.Certificate {
			c.Certificate = append(c.Certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
		}
		c.PrivateKey = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	})
	mandate := e.issue(600, "execute")
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.ca.PEM())
	for protocol, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2.0": true} {
		t.Run("over TLS everything is served as "+protocol, func(t *testing.T) {
			protocols := new(http.Protocols)
			protocols.SetHTTP1(!http2)
			protocols.SetHTTP2(http2)
			transport := &http.Transport{Protocols: protocols, TLSClientConfig: &tls.Config{RootCAs: roots}}
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport}
			if got := must(send(client, e.request(http.MethodPost, mandate, upstreamHost, "/v1")))(t); got.status != http.StatusOK {
				t.Errorf("a proxied call is answered %d %s", got.status, got.body)
			}
			if got := call(t, client, e.agentKey, http.MethodGet, e.base+"/api/v1/mandates/"+mandate, nil); got.status != http.StatusOK {
				t.Errorf("the agent API answers %d %s", got.status, got.body)
			}
			response, err := client.Get(e.base + "/health")
			if err != nil {
				t.Fatal(err)
			}
			if err := response.Body.Close(); err != nil {
				t.Error(err)
			}
			if response.Proto != protocol || response.StatusCode != http.StatusOK {
				t.Errorf("health is answered %s in %s", response.Status, response.Proto)
			}
		})
	}

	before := len(e.upstream.Requests())
	plain := "http://" + e.listen.String()
	for sentence, c := range map[string]struct {
		method, path string
		served       bool
	}{
		"health is served":            {http.MethodGet, "/health", true},
		"readiness is served":         {http.MethodGet, "/ready", true},
		"sync is served":              {http.MethodPost, "/admin/sync", true},
		"sync by GET is not":          {http.MethodGet, "/admin/sync", false},
		"the proxy is not":            {http.MethodPost, "/api/proxy", false},
		"the agent API is not":        {http.MethodGet, "/api/v1/mandates", false},
		"the token exchange is not":   {http.MethodPost, "/api/v1/token", false},
		"other paths of admin aren't": {http.MethodGet, "/admin", false},
		"what looks like health isn't": {
			http.MethodGet, "/health/../api/proxy", false,
		},
	} {
		t.Run("over plain HTTP "+sentence, func(t *testing.T) {
			header := e.request(c.method, mandate, upstreamHost, "/v1").Header
			got := must(attempt(e.client(), "", c.method, plain+c.path, nil, header))(t)
			if c.served {
				if got.status != http.StatusOK {
					t.Errorf("answered %d %s", got.status, got.body)
				}
				return
			}
			wantDenied(t, got, http.StatusForbidden, authority.ReasonTLSRequired)
		})
	}
	if after := len(e.upstream.Requests()); after != before {
		t.Errorf("over plain HTTP %d requests reached the upstream", after-before)
	}
}
