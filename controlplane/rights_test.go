package controlplane_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
)

// call is one operation, about something that a caller may or may not reach.
type call func(ctx context.Context, w *world, c controlplane.Caller, of belongings) error

// belongings are the ids of one workspace.
type belongings struct {
	workspace   authority.Workspace
	owner       authority.PrincipalID
	agent       authority.PrincipalID
	policy      authority.PolicyID
	mandate     authority.MandateID // of the agent
	destination authority.DestinationID
	rego        authority.RegoVersionID
	key         authority.KeyID
	event       authority.EventID
}

func drop[T any](_ T, err error) error { return err }

// calls are the operations on one thing by its id. Each leaves the workspace usable for the next.
func calls() map[string]call {
	return map[string]call{
		"read principal": func(ctx context.Context, w *world, c controlplane.Caller, of belongings) error {
			return drop(w.Principal(ctx, c, of.agent))
		},
		"suspend principal": func(ctx context.Context, w *world, c controlplane.Caller, of belongings) error {
			return drop(w.SuspendPrincipal(ctx, c, of.agent, 0))
		},
		"resume principal": func(ctx context.Context, w *world, c controlplane.Caller, of belongings) error {
			return drop(w.ResumePrincipal(ctx, c, of.agent))
		},
		"read policy": func(ctx context.Context, w *world, c controlplane.Caller, of belongings) error {
			return drop(w.Policy(ctx, c, of.policy))
		},
		"update policy": func(ctx context.Context, w *world, c controlplane.Caller, of belongings) error {
			depth := 1
			return drop(w.UpdatePolicy(ctx, c, of.policy, controlplane.PolicyChange{DelegationDepth: &depth}))
		},
		"join policy": func(ctx context.Context, w *world, c controlplane.Caller, of belongings) error {
			return drop(w.JoinPolicy(ctx, c, of.policy))
		},
		"deactivate policy": func(ctx context.Context, w *world, c controlplane.Caller, of belongings) error {
			return drop(w.DeactivatePolicy(ctx, c, of.policy))
		},
		"read mandate": func(ctx context.Context, w *world, c controlplane.Caller, of belongings) error {
			return drop(w.Mandate(ctx, c, of.mandate))
		},
		"revoke mandate": func(ctx context.Context, w *world, c controlplane.Caller, of belongings) error {
			return drop(w.RevokeMandate(ctx, c, of.mandate, 0))
		},
		"read destination": func(ctx context.Context, w *world, c controlplane.Caller, of belongings) error {
			return drop(w.Destination(ctx, c, of.destination))
		},
		"update destination": func(ctx context.Context, w *world, c controlplane.Caller, of belongings) error {
			return drop(w.UpdateDestination(ctx, c, of.destination, authority.Destination{Name: "renamed", Host: "renamed.example.com"}))
		},
		"delete destination": func(ctx context.Context, w *world, c controlplane.Caller, of belongings) error {
			return drop(w.DeleteDestination(ctx, c, of.destination))
		},
		"read Rego version": func(ctx context.Context, w *world, c controlplane.Caller, of belongings) error {
			return drop(w.RegoVersion(ctx, c, of.rego))
		},
		"activate Rego version": func(ctx context.Context, w *world, c controlplane.Caller, of belongings) error {
			return drop(w.ActivateRego(ctx, c, of.rego))
		},
		"revoke key": func(ctx context.Context, w *world, c controlplane.Caller, of belongings) error {
			return drop(w.RevokeKey(ctx, c, of.key))
		},
		"read event": func(ctx context.Context, w *world, c controlplane.Caller, of belongings) error {
			return drop(w.Event(ctx, c, string(of.event)))
		},
		"read workspace": func(ctx context.Context, w *world, c controlplane.Caller, of belongings) error {
			return drop(w.Workspace(ctx, c, of.workspace.Slug))
		},
	}
}

