package controlplane_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
)

// ada owns the workspaces "first" and "hers", and is known in "third" as a viewer. Her key is good for the first two.
type ada struct {
	person        authority.PersonID
	first, second authority.PrincipalID
	key           string
	third         controlplane.Caller // the owner of "third"
}

func (w *world) ada() ada {
	w.t.Helper()
	ctx := w.t.Context()
	m := must(w.AddMember(ctx, w.owner, controlplane.NewMember{Name: "ada", Role: authority.RoleOwner}))(w.t).Value
	single := w.as(w.memberKey(w.owner, m, controlplane.NewKey{}).APIKey)
	made := must(w.CreateWorkspace(ctx, single, controlplane.NewWorkspace{Name: "hers", Slug: "hers"}))(w.t).Value
	_, third := w.workspace("third")
	return ada{person: m.PersonID, first: m.ID, second: made.Owner.ID, key: made.APIKey, third: third}
}

func TestOnePersonIsInSeveralWorkspaces(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	a := w.ada()
	home := w.as(a.key)
	if home.Slug() != "hers" || home.Principal().ID != a.second || home.Person() != a.person || home.Principal().Role != authority.RoleOwner {
		t.Fatalf("whoever made the workspace is %+v there", home)
	}
	other := must(w.Enter(ctx, home, "first"))(t)
	if other.Slug() != "first" || other.Principal().ID != a.first {
		t.Errorf("in the other workspace she is %+v", other.Principal())
	}
	agent, _ := w.agent(other, "made there", authority.Agent)
	if got := must(w.EnterHolding(ctx, home, string(agent.ID)))(t); got.Slug() != "first" {
		t.Errorf("the agent is found in %q", got.Slug())
	}
	if got := must(w.EnterHolding(ctx, home, string(a.second)))(t); got.Slug() != "hers" {
		t.Errorf("what is at home is found in %q", got.Slug())
	}
	event := must(w.Events(ctx, w.owner, controlplane.EventFilter{Type: authority.EventPrincipalRegistered}, controlplane.Page{Limit: 1}))(t).Items[0]
	if event.ActorID != a.first || event.PrincipalID != agent.ID {
		t.Errorf("the event names %s, who is %s in that workspace", event.ActorID, a.first)
	}
	var slugs []string
	for _, one := range must(w.Workspaces(ctx, home))(t) {
		slugs = append(slugs, one.Slug)
	}
	if diff := cmp.Diff([]string{"first", "hers"}, slugs); diff != "" {
		t.Errorf("her workspaces:\n%s", diff)
	}
}

func TestAWorkspaceThatACallerMayNotEnterIsNotFound(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	a := w.ada()
	home := w.as(a.key)
	_, asAgent := w.agent(w.owner, "agent", authority.Agent)
	single := w.as(w.memberKey(w.owner, must(w.Member(ctx, w.owner, a.first))(t), controlplane.NewKey{}).APIKey)
	secret, _ := w.agent(a.third, "secret", authority.Agent)
	for sentence, c := range map[string]struct {
		caller controlplane.Caller
		slug   string
	}{
		"no such workspace":                       {home, "nowhere"},
		"a workspace of others":                   {home, "third"},
		"no slug":                                 {home, ""},
		"a key that is not good for it":           {single, "hers"},
		"an agent, whose workspace is another":    {asAgent, "third"},
		"the setup key, which is in none":         {w.as(setupKey), "first"},
		"nobody":                                  {controlplane.Caller{}, "first"},
		"nobody, into no workspace in particular": {controlplane.Caller{}, ""},
	} {
		t.Run(sentence, func(t *testing.T) {
			_, err := w.Enter(ctx, c.caller, c.slug)
			wantError(t, err, authority.CodeNotFound, "")
			if got, want := err.Error(), authority.NotFound("workspace").Error(); got != want {
				t.Errorf("it is told as %q", got)
			}
		})
	}
	// An id of elsewhere leaves the caller where it is, where there is no such thing.
	for sentence, id := range map[string]string{"an id of others": string(secret.ID), "an id of nothing": "prn_none", "no id": ""} {
		if got := must(w.EnterHolding(ctx, home, id))(t); got.Slug() != "hers" {
			t.Errorf("%s leads to %q", sentence, got.Slug())
		}
	}
}

