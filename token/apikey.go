package token

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"log/slog"
	"strings"

	"github.com/caracal-gateway/caracal/authority"
)

// APIKey is a long-lived credential: `ck_<kind>_<id>_<secret>`, and for a gateway `_<fingerprint of the root>` after
// that. It prints without its secret; only Reveal tells it. NewAPIKey and ParseAPIKey make the only usable values.
type APIKey struct {
	ID   authority.KeyID
	Kind authority.KeyKind
	// Root is what a gateway trusts; empty for every other kind.
	Root   Fingerprint
	secret *[32]byte
}

const (
	apiKeyPrefix = "ck_"
	keyIDPrefix  = "key_"
	idLength     = 26
	digestLength = 52
)

// NewAPIKey makes a key with a new id and 256 random bits. A gateway's needs the fingerprint of its workspace's root;
// any other kind takes none.
func NewAPIKey(kind authority.KeyKind, root Fingerprint) (APIKey, error) {
	secret := new([32]byte)
	rand.Read(secret[:])
	key := APIKey{ID: authority.NewID[authority.KeyID](), Kind: kind, Root: root, secret: secret}
	if !key.wellFormed() {
		return APIKey{}, fmt.Errorf("make API key: %q with the root %q", kind, root)
	}
	return key, nil
}

// ParseAPIKey reads what Reveal told. The error is ErrAPIKey and says nothing about the text.
func ParseAPIKey(text string) (APIKey, error) {
	parts := strings.SplitN(text, "_", 6)
	if len(parts) < 4 || len(parts) > 5 || parts[0] != "ck" {
		return APIKey{}, ErrAPIKey
	}
	id, err := authority.ParseID[authority.KeyID](keyIDPrefix + parts[2])
	if err != nil {
		return APIKey{}, ErrAPIKey
	}
	secret, ok := decodeBase32(parts[3])
	if !ok {
		return APIKey{}, ErrAPIKey
	}
	key := APIKey{ID: id, Kind: authority.KeyKind(parts[1]), secret: &secret}
	if len(parts) == 5 {
		key.Root = Fingerprint(parts[4])
	}
	// An empty last part would otherwise be a second spelling of a key without a root.
	if !key.wellFormed() || key.Reveal() != text {
		return APIKey{}, ErrAPIKey
	}
	return key, nil
}

func (k APIKey) wellFormed() bool {
	switch k.Kind {
	case authority.KeyMember, authority.KeyAgent, authority.KeyService, authority.KeyOwner:
		return k.Root == ""
	case authority.KeyGateway:
		_, ok := decodeBase32(string(k.Root))
		return ok
	}
	return false
}

// IsFor reports whether the key may be one of a stored kind. Keys that are older than the kinds member and service say
// owner and agent in their text; what counts is the stored kind.
func (k APIKey) IsFor(stored authority.KeyKind) bool {
	if k.Kind == authority.KeyOwner {
		return stored == authority.KeyMember
	}
	return k.Kind == stored || k.Kind == authority.KeyAgent && stored.IsOwn()
}

func (k APIKey) label() string {
	return apiKeyPrefix + string(k.Kind) + "_" + strings.TrimPrefix(string(k.ID), keyIDPrefix) + "_"
}

// Reveal is the key itself, for the one time that it is told.
func (k APIKey) Reveal() string {
	text := k.label() + lowerBase32.EncodeToString(k.secret[:])
	if k.Root != "" {
		text += "_" + string(k.Root)
	}
	return text
}

// Hash is the SHA-256 of the secret: what is stored in the place of the key. The secret is random, so that it needs
// neither salt nor stretching.
func (k APIKey) Hash() [sha256.Size]byte { return sha256.Sum256(k.secret[:]) }

// Matches compares, in constant time, with a stored Hash.
func (k APIKey) Matches(hash []byte) bool {
	own := k.Hash()
	return subtle.ConstantTimeCompare(own[:], hash) == 1
}

// String names the key without its secret.
func (k APIKey) String() string { return k.label() + "…" }

// GoString names the key without its secret.
func (k APIKey) GoString() string { return k.String() }

// LogValue names the key without its secret.
func (k APIKey) LogValue() slog.Value { return slog.StringValue(k.String()) }
