package api_test

import (
	"testing"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
)

// TestTheGuidesCalls walks through the life of a mandate in the words of the published guide, by the paths without a
// workspace.
func TestTheGuidesCalls(t *testing.T) {
	m := newWorld(t).newTeam(t, "my-team")
	agent := into[registered](m.own("POST", "/api/v1/principals", map[string]any{
		"name": "my-agent", "principal_type": "agent", "workspace_slug": "my-team", "metadata": map[string]string{"environment": "production"},
	}).ok(201))
	if agent.APIKey == "" {
		t.Error("registering an agent told no key")
	}
	m.own("POST", "/api/v1/policies", map[string]any{
		"principal_id": agent.ID, "allowed_resources": []string{"api:external/*", "db:analytics/*"}, "allowed_actions": []string{"read", "execute"},
		"max_validity_seconds": 86400, "delegation_depth": 2,
	}).ok(201)
	mandate := into[map[string]any](m.call(t, agent.APIKey, "POST", "/api/v1/mandates", map[string]any{
		"issuer_id": m.owner.ID, "subject_id": agent.ID, "resource_scope": []string{"api:external/openai"}, "action_scope": []string{"execute"}, "validity_seconds": 3600,
	}).ok(201))
	if mandate["validity_seconds"] != 3600.0 || mandate["consent"] != "standing" || mandate["signature"] == "" {
		t.Errorf("the mandate is %v", mandate)
	}
	id := mandate["mandate_id"].(string)
	question := map[string]any{"mandate_id": id, "requested_action": "execute", "requested_resource": "api:external/openai"}
	if v := into[controlplane.ValidationAnswer](m.call(t, agent.APIKey, "POST", "/api/v1/mandates/validate", question).ok(200)); !v.Allowed || v.Decision != "allowed" || v.DenialReason != nil {
		t.Errorf("validating answered %+v", v)
	}
	child := into[authority.Mandate](m.call(t, agent.APIKey, "POST", "/api/v1/mandates/"+id+"/delegate", m.delegation(m.helper)).ok(201))
	if child.ParentID == nil || string(*child.ParentID) != id || child.Level != 1 || child.DelegationDepth != 1 {
		t.Errorf("the child is %+v", child)
	}
	receipt := into[controlplane.Receipt](m.own("POST", "/api/v1/mandates/"+id+"/revoke", map[string]any{"mandate_id": id}).ok(200))
	if receipt.State != authority.ReceiptEnforced || len(receipt.Mandates) != 2 || receipt.EffectiveAt == nil {
		t.Errorf("the receipt is %+v", receipt)
	}
	v := into[controlplane.ValidationAnswer](m.call(t, agent.APIKey, "POST", "/api/v1/mandates/validate", question).ok(200))
	if v.Allowed || v.Decision != "denied" || v.DenialReason == nil || *v.DenialReason != authority.ReasonMandateRevoked {
		t.Errorf("validating after the revocation answered %+v", v)
	}
	events := into[[]authority.Event](m.own("GET", "/api/v1/events?workspace_slug=my-team&event_type=denied&format=json", nil).ok(200))
	if len(events) != 1 || events[0].DecisionID != v.DecisionID || events[0].Reason != authority.ReasonMandateRevoked {
		t.Fatalf("the denials are %+v", events)
	}
	if e := into[authority.Event](m.own("GET", "/api/v1/events/"+string(v.DecisionID), nil).ok(200)); e.ID != events[0].ID {
		t.Errorf("the decision's event is %s, want %s", e.ID, events[0].ID)
	}
}