func TestAMembershipElsewhereEndsWhenItIsTaken(t *testing.T) {
	w := newWorld(t)
	for sentence, c := range map[string]struct {
		take func(ctx context.Context, a ada) error
		code authority.Code
	}{
		"removed there":   {func(ctx context.Context, a ada) error { return drop(w.RemoveMember(ctx, w.owner, a.first)) }, authority.CodeNotFound},
		"suspended there": {func(ctx context.Context, a ada) error { return drop(w.SuspendPrincipal(ctx, w.owner, a.first, 0)) }, authority.CodeNotFound},
	} {
		t.Run(sentence, func(t *testing.T) {
			w = newWorld(t)
			ctx := t.Context()
			a := w.ada()
			home := w.as(a.key)
			early := must(w.Enter(ctx, home, "first"))(t)
			if err := c.take(ctx, a); err != nil {
				t.Fatal(err)
			}
			_, err := w.Enter(ctx, home, "first")
			wantError(t, err, c.code, "")
			if got := must(w.EnterHolding(ctx, home, string(a.first)))(t); got.Slug() != "hers" {
				t.Errorf("her principal of before is found in %q", got.Slug())
			}
			// What had entered before does nothing any more.
			wantError(t, drop(w.RegisterPrincipal(ctx, early, controlplane.NewPrincipal{Name: "x", Type: authority.Agent})), c.code, "")
			if all := must(w.Workspaces(ctx, home))(t); len(all) != 1 {
				t.Errorf("she lists %d workspaces", len(all))
			}
		})
	}
}

func TestAKeyEndsEverywhereWithItsHolderAtHome(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	a := w.ada()
	home := w.as(a.key)
	second := must(w.AddMember(ctx, home, controlplane.NewMember{Name: "second", Role: authority.RoleOwner}))(t).Value
	asSecond := w.as(w.memberKey(home, second, controlplane.NewKey{}).APIKey)
	early := must(w.Enter(ctx, home, "first"))(t)
	newAgent := controlplane.NewPrincipal{Name: "x", Type: authority.Agent}
	must(w.SuspendPrincipal(ctx, asSecond, a.second, 0))(t)
	wantError(t, drop(w.RegisterPrincipal(ctx, early, newAgent)), authority.CodeNotFound, "")
	_, err := w.Enter(ctx, w.as(a.key), "first")
	wantError(t, err, authority.CodeForbidden, authority.ReasonSuspended)
	must(w.ResumePrincipal(ctx, asSecond, a.second))(t)
	must(w.RegisterPrincipal(ctx, early, newAgent))(t)
	must(w.RemoveMember(ctx, asSecond, a.second))(t)
	wantError(t, drop(w.RegisterPrincipal(ctx, early, newAgent)), authority.CodeUnauthenticated, "")
	_, err = w.Authenticate(ctx, controlplane.Credential{Bearer: a.key})
	wantError(t, err, authority.CodeUnauthenticated, "")
}

func TestAPersonJoinsAnotherWorkspaceByAnOwnerOfIt(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	a := w.ada()
	home := w.as(a.key)
	bob := must(w.AddMember(ctx, w.owner, controlplane.NewMember{Name: "bob", Role: authority.RoleViewer}))(t).Value
	join := controlplane.NewMember{Name: "bob", Role: authority.RoleOperator, PersonID: bob.PersonID}
	wantError(t, drop(w.AddMember(ctx, a.third, join)), authority.CodeInvalid, "")
	admin := must(w.AddMember(ctx, home, controlplane.NewMember{Name: "admin", Role: authority.RoleAdmin}))(t).Value
	wantError(t, drop(w.AddMember(ctx, w.as(w.memberKey(home, admin, controlplane.NewKey{}).APIKey), join)), authority.CodeForbidden, "")
	there := must(w.AddMember(ctx, home, join))(t).Value
	if there.PersonID != bob.PersonID || there.ID == bob.ID || there.Role != authority.RoleOperator {
		t.Errorf("there he is %+v", there)
	}
	wantError(t, drop(w.AddMember(ctx, home, join)), authority.CodeConflict, "")
	// Whoever left comes back as the same principal.
	must(w.RemoveMember(ctx, home, there.ID))(t)
	join.Role = authority.RoleAuditor
	if again := must(w.AddMember(ctx, home, join))(t).Value; again.ID != there.ID || again.Role != authority.RoleAuditor {
		t.Errorf("the member who comes back is %+v", again)
	}
}

