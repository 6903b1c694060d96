package controlplane_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
)

// violations counts mandates that are not within their parents, whatever made them: the parent revoked and the child
// not, a window, a depth, a level or an action beyond, another workspace, or a resource that no pattern of the parent
// covers (all patterns of the test are a name, or everything below a name).
const violations = `SELECT count(*) FROM mandates c JOIN mandates p ON p.id = c.parent_id
	WHERE (p.revoked AND NOT c.revoked) OR p.workspace_id <> c.workspace_id OR c.level <> p.level + 1
	OR c.delegation_depth >= p.delegation_depth OR c.valid_from < p.valid_from OR c.valid_until > p.valid_until
	OR NOT c.action_scope <@ p.action_scope OR c.issuer_id <> p.subject_id
	OR EXISTS (SELECT FROM unnest(c.resource_scope) r WHERE NOT EXISTS (SELECT FROM unnest(p.resource_scope) q
		WHERE q = r OR right(q, 2) = '/*' AND starts_with(r, left(q, -1))))`

// TestNoChildExceedsItsParentUnderAnyInterleaving lets two replicas issue, delegate and revoke at once, at random, and
// then asks the database for a mandate that should not be.
func TestNoChildExceedsItsParentUnderAnyInterleaving(t *testing.T) {
	w := newWorld(t)
	second := newService(t, w.appURL)
	const people = 6
	var agents []authority.Principal
	for i := range people {
		p, _ := w.agent(w.owner, string(rune('a'+i)), authority.Agent)
		w.policy(w.owner, p, 4)
		agents = append(agents, p)
	}
	scopes := [][]string{{"api:external/*"}, {"api:external/openai"}, {"api:external/openai/*", "db:analytics/events"}, {"db:analytics/*"}, {"db:secret/*"}}
	actions := [][]string{{"read"}, {"read", "execute"}, {"write"}, {"*"}}
	made := &tree{}
	made.add(w.mandate(w.owner, agents[0]).ID)
	var born, refused, ended int
	rapid.Check(t, func(r *rapid.T) {
		var all sync.WaitGroup
		var count sync.Mutex
		for i := range rapid.IntRange(2, 8).Draw(r, "at once") {
			replica := []*controlplane.Service{w.Service, second}[i%2]
			what := rapid.IntRange(0, 9).Draw(r, "what")
			target := made.pick(rapid.IntRange(0, 1<<20).Draw(r, "target"))
			agent := agents[rapid.IntRange(0, people-1).Draw(r, "agent")]
			scope := rapid.SampledFrom(scopes).Draw(r, "scope")
			action := rapid.SampledFrom(actions).Draw(r, "actions")
			validity := int64(rapid.SampledFrom([]int{600, 3500, 7200}).Draw(r, "validity"))
			all.Go(func() {
				var (
					m   controlplane.Written[authority.Mandate]
					err error
				)
				switch what {
				case 0:
					m, err = replica.RequestMandate(t.Context(), w.owner, request(w.owner.Principal().ID, agent.ID))
				case 1:
					_, err = replica.RevokeMandate(t.Context(), w.owner, target, 0)
				default:
					m, err = replica.DelegateMandate(t.Context(), w.owner, controlplane.Delegation{
						ParentMandateID: target, ChildPrincipalID: agent.ID, ResourceScope: scope, ActionScope: action, ValiditySeconds: validity,
					})
				}
				var told *authority.Error
				if err != nil && (!errors.As(err, &told) || told.Code != authority.CodeRefused) {
					t.Errorf("neither done nor refused: %v", err)
				}
				count.Lock()
				defer count.Unlock()
				switch {
				case err != nil:
					refused++
				case what == 1:
					ended++
				default:
					made.add(m.Value.ID)
					if what > 1 {
						born++
					}
				}
			})
		}
		all.Wait()
	})
	if born == 0 || refused == 0 || ended == 0 {
		t.Errorf("%d children were born, %d writes refused, %d mandates revoked: the test tells nothing", born, refused, ended)
	}
	if n := w.count(violations); n != 0 {
		t.Errorf("%d mandates exceed their parents", n)
	}
}

