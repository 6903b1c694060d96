package api_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
)

func TestWorkspaces(t *testing.T) {
	w := newWorld(t)
	m := w.newTeam(t, "my-team")
	w.call(t, setupKey, "POST", "/api/v1/workspaces", map[string]any{"name": "again", "slug": "my-team"}).refused(409, "conflict", "slug", "")
	w.call(t, setupKey, "POST", "/api/v1/workspaces", map[string]any{"name": "x", "slug": "No Slug"}).refused(400, "invalid_request", "slug", "")
	made := into[controlplane.CreatedWorkspace](m.own("POST", "/api/v1/workspaces", map[string]any{"name": "x", "slug": "other-team"}).ok(201))
	// The key that it answers opens both, by path, by filter and by id.
	for _, path := range []string{"/api/v1/workspaces/my-team/keys", "/api/v1/keys?workspace_slug=my-team", "/api/v1/principals/" + string(m.agent), "/api/v1/workspaces/other-team"} {
		m.call(t, made.APIKey, "GET", path, nil).ok(200)
	}
	m.own("GET", "/api/v1/workspaces/other-team", nil).refused(404, "not_found", "", "")
	if a := m.own("GET", "/api/v1/workspaces/my-team", nil).ok(200); into[authority.Workspace](a).Slug != "my-team" {
		t.Errorf("the workspace is %s", a.body)
	}
	m.own("GET", "/api/v1/workspaces", nil).ok(200)
}

func TestPrincipalsAreSuspendedAndResumed(t *testing.T) {
	m := newWorld(t).newTeam(t, "my-team")
	mandate := m.issue()
	path := "/api/v1/principals/" + string(m.agent)
	if p := into[authority.Principal](m.own("POST", path+"/suspend", nil).ok(200)); !p.Suspended {
		t.Error("the principal is not suspended")
	}
	m.call(t, m.agentKey, "GET", "/api/v1/mandates", nil).refused(403, "forbidden", "", "principal_suspended")
	question := map[string]any{"mandate_id": mandate.ID, "requested_action": "execute", "requested_resource": "api:external/openai"}
	if v := into[controlplane.ValidationAnswer](m.own("POST", "/api/v1/mandates/validate", question).ok(200)); v.DenialReason == nil || *v.DenialReason != authority.ReasonSuspended {
		t.Errorf("validating answered %+v", v)
	}
	if p := into[authority.Principal](m.own("POST", path+"/resume", map[string]any{}).ok(200)); p.Suspended {
		t.Error("the principal is still suspended")
	}
	m.call(t, m.agentKey, "GET", "/api/v1/mandates", nil).ok(200)
	a := m.own("GET", m.at("principals")+"?principal_type=user&suspended=false", nil).ok(200)
	if strings.Count(string(a.body), "principal_id") != 1 {
		t.Errorf("the users are %s", a.body)
	}
	m.own("POST", m.at("principals"), map[string]any{"name": "x", "principal_type": "robot"}).refused(400, "invalid_request", "principal_type", "")
	m.own("POST", "/api/v1/principals", map[string]any{"name": "", "principal_type": "agent"}).refused(400, "invalid_request", "name", "")
}

func TestPolicies(t *testing.T) {
	m := newWorld(t).newTeam(t, "my-team")
	path := "/api/v1/policies/" + string(m.policy)
	if p := into[authority.Policy](m.own("PATCH", path, map[string]any{"max_validity_seconds": 60}).ok(200)); p.MaxValiditySeconds != 60 || p.Version != 2 || p.DelegationDepth != 2 {
		t.Errorf("the changed policy is %+v", p)
	}
	m.own("PATCH", path, map[string]any{"max_validity_seconds": 0}).refused(400, "invalid_request", "max_validity_seconds", "")
	m.own("POST", m.at("mandates"), m.mandateRequest()).refused(422, "refused", "", "no_policy_covers")
	second := into[controlplane.RegisteredPrincipal](m.own("POST", m.at("principals"), map[string]any{"name": "second owner", "principal_type": "user", "role": "owner"}).ok(201))
	key := into[controlplane.CreatedKey](m.own("POST", m.at("keys"), map[string]any{"kind": "member", "name": "second", "principal_id": second.ID}).ok(201)).APIKey
	if p := into[authority.Policy](m.call(t, key, "POST", path+"/join", nil).ok(200)); len(p.Grantors) != 2 || p.Grantors[1] != second.ID {
		t.Errorf("the grantors are %v", p.Grantors)
	}
	if p := into[authority.Policy](m.own("POST", path+"/deactivate", nil).ok(200)); p.Active {
		t.Error("the policy is still active")
	}
	a := m.own("GET", m.at("policies")+"?active=false&principal_id="+string(m.agent), nil).ok(200)
	if strings.Count(string(a.body), `"policy_id"`) != 1 {
		t.Errorf("the inactive policies are %s", a.body)
	}
	for _, at := range []string{m.at("policies"), "/api/v1/policies"} {
		m.own("POST", at, map[string]any{"principal_id": m.agent, "allowed_resources": []string{"api:**"}, "allowed_actions": []string{"read"}, "max_validity_seconds": 1}).refused(400, "invalid_request", "allowed_resources[0]", "")
	}
}

