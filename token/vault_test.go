package token_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/caracal-gateway/caracal/token"
)

func newVault(t *testing.T, first byte) token.Vault {
	t.Helper()
	vault, err := token.NewVault(append(make([]byte, token.MasterKeySize-1), first))
	if err != nil {
		t.Fatal(err)
	}
	return vault
}

func TestAVaultGivesBackWhatItSealed(t *testing.T) {
	vault, seed := newVault(t, 1), token.NewRoot().Seed()
	sealed := vault.Seal("ws_a", token.PurposeRoot, seed)
	if bytes.Contains(sealed, seed[:8]) {
		t.Error("the seed is readable")
	}
	if again := vault.Seal("ws_a", token.PurposeRoot, seed); bytes.Equal(sealed, again) {
		t.Error("two seals of one seed are equal: the nonce repeats")
	}
	got, err := vault.Open("ws_a", token.PurposeRoot, sealed)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, seed) {
		t.Errorf("opened %x, sealed %x", got, seed)
	}
}

func TestAVaultRefuses(t *testing.T) {
	vault := newVault(t, 1)
	sealed := vault.Seal("key", token.PurposeToken, make([]byte, 32))
	changed := func(at int) []byte {
		out := bytes.Clone(sealed)
		out[at] ^= 1
		return out
	}
	for name, test := range map[string]struct {
		vault   token.Vault
		id      string
		purpose token.Purpose
		sealed  []byte
	}{
		"another master key":               {newVault(t, 2), "key", token.PurposeToken, sealed},
		"another id":                       {vault, "kez", token.PurposeToken, sealed},
		"another purpose":                  {vault, "key", token.PurposeMandate, sealed},
		"id and purpose divided otherwise": {vault, "keyt", "oken", sealed},
		"nothing":                          {vault, "key", token.PurposeToken, nil},
		"the format alone":                 {vault, "key", token.PurposeToken, sealed[:1]},
		"half of it":                       {vault, "key", token.PurposeToken, sealed[:len(sealed)/2]},
		"another format":                   {vault, "key", token.PurposeToken, changed(0)},
		"another nonce":                    {vault, "key", token.PurposeToken, changed(1)},
		"a changed end":                    {vault, "key", token.PurposeToken, changed(len(sealed) - 1)},
	} {
		t.Run(name, func(t *testing.T) {
			if seed, err := test.vault.Open(test.id, test.purpose, test.sealed); !errors.Is(err, token.ErrVault) || seed != nil {
				t.Errorf("opened %x, error %v, want %v", seed, err, token.ErrVault)
			}
		})
	}
}

func TestAVaultNeedsAWholeMasterKeyAndDoesNotPrintIt(t *testing.T) {
	for _, size := range []int{0, 16, 31, 33, 64} {
		if _, err := token.NewVault(make([]byte, size)); err == nil {
			t.Errorf("a master key of %d bytes opens a vault", size)
		}
	}
	master := []byte(strings.Repeat("K", token.MasterKeySize))
	vault, err := token.NewVault(master)
	if err != nil {
		t.Fatal(err)
	}
	printed := fmt.Sprintf("%v %+v %#v", vault, vault, struct{ v token.Vault }{vault})
	if strings.Contains(printed, "75 75 75") || strings.Contains(printed, "0x4b, 0x4b") || strings.Contains(printed, "4b4b4b") {
		t.Error("the master key prints")
	}
}
