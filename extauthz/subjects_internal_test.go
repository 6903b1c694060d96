package extauthz

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/token"
)

// holder are mandates as a table should have them.
type holder map[authority.MandateID]authority.Mandate

// of is what the table should say.
func (h holder) of(subject authority.PrincipalID) (found []authority.MandateID) {
	for id, m := range h {
		if m.SubjectID == subject && !m.Revoked {
			found = append(found, id)
		}
	}
	slices.Sort(found)
	return found
}

// of are the mandates of a subject that are not revoked, without their signatures.
func (t *mandates) of(subject authority.PrincipalID) iter.Seq[authority.Mandate] {
	return func(yield func(authority.Mandate) bool) {
		for c := range t.records(subject) {
			if !yield(t.meanings.expand(c, c.id.id(), t.owner)) {
				return
			}
		}
		for m := range t.oddOf(subject) {
			if !yield(m) {
				return
			}
		}
	}
}

func listedIn(table *mandates, subject authority.PrincipalID) (found []authority.MandateID) {
	for m := range table.of(subject) {
		found = append(found, m.ID)
	}
	slices.Sort(found)
	return found
}

// drawn is a mandate of one of a few subjects, at times one that is not compact, that is revoked, or whose key begins as
// those of many others.
func drawn(t *rapid.T) authority.Mandate {
	m := plainMandate(authority.PrincipalID(fmt.Sprint("prn_", rapid.IntRange(0, 3).Draw(t, "subject"))))
	if rapid.IntRange(0, 2).Draw(t, "crowd") == 0 {
		m.ID = m.ID[:4] + "4444444" + m.ID[11:]
	}
	if rapid.IntRange(0, 9).Draw(t, "odd") == 0 {
		m.ValidFrom = m.ValidFrom.Add(time.Millisecond)
	}
	if rapid.IntRange(0, 4).Draw(t, "revoked") == 0 {
		m.Revoked, m.RevokedAt = true, &m.CreatedAt
	}
	return m
}

func TestTheMandatesOfASubjectAreThoseThatAreNotRevoked(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		held := holder{}
		for range rapid.SampledFrom([]int{0, 3, 40, 1500}).Draw(rt, "first") {
			m := drawn(rt)
			held[m.ID] = m
		}
		b := newMandatesBuilder("ws_own", &token.KeySet{}, len(held))
		for _, item := range changed(t, slices.Collect(maps.Values(held))).Set {
			b.add(item)
		}
		table := b.done()
		var state bundle.State
		for range rapid.IntRange(1, 6).Draw(rt, "deltas") {
			ids := slices.Sorted(maps.Keys(held))
			set, gone := holder{}, []authority.MandateID{authority.NewID[authority.MandateID]()}
			for range rapid.SampledFrom([]int{0, 1, 5, 1300}).Draw(rt, "changes") {
				m := drawn(rt)
				if len(ids) > 0 && rapid.Bool().Draw(rt, "again") {
					m.ID = rapid.SampledFrom(ids).Draw(rt, "id")
				}
				set[m.ID] = m
			}
			for _, id := range ids {
				if _, again := set[id]; !again && rapid.IntRange(0, 9).Draw(rt, "gone") < 3 {
					gone = append(gone, id)
				}
			}
			before, expected := table, maps.Clone(held)
			table = table.apply(changed(t, slices.Collect(maps.Values(set)), gone...), &state)
			maps.Copy(held, set)
			for _, id := range gone {
				delete(held, id)
			}
			for _, subject := range []authority.PrincipalID{"prn_0", "prn_1", "prn_2", "prn_3", "prn_none"} {
				if diff := cmp.Diff(held.of(subject), listedIn(table, subject)); diff != "" {
					rt.Fatalf("the mandates of %s (-want +got):\n%s", subject, diff)
				}
				if diff := cmp.Diff(expected.of(subject), listedIn(before, subject)); diff != "" {
					rt.Fatalf("the table before has changed for %s (-want +got):\n%s", subject, diff)
				}
			}
			sound(rt, table.subjects)
		}
	})
}

// sound checks what the search in an index relies on.
func sound(t *rapid.T, s *subjects) {
	all := slices.Concat(s.leaves...)
	if !slices.IsSorted(all) || len(all) != s.count {
		t.Fatalf("%d places are in order: %t; counted are %d", len(all), slices.IsSorted(all), s.count)
	}
	for i, leaf := range s.leaves {
		if len(leaf) == 0 || i > 0 && s.leaves[i-1][len(s.leaves[i-1])-1] == leaf[0] {
			t.Fatalf("leaf %d of %d has %d places, and may begin with the last of the one before", i, len(s.leaves), len(leaf))
		}
	}
}

func TestSubjectsOfOneHashHaveTheirOwnMandates(t *testing.T) {
	table := newMandatesBuilder("ws_own", &token.KeySet{}, 0).done()
	known := map[uint32]authority.PrincipalID{}
	for i := 0; ; i++ {
		one := authority.PrincipalID(fmt.Sprint("prn_", i))
		hash := hashOf(table.subjects.seed, one)
		if other, ok := known[hash]; ok {
			mine, others := plainMandate(one), plainMandate(other)
			table = table.apply(changed(t, []authority.Mandate{mine, others}), new(bundle.State))
			if got := listedIn(table, one); !slices.Equal(got, []authority.MandateID{mine.ID}) {
				t.Errorf("%s has %s, and not %s alone", one, got, mine.ID)
			}
			return
		}
		known[hash] = one
	}
}

func TestAnIndexOfSubjectsSharesWhatAChangeDoesNotTouch(t *testing.T) {
	b := newMandatesBuilder("ws_own", &token.KeySet{}, 5000)
	var all []authority.Mandate
	for range 5000 {
		all = append(all, plainMandate(authority.NewID[authority.PrincipalID]()))
	}
	for _, item := range changed(t, all).Set {
		b.add(item)
	}
	before := b.done()
	other := all[7]
	other.Revoked = true
	after := before.apply(changed(t, []authority.Mandate{other}), new(bundle.State))
	copied := 0
	for i, leaf := range after.subjects.leaves {
		if &leaf[0] != &before.subjects.leaves[i][0] {
			copied++
		}
	}
	if copied != 1 || after.subjects.count != len(all)-1 {
		t.Errorf("%d of %d leaves are copied; %d mandates are listed", copied, len(after.subjects.leaves), after.subjects.count)
	}
	var gone []authority.MandateID
	for _, m := range all[100:] {
		gone = append(gone, m.ID)
	}
	if few := after.apply(changed(t, nil, gone...), new(bundle.State)).subjects; few.count > 100 || len(few.leaves) > 10 {
		t.Errorf("%d mandates are in %d leaves", few.count, len(few.leaves))
	}
}
