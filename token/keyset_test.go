package token_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/caracal-gateway/caracal/token"
)

func sealKeySet(t *testing.T, w world) string {
	t.Helper()
	sealed, err := token.SealKeySet(w.root, w.set)
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

func TestAKeySetOpensOnTheWordOfItsRoot(t *testing.T) {
	w := newWorld()
	got, err := token.OpenKeySet(sealKeySet(t, w), w.root.Fingerprint())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(w.set, got); diff != "" {
		t.Errorf("(-sealed +opened)\n%s", diff)
	}
	restored, err := token.ParseRoot(w.root.Seed())
	if err != nil {
		t.Fatal(err)
	}
	if restored.Fingerprint() != w.root.Fingerprint() {
		t.Errorf("a restored root has another fingerprint: %s, was %s", restored.Fingerprint(), w.root.Fingerprint())
	}
}

func TestAKeySetIsRefusedWhenItIs(t *testing.T) {
	w, stranger := newWorld(), newWorld()
	good := sealKeySet(t, w)
	// A root has no key in the form of a SigningKey; this one signs like it.
	rootKey, err := token.ParseSigningKey(token.KeyTerms{}, w.root.Seed())
	if err != nil {
		t.Fatal(err)
	}
	strangerKey, err := token.ParseSigningKey(token.KeyTerms{}, stranger.root.Seed())
	if err != nil {
		t.Fatal(err)
	}
	header := func(root token.Root) string {
		return fmt.Sprintf(`{"alg":"EdDSA","kid":%q,"typ":"caracal-keyset+jwt"}`, root.Fingerprint())
	}
	payload := func(w world, set string) string {
		public, err := json.Marshal(rootKey.Public().PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf(`{"iss":%q,"aud":"%s/root","root":%s,"key_set":%s}`, deployment, w.set.Workspace, public, set)
	}
	encode := func(set token.KeySet) string {
		text, err := json.Marshal(set)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	foreign := w.set
	foreign.Workspace = stranger.set.Workspace

	for name, test := range map[string]struct {
		sealed string
		want   error
	}{
		"nothing":                              {"", token.ErrMalformed},
		"sealed by another root":               {sealKeySet(t, stranger), token.ErrForeignRoot},
		"a set whose root is claimed only":     {forge(strangerKey, header(w.root), payload(w, encode(w.set))), token.ErrSignature},
		"signed under the kid of another root": {forge(rootKey, header(stranger.root), payload(w, encode(w.set))), token.ErrForeignRoot},
		"without its root":                     {forge(rootKey, header(w.root), `{"key_set":{}}`), token.ErrClaims},
		"without keys or names":                {forge(rootKey, header(w.root), payload(w, `{}`)), token.ErrClaims},
		"addressed to another workspace":       {forge(rootKey, header(w.root), payload(w, encode(foreign))), token.ErrAudience},
		"an access token":                      {w.signAccess(t, w.newAccess()), token.ErrType},
		"larger than is read":                  {good + strings.Repeat("A", 256<<10), token.ErrTooLarge},
		"told its version twice":               {forge(rootKey, header(w.root), payload(w, strings.Replace(encode(w.set), `"version":1`, `"version":1,"version":2`, 1))), token.ErrClaims},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := token.OpenKeySet(test.sealed, w.root.Fingerprint()); !errors.Is(err, test.want) {
				t.Errorf("error %v, want %v", err, test.want)
			}
		})
	}
	if _, err := token.OpenKeySet(good, ""); !errors.Is(err, token.ErrForeignRoot) {
		t.Errorf("trusting no root: error %v, want %v", err, token.ErrForeignRoot)
	}
}

func TestAKeySetIsNotSealedWith(t *testing.T) {
	w := newWorld()
	for name, change := range map[string]func(*token.KeySet){
		"no deployment":          func(s *token.KeySet) { s.Deployment = "" },
		"no workspace":           func(s *token.KeySet) { s.Workspace = "" },
		"no timeline":            func(s *token.KeySet) { s.Timeline = "" },
		"no version":             func(s *token.KeySet) { s.Version = 0 },
		"two keys of one kid":    func(s *token.KeySet) { s.Keys[1].ID = s.Keys[0].ID },
		"an empty kid":           func(s *token.KeySet) { s.Keys[0].ID = "" },
		"a path as kid":          func(s *token.KeySet) { s.Keys[0].ID = "../../dev/null/x" },
		"half a public key":      func(s *token.KeySet) { s.Keys[0].PublicKey = s.Keys[0].PublicKey[:16] },
		"a key that never signs": func(s *token.KeySet) { s.Keys[0].RetireAt = s.Keys[0].NotBefore },
	} {
		t.Run(name, func(t *testing.T) {
			set := w.set
			set.Keys = slices.Clone(set.Keys)
			change(&set)
			if _, err := token.SealKeySet(w.root, set); !errors.Is(err, token.ErrClaims) {
				t.Errorf("error %v, want %v", err, token.ErrClaims)
			}
		})
	}
}

func TestAKeyOfALaterPurposeIsCarriedAndNeverUsed(t *testing.T) {
	w := newWorld()
	later := token.NewSigningKey("receipt", epoch.Add(-time.Hour), epoch.Add(time.Hour))
	w.set.Keys = append(w.set.Keys, later.Public())
	set, err := token.OpenKeySet(sealKeySet(t, w), w.root.Fingerprint())
	if err != nil {
		t.Fatal(err)
	}
	header := fmt.Sprintf(`{"alg":"EdDSA","kid":%q,"typ":"caracal-access+jwt"}`, later.ID)
	if _, err := set.VerifyAccess(forge(later, header, "{}"), epoch); !errors.Is(err, token.ErrUnknownKey) {
		t.Errorf("error %v, want %v", err, token.ErrUnknownKey)
	}
}

func TestNoByteOfAKeySetCanBeChanged(t *testing.T) {
	w := newWorld()
	sealed := sealKeySet(t, w)
	rapid.Check(t, func(t *rapid.T) {
		changed := []byte(sealed)
		at := rapid.IntRange(0, len(sealed)-1).Draw(t, "at")
		changed[at] ^= rapid.ByteRange(1, 255).Draw(t, "bits")
		if _, err := token.OpenKeySet(string(changed), w.root.Fingerprint()); err == nil {
			t.Fatalf("byte %d changed from %q to %q, and it opens", at, sealed[at], changed[at])
		}
	})
}

func TestASigningKeyIsRestoredFromItsTermsAndSeed(t *testing.T) {
	key := token.NewSigningKey(token.PurposeToken, epoch.Add(time.Millisecond), epoch.Add(time.Hour))
	if key.NotBefore != epoch {
		t.Errorf("not before %v, want whole seconds: %v", key.NotBefore, epoch)
	}
	restored, err := token.ParseSigningKey(key.KeyTerms, key.Seed())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(key.Public(), restored.Public()); diff != "" {
		t.Errorf("(-made +restored)\n%s", diff)
	}
	if _, err := token.ParseSigningKey(key.KeyTerms, key.Seed()[:31]); err == nil {
		t.Error("half a seed makes a key")
	}
	if _, err := token.ParseRoot(nil); err == nil {
		t.Error("no seed makes a root")
	}
}

func TestPrivateKeysDoNotPrint(t *testing.T) {
	w := newWorld()
	holder := struct {
		Key  token.SigningKey
		Root token.Root
		key  token.SigningKey
	}{w.access, w.root, w.access}
	printed := fmt.Sprintf("%v %+v %#v", holder, holder, holder)
	encoded, err := json.Marshal(holder)
	if err != nil {
		t.Fatal(err)
	}
	for _, seed := range [][]byte{w.access.Seed(), w.root.Seed()} {
		numbers := func(format string) string { // of its first bytes, without the brackets around them
			return strings.TrimRight(strings.TrimLeft(fmt.Sprintf(format, seed[:8]), "[]byte{"), "]}")
		}
		for _, form := range []string{hex.EncodeToString(seed), numbers("%v"), numbers("%#v"), segment(string(seed)), string(seed)} {
			if strings.Contains(printed, form) || bytes.Contains(encoded, []byte(form)) {
				t.Errorf("the seed prints as %q", form)
			}
		}
	}
}
