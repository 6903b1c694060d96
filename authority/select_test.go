package authority_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/caracal-gateway/caracal/authority"
)

// choice is what alice may be judged by.
type choice struct {
	*world
	base    authority.Mandate
	inquiry authority.Inquiry
}

func newChoice(t testing.TB) *choice {
	w := newWorld()
	base, err := w.issue("owner", authority.IssueRequest{
		IssuerID: "owner", SubjectID: "alice", ValiditySeconds: 3600,
		Scope: authority.Scope{Resources: []authority.ResourcePattern{"api:external/*"}, Actions: authority.Actions{"execute"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	delete(w.mandates, base.ID)
	return &choice{world: w, base: base, inquiry: authority.Inquiry{Presenter: "alice", Resource: "api:external/openai/chat", At: now}}
}

// grant adds a mandate that is alice's base but for an edit.
func (c *choice) grant(id authority.MandateID, edit func(*authority.Mandate)) {
	m := c.base
	m.ID = id
	if edit != nil {
		edit(&m)
	}
	c.mandates[id] = &m
}

// choose selects among all that there is, in an order.
func (c *choice) choose(order []authority.MandateID, actions ...authority.Action) authority.MandateID {
	id, found := authority.Select(c.world, func(yield func(authority.Mandate) bool) {
		for _, id := range order {
			if !yield(*c.mandates[id]) {
				return
			}
		}
	}, c.inquiry, actions...)
	if found != (id != "") {
		panic("what was found has no id, or the other way round")
	}
	return id
}

func scoped(patterns ...authority.ResourcePattern) func(*authority.Mandate) {
	return func(m *authority.Mandate) { m.ResourceScope = patterns }
}

func TestTheMandateThatSaysMostCloselyWhatIsAskedIsSelected(t *testing.T) {
	for name, c := range map[string]struct{ better, worse func(*authority.Mandate) }{
		"a literal before a rest":                 {scoped("api:external/openai/chat"), scoped("api:external/*")},
		"a segment before a rest":                 {scoped("api:external/openai/*"), scoped("api:external/*")},
		"a narrow one of several":                 {scoped("db:*", "api:external/openai/chat"), scoped("api:external/openai/*")},
		"a literal before a segment":              {scoped("api:external/openai/chat"), scoped("api:external/*/chat")},
		"one open segment before a rest of two":   {scoped("api:*/openai/chat"), scoped("api:external/*")},
		"what is open later":                      {scoped("api:external/*/chat"), scoped("api:*/openai/chat")},
		"one action before two":                   {nil, func(m *authority.Mandate) { m.ActionScope = authority.Actions{"execute", "read"} }},
		"a narrow pattern before fewer actions":   {func(m *authority.Mandate) { scoped("api:external/openai/*")(m); m.ActionScope = authority.AllActions() }, nil},
		"the one that lasts longer":               {nil, func(m *authority.Mandate) { m.ValidUntil = m.ValidUntil.Add(-time.Second) }},
		"one that holds before one that does not": {scoped("api:*"), func(m *authority.Mandate) { scoped("api:external/openai/chat")(m); m.Revoked = true }},
	} {
		t.Run(name, func(t *testing.T) {
			ch := newChoice(t)
			ch.grant("mdt_b", c.better)
			ch.grant("mdt_a", c.worse)
			for _, order := range [][]authority.MandateID{{"mdt_a", "mdt_b"}, {"mdt_b", "mdt_a"}} {
				if got := ch.choose(order, authority.Execute); got != "mdt_b" {
					t.Errorf("%s was selected", got)
				}
			}
		})
	}
	ch := newChoice(t)
	ch.grant("mdt_b", nil)
	ch.grant("mdt_a", nil)
	if got := ch.choose([]authority.MandateID{"mdt_b", "mdt_a"}, authority.Execute); got != "mdt_a" {
		t.Errorf("of two equals %s was selected", got)
	}
}

func TestTheShorterChainIsSelected(t *testing.T) {
	w := newWorld()
	root, child, _ := w.family(t)
	w.mandates[child.ID].ResourceScope, w.mandates[child.ID].ActionScope = root.ResourceScope, root.ActionScope
	direct := root
	direct.ID, direct.SubjectID, direct.ValidUntil = "mdt_direct", child.SubjectID, child.ValidUntil
	w.mandates[direct.ID] = &direct
	q := authority.Inquiry{Presenter: child.SubjectID, Resource: "api:external/openai", At: now}
	if got, _ := authority.Select(w, slices.Values([]authority.Mandate{*w.mandates[child.ID], direct}), q, authority.Execute); got != direct.ID {
		t.Errorf("%s was selected", got)
	}
}

func TestOnlyAMandateThatHoldsIsSelected(t *testing.T) {
	for name, edit := range map[string]func(*authority.Mandate){
		"somebody else's":      func(m *authority.Mandate) { m.SubjectID = "bob" },
		"revoked":              func(m *authority.Mandate) { m.Revoked = true },
		"expired":              func(m *authority.Mandate) { m.ValidUntil = now.Add(-time.Second) },
		"not valid yet":        func(m *authority.Mandate) { m.ValidFrom = now.Add(time.Second) },
		"of another resource":  scoped("db:*"),
		"of another action":    func(m *authority.Mandate) { m.ActionScope = authority.Actions{"read"} },
		"of nothing":           scoped(),
		"bound elsewhere":      func(m *authority.Mandate) { m.Confirmation = &authority.Confirmation{Certificate: "x"} },
		"cut from nothing":     func(m *authority.Mandate) { id := authority.MandateID("mdt_gone"); m.ParentID = &id },
		"of another workspace": func(m *authority.Mandate) { m.WorkspaceID = "other" },
		"of a stranger":        func(m *authority.Mandate) { m.IssuerID = "nobody" },
	} {
		t.Run(name, func(t *testing.T) {
			ch := newChoice(t)
			ch.grant("mdt_a", edit)
			if got := ch.choose([]authority.MandateID{"mdt_a"}, authority.Execute); got != "" {
				t.Errorf("%s was selected", got)
			}
		})
	}
	ch := newChoice(t)
	ch.grant("mdt_a", func(m *authority.Mandate) { m.ActionScope = authority.Actions{"execute", "read"} })
	if got := ch.choose([]authority.MandateID{"mdt_a"}, authority.Execute, authority.Read); got != "mdt_a" {
		t.Error("a mandate of both actions was not selected")
	}
	if got := ch.choose([]authority.MandateID{"mdt_a"}, authority.Execute, authority.Write); got != "" {
		t.Error("a mandate of one of two actions was selected")
	}
	if got := ch.choose([]authority.MandateID{"mdt_a"}); got != "" {
		t.Error("a mandate was selected for nothing")
	}
}

func TestAPatternThatAnotherCoversIsNeverSelectedBehindIt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, q := pattern(t, anyPattern.Draw(t, "p")), pattern(t, anyPattern.Draw(t, "q"))
		if !p.Covers(q) || p == q {
			q = pattern(t, strings.Replace(string(p), "*", "a", 1)) // covered, unless the star was a rest
		}
		if !p.Covers(q) || p == q {
			t.Skip("neither covers the other")
		}
		ch := newChoice(panicking{})
		ch.inquiry.Resource = authority.Resource(strings.ReplaceAll(string(q), "*", "fresh"))
		ch.grant("mdt_a", scoped(p))
		ch.grant("mdt_b", scoped(q))
		order := rapid.Permutation([]authority.MandateID{"mdt_a", "mdt_b"}).Draw(t, "order")
		if got := ch.choose(order, authority.Execute); got != "mdt_b" {
			t.Fatalf("for %s the broader %s was preferred to %s (%q)", ch.inquiry.Resource, p, q, got)
		}
	})
}

func TestTheOrderOfTheCandidatesMakesNoDifference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ch := newChoice(panicking{})
		var ids []authority.MandateID
		for i := range rapid.IntRange(1, 8).Draw(t, "count") {
			id := authority.MandateID("mdt_" + string(rune('a'+i)))
			ids = append(ids, id)
			ch.grant(id, func(m *authority.Mandate) {
				m.ResourceScope = []authority.ResourcePattern{rapid.SampledFrom([]authority.ResourcePattern{
					"api:*", "api:external/*", "api:*/openai/chat", "api:external/*/chat", "api:external/openai/chat", "db:*",
				}).Draw(t, "pattern")}
				m.ActionScope = rapid.SampledFrom([]authority.Actions{{"execute"}, {"execute", "read"}, {"read"}}).Draw(t, "actions")
				m.Revoked = rapid.Bool().Draw(t, "revoked")
				m.ValidUntil = m.ValidUntil.Add(time.Duration(rapid.IntRange(-1, 1).Draw(t, "end")) * time.Second)
			})
		}
		first := ch.choose(ids, authority.Execute)
		if again := ch.choose(rapid.Permutation(ids).Draw(t, "order"), authority.Execute); again != first {
			t.Fatalf("%s, then %s", first, again)
		}
	})
}

// panicking stands for a test where a failure is a bug of the test.
type panicking struct{ testing.TB }

func (panicking) Fatal(args ...any) { panic(args) }
