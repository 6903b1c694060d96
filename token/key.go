package token

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base32"
	"fmt"
	"strings"
	"time"
)

// Purpose is what a key signs. A key signs for one purpose only.
type Purpose string

// The purposes. The root's is to sign key sets.
const (
	PurposeToken   Purpose = "token"
	PurposeMandate Purpose = "mandate"
	PurposeBundle  Purpose = "bundle"
	PurposeReceipt Purpose = "receipt"
	PurposeRoot    Purpose = "root"
)

// typ is the JWS type of what the purpose signs; empty for a purpose that this version does not know.
func (p Purpose) typ() string {
	switch p {
	case PurposeToken:
		return "caracal-access+jwt"
	case PurposeMandate:
		return "caracal-mandate+jwt"
	case PurposeBundle:
		return string(ManifestSnapshot)
	case PurposeReceipt:
		return "caracal-receipt+jwt"
	case PurposeRoot:
		return "caracal-keyset+jwt"
	}
	return ""
}

const base32Alphabet = "abcdefghijklmnopqrstuvwxyz234567"

var lowerBase32 = base32.NewEncoding(base32Alphabet).WithPadding(base32.NoPadding)

// isBase32 reports whether s is of the given length and made of lower-case base32 only.
func isBase32(s string, length int) bool {
	return len(s) == length && strings.Trim(s, base32Alphabet) == ""
}

// decodeBase32 reads 32 bytes in their one canonical spelling.
func decodeBase32(s string) ([32]byte, bool) {
	var out [32]byte
	decoded, err := lowerBase32.DecodeString(s)
	if err != nil || len(decoded) != len(out) || lowerBase32.EncodeToString(decoded) != s {
		return out, false
	}
	return [32]byte(decoded), true
}

// KeyTerms say what a key is for and when.
type KeyTerms struct {
	// ID is the `kid`: 16 characters of lower-case base32, an index into the key set and nothing more.
	ID      string  `json:"kid"`
	Purpose Purpose `json:"purpose"`
	// The key signs from NotBefore, inclusive, to RetireAt, exclusive; both in whole seconds of UTC. A key set keeps
	// a retired key for as long as something that it signed is in force.
	NotBefore time.Time `json:"not_before"`
	RetireAt  time.Time `json:"retire_at"`
}

const keyIDLength = 16

// clockSkew is by how much a verifier's clock may be behind the signer's. It only ever admits something that has just
// been signed; nothing lives longer by it.
const clockSkew = 5 * time.Second

func (t KeyTerms) signsAt(at time.Time) bool {
	return !at.Before(t.NotBefore) && at.Before(t.RetireAt)
}

func (t KeyTerms) acceptedAt(at time.Time) bool {
	return !at.Add(clockSkew).Before(t.NotBefore) && at.Before(t.RetireAt)
}

// VerifyingKey is the public half of a signing key, as it stands in a key set.
type VerifyingKey struct {
	KeyTerms
	PublicKey ed25519.PublicKey `json:"public_key"`
}

// SigningKey signs for one purpose of one workspace. The private key stays behind a pointer, so that printing a value
// that holds a SigningKey never shows it.
type SigningKey struct {
	KeyTerms
	private *ed25519.PrivateKey
}

// NewSigningKey makes a key that signs from notBefore to retireAt; both are cut to whole seconds.
func NewSigningKey(purpose Purpose, notBefore, retireAt time.Time) SigningKey {
	var id [keyIDLength * 5 / 8]byte
	rand.Read(id[:])
	var seed [ed25519.SeedSize]byte
	rand.Read(seed[:])
	private := ed25519.NewKeyFromSeed(seed[:])
	return SigningKey{
		KeyTerms: KeyTerms{
			ID:        lowerBase32.EncodeToString(id[:]),
			Purpose:   purpose,
			NotBefore: notBefore.UTC().Truncate(time.Second),
			RetireAt:  retireAt.UTC().Truncate(time.Second),
		},
		private: &private,
	}
}

// ParseSigningKey restores a key from its terms and what Seed gave.
func ParseSigningKey(terms KeyTerms, seed []byte) (SigningKey, error) {
	if len(seed) != ed25519.SeedSize {
		return SigningKey{}, fmt.Errorf("parse signing key %s: seed has %d bytes, not %d", terms.ID, len(seed), ed25519.SeedSize)
	}
	private := ed25519.NewKeyFromSeed(seed)
	return SigningKey{KeyTerms: terms, private: &private}, nil
}

// Seed is the secret that the key can be restored from. It is for a Vault only.
func (k SigningKey) Seed() []byte { return k.private.Seed() }

// Public is the half that verifies.
func (k SigningKey) Public() VerifyingKey {
	return VerifyingKey{KeyTerms: k.KeyTerms, PublicKey: k.private.Public().(ed25519.PublicKey)}
}

// sign signs claims at an instant, which must lie in the key's period, for the purpose, which must be the key's own.
func (k SigningKey) sign(purpose Purpose, at time.Time, claims any) (string, error) {
	return k.signAs(purpose, purpose.typ(), at, claims)
}

// signAs signs like sign, and says what was signed by a type.
func (k SigningKey) signAs(purpose Purpose, typ string, at time.Time, claims any) (string, error) {
	if k.Purpose != purpose {
		return "", fmt.Errorf("%w: key %s is for %s, not %s", ErrUnknownKey, k.ID, k.Purpose, purpose)
	}
	if !k.signsAt(at) {
		return "", fmt.Errorf("%w: key %s", ErrKeyPeriod, k.ID)
	}
	return signCompact(*k.private, k.ID, typ, claims)
}
