package token

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/caracal-gateway/caracal/authority"
)

// MaxKeySet is the size of the largest sealed key set that is read, in bytes.
const MaxKeySet = 256 << 10

// MaxSucceeded is how many timelines a key set says at most that its own took the place of.
const MaxSucceeded = 16

// Fingerprint is the SHA-256 of a root's public key, in 52 characters of lower-case base32.
type Fingerprint string

func fingerprint(public ed25519.PublicKey) Fingerprint {
	digest := sha256.Sum256(public)
	return Fingerprint(lowerBase32.EncodeToString(digest[:]))
}

// Root is the key of a workspace that signs its key sets. Like a SigningKey's, its private half does not print.
type Root struct {
	private *ed25519.PrivateKey
}

// NewRoot makes a root key.
func NewRoot() Root {
	var seed [ed25519.SeedSize]byte
	rand.Read(seed[:])
	private := ed25519.NewKeyFromSeed(seed[:])
	return Root{private: &private}
}

// ParseRoot restores a root key from what Seed gave.
func ParseRoot(seed []byte) (Root, error) {
	if len(seed) != ed25519.SeedSize {
		return Root{}, fmt.Errorf("parse root key: seed has %d bytes, not %d", len(seed), ed25519.SeedSize)
	}
	private := ed25519.NewKeyFromSeed(seed)
	return Root{private: &private}, nil
}

// Seed is the secret that the root can be restored from. It is for a Vault only.
func (r Root) Seed() []byte { return r.private.Seed() }

// Fingerprint is what a gateway's API key carries.
func (r Root) Fingerprint() Fingerprint { return fingerprint(r.private.Public().(ed25519.PublicKey)) }

// KeySet holds the keys that a workspace's tokens, mandates and bundles are verified with.
type KeySet struct {
	Deployment string                `json:"deployment_id"`
	Workspace  authority.WorkspaceID `json:"workspace_id"`
	Timeline   string                `json:"timeline"`
	// Succeeds are the timelines that this one took the place of, the last first: at most MaxSucceeded.
	Succeeds []string `json:"succeeds,omitempty"`
	// Version grows with every change of the set, so that an older set can be told and refused.
	Version uint64         `json:"version"`
	Keys    []VerifyingKey `json:"keys"`
}

type keySetClaims struct {
	Issuer   string            `json:"iss"`
	Audience string            `json:"aud"`
	Root     ed25519.PublicKey `json:"root"`
	KeySet   KeySet            `json:"key_set"`
}

// SealKeySet signs a key set by the workspace's root.
func SealKeySet(root Root, set KeySet) (string, error) {
	if err := set.check(); err != nil {
		return "", fmt.Errorf("seal key set: %w", err)
	}
	text, err := signCompact(*root.private, string(root.Fingerprint()), PurposeRoot.typ(), keySetClaims{
		Issuer:   set.Deployment,
		Audience: audience(set.Workspace, PurposeRoot),
		Root:     root.private.Public().(ed25519.PublicKey),
		KeySet:   set,
	})
	if err != nil {
		return "", fmt.Errorf("seal key set: %w", err)
	}
	if len(text) > MaxKeySet {
		return "", fmt.Errorf("seal key set: %w", ErrTooLarge)
	}
	return text, nil
}

// OpenKeySet reads a key set that was sealed by the root with this fingerprint. It is ErrForeignRoot when another root
// sealed it.
func OpenKeySet(sealed string, trusted Fingerprint) (KeySet, error) {
	set, err := openKeySet(sealed, trusted)
	if err != nil {
		return KeySet{}, fmt.Errorf("open key set: %w", err)
	}
	return set, nil
}

