package token_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/token"
)

// epoch is when everything in these tests is signed.
var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const (
	deployment = "dep_main"
	timeline   = "8d1f7f7e-6f0c-4b57-9d5e-0c2f5a0b8a11"
)

// world is a workspace with one key for each purpose.
type world struct {
	root                   token.Root
	access, mandate, sheet token.SigningKey // sheet signs manifests
	set                    token.KeySet
}

func newWorld() world {
	w := world{
		root:    token.NewRoot(),
		access:  token.NewSigningKey(token.PurposeToken, epoch.Add(-time.Hour), epoch.Add(24*time.Hour)),
		mandate: token.NewSigningKey(token.PurposeMandate, epoch.Add(-time.Hour), epoch.Add(24*time.Hour)),
		sheet:   token.NewSigningKey(token.PurposeBundle, epoch.Add(-time.Hour), epoch.Add(24*time.Hour)),
	}
	w.set = token.KeySet{
		Deployment: deployment,
		Workspace:  authority.NewID[authority.WorkspaceID](),
		Timeline:   timeline,
		Version:    1,
		Keys:       []token.VerifyingKey{w.access.Public(), w.mandate.Public(), w.sheet.Public()},
	}
	return w
}

// fixedWorld is the same in every process, as a fuzzer's workers need it.
func fixedWorld(f *testing.F) world {
	f.Helper()
	w := newWorld()
	terms := w.access.KeyTerms
	terms.ID = "aaaaaaaaaaaaaaaa"
	key, err := token.ParseSigningKey(terms, make([]byte, ed25519.SeedSize))
	if err != nil {
		f.Fatal(err)
	}
	w.access = key
	w.set.Workspace = "ws_aaaaaaaaaaaaaaaaaaaaaaaaaa"
	w.set.Keys = []token.VerifyingKey{key.Public()}
	return w
}

func (w world) newAccess() token.Access {
	return token.Access{
		Deployment: deployment, Workspace: w.set.Workspace, Subject: authority.NewID[authority.PrincipalID](),
		ID: "tok1", IssuedAt: epoch, ExpiresAt: epoch.Add(15 * time.Minute),
	}
}

func (w world) signAccess(t *testing.T, a token.Access) string {
	t.Helper()
	jws, err := token.SignAccess(w.access, a)
	if err != nil {
		t.Fatal(err)
	}
	return jws
}

// forge signs any header and payload, as somebody would who holds the key but not this package.
func forge(key token.SigningKey, header, payload string) string {
	input := segment(header) + "." + segment(payload)
	return input + "." + segment(string(ed25519.Sign(ed25519.NewKeyFromSeed(key.Seed()), []byte(input))))
}

func segment(content string) string { return base64.RawURLEncoding.EncodeToString([]byte(content)) }
