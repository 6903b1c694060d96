package authority_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caracal-gateway/caracal/authority"
)

func TestDelegatingCutsAChildFromItsParent(t *testing.T) {
	w := newWorld()
	root, child, grandchild := w.family(t)
	start := now.Truncate(time.Second)
	want := authority.Mandate{
		ID: child.ID, WorkspaceID: "ws", IssuerID: "alice", SubjectID: "bob",
		ResourceScope: []authority.ResourcePattern{"api:external/*"}, ActionScope: authority.Actions{"execute", "read"},
		ValidFrom: start, ValidUntil: start.Add(30 * time.Minute),
		ParentID: &root.ID, DelegationDepth: 1, Level: 1, RequestedBy: "alice", Consent: authority.ConsentExplicit,
		PolicyID: "policy of bob", PolicyVersion: 3, CreatedAt: now,
	}
	if diff := cmp.Diff(want, child); diff != "" {
		t.Error(diff)
	}
	if grandchild.Level != 2 || grandchild.DelegationDepth != 0 || *grandchild.ParentID != child.ID {
		t.Errorf("the grandchild is %+v", grandchild)
	}
}

func TestADelegationIsAsDeepAsItsParentAndItsPolicyAllow(t *testing.T) {
	for _, c := range []struct{ parent, policy, want int }{{16, 16, 15}, {16, 3, 3}, {2, 16, 1}, {1, 1, 0}, {5, 0, 0}} {
		w := newWorld()
		w.policies["alice"][0].DelegationDepth = c.parent
		w.policies["bob"][0].DelegationDepth = c.policy
		_, child, err := rootAndChild(w, "alice")
		if err != nil || child.DelegationDepth != c.want {
			t.Errorf("parent %d, policy %d: %d, %v, want %d", c.parent, c.policy, child.DelegationDepth, err, c.want)
		}
	}
}

func TestAnOwnerDelegatesForTheSubjectAndIsRecorded(t *testing.T) {
	_, child, err := rootAndChild(newWorld(), "owner")
	if err != nil || child.RequestedBy != "owner" || child.IssuerID != "alice" || child.Consent != authority.ConsentStanding {
		t.Errorf("%+v, %v", child, err)
	}
}

func rootAndChild(w *world, delegator authority.PrincipalID) (root, child authority.Mandate, err error) {
	root, err = w.issue("owner", authority.IssueRequest{IssuerID: "owner", SubjectID: "alice", Scope: scope("api:external/*").of("read"), ValiditySeconds: 3600})
	if err != nil {
		return root, child, err
	}
	child, err = w.delegate(delegator, authority.DelegateRequest{ParentID: root.ID, ChildID: "bob", Scope: scope("api:external/*").of("read"), ValiditySeconds: 60}, now)
	return root, child, err
}

// offspring is a delegation from bob's mandate, which alice cut from her own, to carol, that a test bends.
type offspring struct {
	*world
	root, parent *authority.Mandate
	caller       authority.PrincipalID
	request      authority.DelegateRequest
	at           time.Time
	siblings     int
}

