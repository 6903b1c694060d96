package bundle_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/internal/openid"
	"github.com/caracal-gateway/caracal/token"
)

func issuerOf(t *testing.T, w authority.WorkspaceID) token.TrustedIssuer {
	t.Helper()
	algorithms := []string{"RS256", "ES256"}
	keys, err := token.ParseIssuerKeys(openid.KeySet(t, openid.NewSigner(t, "RS256", "a"), openid.NewSigner(t, "ES256", "b")), authority.IssuerOIDC, algorithms)
	if err != nil {
		t.Fatal(err)
	}
	return token.TrustedIssuer{Keys: keys, TrustedIssuer: authority.TrustedIssuer{
		ID: authority.NewID[authority.TrustedIssuerID](), WorkspaceID: w, Name: "company", Kind: authority.IssuerOIDC,
		Issuer: "https://login.example.org", Audiences: []string{"caracal"}, Claim: "sub", Algorithms: algorithms, MaxLifetimeSeconds: 3600,
		Bindings: []authority.IssuerBinding{{Value: "worker", PrincipalID: authority.NewID[authority.PrincipalID]()}}, CreatedAt: epoch,
	}}
}

func TestTrustedIssuersAreInTheBundleWithTheirKeys(t *testing.T) {
	w := newWorld()
	s := w.snapshot(7)
	s.TrustedIssuers = []token.TrustedIssuer{issuerOf(t, s.Workspace.ID)}
	got, _, err := bundle.Open(w.seal(t, s), w.trust())
	if err != nil {
		t.Fatal(err)
	}
	shown := func(list []token.TrustedIssuer) (text string) {
		for _, i := range list {
			for _, k := range i.Keys {
				one, err := k.MarshalJSON()
				if err != nil {
					t.Fatal(err)
				}
				text += string(one)
			}
		}
		return text
	}
	if diff := cmp.Diff(shown(s.TrustedIssuers), shown(got.TrustedIssuers)); diff != "" || !strings.Contains(shown(got.TrustedIssuers), `"kid":"b"`) {
		t.Errorf("keys (-sealed +opened)\n%s", diff)
	}
	if len(got.TrustedIssuers) != 1 {
		t.Fatalf("opened %d issuers", len(got.TrustedIssuers))
	}
	if diff := cmp.Diff(s.TrustedIssuers[0].TrustedIssuer, got.TrustedIssuers[0].TrustedIssuer, cmp.Comparer(func(a, b []byte) bool { return string(a) == string(b) })); diff != "" {
		t.Errorf("(-sealed +opened)\n%s", diff)
	}
}

func TestASnapshotIsNotSealedWithAnIssuerThat(t *testing.T) {
	w := newWorld()
	for name, issuers := range map[string]func(s bundle.Snapshot) []token.TrustedIssuer{
		"is another workspace's": func(bundle.Snapshot) []token.TrustedIssuer { return []token.TrustedIssuer{issuerOf(t, "ws_other")} },
		"is in it twice": func(s bundle.Snapshot) []token.TrustedIssuer {
			i := issuerOf(t, s.Workspace.ID)
			return []token.TrustedIssuer{i, i}
		},
	} {
		s := w.snapshot(8)
		s.TrustedIssuers = issuers(s)
		if _, err := bundle.Seal(s, w.key, w.keySet(t)); err == nil {
			t.Errorf("an issuer that %s was sealed", name)
		}
	}
}

// A gateway and a control plane of different versions must agree on the state of a revision.
func TestAStateWithoutTrustedIssuersSaysNothingOfThem(t *testing.T) {
	w := newWorld()
	s := w.snapshot(7)
	without := w.seal(t, s)
	s.TrustedIssuers = []token.TrustedIssuer{}
	if string(w.seal(t, s).Digest()) != string(without.Digest()) {
		t.Error("no issuers are another state than none")
	}
}
