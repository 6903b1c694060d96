package gateway_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/extauthz"
	"github.com/caracal-gateway/caracal/gateway"
)

func TestTheCallersHeadersArriveAndItsCredentialsDoNot(t *testing.T) {
	e := newStack(t).edge()
	mandate := e.issue(600, "execute")
	request := e.request(http.MethodPost, mandate, upstreamHost, "/v1/chat?stream=false")
	request.Header.Set("X-Caracal-Upstream-Authorization", "Basic dXM6dGhlbQ==")
	request.Header.Set("X-Forwarded-For", "203.0.113.9")
	request.Header.Set("X-Envoy-Original-Path", "/elsewhere")
	request.Header.Set("Proxy-Authorization", "Basic cHJveHk6")
	request.Header["X-Tag"] = []string{"b", "a", "b"}
	request.Header.Set("Accept", "application/json, text/plain;q=0.5")
	request.Header.Set("Cookie", "a=1; b=2")
	request.Header.Set("User-Agent", "agent/1.0")
	request.Header.Set("Content-Type", "application/json")
	if got := must(send(e.client(), request))(t); got.status != http.StatusOK {
		t.Fatalf("answered %d %s", got.status, got.body)
	}
	seen := e.upstream.Requests()
	if len(seen) != 1 {
		t.Fatalf("the upstream saw %d requests", len(seen))
	}
	got := seen[0].Header.Clone()
	// Envoy may send what came in several lines in one; the values and their order are the same.
	got["X-Tag"] = strings.Split(strings.Join(got["X-Tag"], ","), ",")
	want := http.Header{
		"Authorization": {"Basic dXM6dGhlbQ=="}, "X-Tag": {"b", "a", "b"}, "Accept": {"application/json, text/plain;q=0.5"},
		"Cookie": {"a=1; b=2"}, "User-Agent": {"agent/1.0"}, "Content-Type": {"application/json"},
		"Accept-Encoding": {"gzip"}, "Content-Length": {"7"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("headers that arrived (-want +got):\n%s", diff)
	}
	if seen[0].Path != "/v1/chat?stream=false" || seen[0].Host != upstreamHost || seen[0].Method != http.MethodPost || seen[0].ServerName != upstreamHost {
		t.Errorf("the upstream saw %+v", seen[0])
	}
}

func TestADestinationsCredentialIsSetAtTheGatewayAndSeenNowhereElse(t *testing.T) {
	const filed, fromVariable = "s3cr3t-of-the-file", "s3cr3t-of-the-variable"
	secrets := t.TempDir()
	if err := os.WriteFile(filepath.Join(secrets, "filed-key"), []byte(filed+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newStack(t)
	s.destination("filed.caracal.test", &authority.Credential{Name: "filed-key", Header: "authorization", Prefix: "Bearer "})
	s.destination("variable.caracal.test", &authority.Credential{Name: "variable-key", Header: "x-api-key"})
	s.destination("missing.caracal.test", &authority.Credential{Name: "missing-key", Header: "x-api-key"})
	e := s.edge(func(c *gateway.Config) {
		c.Credentials = extauthz.NewCredentials(secrets, func(name string) (string, bool) {
			return fromVariable, name == "CARACAL_CREDENTIAL_VARIABLE_KEY"
		})
	})
	mandate := e.issue(600, "execute")
	for host, c := range map[string]struct{ header, value string }{
		"filed.caracal.test":    {"Authorization", "Bearer " + filed},
		"variable.caracal.test": {"X-Api-Key", fromVariable},
	} {
		t.Run(host, func(t *testing.T) {
			request := e.request(http.MethodPost, mandate, host, "/v1")
			request.Header.Set("X-Api-Key", "the agent's own")
			request.Header.Set("X-Caracal-Upstream-Authorization", "Bearer the agent's own")
			if got := must(send(e.client(), request))(t); got.status != http.StatusOK {
				t.Fatalf("answered %d %s", got.status, got.body)
			}
			seen := e.upstream.Requests()
			if got := seen[len(seen)-1].Header.Values(c.header); !slices.Equal(got, []string{c.value}) {
				t.Errorf("the upstream got %s: %q, want %q", c.header, got, c.value)
			}
		})
	}
	before := len(e.upstream.Requests())
	wantDenied(t, must(send(e.client(), e.request(http.MethodPost, mandate, "missing.caracal.test", "/v1")))(t),
		http.StatusServiceUnavailable, authority.ReasonMissingCredential)
	if after := len(e.upstream.Requests()); after != before {
		t.Errorf("without its credential, %d requests reached the upstream", after-before)
	}

	eventually(t, "the calls are on record", func() bool {
		done := e.events("event_type=allowed&mandate_id=" + mandate)
		return len(done) == 2 && done[0].Outcome != nil && done[1].Outcome != nil
	})
	for place, text := range map[string]string{
		"log of the gateway and its Envoy": e.gatewayLog.String(),
		"log of the control plane":         e.log.String(),
		"events":                           string(must(json.Marshal(e.events("")))(t)),
		"kept bundle":                      e.keptBundle(),
		"Envoy's configuration":            e.admin("/config_dump?include_eds"),
		"Envoy's statistics":               e.admin("/stats"),
		"state directory":                  e.stateFiles(),
	} {
		if len(text) < 100 {
			t.Errorf("%s: only %q is looked at", place, text)
		}
		if strings.Contains(text, "s3cr3t-of-the") {
			t.Errorf("%s: a secret is in it", place)
		}
	}
}

// keptBundle is the content of the bundle on disk.
func (e *edge) keptBundle() string {
	e.t.Helper()
	sealed := must(bundle.File{Path: filepath.Join(e.stateDir, "bundle")}.Read())(e.t)
	content, _, err := bundle.Open(sealed, bundle.Trust{Root: e.gatewayKey.Root})
	if err != nil {
		e.t.Fatal(err)
	}
	return string(must(json.Marshal(content))(e.t)) + string(content.Envoy)
}

// admin asks Envoy's admin interface.
func (e *edge) admin(path string) string {
	e.t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(e.stateDir, "run", "admin.sock"))
	}}}
	return must(attempt(client, "", http.MethodGet, "http://admin"+path, nil, nil))(e.t).body
}

