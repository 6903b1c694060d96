package authority_test

import (
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/authority"
)

// now is the instant of the tests; mandates count whole seconds, requests do not.
var now = time.Date(2024, 1, 15, 10, 30, 0, 250_000_000, time.UTC)

// world is a workspace in memory, with the rules applied to it as a transaction of the control plane applies them.
type world struct {
	principals map[authority.PrincipalID]*authority.Principal
	policies   map[authority.PrincipalID][]authority.Policy
	mandates   map[authority.MandateID]*authority.Mandate
}

// newWorld has an owner and the agents alice, bob, carol and dave. Each agent has one policy: to execute and read
// api:external/* and db:analytics/* for a day, two delegations deep, with the owner as its grantor.
func newWorld() *world {
	w := &world{
		principals: map[authority.PrincipalID]*authority.Principal{
			"owner": {ID: "owner", WorkspaceID: "ws", Name: "owner", Type: authority.User, Role: authority.RoleOwner},
		},
		policies: map[authority.PrincipalID][]authority.Policy{},
		mandates: map[authority.MandateID]*authority.Mandate{},
	}
	for _, id := range []authority.PrincipalID{"alice", "bob", "carol", "dave"} {
		w.principals[id] = &authority.Principal{ID: id, WorkspaceID: "ws", Name: string(id), Type: authority.Agent}
		w.policies[id] = []authority.Policy{{
			ID: authority.PolicyID("policy of " + id), WorkspaceID: "ws", PrincipalID: id, Version: 3, Active: true,
			AllowedResources:   []authority.ResourcePattern{"api:external/*", "db:analytics/*"},
			AllowedActions:     authority.Actions{"execute", "read"},
			MaxValiditySeconds: 86400, DelegationDepth: 2, Grantors: []authority.PrincipalID{"owner"},
		}}
	}
	return w
}

func (w *world) Mandate(id authority.MandateID) (authority.Mandate, bool) {
	m, ok := w.mandates[id]
	if !ok {
		return authority.Mandate{}, false
	}
	return *m, true
}

func (w *world) Principal(id authority.PrincipalID) (authority.Principal, bool) {
	p, ok := w.principals[id]
	if !ok {
		return authority.Principal{}, false
	}
	return *p, true
}

// issue asks as the caller, and keeps the mandate.
func (w *world) issue(caller authority.PrincipalID, r authority.IssueRequest) (authority.Mandate, error) {
	var g authority.IssueGrounds
	g.Caller, _ = w.Principal(caller)
	g.Issuer, _ = w.Principal(r.IssuerID)
	g.Subject, _ = w.Principal(r.SubjectID)
	g.IssuerPolicies, g.SubjectPolicies, g.Now = w.policies[r.IssuerID], w.policies[r.SubjectID], now
	m, err := authority.Issue(g, r)
	if err == nil {
		w.mandates[m.ID] = &m
	}
	return m, err
}

// grounds are those of delegating from a parent to a child.
func (w *world) grounds(caller authority.PrincipalID, r authority.DelegateRequest, at time.Time) authority.DelegateGrounds {
	g := authority.DelegateGrounds{
		Chain: w.chain(r.ParentID), Principals: map[authority.PrincipalID]authority.Principal{},
		ChildPolicies: w.policies[r.ChildID], Now: at,
	}
	g.Caller, _ = w.Principal(caller)
	g.Child, _ = w.Principal(r.ChildID)
	for id, p := range w.principals {
		g.Principals[id] = *p
	}
	for _, m := range w.mandates {
		if m.ParentID != nil && *m.ParentID == r.ParentID {
			g.Children++
		}
	}
	return g
}

// delegate asks as the caller, and keeps the mandate.
func (w *world) delegate(caller authority.PrincipalID, r authority.DelegateRequest, at time.Time) (authority.Mandate, error) {
	m, err := authority.Delegate(w.grounds(caller, r, at), r)
	if err == nil {
		w.mandates[m.ID] = &m
	}
	return m, err
}

// chain is the mandate first and its root last.
func (w *world) chain(id authority.MandateID) []authority.Mandate {
	var chain []authority.Mandate
	for m, ok := w.Mandate(id); ok; m, ok = w.Mandate(*m.ParentID) {
		chain = append(chain, m)
		if m.ParentID == nil {
			break
		}
	}
	return chain
}

// family issues from the owner to alice, who delegates to bob, who delegates to carol; each names the one before.
func (w *world) family(t testing.TB) (root, child, grandchild authority.Mandate) {
	t.Helper()
	root, err := w.issue("owner", authority.IssueRequest{
		IssuerID: "owner", SubjectID: "alice", Scope: scope("api:external/*", "db:analytics/*").of("execute", "read"), ValiditySeconds: 3600,
	})
	if err != nil {
		t.Fatal(err)
	}
	child, err = w.delegate("alice", authority.DelegateRequest{
		ParentID: root.ID, ChildID: "bob", Scope: scope("api:external/*").of("execute", "read"), ValiditySeconds: 1800,
	}, now)
	if err != nil {
		t.Fatal(err)
	}
	grandchild, err = w.delegate("bob", authority.DelegateRequest{
		ParentID: child.ID, ChildID: "carol", Scope: scope("api:external/openai").of("execute"), ValiditySeconds: 900,
	}, now)
	if err != nil {
		t.Fatal(err)
	}
	return root, child, grandchild
}
