package authority

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
)

// Thumbprint is the SHA-256 of a client certificate's DER form in base64url without padding: the `x5t#S256` of RFC 8705.
type Thumbprint string

// ThumbprintOf is the thumbprint of a certificate in DER form.
func ThumbprintOf(der []byte) Thumbprint {
	digest := sha256.Sum256(der)
	return Thumbprint(base64.RawURLEncoding.EncodeToString(digest[:]))
}

// ParseThumbprint reads a thumbprint in its one spelling; anything else is an invalid_request.
func ParseThumbprint(s string) (Thumbprint, error) {
	digest, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(digest) != sha256.Size || base64.RawURLEncoding.EncodeToString(digest) != s {
		return "", Invalid("", "is not the SHA-256 of a certificate in base64url without padding")
	}
	return Thumbprint(s), nil
}

// Confirmation binds a mandate or an access token to a key (RFC 7800): only who shows the certificate may use it.
type Confirmation struct {
	Certificate Thumbprint `json:"x5t#S256"`
}

// Validate reports a confirmation that names no certificate. None at all, which is nil, binds nothing and is good.
func (c *Confirmation) Validate() error {
	if c == nil {
		return nil
	}
	_, err := ParseThumbprint(string(c.Certificate))
	return Within("x5t#S256", err)
}

// MetBy reports whether the bearer of a certificate may use what the confirmation binds. An empty thumbprint is that of
// nobody: it meets only the absence of a confirmation.
func (c *Confirmation) MetBy(presented Thumbprint) bool {
	if c == nil {
		return true
	}
	return presented != "" && subtle.ConstantTimeCompare([]byte(c.Certificate), []byte(presented)) == 1
}
