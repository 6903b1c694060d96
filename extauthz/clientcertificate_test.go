package extauthz_test

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caracal-gateway/caracal/extauthz"
	"github.com/caracal-gateway/caracal/internal/echo"
)

func TestADestinationIsReachedWithItsClientCertificateOrNotAtAll(t *testing.T) {
	for sentence, c := range map[string]struct {
		shows   func(string) bool
		refused bool
	}{
		"Envoy has it":                   {func(name string) bool { return name == "bank" }, false},
		"Envoy has another":              {func(name string) bool { return name == "other" }, true},
		"there are none in this gateway": {nil, true},
	} {
		t.Run(sentence, func(t *testing.T) {
			b := newBench(t, func(config *extauthz.Config) { config.Certificates = c.shows })
			b.State.Destinations[0].ClientCertificate = "bank"
			b.enforce(t)
			answer := b.check(t, b.proxied().check())
			if !c.refused {
				wantPermission(t, answer)
			} else if d := wantDenial(t, answer); d.Error != "credential_unavailable" {
				t.Errorf("got %+v", d)
			}
		})
	}
}

func TestAClientCertificateIsReadWholeOrNotAtAll(t *testing.T) {
	ca, err := echo.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	made := func() (chain, key []byte) {
		leaf, err := ca.Leaf("client")
		if err != nil {
			t.Fatal(err)
		}
		private, err := x509.MarshalPKCS8PrivateKey(leaf.PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Certificate[0]}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
	}
	chain, key := made()
	_, otherKey := made()
	large := append([]byte(strings.Repeat("#", 16<<10)), chain...)
	for sentence, c := range map[string]struct {
		name  string
		files map[string][]byte
		want  string // empty: it is read
	}{
		"both files":               {"bank", map[string][]byte{"bank.crt": chain, "bank.key": key}, ""},
		"no certificate":           {"bank", map[string][]byte{"bank.key": key}, "file bank.crt"},
		"no key":                   {"bank", map[string][]byte{"bank.crt": chain}, "file bank.key"},
		"another's key":            {"bank", map[string][]byte{"bank.crt": chain, "bank.key": otherKey}, "does not match"},
		"the two in one file":      {"bank", map[string][]byte{"bank.crt": append(chain, key...)}, "file bank.key"},
		"no PEM":                   {"bank", map[string][]byte{"bank.crt": []byte("x"), "bank.key": []byte("y")}, "failed to find"},
		"a file that is too large": {"bank", map[string][]byte{"bank.crt": large, "bank.key": key}, "larger than"},
		"a path":                   {"../bank", map[string][]byte{}, "not a name"},
		"no name":                  {"", map[string][]byte{}, "not a name"},
	} {
		t.Run(sentence, func(t *testing.T) {
			directory := t.TempDir()
			for name, content := range c.files {
				if err := os.WriteFile(filepath.Join(directory, name), content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			found, err := extauthz.NewCredentials(directory, nil).ClientCertificate(c.name)
			switch {
			case c.want == "" && (err != nil || found.NotAfter.IsZero()):
				t.Errorf("got %v, ends %s", err, found.NotAfter)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v, want %q", err, c.want)
			case err != nil && strings.Contains(err.Error(), "PRIVATE"):
				t.Errorf("the error tells the key: %v", err)
			}
		})
	}
	if _, err := extauthz.NewCredentials("", nil).ClientCertificate("bank"); err == nil {
		t.Error("one is read from no directory")
	}
}
