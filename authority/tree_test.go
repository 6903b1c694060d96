package authority_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/caracal-gateway/caracal/authority"
)

// anyScope draws from patterns of which some contain others.
var anyScope = rapid.Custom(func(t *rapid.T) authority.Scope {
	patterns := []authority.ResourcePattern{"a:*", "a:*/*", "a:*/x", "a:b/*", "a:b/x", "a:b", "c:*", "c:d"}
	return authority.Scope{
		Resources: rapid.SliceOfN(rapid.SampledFrom(patterns), 1, 3).Draw(t, "resources"),
		Actions:   rapid.SliceOfN(rapid.SampledFrom(authority.AllActions()), 1, 3).Draw(t, "actions"),
	}
})

// tree grows, prunes and judges a random forest of mandates, and keeps count of what it proved.
type tree struct {
	*world
	clock     time.Time
	order     []authority.MandateID
	delegated int
	denied    map[authority.Reason]int
}

func (f *tree) issue(t *rapid.T) {
	subject := rapid.SampledFrom(f.ids()).Draw(t, "subject")
	f.policies[subject][0].Grantors = []authority.PrincipalID{"owner"}
	m, err := f.world.issue("owner", authority.IssueRequest{
		IssuerID: "owner", SubjectID: subject, Scope: anyScope.Draw(t, "scope"), ValiditySeconds: rapid.Int64Range(40, 80).Draw(t, "validity"),
	})
	f.keep(t, m, err)
}

func (f *tree) delegate(t *rapid.T) {
	if len(f.order) == 0 {
		return
	}
	parent := f.mandates[rapid.SampledFrom(f.order).Draw(t, "parent")]
	asked := anyScope.Draw(t, "scope")
	if rapid.Bool().Draw(t, "the parent's own scope") {
		asked = parent.Scope()
	}
	m, err := f.world.delegate(parent.SubjectID, authority.DelegateRequest{
		ParentID: parent.ID, ChildID: rapid.SampledFrom(f.ids()).Draw(t, "child"), Scope: asked,
		ValiditySeconds: rapid.Int64Range(1, 60).Draw(t, "validity"),
	}, f.clock)
	if err == nil {
		f.delegated++
	}
	f.keep(t, m, err)
}

func (f *tree) revoke(t *rapid.T) {
	if len(f.order) > 0 && rapid.IntRange(0, 3).Draw(t, "dice") == 0 {
		f.mandates[rapid.SampledFrom(f.order).Draw(t, "revoked")].Revoked = true
	}
}

func (f *tree) suspendOrResume(t *rapid.T) {
	p := f.principals[rapid.SampledFrom(f.ids()).Draw(t, "principal")]
	p.Suspended = !p.Suspended && rapid.IntRange(0, 3).Draw(t, "dice") == 0
}

func (f *tree) pass(t *rapid.T) {
	f.clock = f.clock.Add(time.Duration(rapid.IntRange(0, 8_000).Draw(t, "milliseconds")) * time.Millisecond)
}

func (f *tree) ids() []authority.PrincipalID { return slices.Sorted(maps.Keys(f.policies)) }

func (f *tree) keep(t *rapid.T, m authority.Mandate, err error) {
	if err == nil {
		f.order = append(f.order, m.ID)
		return
	}
	var e *authority.Error
	if !errors.As(err, &e) {
		t.Fatalf("an error without a code: %v", err)
	}
	f.denied[e.Reason]++
}

// check compares each child with its parent by asking both for everything, and each verdict with the state.
func (f *tree) check(t *rapid.T) {
	for _, id := range f.order {
		chain := f.chain(id)
		dead := false
		for i, m := range chain {
			dead = dead || m.Revoked || f.principals[m.SubjectID].Suspended
			if i+1 < len(chain) {
				mustNotExceed(t, m, chain[i+1])
			}
		}
		m := chain[0]
		for _, r := range names {
			f1 := authority.Validate(f, authority.Inquiry{Mandate: id, Presenter: m.SubjectID, Resource: r, Action: authority.Read, At: f.clock})
			want := !dead && m.HoldsAt(f.clock) && m.Scope().Permits(r, authority.Read)
			if f1.Holds() != want {
				t.Fatalf("%s on %s: %s, want it to hold: %v", id, r, f1.Reason, want)
			}
		}
	}
}

var names = []authority.Resource{"a:b", "a:b/x", "a:b/x/y", "a:z/x", "c:d", "c:d/e", "z"}

func mustNotExceed(t *rapid.T, child, parent authority.Mandate) {
	for _, r := range names {
		for _, a := range authority.AllActions() {
			if child.Scope().Permits(r, a) && !parent.Scope().Permits(r, a) {
				t.Fatalf("the child may %s %s, its parent may not", a, r)
			}
		}
	}
	if child.ValidFrom.Before(parent.ValidFrom) || child.ValidUntil.After(parent.ValidUntil) {
		t.Fatalf("the child holds from %s to %s, its parent from %s to %s", child.ValidFrom, child.ValidUntil, parent.ValidFrom, parent.ValidUntil)
	}
	if child.DelegationDepth >= parent.DelegationDepth || child.DelegationDepth < 0 || child.Level != parent.Level+1 {
		t.Fatalf("the child has depth %d at level %d, its parent %d at %d", child.DelegationDepth, child.Level, parent.DelegationDepth, parent.Level)
	}
}

func TestAChildNeverExceedsItsParent(t *testing.T) {
	delegated, denied := 0, map[authority.Reason]int{}
	rapid.Check(t, func(t *rapid.T) {
		f := &tree{world: newWorld(), clock: now, denied: denied}
		for i := range 6 {
			id := authority.PrincipalID(fmt.Sprint("agent", i))
			f.principals[id] = &authority.Principal{ID: id, WorkspaceID: "ws", Type: authority.Agent}
			f.policies[id] = []authority.Policy{{ID: "p", PrincipalID: id, Active: true, MaxValiditySeconds: 80, DelegationDepth: 1 + i,
				AllowedResources: []authority.ResourcePattern{"a:*", "c:*"}, AllowedActions: authority.AllActions()}}
		}
		t.Repeat(map[string]func(*rapid.T){
			"issue": f.issue, "delegate": f.delegate, "delegate more": f.delegate, "delegate much": f.delegate, "revoke": f.revoke,
			"suspend or resume": f.suspendOrResume, "pass": f.pass, "": f.check,
		})
		delegated += f.delegated
	})
	if delegated < 30 {
		t.Errorf("%d delegations: the property was hardly tried", delegated)
	}
	for _, r := range []authority.Reason{
		authority.ReasonScopeExceedsParent, authority.ReasonTimeExceedsParent, authority.ReasonDelegationCycle,
		authority.ReasonMandateRevoked, authority.ReasonExpired, authority.ReasonSuspended, authority.ReasonNoPolicyCovers,
	} {
		if denied[r] == 0 {
			t.Errorf("nothing was ever refused for %s", r)
		}
	}
	t.Logf("%d delegations, refusals %v", delegated, denied)
}
