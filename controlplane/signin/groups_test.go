package signin_test

import (
	"testing"

	"github.com/caracal-gateway/caracal/internal/openid"
)

// groups says which groups have which role in a workspace, as pairs.
func (w *world) groups(key, slug string, status int, pairs ...string) {
	w.t.Helper()
	list := []map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, map[string]string{"group": pairs[i], "role": pairs[i+1]})
	}
	w.rest(key, "PUT", "workspaces/"+slug+"/group-roles", map[string]any{"group_roles": list}, status, nil)
}

// arrives signs a user with these groups in, and answers what that gives.
func (w *world) arrives(subject string, groups ...string) string {
	w.t.Helper()
	w.provider.AddUser(openid.User{Subject: subject, Password: password, Name: subject, Groups: groups})
	b := w.browser()
	b.signIn(subject, "")
	return b.roles()
}

func TestGroupsOfTheProviderGiveRoles(t *testing.T) {
	w := newWorld(t)
	second, _ := w.workspace("second")
	w.groups(w.owner, "my-team", 200, "platform", "admin", "readers", "viewer", "policy", "policy_author")
	w.groups(second, "second", 200, "platform", "auditor")

	for _, c := range []struct {
		when   string
		groups []string
		want   string
	}{
		{"in no group", nil, nobody},
		{"in a group that has no role", []string{"others"}, nobody},
		{"in one", []string{"readers"}, "my-team:viewer"},
		{"in another, which may do more", []string{"readers", "policy"}, "my-team:policy_author"},
		{"in one that has roles in two workspaces", []string{"policy", "platform"}, "my-team:admin second:auditor"},
		{"not in that any more", []string{"readers"}, "my-team:viewer"},
		{"in none any more", nil, nobody},
		{"back again", []string{"platform"}, "my-team:admin second:auditor"},
	} {
		if got := w.arrives("u-1", c.groups...); got != c.want {
			t.Errorf("%s: %s, want %s", c.when, got, c.want)
		}
	}
	// A name is compared letter for letter.
	if got := w.arrives("u-2", "Platform", "platform ", "%", "plat*"); got != nobody {
		t.Errorf("by a name that is nearly one: %s", got)
	}
}

func TestARoleThatWasSetByHandStays(t *testing.T) {
	w := newWorld(t)
	w.groups(w.owner, "my-team", 200, "platform", "admin")
	if got := w.arrives("u-1", "platform"); got != "my-team:admin" {
		t.Fatal(got)
	}
	var list struct {
		Items []struct {
			ID   string `json:"principal_id"`
			Name string
		}
	}
	w.rest(w.owner, "GET", "members?role=admin", nil, 200, &list)
	if len(list.Items) != 1 || list.Items[0].Name != "u-1" {
		t.Fatalf("%+v", list)
	}
	member := list.Items[0].ID
	w.rest(w.owner, "PATCH", "members/"+member, map[string]any{"role": "operator"}, 200, nil)
	for range 2 {
		if got := w.arrives("u-1", "platform"); got != "my-team:operator" {
			t.Errorf("after a change by hand: %s", got)
		}
	}
	if got := w.arrives("u-1"); got != "my-team:operator" {
		t.Errorf("without the group: %s", got)
	}
	w.rest(w.owner, "DELETE", "members/"+member, nil, 200, nil)
	if got := w.arrives("u-1", "platform"); got != nobody {
		t.Errorf("after being removed by hand: %s", got)
	}
	// Who was invited by hand is left alone from the beginning.
	w.provider.AddUser(openid.User{Subject: "u-2", Password: password, Name: "two", Groups: []string{"platform"}})
	w.browser().accept(w.invite(w.owner, w.member("two", "viewer")), "u-2").shows(200)
	if got := w.arrives("u-2", "platform"); got != "my-team:viewer" {
		t.Errorf("who was invited: %s", got)
	}
}

func TestGroupsDoNotTakeTheLastOwner(t *testing.T) {
	w := newWorld(t)
	w.groups(w.owner, "my-team", 200, "owners", "owner")
	if got := w.arrives("u-1", "owners"); got != "my-team:owner" {
		t.Fatal(got)
	}
	// The owner by group makes a key and removes the other owner, so that this key is the last way in.
	var list struct {
		Items []struct {
			ID   string `json:"principal_id"`
			Name string
		}
	}
	w.rest(w.owner, "GET", "members?role=owner", nil, 200, &list)
	for _, owner := range list.Items {
		if owner.ID != w.ownerID {
			key, _ := w.memberKey(owner.ID, nil)
			w.rest(key, "DELETE", "members/"+w.ownerID, nil, 200, nil)
		}
	}
	if got := w.arrives("u-1"); got != "my-team:owner" {
		t.Errorf("the last owner became %s", got)
	}
}

func TestOnlyAnOwnerLetsAGroupMakeOwners(t *testing.T) {
	w := newWorldAt(t, nil)
	admin, _ := w.memberKey(w.member("an admin", "admin"), nil)
	capped, _ := w.memberKey(w.ownerID, map[string]any{"role": "admin"})
	auditor, _ := w.memberKey(w.member("an auditor", "auditor"), nil)
	viewer, _ := w.memberKey(w.member("a viewer", "viewer"), nil)
	w.groups(admin, "my-team", 200, "platform", "admin")
	for name, key := range map[string]string{"an admin": admin, "an owner with a key for admins": capped} {
		t.Log(name)
		w.groups(key, "my-team", 403, "platform", "owner")
		w.groups(key, "my-team", 403, "platform", "admin", "everyone", "owner")
	}
	w.groups(w.owner, "my-team", 200, "platform", "owner")
	w.groups(admin, "my-team", 403)
	w.groups(admin, "my-team", 403, "platform", "viewer")
	w.groups(admin, "my-team", 200, "platform", "owner", "readers", "viewer")
	w.rest(auditor, "GET", "workspaces/my-team/group-roles", nil, 200, nil)
	w.rest(viewer, "GET", "workspaces/my-team/group-roles", nil, 403, nil)
	w.groups(auditor, "my-team", 403)
	other, _ := w.workspace("other")
	w.rest(other, "GET", "workspaces/my-team/group-roles", nil, 404, nil)
	w.groups(other, "my-team", 404)
	w.groups(w.owner, "my-team", 400, "a", "viewer", "a", "admin")
	w.groups(w.owner, "my-team", 400, "a", "king")
	w.groups(w.owner, "my-team", 400, "", "viewer")
	w.rest(w.owner, "PUT", "workspaces/my-team/group-roles", map[string]any{}, 400, nil)
}

// A workspace that is archived or deleted takes no members in.
func TestGroupsOpenNoWorkspaceThatIsClosed(t *testing.T) {
	w := newWorld(t)
	w.groups(w.owner, "my-team", 200, "platform", "admin")
	w.rest(w.owner, "POST", "workspaces/my-team/archive", nil, 200, nil)
	if got := w.arrives("u-1", "platform"); got != nobody {
		t.Errorf("archived: %s", got)
	}
	w.rest(w.owner, "POST", "workspaces/my-team/unarchive", nil, 200, nil)
	if got := w.arrives("u-1", "platform"); got != "my-team:admin" {
		t.Errorf("open again: %s", got)
	}
}
