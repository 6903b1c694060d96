package token

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"github.com/caracal-gateway/caracal/authority"
)

const (
	// MaxIssuerKeys is the size of the largest key set of an issuer that is read, in bytes.
	MaxIssuerKeys = 256 << 10

	maxKeysOfIssuer  = 64
	maxForeignKeyID  = 256
	minRSABits       = 2048
	maxRSABits       = 8192
	useSPIFFE        = "jwt-svid"
	useSignature     = "sig"
	operationVerify  = "verify"
	familyRSA        = "RSA"
	familyElliptic   = "EC"
	familyEdwards    = "OKP"
	privateMember    = "d"
	symmetricMember  = "k"
	rsaDefault       = string(jose.RS256)
	edwardsAlgorithm = string(jose.EdDSA)
)

// ErrIssuerKeys says that what an issuer answered or was given is not a key set that its tokens can be verified with.
var ErrIssuerKeys = errors.New("not a usable key set")

// IssuerKey is a public key of a trusted issuer. It verifies one algorithm and no other.
type IssuerKey struct {
	ID        string // the `kid`, an index and nothing more
	Algorithm string
	public    any // *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey
}

// ParseIssuerKeys reads the JWK set of an issuer. It keeps the keys that may sign tokens by the issuer's algorithms, in
// the order of their ids, and leaves out those for other ends. A set in which two keys share an id, in which a key is
// weak or private, or in which none is left, is ErrIssuerKeys as a whole: it is not what its owner meant.
func ParseIssuerKeys(jwks []byte, kind authority.IssuerKind, algorithms []string) ([]IssuerKey, error) {
	keys, err := parseIssuerKeys(jwks, kind, algorithms)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrIssuerKeys, err)
	}
	return keys, nil
}

