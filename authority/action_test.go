package authority_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caracal-gateway/caracal/authority"
)

func TestActionListsAreStoredExpandedSortedAndWithoutDuplicates(t *testing.T) {
	cases := map[string]struct {
		list  []string
		want  authority.Actions
		field string
	}{
		"sorted":                             {list: []string{"read", "execute"}, want: authority.Actions{"execute", "read"}},
		"without duplicates":                 {list: []string{"read", "read"}, want: authority.Actions{"read"}},
		"a star means all three":             {list: []string{"*"}, want: authority.AllActions()},
		"a star beside others adds nothing":  {list: []string{"write", "*"}, want: authority.AllActions()},
		"an unknown action is refused":       {list: []string{"read", "delete"}, field: "[1]"},
		"an action in upper case is refused": {list: []string{"READ"}, field: "[0]"},
		"an empty list grants nothing":       {list: nil},
	}
	for sentence, c := range cases {
		t.Run(sentence, func(t *testing.T) {
			got, err := authority.ParseActions(c.list)
			if c.want == nil {
				assertInvalid(t, err, c.field)
				return
			}
			if diff := cmp.Diff(c.want, got); diff != "" || err != nil {
				t.Errorf("%v %s", err, diff)
			}
		})
	}
}

func TestAScopePermitsItsActionsOnItsResourcesOnly(t *testing.T) {
	scope, err := authority.ParseScope([]string{"api:external/*", "db:analytics/events"}, []string{"read", "execute"})
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		resource authority.Resource
		action   authority.Action
		want     bool
	}{
		"both in scope":                {"api:external/openai", authority.Execute, true},
		"the second resource counts":   {"db:analytics/events", authority.Read, true},
		"an action that is not there":  {"api:external/openai", authority.Write, false},
		"a resource that is not there": {"db:analytics/users", authority.Read, false},
		"an empty action":              {"api:external/openai", "", false},
		"a star is not an action":      {"api:external/openai", "*", false},
	}
	for sentence, c := range cases {
		t.Run(sentence, func(t *testing.T) {
			if got := scope.Permits(c.resource, c.action); got != c.want {
				t.Errorf("permits %s on %s: %v", c.action, c.resource, got)
			}
		})
	}
	if (authority.Scope{}).Permits("api:external/openai", authority.Read) {
		t.Error("an empty scope permits something")
	}
}

func TestAScopeCoversWhatEachOfItsPatternsCovers(t *testing.T) {
	parent := scope("api:external/*", "db:*/events").of("read", "execute")
	cases := map[string]struct {
		child authority.Scope
		want  bool
	}{
		"itself":                           {parent, true},
		"narrower resources":               {scope("api:external/openai", "db:x/events").of("read"), true},
		"nothing":                          {authority.Scope{}, true},
		"one pattern too many":             {scope("api:external/openai", "db:x/users").of("read"), false},
		"one action too many":              {scope("api:external/openai").of("read", "write"), false},
		"a wider pattern":                  {scope("api:*").of("read"), false},
		"everything, of which it has some": {scope("*").of("read"), false},
	}
	for sentence, c := range cases {
		t.Run(sentence, func(t *testing.T) {
			if got := parent.Covers(c.child); got != c.want {
				t.Errorf("covers %v: %v", c.child, got)
			}
		})
	}
}

// resources makes a scope read as a phrase: scope("api:*").of("read").
type resources []authority.ResourcePattern

func scope(patterns ...authority.ResourcePattern) resources { return patterns }

func (r resources) of(actions ...authority.Action) authority.Scope {
	return authority.Scope{Resources: r, Actions: actions}
}