// tree holds the mandates that there are, for several goroutines.
type tree struct {
	mu  sync.Mutex
	ids []authority.MandateID
}

func (m *tree) add(id authority.MandateID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ids = append(m.ids, id)
}

// pick prefers the newest, which are the deepest and the least likely to be revoked.
func (m *tree) pick(n int) authority.MandateID {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ids[len(m.ids)-1-n%min(len(m.ids), 10)]
}

// count asks the database itself, as a role that sees everything.
func (w *world) count(sql string, args ...any) int {
	w.t.Helper()
	conn := must(pgx.Connect(w.t.Context(), cluster.Superuser(w.t, w.ownerURL)))(w.t)
	defer func() { _ = conn.Close(context.Background()) }()
	var n int
	if err := conn.QueryRow(w.t.Context(), sql, args...).Scan(&n); err != nil {
		w.t.Fatal(err)
	}
	return n
}

func TestARevocationEndsTheWholeTreeAtOnce(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	var agents []authority.Principal
	var asAgents []controlplane.Caller
	for _, name := range []string{"a", "b", "c", "d"} {
		p, c := w.agent(w.owner, name, authority.Agent)
		w.policy(w.owner, p, 4)
		agents, asAgents = append(agents, p), append(asAgents, c)
	}
	root := w.mandate(w.owner, agents[0])
	delegate := func(by controlplane.Caller, parent authority.MandateID, to authority.Principal) authority.Mandate {
		return must(w.DelegateMandate(ctx, by, controlplane.Delegation{
			ParentMandateID: parent, ChildPrincipalID: to.ID, ResourceScope: []string{"api:external/x"}, ActionScope: []string{"read"}, ValiditySeconds: 60,
		}))(t).Value
	}
	child := delegate(asAgents[0], root.ID, agents[1])
	grandchild := delegate(asAgents[1], child.ID, agents[2])
	sibling := delegate(asAgents[0], root.ID, agents[3])

	wantError(t, drop(w.RevokeMandate(ctx, asAgents[3], child.ID, 0)), authority.CodeNotFound, "")
	first := must(w.RevokeMandate(ctx, asAgents[0], child.ID, 0))(t)
	if got := first.Value.Mandates; len(got) != 2 || got[0] != child.ID || got[1] != grandchild.ID {
		t.Errorf("revoked %v, want %s and %s", got, child.ID, grandchild.ID)
	}
	repeated := must(w.RevokeMandate(ctx, asAgents[0], child.ID, 0))(t).Value
	if repeated.Revision != first.Value.Revision || len(repeated.Mandates) != 2 || !repeated.RevokedAt.Equal(first.Value.RevokedAt) {
		t.Errorf("asked again: %+v, first %+v", repeated, first.Value)
	}
	wantError(t, drop(w.DelegateMandate(ctx, asAgents[1], controlplane.Delegation{
		ParentMandateID: child.ID, ChildPrincipalID: agents[3].ID, ResourceScope: []string{"api:external/x"}, ActionScope: []string{"read"}, ValiditySeconds: 60,
	})), authority.CodeRefused, authority.ReasonMandateRevoked)
	all := must(w.RevokeMandate(ctx, w.owner, root.ID, 0))(t).Value
	if len(all.Mandates) != 2 || all.Mandates[0] != root.ID || all.Mandates[1] != sibling.ID {
		t.Errorf("the root's revocation ended %v, want %s and %s", all.Mandates, root.ID, sibling.ID)
	}
	told := must(w.Events(ctx, w.owner, controlplane.EventFilter{Type: authority.EventRevoked}, controlplane.Page{}))(t)
	if len(told.Items) != 4 {
		t.Errorf("%d revocations are told, want 4", len(told.Items))
	}
}

