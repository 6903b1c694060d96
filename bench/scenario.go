package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/envoy"
	"github.com/caracal-gateway/caracal/internal/world"
)

const (
	scenarioAgents   = 100
	scenarioMandates = 1000 // each is delegated twice: three mandates in a chain
	scenarioRequests = 4096
	scenarioHost     = "tools.bench.test"
	scenarioPort     = 9443
)

// scenario is one workspace and the requests that its agents make, nine of ten of them within their mandates.
type scenario struct {
	world    *world.World
	requests []call
}

// call is one request of an agent.
type call struct {
	Agent   authority.PrincipalID `json:"agent"`
	Token   string                `json:"token"`
	Mandate authority.MandateID   `json:"mandate"`
	Method  string                `json:"method"`
	URL     string                `json:"url"`
	Allowed bool                  `json:"allowed"`
}

// must makes the test support's failures a panic: a scenario that cannot be built is a defect of this program.
type must struct{ testing.TB }

func (must) Helper()           {}
func (must) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

func newScenario(now time.Time) *scenario {
	w := world.New(must{}, now)
	s := &scenario{world: w}
	w.State.Workspace.Settings = authority.DefaultSettings()
	w.Destination(authority.Destination{
		Name: "tools", Host: scenarioHost, Ports: []uint16{scenarioPort}, TLS: authority.TLSNone,
		MaxDurationSeconds: 2, // short: the request alone is measured
		Rules: []authority.Rule{{
			Path: "/{tool}/{item}", Resource: "api:tools/{tool}/{item}",
			Methods: map[string]authority.Action{"GET": authority.Read, "POST": authority.Execute},
		}},
	})
	agents := make([]authority.Principal, scenarioAgents)
	tokens := make([]string, scenarioAgents)
	for i := range agents {
		agents[i] = w.Register(fmt.Sprintf("agent-%d", i), authority.Agent)
		tokens[i] = w.Token(agents[i].ID)
	}
	leaves := make([]authority.Mandate, scenarioMandates)
	for i := range leaves {
		scope := authority.Scope{
			Resources: []authority.ResourcePattern{
				pattern(i), pattern(i + 1), pattern(i + 2), authority.ResourcePattern(fmt.Sprintf("db:analytics-%d/*", i)),
			},
			Actions: authority.Actions{authority.Execute, authority.Read},
		}
		root := w.Issue(agents[(i+1)%len(agents)].ID, scope)
		middle := w.Delegate(root, agents[(i+2)%len(agents)].ID, scope)
		leaves[i] = w.Delegate(middle, agents[i%len(agents)].ID, scope)
	}
	for i := range scenarioRequests {
		at := i * 7 % len(leaves)
		c := call{
			Agent: leaves[at].SubjectID, Token: tokens[at%len(agents)], Mandate: leaves[at].ID, Method: []string{"GET", "POST"}[i%2], Allowed: i%10 != 0,
		}
		tool := at + i%3
		if !c.Allowed {
			tool = at + 5 // not one of the mandate's
		}
		c.URL = fmt.Sprintf("http://%s:%d/tool-%d/item-%d", scenarioHost, scenarioPort, tool%scenarioMandates, i)
		s.requests = append(s.requests, c)
	}
	return s
}

func pattern(i int) authority.ResourcePattern {
	return authority.ResourcePattern(fmt.Sprintf("api:tools/tool-%d/*", i%scenarioMandates))
}

// Names of a scenario's files.
const (
	stateFile = "state.bundle"
	rootFile  = "root"
	dataFile  = "data.json"
)

// write leaves in a directory what the services start from.
func (s *scenario) write(dir string) error {
	if err := os.WriteFile(filepath.Join(dir, stateFile), s.world.Seal(), 0o600); err != nil {
		return err
	}
	root := []byte(s.world.Root.Fingerprint())
	if err := os.WriteFile(filepath.Join(dir, rootFile), root, 0o600); err != nil {
		return err
	}
	return writeJSON(filepath.Join(dir, dataFile), s.data())
}

// data is the same state for OPA: mandates by their id, principals by their id and by their token.
func (s *scenario) data() map[string]any {
	state := s.world.State
	mandates := make(map[string]any, len(state.Mandates))
	for _, m := range state.Mandates {
		mandates[string(m.ID)] = map[string]any{
			"subject": m.SubjectID, "issuer": m.IssuerID, "parent": m.ParentID, "resources": m.ResourceScope, "actions": m.ActionScope,
			"from": m.ValidFrom.Unix(), "until": m.ValidUntil.Unix(), "revoked": m.Revoked, "level": m.Level,
		}
	}
	principals := make(map[string]any, len(state.Principals))
	for _, p := range state.Principals {
		principals[string(p.ID)] = map[string]any{"type": p.Type, "suspended": p.Suspended}
	}
	bearers := map[string]any{}
	for _, c := range s.requests {
		bearers["Bearer "+c.Token] = c.Agent
	}
	return map[string]any{
		"mandates": mandates, "principals": principals, "bearers": bearers,
		"destinations": map[string]any{fmt.Sprintf("%s:%d", scenarioHost, scenarioPort): map[string]any{"GET": "read", "POST": "execute"}},
	}
}

func writeJSON(path string, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return os.WriteFile(path, text, 0o600)
}

// headers are what the agent sends, with what Envoy adds: about a kilobyte.
func (c call) headers() [][2]string {
	return [][2]string{
		{":authority", "localhost:8443"}, {":path", "/api/proxy"}, {":method", c.Method}, {":scheme", "http"},
		{"user-agent", "openai-python/1.30.0"}, {"accept", "application/json"}, {"accept-encoding", "gzip, deflate, br"},
		{"content-type", "application/json"}, {"x-stainless-lang", "python"}, {"x-stainless-os", "Linux"}, {"x-stainless-arch", "x64"},
		{"authorization", "Bearer " + c.Token}, {"x-caracal-mandate", string(c.Mandate)}, {"x-caracal-target-url", c.URL},
		{"x-request-id", "4ad1c9ce-2e27-4a1e-9d7a-6a5a2b1f0c11"}, {"x-forwarded-for", "192.0.2.2"}, {"x-forwarded-proto", "http"},
	}
}

// check is the question that Envoy asks about a call: with a list of raw headers, or with the map that OPA reads.
func (c call) check(raw bool) ([]byte, error) {
	http := &authv3.AttributeContext_HttpRequest{
		Id: "18221812780971847111", Method: c.Method, Path: "/api/proxy", Host: "localhost:8443", Scheme: "http", Protocol: "HTTP/1.1",
	}
	if raw {
		http.HeaderMap = &corev3.HeaderMap{}
		for _, h := range c.headers() {
			http.HeaderMap.Headers = append(http.HeaderMap.Headers, &corev3.HeaderValue{Key: h[0], RawValue: []byte(h[1])})
		}
	} else {
		http.Headers = map[string]string{}
		for _, h := range c.headers() {
			http.Headers[h[0]] = h[1]
		}
	}
	encoded, err := proto.Marshal(&authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source: &authv3.AttributeContext_Peer{Address: &corev3.Address{Address: &corev3.Address_SocketAddress{
			SocketAddress: &corev3.SocketAddress{Address: "192.0.2.2", PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 60980}},
		}}},
		Request:           &authv3.AttributeContext_Request{Http: http},
		ContextExtensions: map[string]string{envoy.ModeKey: envoy.ModeGateway},
	}})
	if err != nil {
		return nil, fmt.Errorf("encode check: %w", err)
	}
	return encoded, nil
}
