package bundle_test

import (
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/token"
)

// epoch is when everything in these tests is made.
var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const (
	deployment = "dep_main"
	timeline   = "8d1f7f7e-6f0c-4b57-9d5e-0c2f5a0b8a11"
)

// world is the control plane's side of one workspace.
type world struct {
	root token.Root
	key  token.SigningKey
	set  token.KeySet
}

func newWorld() world {
	key := token.NewSigningKey(token.PurposeBundle, epoch.Add(-time.Hour), epoch.Add(24*time.Hour))
	return world{root: token.NewRoot(), key: key, set: token.KeySet{
		Deployment: deployment, Workspace: authority.NewID[authority.WorkspaceID](), Timeline: timeline, Version: 3,
		Keys: []token.VerifyingKey{key.Public()},
	}}
}

// trust is what a gateway of the workspace knows before its first bundle.
func (w world) trust() bundle.Trust { return bundle.Trust{Root: w.root.Fingerprint()} }

func (w world) keySet(t testing.TB) string {
	t.Helper()
	sealed, err := token.SealKeySet(w.root, w.set)
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

func (w world) seal(t testing.TB, s bundle.Snapshot) bundle.Sealed {
	t.Helper()
	sealed, err := bundle.Seal(s, w.key, w.keySet(t))
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

// snapshot has one of everything.
func (w world) snapshot(revision uint64) bundle.Snapshot {
	agent := authority.NewID[authority.PrincipalID]()
	later := epoch.Add(time.Hour)
	parent := authority.NewID[authority.MandateID]()
	return bundle.Snapshot{
		Format: bundle.Format, Critical: []string{"rego", "mandates"}, Deployment: deployment, Timeline: timeline,
		Revision: revision, IssuedAt: epoch,
		Head: bundle.Head{
			Workspace:      authority.Workspace{ID: w.set.Workspace, Slug: "team", Name: "Team", Revision: revision, CreatedAt: epoch},
			ActivePolicies: 12,
			Destinations: []authority.Destination{{
				ID: authority.NewID[authority.DestinationID](), WorkspaceID: w.set.Workspace, Host: "*.example.com",
				Ports: []uint16{443}, TLS: authority.TLSRequired, Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
				Rules:     []authority.Rule{{Path: "/**", Methods: map[string]authority.Action{"*": authority.Read}, Resource: "api:x"}},
				CreatedAt: epoch,
			}},
			Rego: &authority.RegoVersion{
				ID: authority.NewID[authority.RegoVersionID](), WorkspaceID: w.set.Workspace, Number: 1, CreatedAt: epoch,
				Modules: map[string]string{"policy.rego": "package caracal.policy"},
				Data:    map[string]any{"limit": json.Number("9007199254740993"), "names": []any{"<&>", nil, true}},
			},
			Envoy: []byte{0, 1, 0xff},
		},
		Principals: []authority.Principal{{
			ID: agent, WorkspaceID: w.set.Workspace, Name: "agent", Type: authority.Agent,
			Metadata: map[string]string{"a": "1", "A": "2"}, CreatedAt: epoch,
		}},
		Mandates: []authority.Mandate{{
			ID: authority.NewID[authority.MandateID](), WorkspaceID: w.set.Workspace, IssuerID: agent, SubjectID: agent,
			ResourceScope: []authority.ResourcePattern{"api:external/*"}, ActionScope: authority.Actions{authority.Read},
			ValidFrom: epoch, ValidUntil: later, ParentID: &parent, Level: 1, Revoked: true, RevokedAt: &later,
			CreatedAt: epoch.Add(time.Microsecond),
		}},
		AgentKeys: []bundle.AgentKey{{
			ID: authority.NewID[authority.KeyID](), PrincipalID: agent, Hash: make([]byte, 32), ExpiresAt: &later,
		}},
	}
}

// delta leads from one state to another.
func (w world) delta(t testing.TB, from, to bundle.Snapshot) []byte {
	t.Helper()
	sealed, err := bundle.SealDelta(w.change(t, from, to), w.key, w.keySet(t))
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

// change is what differs between two states.
func (w world) change(t testing.TB, from, to bundle.Snapshot) bundle.Delta {
	t.Helper()
	index, err := bundle.NewIndex(from)
	if err != nil {
		t.Fatal(err)
	}
	d, err := index.Delta(edits(from, to))
	if err != nil {
		t.Fatal(err)
	}
	d.Deployment, d.Timeline, d.From, d.Revision, d.IssuedAt = to.Deployment, to.Timeline, from.Revision, to.Revision, to.IssuedAt
	d.Critical = to.Critical
	return d
}

// edits name everything of both states.
func edits(from, to bundle.Snapshot) bundle.Edits {
	e := bundle.Edits{Head: &to.Head}
	e.Principals.Set, e.Mandates.Set, e.AgentKeys.Set = to.Principals, to.Mandates, to.AgentKeys
	e.Principals.Removed = without(from.Principals, to.Principals, func(p authority.Principal) authority.PrincipalID { return p.ID })
	e.Mandates.Removed = without(from.Mandates, to.Mandates, func(m authority.Mandate) authority.MandateID { return m.ID })
	e.AgentKeys.Removed = without(from.AgentKeys, to.AgentKeys, func(k bundle.AgentKey) authority.KeyID { return k.ID })
	return e
}

// without are the ids of what is in one list and not in another.
func without[T any, ID ~string](from, to []T, id func(T) ID) []ID {
	still := map[ID]bool{}
	for _, item := range to {
		still[id(item)] = true
	}
	var gone []ID
	for _, item := range from {
		if !still[id(item)] {
			gone = append(gone, id(item))
		}
	}
	return gone
}