func (e *edge) stateFiles() string {
	e.t.Helper()
	var all strings.Builder
	for _, entry := range must(os.ReadDir(e.stateDir))(e.t) {
		if entry.Type().IsRegular() {
			all.Write(must(os.ReadFile(filepath.Join(e.stateDir, entry.Name())))(e.t))
		}
	}
	return all.String()
}

func TestTheRecordOfADecisionTellsWhatCameOfIt(t *testing.T) {
	e := newStack(t).edge()
	mandate := e.issue(600, "execute")
	if got := e.proxy(mandate, "/status/418"); got.status != http.StatusTeapot {
		t.Fatalf("answered %d %s", got.status, got.body)
	}
	if got := e.proxy(mandate, "/bytes?n=70000&key=hidden"); len(got.body) != 70_000 {
		t.Fatalf("answered %d with %d bytes", got.status, len(got.body))
	}
	validation := e.self(e.agentKey, http.MethodPost, "/api/v1/mandates/validate", map[string]any{
		"mandate_id": mandate, "requested_action": "write", "requested_resource": "api:echo/all",
	})
	if validation.status != http.StatusOK || validation.member("denial_reason") != string(authority.ReasonActionNotInScope) {
		t.Fatalf("a validation is answered %d %s", validation.status, validation.body)
	}
	covered := e.self(e.agentKey, http.MethodPost, "/api/v1/mandates/validate", map[string]any{
		"mandate_id": mandate, "requested_action": "execute", "requested_resource": "api:echo/all",
	})
	if covered.status != http.StatusOK || covered.member("decision") != "allowed" {
		t.Fatalf("a validation is answered %d %s", covered.status, covered.body)
	}
	refused := e.self(e.jwt, http.MethodPost, "/api/proxy", nil)
	wantDenied(t, refused, http.StatusBadRequest, authority.ReasonMissingTarget)

	var allowed []authority.Event
	eventually(t, "the calls are on record with their outcome", func() bool {
		allowed = e.events("event_type=allowed&mandate_id=" + mandate)
		return len(allowed) == 2 && allowed[0].Outcome != nil && allowed[1].Outcome != nil
	})
	event := func(decision authority.DecisionID) authority.Event {
		var found authority.Event
		eventually(t, "the decision is on record", func() bool {
			got := e.call(e.ownerKey, http.MethodGet, "/api/v1/events/"+string(decision), nil)
			return got.status == http.StatusOK && json.Unmarshal([]byte(got.body), &found) == nil
		})
		return found
	}
	large, teapot := event(allowed[0].DecisionID), event(allowed[1].DecisionID)
	if teapot.Outcome.Status != http.StatusTeapot || teapot.Outcome.BytesReceived != 7 || teapot.Outcome.Upstream != e.address {
		t.Errorf("the outcome of the first call is %+v", teapot.Outcome)
	}
	if large.Outcome.Status != http.StatusOK || large.Outcome.BytesSent != 70_000 || large.Outcome.Details != "via_upstream" {
		t.Errorf("the outcome of the second call is %+v", large.Outcome)
	}
	if r := large.Request; r.Path != "/bytes" || !slices.Equal(r.Query, []string{"n", "key"}) || r.Host != upstreamHost || large.Resource != "api:echo/all" || large.Action != authority.Execute {
		t.Errorf("the record of the second call is %+v of %s %s", r, large.Resource, large.Action)
	}
	if asked := event(authority.DecisionID(validation.member("decision_id"))); asked.Type != authority.EventDenied || asked.Reason != authority.ReasonActionNotInScope || asked.PrincipalID != e.agent {
		t.Errorf("the record of the validation is %+v", asked)
	}
	if asked := event(authority.DecisionID(covered.member("decision_id"))); asked.Type != authority.EventValidated || asked.MandateID != authority.MandateID(mandate) || asked.Request != nil {
		t.Errorf("the record of the validation is %+v", asked)
	}
	if denied := event(authority.DecisionID(refused.member("decision_id"))); denied.Reason != authority.ReasonMissingTarget || denied.Outcome != nil && denied.Outcome.Status != http.StatusBadRequest {
		t.Errorf("the record of the denial is %+v", denied)
	}
}

