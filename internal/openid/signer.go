package openid

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha256" // is what all of these hash by
	"encoding/base64"
	"encoding/json"
	"math/big"
	"testing"
)

// Signer makes the JWTs of an issuer that is not an OpenID provider, such as a cluster's, and those that no issuer would
// make.
type Signer struct {
	Algorithm string // RS256, PS256, ES256 or EdDSA
	ID        string // the kid
	// Use is what the JWK says that the key is for: sig, or jwt-svid for SPIFFE.
	Use string

	t       testing.TB
	private crypto.Signer
}

// NewSigner makes a key for an algorithm.
func NewSigner(t testing.TB, algorithm, id string) *Signer {
	t.Helper()
	var (
		private crypto.Signer
		err     error
	)
	switch algorithm {
	case "RS256", "PS256":
		private, err = rsa.GenerateKey(rand.Reader, 2048)
	case "ES256":
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "EdDSA":
		_, private, err = ed25519.GenerateKey(rand.Reader)
	default:
		t.Fatalf("no keys for %s are made here", algorithm)
	}
	if err != nil {
		t.Fatal(err)
	}
	return &Signer{Algorithm: algorithm, ID: id, Use: "sig", t: t, private: private}
}

// Public is the half of the key that verifies.
func (s *Signer) Public() crypto.PublicKey { return s.private.Public() }

// JWK is the public key as the member of a key set.
func (s *Signer) JWK() map[string]any {
	jwk := map[string]any{"kid": s.ID, "alg": s.Algorithm, "use": s.Use}
	text := base64.RawURLEncoding.EncodeToString
	switch key := s.private.Public().(type) {
	case *rsa.PublicKey:
		jwk["kty"], jwk["n"], jwk["e"] = "RSA", text(key.N.Bytes()), text(big.NewInt(int64(key.E)).Bytes())
	case *ecdsa.PublicKey:
		point, err := key.Bytes()
		if err != nil {
			s.t.Fatal(err)
		}
		jwk["kty"], jwk["crv"], jwk["x"], jwk["y"] = "EC", "P-256", text(point[1:33]), text(point[33:])
	case ed25519.PublicKey:
		jwk["kty"], jwk["crv"], jwk["x"] = "OKP", "Ed25519", text(key)
	}
	return jwk
}

// KeySet is the JWK set of the public keys.
func KeySet(t testing.TB, signers ...*Signer) json.RawMessage {
	t.Helper()
	keys := []any{}
	for _, s := range signers {
		keys = append(keys, s.JWK())
	}
	text, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// Sign makes a JWT of claims with a header of alg, kid and typ.
func (s *Signer) Sign(claims any) string {
	s.t.Helper()
	return s.SignWith(map[string]any{"alg": s.Algorithm, "kid": s.ID, "typ": "JWT"}, claims)
}

// SignWith makes a JWS of any header over a payload: JSON of it, or the text itself where it is one. The signature is of
// the signer's algorithm, whatever the header says.
func (s *Signer) SignWith(header map[string]any, payload any) string {
	s.t.Helper()
	text := encode(s.t, header) + "." + encode(s.t, payload)
	signature, err := s.sign([]byte(text))
	if err != nil {
		s.t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func encode(t testing.TB, value any) string {
	t.Helper()
	text, isText := value.(string)
	if !isText {
		encoded, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		text = string(encoded)
	}
	return base64.RawURLEncoding.EncodeToString([]byte(text))
}

func (s *Signer) sign(text []byte) ([]byte, error) {
	digest := crypto.SHA256.New()
	digest.Write(text)
	switch key := s.private.(type) {
	case *rsa.PrivateKey:
		if s.Algorithm == "PS256" {
			return rsa.SignPSS(rand.Reader, key, crypto.SHA256, digest.Sum(nil), &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		}
		return rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest.Sum(nil))
	case *ecdsa.PrivateKey:
		r, v, err := ecdsa.Sign(rand.Reader, key, digest.Sum(nil))
		if err != nil {
			return nil, err
		}
		signature := make([]byte, 64)
		r.FillBytes(signature[:32])
		v.FillBytes(signature[32:])
		return signature, nil
	}
	return s.private.Sign(rand.Reader, text, crypto.Hash(0))
}
