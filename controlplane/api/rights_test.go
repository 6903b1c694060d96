package api_test

import (
	"slices"
	"strings"
	"testing"
)

// agentMay are the operations that an agent's own key is good for, on what is its own.
var agentMay = []string{
	"GET mandates", "POST mandates", "GET /api/v1/mandates/{id}", "POST /api/v1/mandates/validate", "POST /api/v1/mandates/{id}/delegate",
	"POST /api/v1/mandates/{id}/revoke", "GET events", "GET /api/v1/events/{id}", "POST /api/v1/token",
}

// gatewayMay are the operations that a gateway's key is good for.
var gatewayMay = []string{
	"GET /api/v1/workspaces", "GET /api/v1/workspaces/{id}", "GET principals", "GET /api/v1/principals/{id}", "GET policies", "GET /api/v1/policies/{id}",
	"GET mandates", "GET /api/v1/mandates/{id}", "GET destinations", "GET /api/v1/destinations/{id}", "GET rego-versions",
	"GET /api/v1/rego-versions/{id}", "GET gateways", "GET events", "GET /api/v1/events/{id}",
}

// setupMay are the operations that the deployment's setup key is good for.
var setupMay = []string{"GET /api/v1/workspaces", "POST /api/v1/workspaces", "GET /api/v1/workspaces/{id}"}

func allows(rights []string, o operation) bool {
	last := o.method + " " + o.path[strings.LastIndex(o.path, "/")+1:]
	return slices.Contains(rights, o.String()) || slices.Contains(rights, last) && o.path != "/api/v1/workspaces"
}

// Every operation is tried with every kind of key. What a kind may not do is forbidden before anything else is told;
// the setup key, which belongs to no workspace, finds none either.
func TestRightsOfEachKindOfKey(t *testing.T) {
	m := newWorld(t).newTeam(t, "my-team")
	things := m.possessions()
	for sentence, c := range map[string]struct {
		key    string
		rights []string
	}{
		"an agent":  {m.agentKey, agentMay},
		"a service": {m.serviceKey, agentMay},
		"a gateway": {m.gatewayKey, gatewayMay},
		"the setup": {setupKey, setupMay},
	} {
		for _, o := range operations(t) {
			if o.open {
				continue
			}
			asker := *m
			if c.key == m.serviceKey {
				asker.agent = m.service // the subject of what it asks for
			}
			t.Run(sentence+" "+o.String(), func(t *testing.T) {
				a := m.call(t, c.key, o.method, things.at(o.path), asker.body(o))
				forbidden := a.status == 403 && into[problem](a).Reason == ""
				if c.key == setupKey && strings.Contains(o.path, "{workspace}") {
					forbidden = a.status == 404
				}
				if may := allows(c.rights, o); may == forbidden {
					t.Errorf("allowed=%v by the rights, answered %d: %s", may, a.status, a.body)
				}
			})
		}
	}
}

// An agent's key reaches its own mandates and events, and finds nothing of the others in its workspace.
func TestAnAgentSeesItsOwnOnly(t *testing.T) {
	m := newWorld(t).newTeam(t, "my-team")
	mandate := m.issue()
	path := "/api/v1/mandates/" + string(mandate.ID)
	m.call(t, m.agentKey, "GET", path, nil).ok(200)
	m.call(t, m.helperKey, "GET", path, nil).refused(404, "not_found", "", "")
	m.call(t, m.helperKey, "POST", path+"/revoke", nil).refused(404, "not_found", "", "")
	m.call(t, m.helperKey, "POST", path+"/delegate", m.delegation(m.helper)).refused(404, "not_found", "", "")
	type items struct {
		Items []struct{} `json:"items"`
	}
	if l := into[items](m.call(t, m.helperKey, "GET", "/api/v1/mandates", nil).ok(200)); len(l.Items) != 0 {
		t.Errorf("another agent lists %d mandates", len(l.Items))
	}
	if l := into[items](m.call(t, m.agentKey, "GET", "/api/v1/mandates", nil).ok(200)); len(l.Items) != 1 {
		t.Errorf("the subject lists %d mandates", len(l.Items))
	}
	if l := into[[]struct{}](m.call(t, m.helperKey, "GET", "/api/v1/events?mandate_id="+string(mandate.ID), nil).ok(200)); len(l) != 0 {
		t.Errorf("another agent sees %d events of the mandate", len(l))
	}
	if l := into[[]struct{}](m.call(t, m.agentKey, "GET", "/api/v1/events?mandate_id="+string(mandate.ID), nil).ok(200)); len(l) == 0 {
		t.Error("the subject sees no event of its mandate")
	}
	for sentence, c := range map[string]struct {
		change map[string]any
		code   string
		status int
	}{
		"for somebody else":                   {map[string]any{"subject_id": m.helper}, "forbidden", 403},
		"from an issuer that never consented": {map[string]any{"issuer_id": m.helper}, "refused", 422},
		"beyond its policy":                   {map[string]any{"resource_scope": []string{"db:x"}}, "refused", 422},
	} {
		t.Run("asks "+sentence, func(t *testing.T) {
			request := m.mandateRequest()
			for k, v := range c.change {
				request[k] = v
			}
			a := m.call(t, m.agentKey, "POST", "/api/v1/mandates", request)
			if p := into[problem](a); a.status != c.status || p.Code != c.code {
				t.Errorf("answered %d: %s", a.status, a.body)
			}
		})
	}
}