func TestMandatesThatAreRefused(t *testing.T) {
	m := newWorld(t).newTeam(t, "my-team")
	mandate := m.issue()
	delegate := "/api/v1/mandates/" + string(mandate.ID) + "/delegate"
	for sentence, c := range map[string]struct {
		field        string
		value        any
		status       int
		code, reason string
		where        string
	}{
		"actions beyond the policy":   {"action_scope", []string{"*"}, 422, "refused", "no_policy_covers", ""},
		"resources beyond the policy": {"resource_scope", []string{"db:x"}, 422, "refused", "no_policy_covers", ""},
		"a pattern that is none":      {"resource_scope", []string{"api:**"}, 400, "invalid_request", "", "resource_scope[0]"},
		"an action that is none":      {"action_scope", []string{"own"}, 400, "invalid_request", "", "action_scope[0]"},
		"no validity":                 {"validity_seconds", 0, 400, "invalid_request", "", "validity_seconds"},
	} {
		t.Run(sentence, func(t *testing.T) {
			for _, at := range []string{m.at("mandates"), "/api/v1/mandates"} {
				request := m.mandateRequest()
				request[c.field] = c.value
				m.own("POST", at, request).refused(c.status, c.code, c.where, c.reason)
			}
		})
	}
	wider := m.delegation(m.helper)
	wider["resource_scope"] = []string{"api:external/*"}
	m.call(t, m.agentKey, "POST", delegate, wider).refused(422, "refused", "", "scope_exceeds_parent")
	longer := m.delegation(m.helper)
	longer["validity_seconds"] = 86400
	m.call(t, m.agentKey, "POST", delegate, longer).refused(422, "refused", "", "validity_exceeds_parent")
	child := into[authority.Mandate](m.call(t, m.agentKey, "POST", delegate, m.delegation(m.helper)).ok(201))
	// The child's subject sees the child, and may not revoke what it was cut from.
	m.call(t, m.helperKey, "POST", "/api/v1/mandates/"+string(child.ID)+"/delegate", m.delegation(m.agent)).refused(422, "refused", "", "delegation_cycle")
	m.own("GET", m.at("mandates")+"?parent_mandate_id="+string(mandate.ID)+"&revoked=false&limit=1", nil).ok(200)
	m.call(t, m.agentKey, "POST", "/api/v1/mandates/validate", map[string]any{
		"mandate_id": mandate.ID, "requested_action": "execute", "requested_resource": "api:external/openai", "presenter_id": m.helper,
	}).refused(403, "forbidden", "", "")
	v := into[controlplane.ValidationAnswer](m.call(t, m.serviceKey, "POST", "/api/v1/mandates/validate", map[string]any{
		"mandate_id": mandate.ID, "requested_action": "execute", "requested_resource": "api:external/openai",
	}).ok(200))
	if v.DenialReason == nil || *v.DenialReason != authority.ReasonPresenterRequired {
		t.Errorf("a service that does not say who presented is answered %+v", v)
	}
}