func openKeySet(sealed string, trusted Fingerprint) (KeySet, error) {
	parsed, err := parseCompact(sealed, PurposeRoot.typ(), MaxKeySet)
	if err != nil {
		return KeySet{}, err
	}
	claims, err := members(parsed.payload)
	if err != nil {
		return KeySet{}, fmt.Errorf("%w: %w", ErrClaims, err)
	}
	var public ed25519.PublicKey
	if err := json.Unmarshal(claims["root"], &public); err != nil || len(public) != ed25519.PublicKeySize {
		return KeySet{}, fmt.Errorf("%w: root is not a public key", ErrClaims)
	}
	if subtle.ConstantTimeCompare([]byte(fingerprint(public)), []byte(trusted)) != 1 || parsed.kid != string(trusted) {
		return KeySet{}, ErrForeignRoot
	}
	if err := parsed.verify(public); err != nil {
		return KeySet{}, err
	}
	var set KeySet
	if err := json.Unmarshal(claims["key_set"], &set); err != nil {
		return KeySet{}, fmt.Errorf("%w: key_set", ErrClaims)
	}
	if err := set.check(); err != nil {
		return KeySet{}, err
	}
	return set, claims.addressed(set.Deployment, audience(set.Workspace, PurposeRoot))
}

// check holds for every set that is sealed or opened: a kid names one key, and each key could verify something.
func (s KeySet) check() error {
	if s.Deployment == "" || s.Workspace == "" || s.Timeline == "" || s.Version == 0 {
		return fmt.Errorf("%w: a key set names its deployment, workspace, timeline and version", ErrClaims)
	}
	if len(s.Succeeds) > MaxSucceeded || slices.Contains(s.Succeeds, s.Timeline) || slices.Contains(s.Succeeds, "") {
		return fmt.Errorf("%w: a timeline takes the place of at most %d others", ErrClaims, MaxSucceeded)
	}
	seen := map[string]bool{}
	for _, key := range s.Keys {
		switch {
		case !isBase32(key.ID, keyIDLength):
			return fmt.Errorf("%w: a kid is not %d characters of base32", ErrClaims, keyIDLength)
		case seen[key.ID]:
			return fmt.Errorf("%w: two keys share a kid", ErrClaims)
		case len(key.PublicKey) != ed25519.PublicKeySize:
			return fmt.Errorf("%w: a public key is not %d bytes", ErrClaims, ed25519.PublicKeySize)
		case !key.NotBefore.Before(key.RetireAt):
			return fmt.Errorf("%w: a key retires before it signs", ErrClaims)
		}
		seen[key.ID] = true
	}
	return nil
}

// key finds a key by its id among those of the purpose. Keys of purposes that this version does not know are never
// found.
func (s KeySet) key(kid string, purpose Purpose) (VerifyingKey, error) {
	for _, key := range s.Keys {
		if key.ID == kid && key.Purpose == purpose {
			return key, nil
		}
	}
	return VerifyingKey{}, ErrUnknownKey
}

// verified is what a key of the set signed for its purpose, while it was to sign.
type verified struct {
	key     VerifyingKey
	payload []byte
	claims  object
	issued  time.Time
}

// open reads what a key of the set signed for the purpose. When it was signed is its own word, so that a key that is
// suspected of having leaked must leave the set: retiring it is not enough.
func (s KeySet) open(jws string, purpose Purpose, limit int) (verified, error) {
	return s.openAs(jws, purpose, purpose.typ(), limit)
}

// openAs reads what says by its type that it is something of the purpose's.
func (s KeySet) openAs(jws string, purpose Purpose, typ string, limit int) (verified, error) {
	parsed, err := parseCompact(jws, typ, limit)
	if err != nil {
		return verified{}, err
	}
	key, err := s.key(parsed.kid, purpose)
	if err != nil {
		return verified{}, err
	}
	if err := parsed.verify(key.PublicKey); err != nil {
		return verified{}, err
	}
	claims, err := members(parsed.payload)
	if err != nil {
		return verified{}, fmt.Errorf("%w: %w", ErrClaims, err)
	}
	if err := claims.addressed(s.Deployment, audience(s.Workspace, purpose)); err != nil {
		return verified{}, err
	}
	issued, err := claims.instant("iat")
	if err != nil {
		return verified{}, err
	}
	if !key.acceptedAt(issued) {
		return verified{}, ErrKeyPeriod
	}
	return verified{key: key, payload: parsed.payload, claims: claims, issued: issued}, nil
}
