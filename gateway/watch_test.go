package gateway_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
	"github.com/caracal-gateway/caracal/gateway"
)

// secured gives a gateway a certificate of the stack's.
func (s *stack) secured(t *testing.T) func(*gateway.Config) {
	certificate := must(s.ca.Leaf("127.0.0.1"))(t)
	key := must(x509.MarshalPKCS8PrivateKey(certificate.PrivateKey))(t)
	return func(c *gateway.Config) {
		for _, der := range certificate.Certificate {
			c.Certificate = append(c.Certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
		}
		c.PrivateKey = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	}
}

// over is a client of one connection that speaks one version of HTTP.
func over(t *testing.T, http2 bool) *http.Client {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!http2)
	protocols.SetHTTP2(http2)
	transport := &http.Transport{Protocols: protocols, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // the certificate is looked at where it matters
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// openEvents opens a stream of events and waits for the first one.
func (e *edge) openEvents(client *http.Client, mandate string) *bufio.Reader {
	e.t.Helper()
	response, err := client.Do(e.request(http.MethodGet, mandate, upstreamHost, "/stream?n=1000&ms=20"))
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { _ = response.Body.Close() })
	reader := bufio.NewReader(response.Body)
	if line := must(reader.ReadString('\n'))(e.t); response.StatusCode != http.StatusOK || line != "id: 1\n" {
		e.t.Fatalf("answered %s %q", response.Status, line)
	}
	return reader
}

func TestARevocationEndsTheStreamsOfItsMandate(t *testing.T) {
	s := newStack(t)
	e := s.edge(s.secured(t))
	for protocol, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		t.Run(protocol, func(t *testing.T) {
			client := over(t, http2)
			ended, spared := e.issue(600, "read"), e.issue(600, "read")
			first, second, other := e.openEvents(client, ended), e.openEvents(client, ended), e.openEvents(client, spared)
			answered := e.self(e.agentKey, http.MethodPost, "/api/v1/mandates/"+ended+"/revoke", nil)
			if answered.status != http.StatusOK {
				t.Fatalf("the revocation is answered %d %s", answered.status, answered.body)
			}
			var receipt struct {
				State      string `json:"state"`
				StreamsCut uint64 `json:"streams_cut"`
			}
			if err := json.Unmarshal([]byte(answered.body), &receipt); err != nil || receipt.State != "enforced" || receipt.StreamsCut != 2 {
				t.Errorf("the receipt does not say that two streams were cut: %s %v", answered.body, err)
			}
			for _, stream := range []io.Reader{first, second} {
				if n, err := io.Copy(io.Discard, stream); err == nil {
					t.Errorf("a stream ended after %d bytes as if it were whole", n)
				}
			}
			for range 12 { // more events than were under way
				must(other.ReadString('\n'))(t)
			}
			eventually(t, "the record says what ended them", func() bool {
				for _, event := range s.events("event_type=allowed&mandate_id=" + ended) {
					if event.Outcome == nil || event.Outcome.EndedBy != authority.ReasonMandateRevoked {
						return false
					}
				}
				return true
			})
		})
	}
}

func TestAShortRequestOpensNoWatch(t *testing.T) {
	s := newStack(t)
	e := s.edge()
	mandate := e.issue(600, "execute")
	asked := func() string {
		t.Helper()
		if got := e.proxy(mandate, "/v1"); got.status != http.StatusOK {
			t.Fatalf("answered %d %s", got.status, got.body)
		}
		return strings.TrimSpace(e.admin("/stats?filter=ext_proc.streams_started$"))
	}
	if got := asked(); got != "http.gateway.ext_proc.streams_started: 1" {
		t.Errorf("a request that nothing bounds opened %q, want one", got)
	}
	s.endWithin(2)
	e.self("", http.MethodPost, "/admin/sync", nil)
	last := asked()
	eventually(t, "a request that ends by itself opens no watch", func() bool {
		before := last
		last = asked()
		return last == before
	})
}

// endWithin has every exchange with the upstream end within so many seconds.
func (s *stack) endWithin(seconds int64) {
	s.t.Helper()
	all := must(s.Destinations(s.t.Context(), s.owner, controlplane.DestinationFilter{}, controlplane.Page{Limit: 100}))(s.t).Items
	i := slices.IndexFunc(all, func(d authority.Destination) bool { return d.Host == upstreamHost })
	all[i].MaxDurationSeconds = seconds
	must(s.UpdateDestination(s.t.Context(), s.owner, all[i].ID, all[i]))(s.t)
}

// Requests that come while Envoy exchanges its routes find one.
func TestNoRequestFailsWhileItsDestinationChanges(t *testing.T) {
	s := newStack(t)
	e := s.edge()
	mandate := e.issue(600, "execute")
	var callers sync.WaitGroup
	changing, changed := context.WithCancel(t.Context())
	for range 8 {
		callers.Go(func() {
			client := &http.Client{}
			defer client.CloseIdleConnections()
			for changing.Err() == nil {
				if got, err := send(client, e.request(http.MethodPost, mandate, upstreamHost, "/v1")); err != nil || got.status != http.StatusOK {
					t.Errorf("answered %d %s %v", got.status, got.body, err)
					return
				}
			}
		})
	}
	for i := range int64(20) {
		s.endWithin(2 + i%3)
		e.self("", http.MethodPost, "/admin/sync", nil)
	}
	changed()
	callers.Wait()
}