// furnish makes a workspace that has one of everything, and an agent of it.
func (w *world) furnish(slug string) (belongings, controlplane.Caller, controlplane.Caller) {
	w.t.Helper()
	ctx := w.t.Context()
	created, owner := w.workspace(slug)
	agent, asAgent := w.agent(owner, "agent", authority.Agent)
	of := belongings{workspace: created.Workspace, owner: owner.Principal().ID, agent: agent.ID}
	of.policy = w.policy(owner, agent, 3).ID
	of.mandate = w.mandate(owner, agent).ID
	of.destination = must(w.CreateDestination(ctx, owner, authority.Destination{Name: "mine", Host: "mine.example.com"}))(w.t).Value.ID
	of.rego = must(w.PushRego(ctx, owner, controlplane.RegoPush{}))(w.t).Value.ID
	of.key = must(w.CreateKey(ctx, owner, controlplane.NewKey{Kind: authority.KeyAgent, Name: "second", PrincipalID: agent.ID}))(w.t).Value.ID
	of.event = must(w.Events(ctx, owner, controlplane.EventFilter{Type: authority.EventWorkspaceCreated}, controlplane.Page{}))(w.t).Items[0].ID
	return of, owner, asAgent
}

// absent are ids that nobody has.
func absent() belongings {
	return belongings{
		workspace: authority.Workspace{Slug: "nowhere"},
		owner:     authority.NewID[authority.PrincipalID](), agent: authority.NewID[authority.PrincipalID](),
		policy: authority.NewID[authority.PolicyID](), mandate: authority.NewID[authority.MandateID](),
		destination: authority.NewID[authority.DestinationID](), rego: authority.NewID[authority.RegoVersionID](),
		key: authority.NewID[authority.KeyID](), event: authority.NewID[authority.EventID](),
	}
}

func TestWhatBelongsToAnotherWorkspaceIsLikeWhatIsNowhere(t *testing.T) {
	w := newWorld(t)
	theirs, _, _ := w.furnish("theirs")
	mine, asMe, _ := w.furnish("mine")
	for name, do := range calls() {
		foreign, nowhere := do(t.Context(), w, asMe, theirs), do(t.Context(), w, asMe, absent())
		wantError(t, foreign, authority.CodeNotFound, "")
		if foreign == nil || nowhere == nil || foreign.Error() != nowhere.Error() {
			t.Errorf("%s: of another workspace %v, of nobody %v", name, foreign, nowhere)
		}
	}
	for name, do := range calls() {
		if name == "delete destination" {
			continue // before others that need it
		}
		if err := do(t.Context(), w, asMe, mine); err != nil {
			t.Errorf("%s of my own: %v", name, err)
		}
	}
}

// TestAForeignIDInARequestIsLikeAnAbsentOne puts ids of another workspace where a request names something.
func TestAForeignIDInARequestIsLikeAnAbsentOne(t *testing.T) {
	w := newWorld(t)
	theirs, _, _ := w.furnish("theirs")
	mine, asMe, _ := w.furnish("mine")
	ctx := t.Context()
	named := map[string]func(of belongings) error{
		"issuer":  func(of belongings) error { return drop(w.RequestMandate(ctx, asMe, request(of.owner, mine.agent))) },
		"subject": func(of belongings) error { return drop(w.RequestMandate(ctx, asMe, request(mine.owner, of.agent))) },
		"parent": func(of belongings) error {
			return drop(w.DelegateMandate(ctx, asMe, controlplane.Delegation{
				ParentMandateID: of.mandate, ChildPrincipalID: mine.agent, ResourceScope: []string{"api:external/x"}, ActionScope: []string{"read"}, ValiditySeconds: 60,
			}))
		},
		"child": func(of belongings) error {
			return drop(w.DelegateMandate(ctx, asMe, controlplane.Delegation{
				ParentMandateID: mine.mandate, ChildPrincipalID: of.agent, ResourceScope: []string{"api:external/x"}, ActionScope: []string{"read"}, ValiditySeconds: 60,
			}))
		},
		"principal of a policy": func(of belongings) error {
			return drop(w.CreatePolicy(ctx, asMe, controlplane.NewPolicy{
				PrincipalID: of.agent, AllowedResources: []string{"a:b"}, AllowedActions: []string{"read"}, MaxValiditySeconds: 60,
			}))
		},
		"holder of a key": func(of belongings) error {
			return drop(w.CreateKey(ctx, asMe, controlplane.NewKey{Kind: authority.KeyAgent, Name: "k", PrincipalID: of.agent}))
		},
	}
	for name, do := range named {
		foreign, nowhere := do(theirs), do(absent())
		if foreign == nil || nowhere == nil || foreign.Error() != nowhere.Error() {
			t.Errorf("%s: of another workspace %v, of nobody %v", name, foreign, nowhere)
		}
	}
	ask := controlplane.Validation{MandateID: theirs.mandate, RequestedAction: "read", RequestedResource: "api:external/x"}
	a := must(w.ValidateMandate(ctx, asMe, ask))(t)
	if a.Allowed || *a.DenialReason != authority.ReasonMandateNotFound || a.SubjectID != "" {
		t.Errorf("validation of another workspace's mandate: %+v", a)
	}
}