func TestEventsOfAStreamArriveAsTheyAreSentAndEndWithTheMandate(t *testing.T) {
	e := newStack(t).edge()
	mandate := e.issue(3, "read", "execute")
	request := e.request(http.MethodGet, mandate, upstreamHost, "/stream?n=2&ms=3600000")
	request.Body, request.ContentLength = nil, 0
	response, err := e.client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	reader := bufio.NewReader(response.Body)
	// The second event would come in an hour.
	if line, err := reader.ReadString('\n'); line != "id: 1\n" {
		t.Fatalf("the first line is %q (%v), with status %d", line, err, response.StatusCode)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, reader)
		ended <- err
	}()
	var cut error
	eventually(t, "the stream is cut", func() bool {
		select {
		case cut = <-ended:
			return true
		default:
			return false
		}
	})
	if cut == nil {
		t.Error("the stream ended as if it were whole")
	}
	// It was cut no later than the mandate ended, and at most a moment before.
	eventually(t, "the mandate has expired", func() bool { return e.proxy(mandate, "/").status != http.StatusOK })
	wantDenied(t, e.proxy(mandate, "/"), http.StatusForbidden, authority.ReasonExpired)
}

func TestAWebSocketNeedsToReadAndToWrite(t *testing.T) {
	e := newStack(t).edge()
	dial := func(mandate string) (*websocket.Conn, answer, error) {
		header := e.request(http.MethodGet, mandate, upstreamHost, "/chat/ws").Header
		socket, response, err := websocket.Dial(t.Context(), strings.Replace(e.base, "http", "ws", 1)+"/api/proxy", &websocket.DialOptions{HTTPHeader: header})
		if response == nil || response.Body == nil || err == nil {
			return socket, answer{}, err
		}
		defer response.Body.Close()
		body := must(io.ReadAll(response.Body))(t)
		return socket, answer{response.StatusCode, response.Header, string(body)}, err
	}
	socket, _, err := dial(e.issue(600, "read", "write"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = socket.CloseNow() }()
	if err := socket.Write(t.Context(), websocket.MessageText, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, text, err := socket.Read(t.Context()); err != nil || string(text) != "hello" {
		t.Errorf("got %q (%v)", text, err)
	}
	before := len(e.upstream.Requests())
	_, refusal, err := dial(e.issue(600, "read"))
	if err == nil {
		t.Fatal("a mandate to read only opened it")
	}
	wantDenied(t, refusal, http.StatusForbidden, authority.ReasonActionNotInScope)
	if after := len(e.upstream.Requests()); after != before {
		t.Error("the handshake reached the upstream")
	}
}
