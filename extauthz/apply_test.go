package extauthz_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/extauthz"
	"github.com/caracal-gateway/caracal/internal/world"
	"github.com/caracal-gateway/caracal/token"
)

// follower is a gateway's side of a workspace whose changes it is told as deltas.
type follower struct {
	*world.World
	index    *bundle.Index
	snapshot *extauthz.Snapshot
	trust    bundle.Trust
}

func follow(t testing.TB, w *world.World) *follower {
	t.Helper()
	r := w.Reader()
	snapshot, err := extauthz.NewSnapshot(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	trust := bundle.Trust{Root: w.Root.Fingerprint()}
	return &follower{World: w, index: w.Index(), snapshot: snapshot, trust: trust.Enforced(r.Snapshot, r.Keys)}
}

// open is the next delta, as the gateway opens it.
func (l *follower) open(t testing.TB, edits bundle.Edits) (bundle.Delta, token.KeySet) {
	t.Helper()
	d, keys, err := bundle.OpenDelta(l.Delta(l.index, edits), l.trust)
	if err != nil {
		t.Fatal(err)
	}
	return d, keys
}

// advance moves it on.
func (l *follower) advance(t testing.TB, edits bundle.Edits) extauthz.Change {
	t.Helper()
	d, keys := l.open(t, edits)
	next, change, err := l.snapshot.Apply(context.Background(), d, keys)
	if err != nil {
		t.Fatal(err)
	}
	l.snapshot, l.trust = next, l.trust.Advanced(d, keys)
	return change
}

// all names everything that the workspace has, and what is gone of what it had.
func (l *follower) all(before bundle.Snapshot) bundle.Edits {
	e := bundle.Edits{Head: &l.State.Head}
	e.Principals.Set, e.Mandates.Set, e.AgentKeys.Set = l.State.Principals, l.State.Mandates, l.State.AgentKeys
	e.Principals.Removed = gone(before.Principals, l.State.Principals, func(p authority.Principal) authority.PrincipalID { return p.ID })
	e.Mandates.Removed = gone(before.Mandates, l.State.Mandates, func(m authority.Mandate) authority.MandateID { return m.ID })
	e.AgentKeys.Removed = gone(before.AgentKeys, l.State.AgentKeys, func(k bundle.AgentKey) authority.KeyID { return k.ID })
	return e
}

func gone[T any, ID ~string](before, after []T, id func(T) ID) []ID {
	still := map[ID]bool{}
	for _, item := range after {
		still[id(item)] = true
	}
	var ids []ID
	for _, item := range before {
		if !still[id(item)] {
			ids = append(ids, id(item))
		}
	}
	return ids
}

// shows holds a snapshot against a state, item by item.
func shows(t testing.TB, s *extauthz.Snapshot, state bundle.Snapshot) {
	t.Helper()
	for _, want := range state.Mandates {
		got, ok := s.Mandate(want.ID)
		want.Signature = ""
		if !ok || !reflect.DeepEqual(want, got) {
			t.Fatalf("mandate %s is known: %t (-state +snapshot)\n%s", want.ID, ok, cmp.Diff(want, got))
		}
	}
	for _, want := range state.Principals {
		got, ok := s.Principal(want.ID)
		if !ok || !reflect.DeepEqual(want, got) {
			t.Fatalf("principal %s is known: %t (-state +snapshot)\n%s", want.ID, ok, cmp.Diff(want, got))
		}
	}
	if s.Revision() != state.Revision || s.Workspace().Revision != state.Revision || s.ActivePolicies() != state.ActivePolicies {
		t.Fatalf("revision %d and %d, %d policies, want %d, %d", s.Revision(), s.Workspace().Revision, s.ActivePolicies(), state.Revision, state.ActivePolicies)
	}
}

// mandate is one of every shape that there is, and of some that there should not be.
func mandate(t *rapid.T, w *world.World) authority.Mandate {
	pick := func(name string, ids ...authority.PrincipalID) authority.PrincipalID {
		return rapid.SampledFrom(ids).Draw(t, name)
	}
	m := authority.Mandate{
		ID: authority.NewID[authority.MandateID](), WorkspaceID: w.State.Workspace.ID,
		IssuerID: pick("issuer", w.Owner.ID, w.Agent.ID), SubjectID: pick("subject", w.Agent.ID, w.Child.ID, authority.NewID[authority.PrincipalID]()),
		RequestedBy: pick("requester", w.Agent.ID, w.Owner.ID),
		Consent:     rapid.SampledFrom([]authority.Consent{authority.ConsentExplicit, authority.ConsentStanding}).Draw(t, "consent"),
		ResourceScope: rapid.SampledFrom([][]authority.ResourcePattern{
			{"api:echo/*"}, {"api:model", "api:echo/*"}, {"api:mo", "delapi:echo/*"}, {"api:model,api:echo/*"}, {},
		}).Draw(t, "resources"),
		ActionScope: rapid.SampledFrom([]authority.Actions{{authority.Read}, authority.AllActions(), {}}).Draw(t, "actions"),
		ValidFrom:   w.Now, ValidUntil: w.Now.Add(time.Duration(rapid.IntRange(1, 1e6).Draw(t, "seconds")) * time.Second),
		DelegationDepth: rapid.IntRange(-1, 8).Draw(t, "depth"), Level: rapid.IntRange(0, 3).Draw(t, "level"),
		PolicyID: "pol_one", PolicyVersion: rapid.Int64().Draw(t, "version"), CreatedAt: w.Now.Add(17 * time.Microsecond),
		Signature: signature(),
	}
	if rapid.Bool().Draw(t, "delegated") {
		m.ParentID = &w.Mandate.ID
	}
	if rapid.Bool().Draw(t, "bound") {
		m.Confirmation = &authority.Confirmation{Certificate: authority.Thumbprint(rapid.SampledFrom([]string{"a", "b"}).Draw(t, "certificate"))}
	}
	revoked(t, &m, w.Now)
	strange(t, &m)
	return m
}

func revoked(t *rapid.T, m *authority.Mandate, now time.Time) {
	if m.Revoked = rapid.Bool().Draw(t, "revoked"); m.Revoked && rapid.Bool().Draw(t, "when") {
		at := now.Add(time.Duration(rapid.IntRange(0, 3).Draw(t, "at")) * time.Microsecond)
		m.RevokedAt, m.RevokedBy = &at, rapid.SampledFrom([]authority.PrincipalID{"", m.IssuerID}).Draw(t, "by")
	}
}

// strange makes a mandate one that cannot be kept compact.
func strange(t *rapid.T, m *authority.Mandate) {
	other := authority.MandateID("mdt_short")
	switch rapid.IntRange(0, 20).Draw(t, "strange") {
	case 0:
		m.ID = "mandate-" + m.ID // no id at all, and nobody else's
	case 1:
		m.ID = m.ID[:len(m.ID)-1] + "3" // the last digit of no id
	case 2:
		m.ParentID = &other
	case 3:
		m.ValidFrom = m.ValidFrom.Add(time.Millisecond)
	case 4:
		m.ValidUntil = m.ValidUntil.AddDate(300, 0, 0)
	case 5:
		m.CreatedAt = m.CreatedAt.Add(time.Nanosecond)
	case 6:
		m.Signature = "whole.in.one"
	case 7:
		m.Signature = ""
	case 8:
		s := signature()
		m.Signature = s[:len(s)-1] + "B" // bits that are none of the signature's
	case 9:
		m.Revoked, m.RevokedAt, m.RevokedBy = false, &m.CreatedAt, "prn_x"
	case 10:
		m.ValidFrom = time.Unix(-1, 0).UTC()
	}
}

// signature is a detached one that nobody made.
func signature() string {
	var random [64]byte
	rand.Read(random[:])
	return "eyJhbGciOiJFZERTQSJ9.." + base64.RawURLEncoding.EncodeToString(random[:])
}

func TestDeltasLeadToTheStateThatASnapshotWouldHave(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := world.New(t, start)
		for range rapid.SampledFrom([]int{0, 0, 0, 0, 10, 700}).Draw(rt, "mandates") {
			m := w.Mandate
			m.ID, m.Signature = authority.NewID[authority.MandateID](), signature()
			w.State.Mandates = append(w.State.Mandates, m)
		}
		l := follow(t, w)
		for range rapid.IntRange(1, 5).Draw(rt, "steps") {
			before, first := copied(w.State), l.snapshot
			for range rapid.IntRange(0, 6).Draw(rt, "changes") {
				change(rt, w)
			}
			l.advance(t, l.all(before))
			shows(t, l.snapshot, w.State)
			shows(t, first, before)
			for _, id := range gone(before.Mandates, w.State.Mandates, func(m authority.Mandate) authority.MandateID { return m.ID }) {
				if _, still := l.snapshot.Mandate(id); still {
					t.Fatalf("mandate %s is known still", id)
				}
			}
		}
		fresh := follow(t, w)
		if fresh.snapshot.Digest() != l.snapshot.Digest() {
			t.Fatalf("after deltas the digest is %x, of a snapshot %x", l.snapshot.Digest(), fresh.snapshot.Digest())
		}
	})
}

