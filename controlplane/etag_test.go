package controlplane_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
)

// TestOfTwoEditorsWhoSawTheSameOneIsTold lets many replace what they read: without the condition the last would win and
// the others' changes would be lost without a word.
func TestOfTwoEditorsWhoSawTheSameOneIsTold(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	second := newService(t, w.appURL)
	subject, _ := w.agent(w.owner, "agent", authority.Agent)
	seen := controlplane.Tag(must(w.Principal(ctx, w.owner, subject.ID))(t))
	var (
		all       sync.WaitGroup
		won, lost atomic.Int32
	)
	for i := range 8 {
		replica := []*controlplane.Service{w.Service, second}[i%2]
		all.Go(func() {
			metadata := map[string]string{"editor": string(rune('a' + i))}
			_, err := replica.UpdatePrincipal(ctx, w.owner.IfMatch(seen), subject.ID, controlplane.PrincipalChange{Metadata: &metadata})
			var told *authority.Error
			switch {
			case err == nil:
				won.Add(1)
			case errors.As(err, &told) && told.Code == authority.CodePrecondition:
				lost.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	all.Wait()
	if won.Load() != 1 || lost.Load() != 7 {
		t.Errorf("%d editors won and %d were told, want 1 and 7", won.Load(), lost.Load())
	}
}

// Of two lists of groups that are set at once one is in force, and never what is in either: a group would have a role that
// the last who decided did not give it.
func TestOfTwoListsOfGroupsOneIsInForce(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	seen := controlplane.Tag(must(w.GroupRoles(ctx, w.owner))(t))
	super := must(pgx.Connect(ctx, cluster.Superuser(t, w.ownerURL)))(t)
	t.Cleanup(func() { _ = super.Close(context.Background()) })
	hold := must(super.Begin(ctx))(t)
	if _, err := hold.Exec(ctx, "SELECT FROM workspaces FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	var (
		all sync.WaitGroup
		won atomic.Int32
	)
	for _, group := range []string{"one", "other"} {
		all.Go(func() {
			list := []authority.GroupRole{{Group: group, Role: authority.RoleAdmin}}
			if _, err := w.SetGroupRoles(ctx, w.owner.IfMatch(seen), controlplane.GroupRoles{GroupRoles: list}); err == nil {
				won.Add(1)
			}
		})
	}
	eventually(t, "both wait for the workspace", func() bool {
		var waiting int
		err := hold.QueryRow(ctx, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'").Scan(&waiting)
		return err == nil && waiting == 2
	})
	if err := hold.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	all.Wait()
	if list := must(w.GroupRoles(ctx, w.owner))(t).GroupRoles; won.Load() != 1 || len(list) != 1 {
		t.Errorf("%d editors won, and the groups are %v", won.Load(), list)
	}
}

func TestEveryEditHoldsItsCondition(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	subject, _ := w.agent(w.owner, "agent", authority.Agent)
	policy := w.policy(w.owner, subject, 0)
	destination := must(w.CreateDestination(ctx, w.owner, authority.Destination{Name: "d", Host: "d.example.com"}))(t).Value
	version := must(w.PushRego(ctx, w.owner, controlplane.RegoPush{}))(t).Value
	key := must(w.CreateKey(ctx, w.owner, controlplane.NewKey{Kind: authority.KeyGateway, Name: "g"}))(t).Value
	member := must(w.AddMember(ctx, w.owner, controlplane.NewMember{Name: "m", Role: authority.RoleViewer}))(t).Value

	edits := map[string]func(controlplane.Caller) error{
		"update workspace": func(c controlplane.Caller) error {
			return drop(w.UpdateWorkspace(ctx, c, "first", controlplane.WorkspaceChange{Name: ptr("x")}))
		},
		"archive workspace": func(c controlplane.Caller) error { return drop(w.ArchiveWorkspace(ctx, c, "first")) },
		"delete workspace":  func(c controlplane.Caller) error { return drop(w.DeleteWorkspace(ctx, c, "first", 0)) },
		"update principal": func(c controlplane.Caller) error {
			return drop(w.UpdatePrincipal(ctx, c, subject.ID, controlplane.PrincipalChange{Name: ptr("x")}))
		},
		"suspend principal": func(c controlplane.Caller) error { return drop(w.SuspendPrincipal(ctx, c, subject.ID, 0)) },
		"update policy": func(c controlplane.Caller) error {
			return drop(w.UpdatePolicy(ctx, c, policy.ID, controlplane.PolicyChange{DelegationDepth: ptr(3)}))
		},
		"deactivate policy": func(c controlplane.Caller) error { return drop(w.DeactivatePolicy(ctx, c, policy.ID)) },
		"join policy":       func(c controlplane.Caller) error { return drop(w.JoinPolicy(ctx, c, policy.ID)) },
		"replace destination": func(c controlplane.Caller) error {
			return drop(w.UpdateDestination(ctx, c, destination.ID, destination))
		},
		"delete destination": func(c controlplane.Caller) error { return drop(w.DeleteDestination(ctx, c, destination.ID)) },
		"activate Rego":      func(c controlplane.Caller) error { return drop(w.ActivateRego(ctx, c, version.ID)) },
		"revoke key":         func(c controlplane.Caller) error { return drop(w.RevokeKey(ctx, c, key.ID)) },
		"rotate key":         func(c controlplane.Caller) error { return drop(w.RotateKey(ctx, c, key.ID, controlplane.Rotation{})) },
		"update member": func(c controlplane.Caller) error {
			return drop(w.UpdateMember(ctx, c, member.ID, controlplane.MemberChange{Name: ptr("x")}))
		},
		"remove member": func(c controlplane.Caller) error { return drop(w.RemoveMember(ctx, c, member.ID)) },
	}
	before := must(w.Revision(ctx, w.gateway()))(t)
	for sentence, edit := range edits {
		t.Log(sentence)
		wantError(t, edit(w.owner.IfMatch("another", "")), authority.CodePrecondition, "")
	}
	if after := must(w.Revision(ctx, w.gateway()))(t); after != before+1 { // the gateway's key
		t.Errorf("revision %d after edits whose conditions do not hold, was %d", after, before)
	}
	// A condition that nothing is held against is a mistake, not a wish.
	wantError(t, drop(w.RegisterPrincipal(ctx, w.owner.IfMatch("any"), controlplane.NewPrincipal{Name: "x", Type: authority.Agent})), authority.CodeInvalid, "")
	wantError(t, drop(w.CreateWorkspace(ctx, w.as(setupKey).IfMatch("any"), controlplane.NewWorkspace{Name: "x", Slug: "another"})), authority.CodeInvalid, "")
	wantError(t, drop(w.RevokeMandate(ctx, w.owner.IfMatch(controlplane.AnyTag), w.mandate(w.owner, subject).ID, 0)), authority.CodeInvalid, "")
	for _, name := range []string{"update principal", "update policy", "update member", "revoke key"} {
		if err := edits[name](w.owner.IfMatch(controlplane.AnyTag)); err != nil {
			t.Errorf("%s whatever it is: %v", name, err)
		}
	}
}

// gateway is a caller with a new gateway key.
func (w *world) gateway() controlplane.Caller {
	w.t.Helper()
	return w.as(must(w.CreateKey(w.t.Context(), w.owner, controlplane.NewKey{Kind: authority.KeyGateway, Name: "g"}))(w.t).Value.APIKey)
}

func TestATagIsThatOfTheThingAsItIsRead(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	registered := must(w.RegisterPrincipal(ctx, w.owner, controlplane.NewPrincipal{Name: "a", Type: authority.Agent}))(t).Value
	if controlplane.Tag(registered) != controlplane.Tag(must(w.Principal(ctx, w.owner, registered.ID))(t)) {
		t.Error("a new principal has another tag than when it is read")
	}
	created := must(w.CreateKey(ctx, w.owner, controlplane.NewKey{Kind: authority.KeyGateway, Name: "g"}))(t).Value
	used := must(w.Key(ctx, w.owner, created.ID))(t)
	used.LastUsedAt = &used.CreatedAt
	if controlplane.Tag(created) != controlplane.Tag(used) {
		t.Error("the use of a key changes its tag")
	}
	workspace := must(w.Workspace(ctx, w.owner, "first"))(t)
	later := workspace
	later.Revision++
	if controlplane.Tag(workspace) != controlplane.Tag(later) {
		t.Error("a change elsewhere in the workspace changes its tag")
	}
	later.Name = "other"
	if controlplane.Tag(workspace) == controlplane.Tag(later) {
		t.Error("another name has the same tag")
	}
}