// A revocation is pending until every gateway has acknowledged it, and enforced from then on.
func TestARevocationWaitsForTheGateways(t *testing.T) {
	m := newWorld(t).newTeam(t, "my-team")
	mandate := m.issue()
	gateway := m.edge(t, "edge-1")
	path := "/api/v1/mandates/" + string(mandate.ID) + "/revoke"
	a := m.own("POST", path, map[string]any{"mandate_id": mandate.ID, "wait": 0}).ok(202)
	pending := into[controlplane.Receipt](a)
	if pending.State != authority.ReceiptPending || pending.EffectiveAt != nil || len(pending.Gateways) != 1 {
		t.Errorf("the receipt is %+v", pending)
	}
	if got := a.header.Get("X-Caracal-Revision"); got != strconv.FormatUint(pending.Revision, 10) {
		t.Errorf("X-Caracal-Revision is %q, the revocation's revision %d", got, pending.Revision)
	}
	for _, at := range []string{m.at("gateways"), "/api/v1/gateways"} {
		if a := m.own("GET", at, nil).ok(200); !strings.Contains(string(a.body), `"instance":"edge-1"`) || !strings.Contains(string(a.body), `"connected":true`) {
			t.Errorf("the gateways are %s", a.body)
		}
	}
	gateway.acknowledge(t, pending.Revision)
	enforced := into[controlplane.Receipt](m.own("POST", path, nil).ok(200))
	if enforced.State != authority.ReceiptEnforced || enforced.Revision != pending.Revision || enforced.EffectiveAt == nil {
		t.Errorf("the receipt after the acknowledgement is %+v", enforced)
	}
	// Whoever is neither issuer nor subject nor owner finds no mandate; a subject of a child may not end its parent.
	second := m.issue()
	child := into[authority.Mandate](m.call(t, m.agentKey, "POST", "/api/v1/mandates/"+string(second.ID)+"/delegate", m.delegation(m.helper)).ok(201))
	m.call(t, m.helperKey, "POST", "/api/v1/mandates/"+string(child.ID)+"/revoke", `{"wait":0}`).ok(202)
}

// Whatever ends many mandates at once waits for the gateways too.
func TestARevocationOfManyMandatesWaitsForTheGateways(t *testing.T) {
	m := newWorld(t).newTeam(t, "my-team")
	for range 2 {
		m.issue()
	}
	m.edge(t, "edge-1")
	for _, at := range []string{m.at("revocations"), "/api/v1/revocations"} {
		receipt := into[controlplane.Receipt](m.own("POST", at, map[string]any{"subject_id": m.agent, "wait": 0}).ok(202))
		if receipt.State != authority.ReceiptPending {
			t.Errorf("%s is answered %+v", at, receipt)
		}
		hit := "/api/v1/receipts/" + string(receipt.ID) + "/mandates"
		m.own("GET", hit, nil).ok(200)
		m.own("GET", hit+"?limit=0", nil).refused(400, "invalid_request", "limit", "")
	}
	m.own("POST", "/api/v1/principals/"+string(m.agent)+"/suspend", map[string]any{"wait": 0}).ok(202)
}

func TestDestinations(t *testing.T) {
	m := newWorld(t).newTeam(t, "my-team")
	for _, at := range []string{m.at("destinations"), "/api/v1/destinations"} {
		name := "shop-" + strconv.Itoa(len(at))
		d := into[authority.Destination](m.own("POST", at, destinationOf(name)).ok(201))
		path := "/api/v1/destinations/" + string(d.ID)
		m.own("POST", at, destinationOf(name)).refused(409, "conflict", "name", "")
		private := destinationOf(name)
		private["addresses"], private["connect_to"] = []string{"169.254.169.254/32"}, "169.254.169.254:443"
		m.own("PUT", path, private).refused(400, "invalid_request", "addresses[0]", "")
		private["addresses"], private["connect_to"] = []string{"10.0.0.0/8"}, "10.1.2.3:8443"
		replaced := into[authority.Destination](m.own("PUT", path, private).ok(200))
		if replaced.ID != d.ID || replaced.ConnectTo != "10.1.2.3:8443" {
			t.Errorf("the replaced destination is %+v", replaced)
		}
		// What the API answers, it takes back.
		m.own("PUT", path, replaced).ok(200)
		private["tunnel"], private["base_path"], private["client_certificate"] = "refuse", "shop", "shop-client"
		replaced = into[authority.Destination](m.own("PUT", path, private).ok(200))
		if replaced.Tunnel != authority.TunnelRefuse || replaced.BasePath != "shop" || replaced.ClientCertificate != "shop-client" {
			t.Errorf("the destination with a base path is %+v", replaced)
		}
		second := destinationOf("second")
		second["base_path"] = "shop"
		m.own("POST", at, second).refused(400, "invalid_request", "base_path", "")
		for field, value := range map[string]string{"tunnel": "open", "base_path": "a/b", "client_certificate": "../ours"} {
			bad := destinationOf(name)
			bad[field] = value
			m.own("PUT", path, bad).refused(400, "invalid_request", field, "")
		}
		m.own("DELETE", path, nil).ok(200)
		m.own("GET", path, nil).refused(404, "not_found", "", "")
		bad := destinationOf(name)
		bad["host"] = "127.0.0.1"
		m.own("POST", at, bad).refused(400, "invalid_request", "host", "")
	}
	a := m.own("GET", m.at("destinations")+"?limit=200", nil).ok(200)
	if !strings.Contains(string(a.body), "api:external/openai") {
		t.Errorf("a new workspace has no destination for api:external/openai: %s", a.body)
	}
}

