package extauthz

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/token"
)

// chosen draws a mandate that may differ from others in whatever counts for selection.
func chosen(t *rapid.T, parents []authority.Mandate) authority.Mandate {
	rarely := func(name string) bool { return rapid.IntRange(0, 6).Draw(t, name) == 0 }
	m := plainMandate("prn_0")
	if rarely("another subject") || len(parents) < 2 {
		m.SubjectID = "prn_1" // an issued mandate would be selected before those that were cut from it
	}
	if rarely("later") {
		m.ValidFrom = m.ValidFrom.Add(time.Second)
	}
	m.ValidUntil = m.ValidFrom.Add(time.Duration(rapid.IntRange(1, 3).Draw(t, "until")) * time.Second)
	m.IssuerID, m.DelegationDepth = rapid.SampledFrom([]authority.PrincipalID{"prn_issuer0", "prn_issuer1"}).Draw(t, "issuer"), 5
	m.ActionScope, m.ResourceScope = authority.Actions{"read"}, []authority.ResourcePattern{"api:a"}
	if rarely("other actions") {
		m.ActionScope = rapid.SampledFrom([]authority.Actions{{"read", "write"}, {"write"}}).Draw(t, "actions")
	}
	if rarely("another scope") {
		m.ResourceScope = rapid.SampledFrom([][]authority.ResourcePattern{{"api:*"}, {"db:x", "api:*"}, {"db:*"}}).Draw(t, "scope")
	}
	m.Revoked = rarely("revoked")
	if rapid.Bool().Draw(t, "bound") {
		m.Confirmation = &authority.Confirmation{Certificate: "x"}
	}
	if rarely("odd") && rarely("odd indeed") {
		m.CreatedAt = m.CreatedAt.Add(time.Nanosecond)
	}
	if len(parents) > 0 && !rarely("issued") {
		parent := rapid.SampledFrom(parents[:min(2, len(parents))]).Draw(t, "parent")
		m.ParentID, m.IssuerID, m.Level, m.DelegationDepth = &parent.ID, parent.SubjectID, parent.Level+1, parent.DelegationDepth-1
	}
	return m
}

func TestWhatIsLeftOutOfAChoiceWouldNotBeSelected(t *testing.T) {
	found := 0
	rapid.Check(t, func(rt *rapid.T) {
		var all []authority.Mandate
		for range rapid.SampledFrom([]int{2, 4, 12, 40}).Draw(rt, "mandates") {
			all = append(all, chosen(rt, all))
		}
		if rapid.Bool().Draw(rt, "cut off") {
			all = all[1:] // what was cut from it has no parent
		}
		b := newMandatesBuilder("ws_own", &token.KeySet{}, len(all))
		for _, item := range changed(t, all).Set {
			b.add(item)
		}
		s := &Snapshot{mandates: b.done(), principals: newShards[authority.PrincipalID, authority.Principal](4)}
		for _, id := range []authority.PrincipalID{"prn_0", "prn_1", "prn_issuer0", "prn_issuer1"} {
			p := authority.Principal{ID: id, WorkspaceID: "ws_own", Suspended: id == "prn_issuer1"}
			s.principals.put(id, p, bundle.Digest{})
		}
		q := authority.Inquiry{Presenter: "prn_0", Resource: "api:a", At: plainMandate("").ValidFrom.Add(rapid.SampledFrom([]time.Duration{0, 1, time.Second - 1}).Draw(rt, "at"))}
		want, any := authority.Select(s, s.mandates.of(q.Presenter), q, authority.Read)
		got, some := s.selects(q, nil, authority.Read)
		if got != want || any != some {
			rt.Fatalf("%q is selected of what fits, %q of all", got, want)
		}
		if some {
			found++
		}
	})
	if found == 0 {
		t.Error("none was ever selected")
	}
}

func TestOfMandatesThatAreAlikeFewAreChosenFrom(t *testing.T) {
	var all []authority.Mandate
	for i := range 300 {
		m := plainMandate("prn_subject")
		m.ResourceScope, m.ActionScope = []authority.ResourcePattern{"api:a"}, authority.Actions{authority.Read}
		m.ValidUntil = m.ValidUntil.Add(time.Duration(i) * time.Second)
		all = append(all, m)
	}
	b := newMandatesBuilder("ws_own", &token.KeySet{}, len(all))
	for _, item := range changed(t, all).Set {
		b.add(item)
	}
	var fitting []authority.MandateID
	for m := range b.done().fitting("prn_subject", all[0].ValidFrom, nil, func(s authority.Scope) bool { return s.Matches("api:a") }) {
		fitting = append(fitting, m.ID)
	}
	if len(fitting) != 1 || fitting[0] != all[299].ID {
		t.Errorf("of 300 that are alike %d fit: %s", len(fitting), fitting)
	}
}