func TestAKeyForSeveralWorkspacesIsItsMembersOwn(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	a := w.ada()
	home := w.as(a.key)
	at := must(w.Enter(ctx, home, "first"))(t)
	both := controlplane.NewKey{Kind: authority.KeyMember, Name: "both", PrincipalID: a.first, Workspaces: []string{"hers"}}
	made := must(w.CreateKey(ctx, at, both))(t).Value
	if diff := cmp.Diff([]string{"hers"}, made.Workspaces); diff != "" {
		t.Errorf("the key's workspaces:\n%s", diff)
	}
	if c := must(w.Enter(ctx, w.as(made.APIKey), "hers"))(t); c.Principal().ID != a.second {
		t.Errorf("with her key she is %s", c.Principal().ID)
	}
	for sentence, c := range map[string]struct {
		by   controlplane.Caller
		n    controlplane.NewKey
		code authority.Code
	}{
		"somebody else's":           {w.owner, both, authority.CodeInvalid},
		"with a key for one of two": {w.as(w.memberKey(w.owner, must(w.Member(ctx, w.owner, a.first))(t), controlplane.NewKey{}).APIKey), both, authority.CodeInvalid},
		"for a workspace of others": {at, controlplane.NewKey{Kind: authority.KeyMember, Name: "x", PrincipalID: a.first, Workspaces: []string{"third"}}, authority.CodeInvalid},
		"for its own once more":     {at, controlplane.NewKey{Kind: authority.KeyMember, Name: "x", PrincipalID: a.first, Workspaces: []string{"first"}}, authority.CodeInvalid},
		"for one twice":             {at, controlplane.NewKey{Kind: authority.KeyMember, Name: "x", PrincipalID: a.first, Workspaces: []string{"hers", "hers"}}, authority.CodeInvalid},
		"for a gateway":             {at, controlplane.NewKey{Kind: authority.KeyGateway, Name: "x", Workspaces: []string{"hers"}}, authority.CodeInvalid},
	} {
		t.Log(sentence)
		wantError(t, drop(w.CreateKey(ctx, c.by, c.n)), c.code, "")
	}
	// Others of the workspace neither see where else the key is good, nor get its successor.
	if k := must(w.Key(ctx, w.owner, made.ID))(t); len(k.Workspaces) != 0 {
		t.Errorf("others see that the key opens %v", k.Workspaces)
	}
	if k := must(w.Key(ctx, at, made.ID))(t); len(k.Workspaces) != 1 {
		t.Errorf("she sees that her key opens %v", k.Workspaces)
	}
	wantError(t, drop(w.RotateKey(ctx, w.owner, made.ID, controlplane.Rotation{})), authority.CodeForbidden, "")
	rotated := must(w.RotateKey(ctx, at, made.ID, controlplane.Rotation{}))(t).Value
	if c := must(w.Enter(ctx, w.as(rotated.APIKey), "hers"))(t); c.Slug() != "hers" {
		t.Errorf("the successor leads to %q", c.Slug())
	}
}

func TestAWorkspaceIsMadeByWhoeverOwnsOne(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	n := controlplane.NewWorkspace{Name: "new", Slug: "new"}
	_, asAdmin := w.member(w.owner, "admin", authority.RoleAdmin)
	wantError(t, drop(w.CreateWorkspace(ctx, asAdmin, n)), authority.CodeForbidden, "")
	once := w.owner.Once("k", []byte("d"))
	made := must(w.CreateWorkspace(ctx, once, n))(t).Value
	again := must(w.CreateWorkspace(ctx, once, n))(t).Value
	if diff := cmp.Diff(made, again); diff != "" {
		t.Errorf("repeated it is another:\n%s", diff)
	}
	wantError(t, drop(w.CreateWorkspace(ctx, w.owner, n)), authority.CodeConflict, "")
	// A key that is bound in time does not carry its workspaces into one that is not.
	owner := must(w.Member(ctx, w.owner, w.owner.Principal().ID))(t)
	bound := w.as(w.memberKey(w.owner, owner, controlplane.NewKey{ExpiresAt: in(3600)}).APIKey)
	other := must(w.CreateWorkspace(ctx, bound, controlplane.NewWorkspace{Name: "other", Slug: "other"}))(t).Value
	_, err := w.Enter(ctx, w.as(other.APIKey), "first")
	wantError(t, err, authority.CodeNotFound, "")
}

// In each of its workspaces a key caps another role of the same person: what it leaves at home says nothing of elsewhere.
func TestAKeysCapIsKeptByTheKeysForSeveralWorkspacesThatItMakes(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	a := w.ada()
	// She owns "first", is an admin of "hers", and has one key for both that is an admin's everywhere.
	hers := w.as(a.key)
	both := controlplane.NewKey{Kind: authority.KeyMember, Name: "both", PrincipalID: a.second, Workspaces: []string{"first"}}
	wide := must(w.CreateKey(ctx, hers, both))(t).Value
	both.Role = authority.RoleAdmin
	capped := w.as(must(w.CreateKey(ctx, hers, both))(t).Value.APIKey)
	other := must(w.AddMember(ctx, hers, controlplane.NewMember{Name: "owner", Role: authority.RoleOwner}))(t).Value
	asOther := w.as(w.memberKey(hers, other, controlplane.NewKey{}).APIKey)
	admin := authority.RoleAdmin
	must(w.UpdateMember(ctx, asOther, a.second, controlplane.MemberChange{Role: &admin}))(t)

	must(w.CreateKey(ctx, capped, both))(t)
	both.Role = authority.RoleViewer
	must(w.CreateKey(ctx, capped, both))(t)
	for sentence, role := range map[string]authority.Role{"without a cap": "", "with a higher one": authority.RoleOwner} {
		t.Log(sentence)
		both.Role = role
		wantError(t, drop(w.CreateKey(ctx, capped, both)), authority.CodeForbidden, "")
	}
	wantError(t, drop(w.RotateKey(ctx, capped, wide.ID, controlplane.Rotation{})), authority.CodeForbidden, "")
}