func TestAChangeThatTouchesMandatesReportsThem(t *testing.T) {
	m := newWorld(t).newTeam(t, "my-team")
	at := m.at("destinations")
	shop := destinationOf("shop")
	d := into[authority.Destination](m.own("POST", at, shop).ok(201))
	path := "/api/v1/destinations/" + string(d.ID)
	mandate := m.issue() // to execute api:external/openai
	shop["rules"] = []map[string]any{{"path": "/**", "methods": map[string]string{"POST": "execute"}, "resource": "api:external/openai"}}
	refused := m.own("PUT", path, shop)
	refused.refused(409, "changes_authority", "", "")
	changes := into[struct{ Changes authority.TouchReport }](refused).Changes
	if changes.TrafficCount != 1 || changes.Traffic[0].URL != "https://shop.example.com/**" || changes.Traffic[0].Mandates[0].MandateID != mandate.ID || changes.Traffic[0].Mandates[0].Effect != authority.TouchGains {
		t.Errorf("the report is %+v", changes)
	}
	m.own("PUT", path+"?accept_changes=another", shop).refused(409, "changes_authority", "", "")
	m.own("PUT", path+"?accept_changes="+changes.Digest+"&accept_changes=b", shop).refused(400, "invalid_request", "accept_changes", "")
	m.own("PUT", path+"?accept="+changes.Digest, shop).refused(400, "invalid_request", "accept", "")
	m.own("PUT", path+"?accept_changes="+changes.Digest, shop).ok(200)
	deleted := m.own("DELETE", path, nil)
	deleted.refused(409, "changes_authority", "", "")
	digest := into[struct{ Changes authority.TouchReport }](deleted).Changes.Digest
	m.own("DELETE", path+"?accept_changes="+digest, nil).ok(200)
	created := m.own("POST", at, shop)
	created.refused(409, "changes_authority", "", "")
	digest = into[struct{ Changes authority.TouchReport }](created).Changes.Digest
	m.own("POST", at+"?accept_changes="+digest, shop).ok(201)
}

func TestNoTokenIsBoundToAMandateThatHasEnded(t *testing.T) {
	m := newWorld(t).newTeam(t, "my-team")
	mandate := m.issue()
	bound := map[string]any{"mandate_id": mandate.ID}
	m.call(t, m.agentKey, "POST", "/api/v1/token", bound).ok(200)
	m.own("POST", "/api/v1/mandates/"+string(mandate.ID)+"/revoke", nil).ok(200)
	m.call(t, m.agentKey, "POST", "/api/v1/token", bound).refused(422, "refused", "", "mandate_revoked")
}