// copied is the state with lists of its own.
func copied(s bundle.Snapshot) bundle.Snapshot {
	s.Principals, s.Mandates, s.AgentKeys = slices.Clone(s.Principals), slices.Clone(s.Mandates), slices.Clone(s.AgentKeys)
	return s
}

// change makes one change to a workspace.
func change(t *rapid.T, w *world.World) {
	at := func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "at") }
	switch rapid.IntRange(0, 7).Draw(t, "change") {
	case 0, 1:
		w.State.Mandates = append(w.State.Mandates, mandate(t, w))
	case 2, 3:
		i := at(len(w.State.Mandates))
		m := w.State.Mandates[i]
		revoked(t, &m, w.Now)
		strange(t, &m)
		w.State.Mandates[i] = m
	case 4:
		w.State.Mandates = slices.Delete(w.State.Mandates, 0, min(at(20), len(w.State.Mandates)-1))
	case 5:
		w.Register(fmt.Sprint("agent ", at(100)), authority.Agent)
	case 6:
		w.State.Principals = slices.Delete(w.State.Principals, 0, min(at(2), len(w.State.Principals)-1))
		i := at(len(w.State.Principals))
		w.State.Principals[i].Suspended = !w.State.Principals[i].Suspended
	case 7:
		w.State.ActivePolicies++
		w.State.AgentKeys = append(w.State.AgentKeys, bundle.AgentKey{ID: authority.NewID[authority.KeyID](), PrincipalID: w.Agent.ID, Hash: make([]byte, 32)})
		w.State.AgentKeys = slices.Delete(w.State.AgentKeys, 0, at(2))
	}
}

