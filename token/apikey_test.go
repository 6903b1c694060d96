package token_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/token"
)

func newAPIKey(t *testing.T, kind authority.KeyKind) token.APIKey {
	t.Helper()
	var root token.Fingerprint
	if kind == authority.KeyGateway {
		root = token.NewRoot().Fingerprint()
	}
	key, err := token.NewAPIKey(kind, root)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

var kinds = []authority.KeyKind{authority.KeyMember, authority.KeyAgent, authority.KeyService, authority.KeyGateway, authority.KeyOwner}

func TestAnAPIKeyReadsBackAsItWasTold(t *testing.T) {
	scanner := regexp.MustCompile(`^ck_(member|agent|service|gateway|owner)_[a-z2-7]{26}_[a-z2-7]{52}(_[a-z2-7]{52})?$`)
	for _, kind := range kinds {
		t.Run(string(kind), func(t *testing.T) {
			key := newAPIKey(t, kind)
			if !scanner.MatchString(key.Reveal()) {
				t.Errorf("%q is not of the form that scanners look for", key.Reveal())
			}
			got, err := token.ParseAPIKey(key.Reveal())
			if err != nil {
				t.Fatal(err)
			}
			if got.ID != key.ID || got.Kind != kind || got.Root != key.Root || got.Reveal() != key.Reveal() {
				t.Errorf("read back as %v with the root %q", got, got.Root)
			}
			hash := key.Hash()
			if !got.Matches(hash[:]) {
				t.Error("it does not match its own hash")
			}
		})
	}
}

func TestAnAPIKeyMatchesNoOtherHash(t *testing.T) {
	key := newAPIKey(t, authority.KeyAgent)
	own, other := key.Hash(), newAPIKey(t, authority.KeyAgent).Hash()
	for name, hash := range map[string][]byte{
		"none": nil, "empty": {}, "another key's": other[:], "the half of its own": own[:16], "more than its own": append(own[:], 0),
	} {
		if key.Matches(hash) {
			t.Errorf("it matches %s", name)
		}
	}
}

func TestWhatIsNoAPIKey(t *testing.T) {
	owner, gateway := newAPIKey(t, authority.KeyMember).Reveal(), newAPIKey(t, authority.KeyGateway).Reveal()
	fingerprint := gateway[strings.LastIndex(gateway, "_"):]
	for name, text := range map[string]string{
		"nothing":                             "",
		"underscores":                         "ck____",
		"a JWT":                               "eyJhbGciOiJFZERTQSJ9.e30.AAAA",
		"another prefix":                      "sk" + owner[2:],
		"another kind":                        strings.Replace(owner, "member", "root", 1),
		"upper case":                          strings.ToUpper(owner),
		"a space after":                       owner + " ",
		"a line break after":                  owner + "\n",
		"a line break within the secret":      owner[:60] + "\n" + owner[60:],
		"a short secret":                      owner[:len(owner)-1],
		"a long secret":                       owner + "a",
		"the secret's other spelling":         owner[:len(owner)-1] + "b",
		"a short id":                          strings.Replace(owner, "ck_member_", "ck_member_a", 1),
		"an empty fingerprint":                owner + "_",
		"a fingerprint where none belongs":    owner + fingerprint,
		"a gateway's without its fingerprint": strings.TrimSuffix(gateway, fingerprint),
		"a gateway's with half a fingerprint": gateway[:len(gateway)-26],
		"a fingerprint's other spelling":      gateway[:len(gateway)-1] + "b",
		"a gateway's with two":                gateway + fingerprint,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := token.ParseAPIKey(text)
			if !errors.Is(err, token.ErrAPIKey) {
				t.Fatalf("error %v, want %v", err, token.ErrAPIKey)
			}
			if len(text) > 20 && strings.Contains(err.Error(), text[:20]) {
				t.Errorf("the error tells the key: %v", err)
			}
		})
	}
}

func TestAnAPIKeyIsNotMadeFor(t *testing.T) {
	root := token.NewRoot().Fingerprint()
	for name, test := range map[string]struct {
		kind authority.KeyKind
		root token.Fingerprint
	}{
		"an unknown kind":          {"admin", ""},
		"a gateway without a root": {authority.KeyGateway, ""},
		"an owner with a root":     {authority.KeyMember, root},
		"an agent with a root":     {authority.KeyAgent, root},
	} {
		if key, err := token.NewAPIKey(test.kind, test.root); err == nil {
			t.Errorf("%s: made %v", name, key)
		}
	}
}