func parseIssuerKeys(jwks []byte, kind authority.IssuerKind, algorithms []string) ([]IssuerKey, error) {
	if len(jwks) > MaxIssuerKeys {
		return nil, ErrTooLarge
	}
	set, err := members(jwks)
	if err != nil {
		return nil, err
	}
	var list []json.RawMessage
	if err := json.Unmarshal(set["keys"], &list); err != nil || list == nil {
		return nil, errors.New("keys is not a list")
	}
	var keys []IssuerKey
	seen := map[string]bool{}
	for i, text := range list {
		key, usable, err := parseIssuerKey(text, kind, algorithms, seen)
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", i, err)
		}
		if usable {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 || len(keys) > maxKeysOfIssuer {
		return nil, fmt.Errorf("%d of its keys sign by %s, not 1 to %d", len(keys), strings.Join(algorithms, ", "), maxKeysOfIssuer)
	}
	slices.SortFunc(keys, func(a, b IssuerKey) int { return strings.Compare(a.ID, b.ID) })
	return keys, nil
}

// parseIssuerKey reads one key; usable tells whether it may sign tokens here.
func parseIssuerKey(text []byte, kind authority.IssuerKind, algorithms []string, seen map[string]bool) (key IssuerKey, usable bool, err error) {
	jwk, err := members(text)
	if err != nil {
		return key, false, err
	}
	if jwk[privateMember] != nil || jwk[symmetricMember] != nil {
		return key, false, errors.New("it is a secret, not a public key")
	}
	if id, err := jwk.text("kid"); err == nil {
		if seen[id] {
			return key, false, errors.New("its kid is another key's too")
		}
		seen[id] = true
		key.ID = id
	}
	if !jwk.signs(kind) || key.ID == "" || len(key.ID) > maxForeignKeyID {
		return key, false, nil
	}
	if key.Algorithm = jwk.algorithm(algorithms); key.Algorithm == "" {
		return key, false, nil
	}
	key.public, err = jwk.public()
	if err != nil {
		return key, false, err
	}
	return key, fits(key.public, key.Algorithm), nil
}

// signs reports whether a key is for the signatures of an issuer's tokens.
func (o object) signs(kind authority.IssuerKind) bool {
	var use string
	var operations []string
	if o["use"] != nil && json.Unmarshal(o["use"], &use) != nil || o["key_ops"] != nil && json.Unmarshal(o["key_ops"], &operations) != nil {
		return false
	}
	if operations != nil && !slices.Contains(operations, operationVerify) {
		return false
	}
	if kind == authority.IssuerSPIFFE {
		return use == useSPIFFE
	}
	return use == "" || use == useSignature
}

// algorithm is the one that the key verifies: what it says itself, else what its type and curve leave, which for RSA is
// RS256. Empty where that is none of the issuer's algorithms.
func (o object) algorithm(allowed []string) string {
	var alg string
	if o["alg"] != nil {
		if json.Unmarshal(o["alg"], &alg) != nil {
			return ""
		}
	} else {
		kty, _ := o.text("kty")
		crv, _ := o.text("crv")
		switch {
		case kty == familyRSA:
			alg = rsaDefault
		case kty == familyElliptic:
			alg = map[string]string{"P-256": string(jose.ES256), "P-384": string(jose.ES384), "P-521": string(jose.ES512)}[crv]
		case kty == familyEdwards && crv == "Ed25519":
			alg = edwardsAlgorithm
		}
	}
	if alg == "Ed25519" { // the name that RFC 9864 gives what was EdDSA
		alg = edwardsAlgorithm
	}
	if !slices.Contains(allowed, alg) {
		return ""
	}
	return alg
}

// public reads the key itself. Nothing but its numbers is looked at: no certificate, no URL.
func (o object) public() (any, error) {
	bare := map[string]json.RawMessage{}
	for _, name := range []string{"kty", "n", "e", "crv", "x", "y"} {
		if o[name] != nil {
			bare[name] = o[name]
		}
	}
	text, err := json.Marshal(bare)
	if err != nil {
		return nil, err
	}
	var jwk jose.JSONWebKey
	if err := jwk.UnmarshalJSON(text); err != nil || !jwk.Valid() || !jwk.IsPublic() {
		return nil, errors.New("it cannot be read")
	}
	if key, ok := jwk.Key.(*rsa.PublicKey); ok {
		if bits := key.N.BitLen(); bits < minRSABits || bits > maxRSABits || key.E < 3 || key.E%2 == 0 {
			return nil, fmt.Errorf("an RSA key has %d to %d bits and an odd exponent; this has %d", minRSABits, maxRSABits, bits)
		}
	}
	return jwk.Key, nil
}

// fits reports whether a key can verify an algorithm.
func fits(public any, algorithm string) bool {
	switch key := public.(type) {
	case *rsa.PublicKey:
		return algorithm[:2] == "RS" || algorithm[:2] == "PS"
	case *ecdsa.PublicKey:
		return map[string]int{string(jose.ES256): 256, string(jose.ES384): 384, string(jose.ES512): 521}[algorithm] == key.Curve.Params().BitSize
	case ed25519.PublicKey:
		return algorithm == edwardsAlgorithm
	}
	return false
}

// MarshalJSON writes the key as a JWK of exactly what it is used by, so that one key has one spelling.
func (k IssuerKey) MarshalJSON() ([]byte, error) {
	return jose.JSONWebKey{Key: k.public, KeyID: k.ID, Algorithm: k.Algorithm, Use: useSignature}.MarshalJSON()
}

// UnmarshalJSON reads what MarshalJSON writes, by the same rules as a key of an issuer.
func (k *IssuerKey) UnmarshalJSON(text []byte) error {
	key, usable, err := parseIssuerKey(bytes.TrimSpace(text), authority.IssuerOIDC, authority.SignatureAlgorithms(), map[string]bool{})
	if err != nil || !usable {
		return fmt.Errorf("%w: a kept key cannot be read", ErrIssuerKeys)
	}
	*k = key
	return nil
}