func TestADeltaIsNotAppliedToASnapshotThatItIsNotOf(t *testing.T) {
	w := world.New(t, start)
	l := follow(t, w)
	w.Revoke(w.Mandate.ID)
	good, keys := l.open(t, l.all(w.State))
	for name, spoil := range map[string]func(d *bundle.Delta){
		"of an earlier one":           func(d *bundle.Delta) { d.From-- },
		"of a later one":              func(d *bundle.Delta) { d.From++ },
		"of another state":            func(d *bundle.Delta) { d.FromDigest[0]++ },
		"of another workspace":        func(d *bundle.Delta) { d.Workspace = "ws_other" },
		"of another timeline":         func(d *bundle.Delta) { d.Timeline = "another" },
		"that promises another state": func(d *bundle.Delta) { d.Digest[0]++ },
		"that leaves something out":   func(d *bundle.Delta) { d.Mandates.Set = nil },
		"that removes something more": func(d *bundle.Delta) {
			d.Principals.Removed = append(d.Principals.Removed, w.Agent.ID)
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := good
			spoil(&d)
			next, change, err := l.snapshot.Apply(t.Context(), d, keys)
			if bundle.CodeOf(err) != bundle.CodeGap || next != nil || change.All || change.Mandates != nil {
				t.Errorf("it is answered %v, with %+v and %+v; want %s", err, next, change, bundle.CodeGap)
			}
		})
	}
	if m, _ := l.snapshot.Mandate(w.Mandate.ID); m.Revoked || l.snapshot.Revision() != 7 {
		t.Errorf("the snapshot itself has changed: revision %d, %+v", l.snapshot.Revision(), m)
	}
	if _, _, err := l.snapshot.Apply(t.Context(), good, keys); err != nil {
		t.Error(err)
	}
}