func TestAnAgentsKeyReachesItsOwnAuthorityAndNothingElse(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	of, owner, asAgent := w.furnish("mine")
	other, asOther := w.agent(owner, "other", authority.Agent)
	w.policy(owner, other, 0)

	for name, do := range calls() {
		switch name {
		case "read mandate", "revoke mandate":
			wantError(t, do(ctx, w, asOther, of), authority.CodeNotFound, "")
		case "read event":
			wantError(t, do(ctx, w, asAgent, of), authority.CodeNotFound, "")
		default:
			wantError(t, do(ctx, w, asAgent, of), authority.CodeForbidden, "")
		}
	}
	lists := map[string]error{
		"workspaces":   drop(w.Workspaces(ctx, asAgent)),
		"principals":   drop(w.Principals(ctx, asAgent, controlplane.PrincipalFilter{}, controlplane.Page{})),
		"policies":     drop(w.Policies(ctx, asAgent, controlplane.PolicyFilter{}, controlplane.Page{})),
		"destinations": drop(w.Destinations(ctx, asAgent, controlplane.DestinationFilter{}, controlplane.Page{})),
		"keys":         drop(w.Keys(ctx, asAgent, controlplane.KeyFilter{}, controlplane.Page{})),
		"gateways":     drop(w.Gateways(ctx, asAgent)),
		"snapshot":     drop(w.Follow(ctx, asAgent, controlplane.Position{})),
		"enrolment":    drop(w.EnrolGateway(ctx, asAgent, controlplane.Enrolment{})),
		"registration": drop(w.RegisterPrincipal(ctx, asAgent, controlplane.NewPrincipal{Name: "x", Type: authority.Agent})),
		"creation":     drop(w.CreateWorkspace(ctx, asAgent, controlplane.NewWorkspace{Name: "x", Slug: "xyz"})),
		"for others":   drop(w.RequestMandate(ctx, asAgent, request(of.owner, other.ID))),
	}
	for name, err := range lists {
		t.Log(name)
		wantError(t, err, authority.CodeForbidden, "")
	}
	if all := must(w.Mandates(ctx, asOther, controlplane.MandateFilter{}, controlplane.Page{}))(t); len(all.Items) != 0 {
		t.Errorf("an agent lists %d mandates of others", len(all.Items))
	}
	for _, e := range must(w.Events(ctx, asOther, controlplane.EventFilter{}, controlplane.Page{Limit: 200}))(t).Items {
		if e.PrincipalID != other.ID && e.ActorID != other.ID {
			t.Errorf("an agent reads the event %s about %s", e.Type, e.PrincipalID)
		}
	}
	if err := drop(w.RequestMandate(ctx, asAgent, request(of.owner, of.agent))); err != nil {
		t.Errorf("a request for itself: %v", err)
	}
	if err := drop(w.RevokeMandate(ctx, asAgent, of.mandate, 0)); err != nil {
		t.Errorf("a revocation of its own: %v", err)
	}
	refusals := must(w.Events(ctx, owner, controlplane.EventFilter{Type: authority.EventRefused}, controlplane.Page{Limit: 200}))(t)
	if len(refusals.Items) < len(lists) {
		t.Errorf("%d refusals are recorded", len(refusals.Items))
	}
}

