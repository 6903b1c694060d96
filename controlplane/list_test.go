package controlplane_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
)

// all reads every page of a list.
func all[T any](t *testing.T, p controlplane.Page, read func(controlplane.Page) (controlplane.List[T], error)) []T {
	t.Helper()
	var items []T
	for {
		list := must(read(p))(t)
		items = append(items, list.Items...)
		if p.Cursor = list.NextCursor; p.Cursor == "" {
			return items
		}
	}
}

func names[T any](items []T, name func(T) string) []string {
	found := []string{}
	for _, item := range items {
		found = append(found, name(item))
	}
	return found
}

func TestPrincipalsAreSortedByWhatTheListHas(t *testing.T) {
	w := newWorld(t)
	made := []string{"b", "<&>" + strings.Repeat("ñ", 90), "B", "a", "ä", "a", "owner"}
	for _, name := range made[:6] {
		w.agent(w.owner, name, authority.Agent)
	}
	byName := []string{"<&>" + strings.Repeat("ñ", 90), "B", "a", "a", "b", "owner", "ä"}
	byAge := append([]string{"owner"}, made[:6]...)
	reversed := func(list []string) []string {
		list = slices.Clone(list)
		slices.Reverse(list)
		return list
	}
	for sort, want := range map[string][]string{
		"": reversed(byAge), "-created_at": reversed(byAge), "created_at": byAge, "name": byName, "-name": reversed(byName),
	} {
		got := names(all(t, controlplane.Page{Limit: 2, Sort: sort}, func(p controlplane.Page) (controlplane.List[authority.Principal], error) {
			return w.Principals(t.Context(), w.owner, controlplane.PrincipalFilter{}, p)
		}), func(p authority.Principal) string { return p.Name })
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("sorted by %q (-want +got):\n%s", sort, diff)
		}
	}
	for _, sort := range []string{"metadata", "name desc", "id", "name;DROP TABLE principals", "--name", "-", "Name", "valid_until", "(SELECT 1)"} {
		wantError(t, drop(w.Principals(t.Context(), w.owner, controlplane.PrincipalFilter{}, controlplane.Page{Sort: sort})), authority.CodeInvalid, "")
	}
}