func TestDelegatingIsRefusedForANamedReason(t *testing.T) {
	ask := func(patterns ...authority.ResourcePattern) func(*offspring) {
		return func(o *offspring) { o.request.Resources = patterns }
	}
	act := func(actions ...authority.Action) func(*offspring) {
		return func(o *offspring) { o.request.Actions = actions }
	}
	suspend := func(id authority.PrincipalID) func(*offspring) {
		return func(o *offspring) { o.principals[id].Suspended = true }
	}
	to := func(id authority.PrincipalID) func(*offspring) { return func(o *offspring) { o.request.ChildID = id } }
	cases := map[string]struct {
		bend   func(*offspring)
		reason authority.Reason
		code   authority.Code
		field  string
	}{
		"nothing bent":                            {bend: func(*offspring) {}},
		"a wider pattern":                         {bend: ask("api:*"), reason: authority.ReasonScopeExceedsParent},
		"everything":                              {bend: ask("*"), reason: authority.ReasonScopeExceedsParent},
		"a resource of the policy only":           {bend: ask("db:analytics/events"), reason: authority.ReasonScopeExceedsParent},
		"one resource too many":                   {bend: ask("api:external/a", "db:analytics/events"), reason: authority.ReasonScopeExceedsParent},
		"an action too many":                      {bend: act("execute", "write"), reason: authority.ReasonScopeExceedsParent},
		"a star where the parent has two actions": {bend: act("*"), reason: authority.ReasonScopeExceedsParent},
		"a double star":                           {bend: ask("api:external/**"), code: authority.CodeInvalid, field: "resource_scope[0]"},
		"an alternative":                          {bend: ask("api:{external,internal}/a"), code: authority.CodeInvalid, field: "resource_scope[0]"},
		"a class":                                 {bend: ask("api:[a-z]/a"), code: authority.CodeInvalid, field: "resource_scope[0]"},
		"another letter case":                     {bend: ask("api:External/openai"), reason: authority.ReasonScopeExceedsParent},
		"an escaped slash":                        {bend: ask("api:external%2fopenai"), reason: authority.ReasonScopeExceedsParent},
		"a trailing slash":                        {bend: ask("api:external/openai/"), code: authority.CodeInvalid, field: "resource_scope[0]"},
		"an empty list of resources":              {bend: ask(), code: authority.CodeInvalid, field: "resource_scope"},
		"an empty list of actions":                {bend: act(), code: authority.CodeInvalid, field: "action_scope"},
		"exactly as long as the parent":           {bend: func(o *offspring) { o.request.ValiditySeconds = 1800 }},
		"a second longer than the parent":         {bend: func(o *offspring) { o.request.ValiditySeconds = 1801 }, reason: authority.ReasonTimeExceedsParent},
		"as long as the parent, but later":        {bend: func(o *offspring) { o.request.ValiditySeconds = 1800; o.at = now.Add(time.Second) }, reason: authority.ReasonTimeExceedsParent},
		"no validity":                             {bend: func(o *offspring) { o.request.ValiditySeconds = 0 }, code: authority.CodeInvalid, field: "validity_seconds"},
		"a validity that would overflow":          {bend: func(o *offspring) { o.request.ValiditySeconds = 1 << 62 }, code: authority.CodeInvalid, field: "validity_seconds"},
		"a parent that has expired":               {bend: func(o *offspring) { o.at = now.Add(time.Hour) }, reason: authority.ReasonExpired},
		"a parent that begins later":              {bend: func(o *offspring) { o.at = now.Add(-time.Hour) }, reason: authority.ReasonNotYetValid},
		"a parent that is revoked":                {bend: func(o *offspring) { o.parent.Revoked = true }, reason: authority.ReasonMandateRevoked},
		"an ancestor that is revoked":             {bend: func(o *offspring) { o.root.Revoked = true }, reason: authority.ReasonMandateRevoked},
		"an ancestor with a time of revocation":   {bend: func(o *offspring) { o.root.RevokedAt = &now }, reason: authority.ReasonMandateRevoked},
		"an ancestor that is missing":             {bend: func(o *offspring) { delete(o.mandates, o.root.ID) }, reason: authority.ReasonChainInvalid},
		"a parent that exceeds its own parent":    {bend: func(o *offspring) { o.root.ActionScope = authority.Actions{"read"} }, reason: authority.ReasonChainInvalid},
		"a parent that does not exist":            {bend: func(o *offspring) { o.request.ParentID = "mdt_none" }, code: authority.CodeNotFound},
		"no parent":                               {bend: func(o *offspring) { o.request.ParentID = "" }, code: authority.CodeNotFound},
		"the parent's subject is suspended":       {bend: func(o *offspring) { o.caller = "owner"; suspend("bob")(o) }, reason: authority.ReasonSuspended},
		"an ancestor's subject is suspended":      {bend: suspend("alice"), reason: authority.ReasonSuspended},
		"the root's issuer is suspended":          {bend: suspend("owner"), reason: authority.ReasonSuspended},
		"the child is suspended":                  {bend: suspend("carol"), reason: authority.ReasonSuspended},
		"the caller is suspended":                 {bend: suspend("bob"), code: authority.CodeForbidden},
		"the parent's issuer asks":                {bend: func(o *offspring) { o.caller = "alice" }, code: authority.CodeForbidden},
		"the child asks":                          {bend: func(o *offspring) { o.caller = "carol" }, code: authority.CodeForbidden},
		"a user without a role asks":              {bend: func(o *offspring) { o.caller = "owner"; o.principals["owner"].Role = "" }, code: authority.CodeForbidden},
		"nobody asks":                             {bend: func(o *offspring) { o.caller = "" }, code: authority.CodeForbidden},
		"a child of another workspace":            {bend: func(o *offspring) { o.principals["carol"].WorkspaceID = "other" }, code: authority.CodeInvalid, field: "child_principal_id"},
		"a child that does not exist":             {bend: to("nobody"), code: authority.CodeInvalid, field: "child_principal_id"},
		"to oneself":                              {bend: to("bob"), reason: authority.ReasonDelegationCycle},
		"back to the parent's issuer":             {bend: to("alice"), reason: authority.ReasonDelegationCycle},
		"back to the root's issuer":               {bend: to("owner"), reason: authority.ReasonDelegationCycle},
		"no depth is left":                        {bend: func(o *offspring) { o.parent.DelegationDepth = 0 }, reason: authority.ReasonDepthExhausted},
		"one more child than may be":              {bend: func(o *offspring) { o.siblings = 1000 }, reason: authority.ReasonFanOutExceeded},
		"the last child that may be":              {bend: func(o *offspring) { o.siblings = 999 }},
		"the child has no policy":                 {bend: func(o *offspring) { o.policies["carol"] = nil }, reason: authority.ReasonNoPolicyCovers},
		"the child's policy is not active":        {bend: func(o *offspring) { o.policies["carol"][0].Active = false }, reason: authority.ReasonNoPolicyCovers},
		"the child's policy is too narrow":        {bend: func(o *offspring) { o.policies["carol"][0].AllowedActions = authority.Actions{"read"} }, reason: authority.ReasonNoPolicyCovers},
		"the child's policy is too short":         {bend: func(o *offspring) { o.policies["carol"][0].MaxValiditySeconds = 59 }, reason: authority.ReasonNoPolicyCovers},
		"the policy is somebody else's":           {bend: func(o *offspring) { o.policies["carol"] = o.policies["dave"] }, reason: authority.ReasonNoPolicyCovers},
	}
	for sentence, c := range cases {
		t.Run(sentence, func(t *testing.T) {
			w := newWorld()
			root, parent, _ := w.family(t)
			o := &offspring{world: w, root: w.mandates[root.ID], parent: w.mandates[parent.ID], caller: "bob", at: now, request: authority.DelegateRequest{
				ParentID: parent.ID, ChildID: "carol", Scope: scope("api:external/openai").of("execute"), ValiditySeconds: 60,
			}}
			c.bend(o)
			g := o.grounds(o.caller, o.request, o.at)
			if o.siblings > 0 {
				g.Children = o.siblings
			}
			m, err := authority.Delegate(g, o.request)
			switch {
			case c.reason != "":
				assertRefused(t, err, c.reason)
			case c.field != "":
				assertInvalid(t, err, c.field)
			case c.code != "":
				assertCode(t, err, c.code)
			case err != nil:
				t.Fatal(err)
			}
			if err != nil && m.ID != "" {
				t.Errorf("a refusal comes with the mandate %+v", m)
			}
		})
	}
}

