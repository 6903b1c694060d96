// Package world makes a small workspace in memory for tests: an owner, two agents and a service, mandates and a
// delegation, destinations and the keys that sign it all. A test changes what it needs to and gets a snapshot, or a
// sealed bundle, of what there is then.
package world

import (
	"bytes"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/token"
)

// Names of what the workspace has from the start.
const (
	EchoHost  = "echo.caracal.test"  // private: rules, a CA of its own, reached at 127.0.0.1
	ModelHost = "api.model.test"     // public: one rule, and the credential ModelSecret
	PlainHost = "plain.caracal.test" // private, plain HTTP on port 80
	EchoPort  = 9443
	// ModelSecret names the credential of ModelHost, which goes into the header x-api-key.
	ModelSecret = "model"
)

// World is a workspace. Its exported fields may be changed; Snapshot and Seal show them as they are then.
type World struct {
	t testing.TB

	Now  time.Time // of the workspace's control plane
	Root token.Root
	// One key for each purpose.
	TokenKey, MandateKey, BundleKey token.SigningKey

	State bundle.Snapshot
	// Succeeds are the timelines that the workspace's own took the place of.
	Succeeds []string

	Owner, Agent, Child, Service authority.Principal
	// Mandate is Agent's: every action on the echo host but below /admin, and on the model host. Delegated is cut from
	// it for Child: reading the echo host.
	Mandate, Delegated authority.Mandate
}

const deployment = "dep_test"

// New makes the workspace as it is at an instant.
func New(t testing.TB, now time.Time) *World {
	t.Helper()
	now = now.UTC().Truncate(time.Second)
	begin, end := now.Add(-24*time.Hour), now.Add(30*24*time.Hour)
	w := &World{
		t: t, Now: now, Root: token.NewRoot(),
		TokenKey:   token.NewSigningKey(token.PurposeToken, begin, end),
		MandateKey: token.NewSigningKey(token.PurposeMandate, begin, end),
		BundleKey:  token.NewSigningKey(token.PurposeBundle, begin, end),
	}
	id := authority.NewID[authority.WorkspaceID]()
	w.State = bundle.Snapshot{
		Format: bundle.Format, Deployment: deployment, Timeline: "6f1d2c1e-4d3b-4d0a-9c55-8f1a52c6a001", Revision: 7, IssuedAt: now,
		Head: bundle.Head{
			Workspace: authority.Workspace{
				ID: id, Slug: "my-team", Name: "My team", Revision: 7, CreatedAt: begin,
				Settings: authority.Settings{MaxStreamSeconds: 600, EventRetentionDays: 30},
			},
			ActivePolicies: 2,
		},
	}
	w.Owner = w.Register("owner", authority.User)
	w.Agent = w.Register("agent", authority.Agent)
	w.Child = w.Register("child", authority.Agent)
	w.Service = w.Register("service", authority.Service)
	w.addDestinations()
	w.Mandate = w.Issue(w.Agent.ID, authority.Scope{
		Resources: []authority.ResourcePattern{"api:echo/*", "api:model"},
		Actions:   authority.Actions{authority.Execute, authority.Read, authority.Write},
	})
	w.Delegated = w.Delegate(w.Mandate, w.Child.ID, authority.Scope{
		Resources: []authority.ResourcePattern{"api:echo/*"},
		Actions:   authority.Actions{authority.Read},
	})
	return w
}

// Register adds a principal. A user is an owner.
func (w *World) Register(name string, kind authority.PrincipalType) authority.Principal {
	p := authority.Principal{
		ID: authority.NewID[authority.PrincipalID](), WorkspaceID: w.State.Workspace.ID, Name: name, Type: kind,
		Metadata: map[string]string{"environment": "test"}, CreatedAt: w.Now,
	}
	if kind == authority.User {
		p.Role = authority.RoleOwner
	}
	w.State.Principals = append(w.State.Principals, p)
	return p
}

// Suspend marks a principal as suspended.
func (w *World) Suspend(id authority.PrincipalID) {
	for i := range w.State.Principals {
		if w.State.Principals[i].ID == id {
			w.State.Principals[i].Suspended = true
		}
	}
}

// Issue adds a mandate from Owner that holds for an hour and may be delegated three times.
func (w *World) Issue(subject authority.PrincipalID, scope authority.Scope) authority.Mandate {
	return w.Add(authority.Mandate{
		IssuerID: w.Owner.ID, SubjectID: subject, ResourceScope: scope.Resources, ActionScope: scope.Actions,
		ValidFrom: w.Now, ValidUntil: w.Now.Add(time.Hour), DelegationDepth: 3,
		RequestedBy: subject, Consent: authority.ConsentStanding,
	})
}

// Delegate adds a mandate that is cut from another one and holds half an hour.
func (w *World) Delegate(parent authority.Mandate, child authority.PrincipalID, scope authority.Scope) authority.Mandate {
	return w.Add(authority.Mandate{
		IssuerID: parent.SubjectID, SubjectID: child, ResourceScope: scope.Resources, ActionScope: scope.Actions,
		ValidFrom: w.Now, ValidUntil: w.Now.Add(30 * time.Minute),
		ParentID: &parent.ID, DelegationDepth: parent.DelegationDepth - 1, Level: parent.Level + 1,
		RequestedBy: parent.SubjectID, Consent: authority.ConsentExplicit,
	})
}