func TestOneTextIsOneAPIKey(t *testing.T) {
	good := newAPIKey(t, authority.KeyGateway)
	rapid.Check(t, func(t *rapid.T) {
		changed := []byte(good.Reveal())
		at := rapid.IntRange(0, len(changed)-1).Draw(t, "at")
		changed[at] ^= rapid.ByteRange(1, 255).Draw(t, "bits")
		key, err := token.ParseAPIKey(string(changed))
		if err == nil && key.Reveal() != string(changed) {
			t.Fatalf("%q reads as %q", changed, key.Reveal())
		}
	})
}

func TestAnAPIKeyDoesNotPrint(t *testing.T) {
	for _, kind := range kinds {
		key := newAPIKey(t, kind)
		var out bytes.Buffer
		holder := struct {
			Key token.APIKey
			key token.APIKey
		}{key, key}
		for _, value := range []any{key, &key, holder, []token.APIKey{key}, map[string]token.APIKey{"": key}} {
			fmt.Fprintf(&out, "%v %+v %#v %s %q %x %X %d\n", value, value, value, value, value, value, value, value)
			slog.New(slog.NewTextHandler(&out, nil)).Info("", "key", value)
			slog.New(slog.NewJSONHandler(&out, nil)).Info("", "key", value)
			if err := json.NewEncoder(&out).Encode(value); err != nil {
				t.Fatal(err)
			}
		}
		secret := strings.Split(key.Reveal(), "_")[3]
		hash := key.Hash()
		for _, leak := range []string{secret, fmt.Sprintf("%x", secret), fmt.Sprintf("%X", secret), fmt.Sprintf("%x", hash)} {
			if strings.Contains(out.String(), leak) {
				t.Errorf("the secret of an %s's key prints:\n%s", kind, out.String())
			}
		}
		if !strings.Contains(out.String(), strings.TrimPrefix(string(key.ID), "key_")) {
			t.Error("the printed key does not say which it is")
		}
	}
}

func TestCredentialsOfOursAreRecognised(t *testing.T) {
	w := newWorld()
	access, agent := w.signAccess(t, w.newAccess()), newAPIKey(t, authority.KeyAgent).Reveal()
	manifest, err := token.SignManifest(w.sheet, token.Manifest{Kind: token.ManifestSnapshot, Deployment: deployment, Workspace: w.set.Workspace, IssuedAt: epoch, Body: []byte("{}")})
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		value string
		want  bool
	}{
		"an owner's key":                        {newAPIKey(t, authority.KeyMember).Reveal(), true},
		"an agent's key":                        {agent, true},
		"a gateway's key":                       {newAPIKey(t, authority.KeyGateway).Reveal(), true},
		"a key behind a scheme":                 {"Bearer " + agent, true},
		"a key in a cookie":                     {"a=b; session=" + agent + "; c=d", true},
		"a key in JSON":                         {`{"api_key":"` + agent + `"}`, true},
		"a key after what only begins like one": {"ck_agent_ ck_" + agent, true},
		"an access token":                       {access, true},
		"an access token behind a scheme":       {"Bearer " + access, true},
		"an access token after half of one":     {access[:30] + "," + access, true},
		"a mandate's signature":                 {w.newMandate(t).Signature, true},
		"a manifest":                            {manifest, true},
		"a key set":                             {sealKeySet(t, w), true},
		"nothing":                               {"", false},
		"a provider's key":                      {"sk-proj-abcdefghijklmnopqrstuvwxyz", false},
		"half a key":                            {agent[:len(agent)-1], false},
		"a word that begins like a key":         {"ck_agent_smith", false},
		"the id of a key":                       {string(authority.NewID[authority.KeyID]()), false},
		"the id of a mandate":                   {string(authority.NewID[authority.MandateID]()), false},
		"another's JWT":                         {segment(`{"alg":"RS256","typ":"JWT"}`) + ".e30.AAAA", false},
		"another's JWT by the same algorithm":   {segment(`{"alg":"EdDSA","kid":"1","typ":"JWT"}`) + ".e30.AAAA", false},
		"a header of ours without a payload":    {strings.Split(access, ".")[0], false},
		"a header without end":                  {"eyJhbGciOiJFZERTQSIs" + strings.Repeat("A", 4096), false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := token.Recognise(test.value); got != test.want {
				t.Errorf("recognised: %t, want %t", got, test.want)
			}
		})
	}
}