func TestARequestIsTried(t *testing.T) {
	m := newWorld(t).newTeam(t, "my-team")
	mandate := m.issue()
	for _, at := range []string{m.at("destinations/test"), "/api/v1/destinations/test"} {
		trial := map[string]any{"url": "https://api.openai.com/v1/responses", "method": "POST", "principal_id": m.agent}
		a := into[controlplane.TrialAnswer](m.own("POST", at, trial).ok(200))
		if a.Permitted == nil || !*a.Permitted || a.MandateID != mandate.ID || !a.Selected || a.Resource != "api:external/openai" {
			t.Errorf("%s is answered %+v", at, a)
		}
		m.own("POST", at, map[string]any{"url": "ftp://a.example.com/"}).refused(400, "invalid_request", "url", "invalid_target_url")
		m.own("POST", at, map[string]any{"url": "https://a.example.com/", "principal": m.agent}).refused(400, "invalid_request", "principal", "")
		for _, field := range []string{"method", "principal_id", "mandate_id", "workspace_slug"} {
			m.own("POST", at, map[string]any{"url": "https://a.example.com/", field: ""}).refused(400, "invalid_request", field, "")
			m.own("POST", at, map[string]any{"url": "https://a.example.com/", field: nil}).refused(400, "invalid_request", field, "")
		}
		m.call(t, m.agentKey, "POST", at, trial).refused(403, "forbidden", "", "")
	}
}

func TestRegoIsPushedAndActivated(t *testing.T) {
	m := newWorld(t).newTeam(t, "my-team")
	mandate := m.issue()
	question := map[string]any{"mandate_id": mandate.ID, "requested_action": "execute", "requested_resource": "api:external/openai"}
	ask := func() controlplane.ValidationAnswer {
		return into[controlplane.ValidationAnswer](m.call(t, m.agentKey, "POST", "/api/v1/mandates/validate", question).ok(200))
	}
	push := func(at, module string) *answer {
		return m.own("POST", at, map[string]any{"modules": map[string]string{"a.rego": module}, "message": "no models"})
	}
	v := into[authority.RegoVersion](push(m.at("rego-versions"), denying("no_models", `input.resource == "api:external/openai"`)).ok(201))
	if got := ask(); !got.Allowed {
		t.Errorf("a version that is not active denied: %+v", got)
	}
	path := "/api/v1/rego-versions/" + string(v.ID)
	m.own("POST", path+"/activate", nil).ok(200)
	if got := ask(); got.Allowed || *got.DenialReason != authority.ReasonPolicyDenied || got.PolicyCode != "no_models" {
		t.Errorf("the active version answered %+v", got)
	}
	if got := into[authority.RegoVersion](m.own("GET", path, nil).ok(200)); !got.Active || got.Number != 1 {
		t.Errorf("the version is %+v", got)
	}
	push("/api/v1/rego-versions", denying("nothing", "false")).ok(201)
	for _, at := range []string{m.at("rego-versions"), "/api/v1/rego-versions"} {
		a := push(at, "package caracal.policy\n\ndeny contains x if {\n\tx := http.send({})\n}\n")
		a.refused(400, "invalid_request", "modules", "")
		problems := into[struct {
			Problems []struct {
				File string `json:"file"`
				Row  int    `json:"row"`
			} `json:"problems"`
		}](a).Problems
		if len(problems) == 0 || problems[0].File != "a.rego" || problems[0].Row != 4 {
			t.Errorf("the problems are %+v", problems)
		}
	}
}

func TestKeys(t *testing.T) {
	m := newWorld(t).newTeam(t, "my-team")
	for _, at := range []string{m.at("keys"), "/api/v1/keys"} {
		k := into[controlplane.CreatedKey](m.own("POST", at, map[string]any{"kind": "agent", "name": "ci", "principal_id": m.agent, "expires_at": "2199-01-01T00:00:00Z"}).ok(201))
		m.call(t, k.APIKey, "GET", "/api/v1/mandates", nil).ok(200)
		if got := into[authority.Key](m.own("POST", "/api/v1/keys/"+string(k.ID)+"/revoke", nil).ok(200)); got.RevokedAt == nil {
			t.Error("the revoked key has no time of it")
		}
		m.call(t, k.APIKey, "GET", "/api/v1/mandates", nil).refused(401, "unauthenticated", "", "")
		a := m.own("GET", at+"?kind=agent&principal_id="+string(m.agent), nil).ok(200)
		if strings.Contains(string(a.body), "api_key") || strings.Contains(string(a.body), "hash") {
			t.Errorf("the list of keys tells secrets: %s", a.body)
		}
		m.own("POST", at, map[string]any{"kind": "agent", "name": "ci", "principal_id": m.owner.ID}).refused(400, "invalid_request", "principal_id", "")
	}
}
