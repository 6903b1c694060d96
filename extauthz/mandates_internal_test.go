package extauthz

import (
	"cmp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/token"
)

func TestKeysAreInTheOrderOfTheirIDs(t *testing.T) {
	ids := []authority.MandateID{"mdt_" + authority.MandateID(strings.Repeat("2", 25)) + "4", "mdt_" + authority.MandateID(strings.Repeat("z", 25)) + "y"}
	for range 2000 {
		ids = append(ids, authority.NewID[authority.MandateID]())
	}
	slices.Sort(ids)
	var last key
	for i, id := range ids {
		k, ok := keyOf(id)
		if !ok || k.id() != id {
			t.Fatalf("%s is read as %s (%t)", id, k.id(), ok)
		}
		if i > 0 && last.compare(k) >= 0 {
			t.Fatalf("%s comes before %s", ids[i-1], id)
		}
		last = k
	}
	for _, id := range []authority.MandateID{
		"", "mdt_", ids[5][:29], ids[5] + "a", "prn_" + ids[5][4:], ids[5][:29] + "b", ids[5][:10] + "A" + ids[5][11:], ids[5][:10] + "0" + ids[5][11:], ids[5][:29] + "\x00",
	} {
		if k, ok := keyOf(id); ok {
			t.Errorf("%q is read as %s", id, k.id())
		}
	}
}

// plainMandate is one that is kept compact.
func plainMandate(subject authority.PrincipalID) authority.Mandate {
	at := time.Date(2026, 1, 15, 10, 30, 0, 0, time.UTC)
	return authority.Mandate{
		ID: authority.NewID[authority.MandateID](), WorkspaceID: "ws_own", SubjectID: subject, IssuerID: "prn_issuer",
		ValidFrom: at, ValidUntil: at.Add(time.Hour), CreatedAt: at, Signature: "header.." + strings.Repeat("A", 86),
	}
}

func changed(t *testing.T, set []authority.Mandate, removed ...authority.MandateID) bundle.Changes[authority.Mandate, authority.MandateID] {
	t.Helper()
	c := bundle.Changes[authority.Mandate, authority.MandateID]{Removed: removed}
	for _, m := range set {
		item, err := bundle.MandateItem(m)
		if err != nil {
			t.Fatal(err)
		}
		c.Set = append(c.Set, item)
	}
	slices.SortFunc(c.Set, func(a, b bundle.Item[authority.Mandate]) int { return cmp.Compare(a.Value.ID, b.Value.ID) })
	return c
}

// Months of changes leave nothing behind: a glossary and the shards follow what there is.
func TestATableFollowsWhatItHolds(t *testing.T) {
	table := newMandatesBuilder("ws_own", &token.KeySet{}, 0).done()
	var state bundle.State
	var held []authority.Mandate
	for round := range 60 {
		var gone []authority.MandateID
		for _, m := range held {
			gone = append(gone, m.ID)
		}
		held = held[:0]
		for range 1500 {
			held = append(held, plainMandate(authority.NewID[authority.PrincipalID]()))
		}
		table = table.apply(changed(t, held, gone...), &state)
		if entries := table.glossary.entries(); entries > 3*(2*1500+slack) {
			t.Fatalf("after %d rounds the glossary has %d entries for %d mandates", round, entries, len(held))
		}
	}
	var direct bundle.State
	for _, item := range changed(t, held).Set {
		direct.Add(item.Digest)
		m, ok := table.get(item.Value.ID)
		if !ok || m.SubjectID != item.Value.SubjectID {
			t.Fatalf("mandate %s is %+v (%t)", item.Value.ID, m, ok)
		}
	}
	if table.count != len(held) || state != direct {
		t.Errorf("%d mandates with the digest %x, want %d with %x", table.count, state.Sum(), len(held), direct.Sum())
	}
	if len(table.shards) < 2 {
		t.Errorf("%d mandates are in %d shards", len(held), len(table.shards))
	}
}

func TestAChangeSharesWhatItDoesNotTouch(t *testing.T) {
	var all []authority.Mandate
	for range 5000 {
		all = append(all, plainMandate("prn_subject"))
	}
	var state bundle.State
	b := newMandatesBuilder("ws_own", &token.KeySet{}, len(all))
	for _, item := range changed(t, all).Set {
		b.add(item)
		state.Add(item.Digest)
	}
	before := b.done()
	for _, s := range before.shards { // as if all had been verified
		for i := range s.records {
			s.setVerified(i)
		}
	}
	other := all[7]
	other.Revoked = true
	after := before.apply(changed(t, []authority.Mandate{other}, all[8].ID), &state)
	copied, unverified := 0, 0
	for i, s := range after.shards {
		if s != before.shards[i] {
			copied++
		}
		for i := range s.records {
			if !s.isVerified(i) {
				unverified++
			}
		}
	}
	if copied > 2 || unverified != 1 || after.count != len(all)-1 {
		t.Errorf("%d of %d shards are copied, %d mandates to be verified again, %d there", copied, len(after.shards), unverified, after.count)
	}
	rekeyed := after.under(&token.KeySet{})
	for _, s := range rekeyed.shards {
		for i := range s.records {
			if s.isVerified(i) {
				t.Fatal("a mandate counts as verified by keys that it was not verified by")
			}
		}
	}
}
