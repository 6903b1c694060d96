package api_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
)

func TestTheLifeOfAWorkspace(t *testing.T) {
	m := newWorld(t).newTeam(t, "my-team")
	const path = "/api/v1/workspaces/my-team"
	renamed := into[authority.Workspace](m.own("PATCH", path, map[string]any{
		"name": "Payments", "settings": map[string]any{"event_retention_days": 30},
	}).ok(200))
	if renamed.Name != "Payments" || renamed.Slug != "my-team" || renamed.Settings.EventRetentionDays != 30 || renamed.Settings.MaxStreamSeconds != 3600 {
		t.Errorf("renamed: %+v", renamed)
	}
	m.own("PATCH", path, map[string]any{"slug": "other"}).refused(400, "invalid_request", "slug", "")
	m.own("PATCH", path, map[string]any{"settings": map[string]any{"max_stream_seconds": 0}}).refused(400, "invalid_request", "settings.max_stream_seconds", "")
	m.own("PATCH", "/api/v1/workspaces/no-such-team", map[string]any{"name": "x"}).refused(404, "not_found", "", "")
	m.call(t, m.agentKey, "DELETE", path, nil).refused(403, "forbidden", "", "")

	m.own("POST", path+"/archive", nil).ok(200)
	m.own("POST", m.at("principals"), map[string]any{"name": "x", "principal_type": "agent"}).refused(409, "conflict", "", "workspace_archived")
	m.own("GET", m.at("principals"), nil).ok(200)
	m.own("POST", path+"/unarchive", nil).ok(200)

	m.own("DELETE", path+"?wait=121", nil).refused(400, "invalid_request", "wait", "")
	m.own("DELETE", path+"?wait=NaN", nil).refused(400, "invalid_request", "wait", "")
	m.own("DELETE", path+"?force=true", nil).refused(400, "invalid_request", "force", "")
	if d := into[controlplane.Deletion](m.own("DELETE", path+"?wait=0", nil).ok(200)); d.State != authority.ReceiptEnforced || d.Workspace.EraseAt == nil {
		t.Errorf("the deletion is %+v", d)
	}
	m.call(t, m.agentKey, "GET", "/api/v1/mandates", nil).refused(401, "unauthenticated", "", "")
	m.own("POST", m.at("principals"), map[string]any{"name": "x", "principal_type": "agent"}).refused(409, "conflict", "", "workspace_deleted")
	if a := m.own("GET", m.at("events")+"?event_type=workspace_deleted", nil).ok(200); !strings.Contains(string(a.body), `"before"`) {
		t.Errorf("the events are %s", a.body)
	}
	if got := into[authority.Workspace](m.own("POST", path+"/restore", nil).ok(200)); got.State() != authority.WorkspaceActive {
		t.Errorf("restored: %+v", got)
	}
	m.call(t, m.agentKey, "GET", "/api/v1/mandates", nil).ok(200)
	usage := m.own("GET", path+"/usage", nil).ok(200)
	if !strings.Contains(string(usage.body), `{"quota":"principals","count":4,"limit":10000}`) {
		t.Errorf("the usage is %s", usage.body)
	}
}

func TestListsAreNarrowedAndSorted(t *testing.T) {
	m := newWorld(t).newTeam(t, "my-team")
	m.issue()
	for path, want := range map[string]int{
		m.at("principals") + "?q=hel&sort=name":                                                  1,
		m.at("principals") + "?q=%25":                                                            0,
		m.at("principals") + "?role=owner&created_after=2020-01-01T00:00:00Z":                    1,
		m.at("principals") + "?created_before=2020-01-01T00:00:00%2B02:00":                       0,
		m.at("mandates") + "?state=active&principal_id=" + string(m.agent) + "&sort=valid_until": 1,
		m.at("mandates") + "?state=expired":                                                      0,
		m.at("destinations") + "?host=api.openai.com&sort=-name":                                 1,
		m.at("rego-versions") + "?active=true&sort=created_at":                                   0,
		m.at("keys") + "?kind=agent&state=active&q=first&sort=name":                              2,
		m.at("policies") + "?active=true&created_after=2020-01-01T00:00:00.5Z&sort=created_at":   2,
	} {
		list := into[struct{ Items []map[string]any }](m.own("GET", path, nil).ok(200))
		if len(list.Items) != want {
			t.Errorf("%s: %d items, want %d: %v", path, len(list.Items), want, list.Items)
		}
	}
	for query, field := range map[string]string{
		"principals?sort=metadata": "sort", "principals?sort=name,created_at": "sort", "principals?sort=name&sort=name": "sort",
		"principals?sort=" + url.QueryEscape("name; DROP TABLE principals"): "sort", "policies?sort=name": "sort",
		"principals?created_after=yesterday": "created_after", "principals?created_before=2026-01-15": "created_before",
		"mandates?state=dead": "state", "keys?state=scheduled": "state", "principals?role=king": "role", "gateways?sort=name": "sort",
		"principals?q=%00": "q", "principals?order=asc": "order",
	} {
		m.own("GET", m.at(query), nil).refused(400, "invalid_request", field, "")
	}
}