func TestAChangeNamesWhatIsDecidedDifferently(t *testing.T) {
	for name, c := range map[string]struct {
		change func(w *world.World)
		want   func(w *world.World) extauthz.Change
	}{
		"a mandate that is revoked": {
			func(w *world.World) { w.Revoke(w.Mandate.ID) },
			func(w *world.World) extauthz.Change {
				return extauthz.Change{Mandates: []authority.MandateID{w.Mandate.ID}}
			},
		},
		"a mandate that is gone": {
			func(w *world.World) { w.State.Mandates = w.State.Mandates[1:] },
			func(w *world.World) extauthz.Change {
				return extauthz.Change{Mandates: []authority.MandateID{w.Mandate.ID}}
			},
		},
		"a principal that is suspended": {
			func(w *world.World) { w.Suspend(w.Agent.ID) },
			func(w *world.World) extauthz.Change {
				return extauthz.Change{Principals: []authority.PrincipalID{w.Agent.ID}}
			},
		},
		"a principal that is gone": {
			func(w *world.World) { w.State.Principals = w.State.Principals[1:] },
			func(w *world.World) extauthz.Change {
				return extauthz.Change{Principals: []authority.PrincipalID{w.Owner.ID}}
			},
		},
		"only how many policies there are": {
			func(w *world.World) { w.State.ActivePolicies++ },
			func(*world.World) extauthz.Change { return extauthz.Change{} },
		},
		"everything, for another policy": {
			func(w *world.World) { w.Govern(denying) },
			func(*world.World) extauthz.Change { return extauthz.Change{All: true} },
		},
		"everything, for another catalog": {
			func(w *world.World) { w.State.Destinations = w.State.Destinations[1:] },
			func(*world.World) extauthz.Change { return extauthz.Change{All: true} },
		},
		"everything, for another workspace": {
			func(w *world.World) { w.State.Workspace.ArchivedAt = &w.Now },
			func(*world.World) extauthz.Change { return extauthz.Change{All: true} },
		},
		"everything, for another key": {
			func(w *world.World) {
				w.TokenKey = token.NewSigningKey(token.PurposeToken, start, start.Add(time.Hour))
			},
			func(*world.World) extauthz.Change { return extauthz.Change{All: true} },
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := world.New(t, start)
			l := follow(t, w)
			before := copied(w.State)
			c.change(w)
			if diff := cmp.Diff(c.want(w), l.advance(t, l.all(before))); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestDecisionsAreMadeFromWhatADeltaLeadsTo(t *testing.T) {
	for name, c := range map[string]struct {
		change func(w *world.World)
		want   string // empty: it is permitted
	}{
		"nothing changes":                      {func(*world.World) {}, ""},
		"the mandate is revoked":               {func(w *world.World) { w.Revoke(w.Mandate.ID) }, "mandate_revoked"},
		"the mandate is gone":                  {func(w *world.World) { w.State.Mandates = w.State.Mandates[1:] }, "mandate_not_found"},
		"the agent is suspended":               {func(w *world.World) { w.Suspend(w.Agent.ID) }, "principal_suspended"},
		"the destination is gone":              {func(w *world.World) { w.State.Destinations = nil }, "target_not_allowed"},
		"the policy denies":                    {func(w *world.World) { w.Govern(denying) }, "policy_denied"},
		"the workspace is deleted":             {func(w *world.World) { w.State.Workspace.DeletedAt = &w.Now }, "workspace_deleted"},
		"the mandate says more than is signed": {func(w *world.World) { w.Change(w.Mandate.ID, func(m *authority.Mandate) { m.DelegationDepth++ }) }, "delegation_chain_invalid"},
		"the key that signed it is gone": {func(w *world.World) {
			w.MandateKey = token.NewSigningKey(token.PurposeMandate, start, start.Add(time.Hour))
		}, "delegation_chain_invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			l := follow(t, b.World)
			b.service.Enforce(l.snapshot, extauthz.Change{All: true})
			check := b.proxied().check()
			wantPermission(t, b.check(t, check))
			before := copied(b.State)
			c.change(b.World)
			made := l.advance(t, l.all(before))
			b.service.Enforce(l.snapshot, made)
			answer := b.check(t, check)
			if c.want == "" {
				wantPermission(t, answer)
			} else if d := wantDenial(t, answer); d.Error != c.want {
				t.Errorf("got %+v, want %s", d, c.want)
			}
		})
	}
}

const denying = `package caracal.policy

import rego.v1

deny contains {"message": "never", "code": "no"}
`