func TestARevocationIsEnforcedWhenEveryGatewayHasAcknowledgedIt(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	agent, _ := w.agent(w.owner, "a", authority.Agent)
	w.policy(w.owner, agent, 0)
	gateway := w.as(w.edgeKey(w.owner).APIKey)
	one, two := w.enrol(gateway, "one"), w.enrol(gateway, "two")
	w.hold(one)
	w.hold(two)

	pending := must(w.RevokeMandate(ctx, w.owner, w.mandate(w.owner, agent).ID, 0))(t).Value
	if pending.State != authority.ReceiptPending || pending.EffectiveAt != nil || len(pending.Gateways) != 2 {
		t.Errorf("before anybody acknowledged: %+v", pending)
	}
	wantError(t, w.Acknowledge(ctx, gateway, one.id, controlplane.Acknowledgement{Revision: pending.Revision + 1000}), authority.CodeInvalid, "")

	m := w.mandate(w.owner, agent).ID
	waiting := make(chan controlplane.Receipt, 1)
	go func() {
		written, err := w.RevokeMandate(ctx, w.owner, m, 20*time.Second)
		if err != nil {
			t.Errorf("revoke: %v", err)
		}
		waiting <- written.Value
	}()
	eventually(t, "the revocation is committed", func() bool { return must(w.Mandate(ctx, w.owner, m))(t).Revoked })
	revision := must(w.Revision(ctx, w.owner))(t)
	acknowledge(t, w.Service, one, revision)
	select {
	case r := <-waiting:
		t.Errorf("answered before the second gateway acknowledged: %+v", r)
	default:
	}
	acknowledge(t, newService(t, w.appURL), two, revision) // at another replica
	if r := <-waiting; r.State != authority.ReceiptEnforced || r.EffectiveAt == nil || len(r.Gateways) != 2 || r.Gateways[0].EnforcedAt == nil {
		t.Errorf("after both acknowledged: %+v", r)
	}

	surrendered := w.hold(two)
	if err := w.Surrender(ctx, gateway, two.id, surrendered.Number); err != nil {
		t.Fatal(err)
	}
	r := must(w.RevokeMandate(ctx, w.owner, w.mandate(w.owner, agent).ID, 10*time.Millisecond))(t).Value
	if r.State != authority.ReceiptPending || len(r.Gateways) != 1 || r.Gateways[0].GatewayID != one.id {
		t.Errorf("with one gateway that may decide and one that surrendered: %+v", r)
	}
}