func TestAChainEndsAtTheHardLimit(t *testing.T) {
	w := newWorld()
	template := w.policies["alice"][0]
	template.DelegationDepth = 16
	join := func(i int) authority.PrincipalID {
		id := authority.PrincipalID(string(rune('A' + i)))
		w.principals[id] = &authority.Principal{ID: id, WorkspaceID: "ws", Type: authority.Agent}
		p := template
		p.PrincipalID = id
		w.policies[id] = []authority.Policy{p}
		return id
	}
	scope := scope("api:external/*").of("read")
	m, err := w.issue("owner", authority.IssueRequest{IssuerID: "owner", SubjectID: join(0), Scope: scope, ValiditySeconds: 60})
	if err != nil {
		t.Fatal(err)
	}
	for level := 1; level <= 16; level++ {
		m, err = w.delegate(m.SubjectID, authority.DelegateRequest{ParentID: m.ID, ChildID: join(level), Scope: scope, ValiditySeconds: 60}, now)
		if err != nil || m.Level != level {
			t.Fatalf("level %d: %+v, %v", level, m, err)
		}
	}
	f := authority.Validate(w, authority.Inquiry{Mandate: m.ID, Presenter: m.SubjectID, Resource: "api:external/x", Action: "read", At: now})
	if !f.Holds() || len(f.Chain) != 17 {
		t.Errorf("the mandate at the limit: %s, a chain of %d", f.Reason, len(f.Chain))
	}
	w.mandates[m.ID].DelegationDepth = 5
	_, err = w.delegate(m.SubjectID, authority.DelegateRequest{ParentID: m.ID, ChildID: join(17), Scope: scope, ValiditySeconds: 60}, now)
	assertRefused(t, err, authority.ReasonChainInvalid)
	w.mandates[m.ID].DelegationDepth = 0
	_, err = w.delegate(m.SubjectID, authority.DelegateRequest{ParentID: m.ID, ChildID: join(17), Scope: scope, ValiditySeconds: 60}, now)
	assertRefused(t, err, authority.ReasonDepthExhausted)
}