func TestAGatewaysKeySyncsAndListsItsWorkspace(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	of, owner, _ := w.furnish("mine")
	gateway := w.as(must(w.CreateKey(ctx, owner, controlplane.NewKey{Kind: authority.KeyGateway, Name: "g"}))(t).Value.APIKey)
	may := []string{"read principal", "read policy", "read mandate", "read destination", "read Rego version", "read event", "read workspace"}
	for name, do := range calls() {
		err := do(ctx, w, gateway, of)
		if strings.Contains(strings.Join(may, ";"), name) {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		wantError(t, err, authority.CodeForbidden, "")
	}
	if all := must(w.Workspaces(ctx, gateway))(t); len(all) != 1 || all[0].ID != of.workspace.ID {
		t.Errorf("a gateway lists the workspaces %v", all)
	}
	wantError(t, drop(w.IssueToken(ctx, gateway)), authority.CodeForbidden, "")
}

// A refusal blames the role only where another role would do.
func TestWhatNoRoleMayDoIsRefusedToTheKindOfKey(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	_, viewer := w.member(w.owner, "viewer", authority.RoleViewer)
	for says, err := range map[string]error{
		"a key of the kind member may not do this (exchange_token)": drop(w.IssueToken(ctx, w.owner)),
		"the role viewer may not do this (list_keys)":               drop(w.Keys(ctx, viewer, controlplane.KeyFilter{}, controlplane.Page{})),
	} {
		wantError(t, err, authority.CodeForbidden, "")
		if !strings.Contains(err.Error(), says) {
			t.Errorf("the refusal says %q, want %q", err, says)
		}
	}
}

func TestACredentialOpensWhatItIsForOrNothing(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	_, owner, asAgent := w.furnish("mine")
	expiring := time.Now().Add(time.Second)
	agentKey := must(w.CreateKey(ctx, owner, controlplane.NewKey{Kind: authority.KeyAgent, Name: "k", PrincipalID: asAgent.Principal().ID, ExpiresAt: &expiring}))(t).Value
	access := must(w.IssueToken(ctx, asAgent))(t)
	if c := w.as(access.AccessToken); c.Principal().ID != asAgent.Principal().ID || c.Kind() != authority.KeyAgent || c.Slug() != "mine" {
		t.Errorf("the bearer of the token is %+v", c)
	}
	wantError(t, drop(w.IssueToken(ctx, w.as(access.AccessToken))), authority.CodeForbidden, "")
	secret := agentKey.APIKey
	flipped := secret[:len(secret)-2] + map[bool]string{true: "b", false: "a"}[secret[len(secret)-2] == 'a'] + secret[len(secret)-1:]
	other := strings.Replace(secret, "ck_agent_", "ck_member_", 1)
	parts := strings.Split(access.AccessToken, ".")
	for name, bearer := range map[string]string{
		"nothing": "", "a word": "x", "the prefix of a key": "ck_agent_", "another secret": flipped, "another kind": other,
		"a token without signature": parts[0] + "." + parts[1] + ".", "a token's claims with another signature": parts[0] + "." + parts[1] + "." + parts[0],
		"SQL": "' OR 1=1 --", "a setup key that is not": setupKey + "x", "a megabyte of dots": strings.Repeat(".", 1<<20),
	} {
		_, err := w.Authenticate(ctx, controlplane.Credential{Bearer: bearer})
		t.Log(name)
		wantError(t, err, authority.CodeUnauthenticated, "")
	}
	eventually(t, "the key expires", func() bool {
		_, err := w.Authenticate(ctx, controlplane.Credential{Bearer: agentKey.APIKey})
		return err != nil
	})

	live := must(w.CreateKey(ctx, owner, controlplane.NewKey{Kind: authority.KeyAgent, Name: "k", PrincipalID: asAgent.Principal().ID}))(t).Value
	asLive := w.as(live.APIKey)
	must(w.RevokeKey(ctx, owner, live.ID))(t)
	_, err := w.Authenticate(ctx, controlplane.Credential{Bearer: live.APIKey})
	wantError(t, err, authority.CodeUnauthenticated, "")
	wantError(t, drop(w.RequestMandate(ctx, asLive, request(owner.Principal().ID, asLive.Principal().ID))), authority.CodeUnauthenticated, "")

	must(w.SuspendPrincipal(ctx, owner, asAgent.Principal().ID, 0))(t)
	wantError(t, drop(w.RequestMandate(ctx, asAgent, request(owner.Principal().ID, asAgent.Principal().ID))), authority.CodeForbidden, authority.ReasonSuspended)
	wantError(t, drop(w.IssueToken(ctx, w.as(access.AccessToken))), authority.CodeForbidden, authority.ReasonSuspended)
	wantError(t, drop(w.SuspendPrincipal(ctx, owner, owner.Principal().ID, 0)), authority.CodeConflict, "")
	wantError(t, drop(w.RevokeKey(ctx, owner, owner.Key())), authority.CodeConflict, "")
	wantError(t, drop(w.Principals(ctx, controlplane.Caller{}, controlplane.PrincipalFilter{}, controlplane.Page{})), authority.CodeUnauthenticated, "")
	wantError(t, drop(w.Principals(ctx, w.as(setupKey), controlplane.PrincipalFilter{}, controlplane.Page{})), authority.CodeForbidden, "")
}
