package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
	"github.com/caracal-gateway/caracal/controlplane/api"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
	"github.com/caracal-gateway/caracal/internal/pgtest"
)

var cluster = pgtest.Cluster{Prepare: postgres.Migrate}

const setupKey = "setup-key-of-the-tests-0123456789"

// world is a control plane on a database of its own, reached through HTTP.
type world struct {
	url     string
	service *controlplane.Service
	store   *postgres.Store
	log     *lockedBuffer
}

func newWorld(t *testing.T) *world {
	t.Helper()
	_, url := cluster.New(t)
	return newWorldOn(t, url)
}

func newWorldOn(t *testing.T, databaseURL string) *world {
	t.Helper()
	store, err := postgres.Open(postgres.Config{URL: databaseURL, MaxConns: 4})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	w := &world{store: store, log: &lockedBuffer{}}
	log := w.logger()
	service, err := controlplane.New(controlplane.Config{
		Store: store, MasterKey: bytes.Repeat([]byte{7}, 32), SetupKey: setupKey, Log: log, Now: time.Now,
		IssuerNetworks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
	})
	if err != nil {
		t.Fatal(err)
	}
	handler, err := api.New(api.Config{Service: service, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	w.url, w.service = server.URL, service
	return w
}

// logger writes to the world's log.
func (w *world) logger() *slog.Logger { return slog.New(slog.NewJSONHandler(w.log, nil)) }

// answer is what came back from one request.
type answer struct {
	t      testing.TB
	what   string // the request, for messages
	status int
	header http.Header
	body   []byte
}

// call makes one request. A body that is no string is sent as JSON; a header is written `Name: value`.
func (w *world) call(t testing.TB, key, method, path string, body any, headers ...string) *answer {
	t.Helper()
	sent, contentType := []byte(nil), ""
	switch body := body.(type) {
	case nil:
	case string:
		sent, contentType = []byte(body), "application/json"
	default:
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		sent, contentType = text, "application/json"
	}
	request, err := http.NewRequestWithContext(context.Background(), method, w.url+path, bytes.NewReader(sent))
	if err != nil {
		t.Fatal(err)
	}
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	if key != "" {
		request.Header.Set("Authorization", "Bearer "+key)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if name == "Content-Type" {
			request.Header.Del(name)
		}
		request.Header.Add(name, value)
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var received []byte
	if response.Header.Get("Content-Type") == "text/event-stream" && method != http.MethodHead {
		received = make([]byte, 1) // a stream has no end: that it begins is all that is waited for
		_, err = io.ReadFull(response.Body, received)
	} else {
		received, err = io.ReadAll(response.Body)
	}
	if err != nil {
		t.Fatal(err)
	}
	loadContract(t).exchanged(t, request, sent, response, received)
	return &answer{t: t, what: method + " " + path, status: response.StatusCode, header: response.Header, body: received}
}

// ok insists on a status.
func (a *answer) ok(status int) *answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("%s answered %d, want %d: %s", a.what, a.status, status, a.body)
	}
	return a
}

func into[T any](a *answer) T {
	a.t.Helper()
	var v T
	if err := json.Unmarshal(a.body, &v); err != nil {
		a.t.Fatalf("%s answered %s: %v", a.what, a.body, err)
	}
	return v
}

// problem is a refusal as a client sees it.
type problem struct {
	Type      string `json:"type"`
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Code      string `json:"code"`
	Detail    string `json:"detail"`
	Field     string `json:"field"`
	Reason    string `json:"reason"`
	RequestID string `json:"request_id"`
}

// refused insists on a refusal: its status and code, and the field and the reason where they are given.
func (a *answer) refused(status int, code, field, reason string) problem {
	a.t.Helper()
	p := into[problem](a)
	if a.status != status || p.Code != code || p.Field != field || p.Reason != reason {
		a.t.Errorf("%s answered %d code=%q field=%q reason=%q, want %d code=%q field=%q reason=%q: %s",
			a.what, a.status, p.Code, p.Field, p.Reason, status, code, field, reason, a.body)
	}
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		a.t.Errorf("%s answered %s as %s", a.what, a.body, got)
	}
	return p
}

// team is a workspace with everyone in it.
type team struct {
	*world
	t             testing.TB
	slug          string
	owner         authority.Principal
	ownerKey      string
	agent, helper authority.PrincipalID
	agentKey      string
	helperKey     string
	service       authority.PrincipalID
	serviceKey    string
	gatewayKey    string
	policy        authority.PolicyID // the agent's
}

type registered struct {
	ID     authority.PrincipalID `json:"principal_id"`
	APIKey string                `json:"api_key"`
}

func (w *world) newTeam(t testing.TB, slug string) *team {
	t.Helper()
	made := into[controlplane.CreatedWorkspace](w.call(t, setupKey, "POST", "/api/v1/workspaces", map[string]any{"name": slug, "slug": slug}).ok(201))
	m := &team{world: w, t: t, slug: slug, owner: made.Owner, ownerKey: made.APIKey}
	m.agent, m.agentKey = m.register("agent", "agent")
	m.helper, m.helperKey = m.register("helper", "agent")
	m.service, m.serviceKey = m.register("service", "service")
	m.policy = m.policyFor(m.agent, 2)
	m.policyFor(m.helper, 2)
	m.gatewayKey = into[controlplane.CreatedKey](m.own("POST", m.at("keys"), map[string]any{"kind": "gateway", "name": "edge"}).ok(201)).APIKey
	return m
}

func (m *team) at(collection string) string { return "/api/v1/workspaces/" + m.slug + "/" + collection }

// own calls as the owner.
func (m *team) own(method, path string, body any, headers ...string) *answer {
	m.t.Helper()
	return m.call(m.t, m.ownerKey, method, path, body, headers...)
}

func (m *team) register(name, kind string) (authority.PrincipalID, string) {
	m.t.Helper()
	r := into[registered](m.own("POST", m.at("principals"), map[string]any{"name": name, "principal_type": kind}).ok(201))
	return r.ID, r.APIKey
}

func (m *team) policyFor(id authority.PrincipalID, depth int) authority.PolicyID {
	m.t.Helper()
	p := into[authority.Policy](m.own("POST", m.at("policies"), map[string]any{
		"principal_id": id, "allowed_resources": []string{"api:external/*"}, "allowed_actions": []string{"read", "execute"},
		"max_validity_seconds": 86400, "delegation_depth": depth,
	}).ok(201))
	return p.ID
}

func (m *team) mandateRequest() map[string]any {
	return map[string]any{
		"issuer_id": m.owner.ID, "subject_id": m.agent, "resource_scope": []string{"api:external/openai"},
		"action_scope": []string{"execute"}, "validity_seconds": 3600,
	}
}

func (m *team) issue() authority.Mandate {
	m.t.Helper()
	return into[authority.Mandate](m.own("POST", m.at("mandates"), m.mandateRequest()).ok(201))
}

func (m *team) delegation(to authority.PrincipalID) map[string]any {
	return map[string]any{"child_principal_id": to, "resource_scope": []string{"api:external/openai"}, "action_scope": []string{"execute"}, "validity_seconds": 60}
}

// wellFormedKey is a key that could be one, of nobody's.
const wellFormedKey = "ck_agent_aaaaaaaaaaaaaaaaaaaaaaaaaa_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