func TestAMandateIsRevokedByWhoHoldsItsChain(t *testing.T) {
	cases := map[string]struct {
		caller authority.PrincipalID
		may    bool
	}{
		"its issuer":              {"bob", true},
		"its subject":             {"carol", true},
		"an ancestor's subject":   {"alice", true},
		"an owner":                {"owner", true},
		"a stranger":              {"dave", false},
		"nobody":                  {"", false},
		"an owner elsewhere":      {"foreign", false},
		"a suspended subject":     {"suspended", false},
		"a user that has no role": {"reader", false},
	}
	for sentence, c := range cases {
		t.Run(sentence, func(t *testing.T) {
			w := newWorld()
			_, _, m := w.family(t)
			w.principals["foreign"] = &authority.Principal{ID: "foreign", WorkspaceID: "other", Type: authority.User, Role: authority.RoleOwner}
			w.principals["reader"] = &authority.Principal{ID: "reader", WorkspaceID: "ws", Type: authority.User}
			w.principals["suspended"] = &authority.Principal{ID: "carol", WorkspaceID: "ws", Type: authority.Agent, Suspended: true}
			caller, _ := w.Principal(c.caller)
			err := authority.MayRevoke(caller, w.chain(m.ID))
			if c.may && err != nil {
				t.Error(err)
			}
			if !c.may {
				assertCode(t, err, authority.CodeForbidden)
			}
		})
	}
	assertCode(t, authority.MayRevoke(authority.Principal{}, nil), authority.CodeNotFound)
}

func TestAnIssuerRevokesWhatItIssued(t *testing.T) {
	w := newWorld()
	m, err := w.issue("bob", authority.IssueRequest{IssuerID: "bob", SubjectID: "alice", Scope: scope("api:external/x").of("read"), ValiditySeconds: 60})
	if err != nil {
		t.Fatal(err)
	}
	if err := authority.MayRevoke(*w.principals["bob"], w.chain(m.ID)); err != nil {
		t.Error(err)
	}
}