func TestWhoMayAskAboutAMandate(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	agent, asAgent := w.agent(w.owner, "agent", authority.Agent)
	other, asOther := w.agent(w.owner, "other", authority.Agent)
	_, asService := w.agent(w.owner, "service", authority.Service)
	w.policy(w.owner, agent, 1)
	m := w.mandate(w.owner, agent)
	access := must(w.IssueToken(ctx, asAgent))(t).AccessToken
	foreign := must(w.IssueToken(ctx, asOther))(t).AccessToken
	cases := map[string]struct {
		by      controlplane.Caller
		ask     controlplane.Validation
		reason  authority.Reason
		inquiry bool
	}{
		"the subject":                                    {by: asAgent},
		"the subject by its access token":                {by: w.as(access)},
		"somebody else":                                  {by: asOther, reason: authority.ReasonSubjectMismatch},
		"an owner inquires":                              {by: w.owner, inquiry: true},
		"a service that does not say who presented it":   {by: asService, reason: authority.ReasonPresenterRequired},
		"a service with the subject's id":                {by: asService, ask: controlplane.Validation{PresenterID: agent.ID}},
		"a service with another's id":                    {by: asService, ask: controlplane.Validation{PresenterID: other.ID}, reason: authority.ReasonSubjectMismatch},
		"a service with the subject's token":             {by: asService, ask: controlplane.Validation{PresenterToken: access}},
		"a service with another's token":                 {by: asService, ask: controlplane.Validation{PresenterToken: foreign}, reason: authority.ReasonSubjectMismatch},
		"a service with a token that is none":            {by: asService, ask: controlplane.Validation{PresenterToken: access + "x"}, reason: authority.ReasonAuthFailed},
		"a service with a token and an id that disagree": {by: asService, ask: controlplane.Validation{PresenterToken: access, PresenterID: other.ID}, reason: authority.ReasonAuthFailed},
		"an action outside the mandate":                  {by: asAgent, ask: controlplane.Validation{RequestedAction: "write"}, reason: authority.ReasonActionNotInScope},
		"a resource outside the mandate":                 {by: asAgent, ask: controlplane.Validation{RequestedResource: "db:x"}, reason: authority.ReasonNotInScope},
		"a mandate that nobody has":                      {by: asAgent, ask: controlplane.Validation{MandateID: authority.NewID[authority.MandateID]()}, reason: authority.ReasonMandateNotFound},
	}
	for name, c := range cases {
		if c.ask.MandateID == "" {
			c.ask.MandateID = m.ID
		}
		if c.ask.RequestedAction == "" {
			c.ask.RequestedAction = "read"
		}
		if c.ask.RequestedResource == "" {
			c.ask.RequestedResource = "api:external/openai"
		}
		a := must(w.ValidateMandate(ctx, c.by, c.ask))(t)
		var reason authority.Reason
		if a.DenialReason != nil {
			reason = *a.DenialReason
		}
		if a.Allowed != (c.reason == "") || reason != c.reason || a.Inquiry != c.inquiry {
			t.Errorf("%s: %+v (%s), want reason %q", name, a, reason, c.reason)
		}
		e := must(w.Event(ctx, w.owner, string(a.DecisionID)))(t)
		if e.Reason != c.reason || (e.Type == authority.EventValidated) != a.Allowed {
			t.Errorf("%s: recorded as %s %q", name, e.Type, e.Reason)
		}
	}
	for _, resource := range []string{"api:external/*", "", "a b"} {
		_, err := w.ValidateMandate(ctx, asAgent, controlplane.Validation{MandateID: m.ID, RequestedAction: "read", RequestedResource: resource})
		wantError(t, err, authority.CodeInvalid, "")
	}
}

func TestAValidationAsksTheActiveRegoPolicy(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	agent, asAgent := w.agent(w.owner, "agent", authority.Agent)
	w.policy(w.owner, agent, 1)
	m := w.mandate(w.owner, agent)
	ask := func(resource string) controlplane.ValidationAnswer {
		return must(w.ValidateMandate(ctx, asAgent, controlplane.Validation{MandateID: m.ID, RequestedAction: "read", RequestedResource: resource}))(t)
	}
	push := func(text string) authority.RegoVersion {
		return must(w.PushRego(ctx, w.owner, controlplane.RegoPush{Modules: map[string]string{"p.rego": "package caracal.policy\n\n" + text}, Activate: true}))(t).Value
	}
	first := push(`deny contains {"code": "no_openai", "message": "OpenAI is not used here."} if endswith(input.resource, "openai")`)
	a := ask("api:external/openai")
	if a.Allowed || *a.DenialReason != authority.ReasonPolicyDenied || a.PolicyCode != "no_openai" || a.Message != "OpenAI is not used here." {
		t.Errorf("denied by the policy: %+v", a)
	}
	if e := must(w.Event(ctx, w.owner, string(a.DecisionID)))(t); e.RegoVersion != first.ID || e.PolicyCode != "no_openai" {
		t.Errorf("recorded as %+v", e)
	}
	if a := ask("api:external/mistral"); !a.Allowed {
		t.Errorf("not governed by the policy: %+v", a)
	}
	push(`deny contains {"code": "late", "message": "x"} if input.mandate.level == count(input.resource)`)
	if a := ask("api:external/openai"); !a.Allowed {
		t.Errorf("after another version became active: %+v", a)
	}
	must(w.ActivateRego(ctx, w.owner, first.ID))(t)
	if a := ask("api:external/openai"); a.Allowed {
		t.Errorf("after a roll-back: %+v", a)
	}
}