func TestWhatAFilterSaysIsNeverReadAsSQL(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"100%", "100 percent", "a_b", "aXb", `back\slash`, "it's", `q"uote`, "$1", "?"} {
		w.agent(w.owner, name, authority.Service)
	}
	for prefix, want := range map[string][]string{
		"%": {}, "_": {}, "100%": {"100%"}, "100": {"100 percent", "100%"}, "a_": {"a_b"}, `back\`: {`back\slash`}, "it'": {"it's"},
		`q"`: {`q"uote`}, "$1": {"$1"}, "?": {"?"}, "' OR '1'='1": {}, "'; DROP TABLE principals; --": {}, "A": {},
		strings.Repeat("%_", 500): {}, "\U0010FFFF": {}, "owner": {"owner"},
	} {
		got := names(all(t, controlplane.Page{Sort: "name"}, func(p controlplane.Page) (controlplane.List[authority.Principal], error) {
			return w.Principals(t.Context(), w.owner, controlplane.PrincipalFilter{NamePrefix: prefix}, p)
		}), func(p authority.Principal) string { return p.Name })
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("names that begin with %q (-want +got):\n%s", prefix, diff)
		}
	}
	for _, text := range []string{"' OR '1'='1", "%", "\\", "$1", "'; DROP TABLE keys; --"} {
		ctx := t.Context()
		for what, n := range map[string]int{
			"principals":   len(must(w.Principals(ctx, w.owner, controlplane.PrincipalFilter{Role: authority.Role(text)}, controlplane.Page{}))(t).Items),
			"keys":         len(must(w.Keys(ctx, w.owner, controlplane.KeyFilter{PrincipalID: authority.PrincipalID(text)}, controlplane.Page{}))(t).Items),
			"policies":     len(must(w.Policies(ctx, w.owner, controlplane.PolicyFilter{PrincipalID: authority.PrincipalID(text)}, controlplane.Page{}))(t).Items),
			"mandates":     len(must(w.Mandates(ctx, w.owner, controlplane.MandateFilter{PrincipalID: authority.PrincipalID(text)}, controlplane.Page{}))(t).Items),
			"destinations": len(must(w.Destinations(ctx, w.owner, controlplane.DestinationFilter{Host: text}, controlplane.Page{}))(t).Items),
			"members":      len(must(w.Members(ctx, w.owner, controlplane.MemberFilter{NamePrefix: text}, controlplane.Page{}))(t).Items),
			"events":       len(must(w.Events(ctx, w.owner, controlplane.EventFilter{ActorID: authority.PrincipalID(text)}, controlplane.Page{}))(t).Items),
		} {
			if n != 0 {
				t.Errorf("%d %s match %q", n, what, text)
			}
		}
	}
}

func TestFiltersFindWhatTheySay(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	now := time.Now().Truncate(time.Second)
	later := serviceAt(t, w.appURL, func() time.Time { return now.Add(30 * time.Minute) })
	subject, _ := w.agent(w.owner, "agent", authority.Agent)
	other, _ := w.agent(w.owner, "other", authority.Agent)
	w.policy(w.owner, subject, 1)
	w.policy(w.owner, other, 1)
	issuer := w.owner.Principal().ID
	issue := func(to authority.PrincipalID, seconds int64, from time.Duration) authority.MandateID {
		r := request(issuer, to)
		r.ValiditySeconds = seconds
		if from > 0 {
			start := now.Add(from)
			r.ValidFrom = &start
		}
		return must(w.RequestMandate(ctx, w.owner, r))(t).Value.ID
	}
	active, expired, scheduled, revoked := issue(subject.ID, 3600, 0), issue(subject.ID, 600, 0), issue(other.ID, 3600, 2*time.Hour), issue(other.ID, 3600, 0)
	must(w.RevokeMandate(ctx, w.owner, revoked, 0))(t)
	mandates := func(f controlplane.MandateFilter, sort string) []authority.MandateID {
		var ids []authority.MandateID
		for _, m := range all(t, controlplane.Page{Limit: 1, Sort: sort}, func(p controlplane.Page) (controlplane.List[authority.Mandate], error) {
			return later.Mandates(ctx, w.owner, f, p)
		}) {
			ids = append(ids, m.ID)
		}
		return ids
	}
	for sentence, c := range map[string]struct {
		filter controlplane.MandateFilter
		sort   string
		want   []authority.MandateID
	}{
		"active":                  {controlplane.MandateFilter{State: "active"}, "", []authority.MandateID{active}},
		"expired":                 {controlplane.MandateFilter{State: "expired"}, "", []authority.MandateID{expired}},
		"not yet valid":           {controlplane.MandateFilter{State: "scheduled"}, "", []authority.MandateID{scheduled}},
		"revoked":                 {controlplane.MandateFilter{State: "revoked"}, "", []authority.MandateID{revoked}},
		"of a subject":            {controlplane.MandateFilter{PrincipalID: other.ID}, "created_at", []authority.MandateID{scheduled, revoked}},
		"of the issuer, by end":   {controlplane.MandateFilter{PrincipalID: issuer, State: "active"}, "valid_until", []authority.MandateID{active}},
		"by end":                  {controlplane.MandateFilter{SubjectID: subject.ID}, "valid_until", []authority.MandateID{expired, active}},
		"by end, the last first":  {controlplane.MandateFilter{SubjectID: subject.ID}, "-valid_until", []authority.MandateID{active, expired}},
		"created in the future":   {controlplane.MandateFilter{Created: controlplane.Created{After: now.Add(time.Hour)}}, "", nil},
		"created before tomorrow": {controlplane.MandateFilter{SubjectID: subject.ID, Created: controlplane.Created{Before: now.Add(time.Hour)}}, "", []authority.MandateID{expired, active}},
	} {
		if diff := cmp.Diff(c.want, mandates(c.filter, c.sort)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", sentence, diff)
		}
	}

	soon := now.Add(10 * time.Minute)
	must(w.CreateKey(ctx, w.owner, controlplane.NewKey{Kind: authority.KeyGateway, Name: "expires", ExpiresAt: &soon}))(t)
	gone := must(w.CreateKey(ctx, w.owner, controlplane.NewKey{Kind: authority.KeyGateway, Name: "revoked"}))(t).Value
	must(w.RevokeKey(ctx, w.owner, gone.ID))(t)
	for state, want := range map[string][]string{"active": {}, "expired": {"expires"}, "revoked": {"revoked"}, "": {"expires", "revoked"}} {
		list := must(later.Keys(ctx, w.owner, controlplane.KeyFilter{Kind: authority.KeyGateway, State: controlplane.KeyState(state)}, controlplane.Page{Sort: "name"}))(t)
		if diff := cmp.Diff(want, names(list.Items, func(k authority.Key) string { return k.Name })); diff != "" {
			t.Errorf("keys that are %q (-want +got):\n%s", state, diff)
		}
	}
	oldest := all(t, controlplane.Page{Limit: 3, Sort: "time"}, func(p controlplane.Page) (controlplane.List[authority.Event], error) {
		return w.Events(ctx, w.owner, controlplane.EventFilter{ActorID: issuer}, p)
	})
	if !slices.IsSortedFunc(oldest, func(a, b authority.Event) int { return int(a.Sequence - b.Sequence) }) || len(oldest) < 8 {
		t.Errorf("events from the oldest on: %d, %v", len(oldest), oldest)
	}
}

// TestACursorIsGoodForItsOwnListOnly tries a cursor everywhere but where it came from.
func TestACursorIsGoodForItsOwnListOnly(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	_, stranger := w.workspace("second")
	for i := range 5 {
		w.agent(w.owner, fmt.Sprint("agent", i), authority.Agent)
	}
	filter := controlplane.PrincipalFilter{Type: authority.Agent}
	first := must(w.Principals(ctx, w.owner, filter, controlplane.Page{Limit: 2, Sort: "name"}))(t)
	good := controlplane.Page{Limit: 2, Sort: "name", Cursor: first.NextCursor}
	if next := must(w.Principals(ctx, w.owner, filter, good))(t); next.Items[0].Name != "agent2" {
		t.Fatalf("the next page begins with %s", next.Items[0].Name)
	}
	elsewhere := map[string]error{
		"another sort":      drop(w.Principals(ctx, w.owner, filter, controlplane.Page{Limit: 2, Cursor: good.Cursor})),
		"the other way":     drop(w.Principals(ctx, w.owner, filter, controlplane.Page{Sort: "-name", Cursor: good.Cursor})),
		"no filter":         drop(w.Principals(ctx, w.owner, controlplane.PrincipalFilter{}, good)),
		"another filter":    drop(w.Principals(ctx, w.owner, controlplane.PrincipalFilter{Type: authority.Agent, NamePrefix: "a"}, good)),
		"another list":      drop(w.Keys(ctx, w.owner, controlplane.KeyFilter{}, good)),
		"another workspace": drop(w.Principals(ctx, stranger, filter, good)),
	}
	for i := range good.Cursor {
		changed := good
		changed.Cursor = good.Cursor[:i] + string(rune('A'+(good.Cursor[i]+1)%26)) + good.Cursor[i+1:]
		if changed.Cursor != good.Cursor {
			elsewhere[fmt.Sprintf("another character at %d", i)] = drop(w.Principals(ctx, w.owner, filter, changed))
		}
	}
	for sentence, err := range elsewhere {
		t.Log(sentence)
		wantError(t, err, authority.CodeInvalid, "")
	}
}