// Add completes a mandate, signs it and adds it. Nothing of it is checked.
func (w *World) Add(m authority.Mandate) authority.Mandate {
	w.t.Helper()
	m.ID, m.WorkspaceID = authority.NewID[authority.MandateID](), w.State.Workspace.ID
	m.PolicyID, m.PolicyVersion, m.CreatedAt = authority.NewID[authority.PolicyID](), 1, w.Now
	signature, err := token.SignMandate(w.MandateKey, deployment, m)
	if err != nil {
		w.t.Fatal(err)
	}
	m.Signature = signature
	w.State.Mandates = append(w.State.Mandates, m)
	return m
}

// Revoke marks a mandate as revoked, without its descendants.
func (w *World) Revoke(id authority.MandateID) {
	for i := range w.State.Mandates {
		if w.State.Mandates[i].ID == id {
			w.State.Mandates[i].Revoked, w.State.Mandates[i].RevokedAt = true, &w.Now
		}
	}
}

// Change alters a mandate after it was signed.
func (w *World) Change(id authority.MandateID, change func(*authority.Mandate)) {
	for i := range w.State.Mandates {
		if w.State.Mandates[i].ID == id {
			change(&w.State.Mandates[i])
		}
	}
}

// Govern makes a module the workspace's active Rego policy.
func (w *World) Govern(module string) {
	w.State.Rego = &authority.RegoVersion{
		ID: authority.NewID[authority.RegoVersionID](), WorkspaceID: w.State.Workspace.ID, Number: 1,
		Modules: map[string]string{"policy.rego": module}, Active: true, CreatedBy: w.Owner.ID, CreatedAt: w.Now,
	}
}

// Token makes an access token of a principal that holds for 15 minutes.
func (w *World) Token(id authority.PrincipalID) string {
	return w.SignToken(w.TokenKey, token.Access{
		Deployment: deployment, Workspace: w.State.Workspace.ID, Subject: id, ID: "tok",
		IssuedAt: w.Now, ExpiresAt: w.Now.Add(15 * time.Minute),
	})
}

// SignToken makes an access token of any kind.
func (w *World) SignToken(key token.SigningKey, access token.Access) string {
	w.t.Helper()
	text, err := token.SignAccess(key, access)
	if err != nil {
		w.t.Fatal(err)
	}
	return text
}

// Key makes an API key of an agent or service, and lets gateways recognise it.
func (w *World) Key(id authority.PrincipalID) token.APIKey {
	w.t.Helper()
	key, err := token.NewAPIKey(authority.KeyAgent, "")
	if err != nil {
		w.t.Fatal(err)
	}
	hash := key.Hash()
	w.State.AgentKeys = append(w.State.AgentKeys, bundle.AgentKey{ID: key.ID, PrincipalID: id, Hash: hash[:]})
	return key
}

// Trust adds a trusted issuer with the keys of a JWK set.
func (w *World) Trust(i authority.TrustedIssuer, jwks []byte) authority.TrustedIssuer {
	w.t.Helper()
	i = i.WithDefaults()
	i.ID, i.WorkspaceID, i.CreatedAt = authority.NewID[authority.TrustedIssuerID](), w.State.Workspace.ID, w.Now
	if i.Name == "" {
		i.Name = string(i.Kind)
	}
	i.JWKS = jwks
	if err := i.Validate(); err != nil {
		w.t.Fatal(err)
	}
	i.JWKS = nil // a bundle has the keys as they are verified with
	keys, err := token.ParseIssuerKeys(jwks, i.Kind, i.Algorithms)
	if err != nil {
		w.t.Fatal(err)
	}
	w.State.TrustedIssuers = append(w.State.TrustedIssuers, token.TrustedIssuer{TrustedIssuer: i, Keys: keys})
	return i
}

// KeySet holds the keys that verify what the workspace signs.
func (w *World) KeySet() token.KeySet {
	return token.KeySet{
		Deployment: deployment, Workspace: w.State.Workspace.ID, Timeline: w.State.Timeline, Succeeds: w.Succeeds, Version: 1,
		Keys: []token.VerifyingKey{w.TokenKey.Public(), w.MandateKey.Public(), w.BundleKey.Public()},
	}
}

// Seal makes the bundle of the workspace as it is.
func (w *World) Seal() bundle.Sealed {
	w.t.Helper()
	sealed, err := bundle.Seal(w.State, w.BundleKey, w.sealedKeys())
	if err != nil {
		w.t.Fatal(err)
	}
	return sealed
}

func (w *World) sealedKeys() string {
	w.t.Helper()
	keys, err := token.SealKeySet(w.Root, w.KeySet())
	if err != nil {
		w.t.Fatal(err)
	}
	return keys
}

// Reader opens the bundle of the workspace as it is.
func (w *World) Reader() *bundle.Reader {
	w.t.Helper()
	r, err := bundle.NewReader(bytes.NewReader(w.Seal()), bundle.Trust{Root: w.Root.Fingerprint()})
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// Delta seals the edits as the next revision, which the workspace is at from then on. They are to be made in State too.
func (w *World) Delta(index *bundle.Index, edits bundle.Edits) []byte {
	w.t.Helper()
	delta, err := index.Delta(edits)
	if err != nil {
		w.t.Fatal(err)
	}
	delta.Deployment, delta.Timeline, delta.IssuedAt = deployment, w.State.Timeline, w.State.IssuedAt
	delta.From, delta.Revision = w.State.Revision, w.State.Revision+1
	w.State.Revision++
	w.State.Workspace.Revision = w.State.Revision
	sealed, err := bundle.SealDelta(delta, w.BundleKey, w.sealedKeys())
	if err != nil {
		w.t.Fatal(err)
	}
	return sealed
}

// Index knows the workspace's items as they are.
func (w *World) Index() *bundle.Index {
	w.t.Helper()
	index, err := bundle.NewIndex(w.State)
	if err != nil {
		w.t.Fatal(err)
	}
	return index
}
