package token

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4"
)

// maxDepth bounds the nesting of JSON in what is read before its signature is known to be good.
const maxDepth = 8

// signCompact makes a JWS whose header is exactly alg, kid and typ, in this order.
func signCompact(private ed25519.PrivateKey, kid, typ string, claims any) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("encode claims: %w", err)
	}
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.EdDSA, Key: jose.JSONWebKey{Key: private, KeyID: kid}},
		(&jose.SignerOptions{}).WithType(jose.ContentType(typ)))
	if err != nil {
		return "", fmt.Errorf("make signer: %w", err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	return signed.CompactSerialize()
}

// unverified is a JWS whose form is right and whose signature has not been looked at.
type unverified struct {
	text    string
	kid     string
	payload []byte
}

// parseCompact reads the form of a JWS of at most limit bytes and of one type.
func parseCompact(text, typ string, limit int) (unverified, error) {
	decoded, err := splitCompact(text, limit)
	if err != nil {
		return unverified{}, err
	}
	if len(decoded[2]) != ed25519.SignatureSize {
		return unverified{}, ErrMalformed
	}
	kid, err := readHeader(decoded[0], typ)
	if err != nil {
		return unverified{}, err
	}
	return unverified{text: text, kid: kid, payload: decoded[1]}, nil
}

// splitCompact decodes the header, payload and signature of a JWS of at most limit bytes. Every byte of the text counts:
// what differs from the one spelling of its parts in base64url is refused.
func splitCompact(text string, limit int) (decoded [3][]byte, err error) {
	if len(text) > limit {
		return decoded, fmt.Errorf("%w of %d bytes", ErrTooLarge, limit)
	}
	parts := strings.SplitN(text, ".", 4)
	if len(parts) != 3 {
		return decoded, ErrMalformed
	}
	for i, part := range parts {
		// The decoder skips line breaks, which are none of base64url.
		if part == "" || strings.ContainsAny(part, "\r\n") {
			return decoded, ErrMalformed
		}
		if decoded[i], err = base64.RawURLEncoding.Strict().DecodeString(part); err != nil {
			return decoded, ErrMalformed
		}
	}
	return decoded, nil
}

// readHeader gives the kid of a header that holds alg, typ and kid, and nothing that could point elsewhere or ask for
// more.
func readHeader(data []byte, typ string) (kid string, err error) {
	header, err := members(data)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrHeader, err)
	}
	for name := range header {
		if name != "alg" && name != "typ" && name != "kid" {
			return "", ErrHeader
		}
	}
	alg, err := header.text("alg")
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrHeader, err)
	}
	got, err := header.text("typ")
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrHeader, err)
	}
	if kid, err = header.text("kid"); err != nil {
		return "", fmt.Errorf("%w: %w", ErrHeader, err)
	}
	switch {
	case alg != string(jose.EdDSA):
		return "", ErrAlgorithm
	case got != typ:
		return "", ErrType
	}
	return kid, nil
}

// verify checks the signature. The payload may be believed only after it returns nil.
func (u unverified) verify(public ed25519.PublicKey) error {
	signed, err := jose.ParseSignedCompact(u.text, []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil {
		return ErrMalformed
	}
	payload, err := signed.Verify(public)
	if err != nil || !bytes.Equal(payload, u.payload) {
		return ErrSignature
	}
	return nil
}

// object is a JSON object without duplicate names, by its members' exact names.
type object map[string]json.RawMessage

// members reads a JSON object. Duplicate names at any depth, invalid UTF-8, deep nesting and trailing text are
// refused, so that no two readers can understand it differently.
func members(data []byte) (object, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("not UTF-8")
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	if err := uniqueNames(decoder, maxDepth); err != nil {
		return nil, err
	}
	var out object
	if err := json.Unmarshal(data, &out); err != nil || out == nil {
		return nil, errors.New("not a JSON object")
	}
	return out, nil
}

// Members reads a JSON object from outside by the same rules as a token's: no name twice at any depth, no invalid UTF-8,
// no deep nesting, nothing behind it.
func Members(data []byte) (map[string]json.RawMessage, error) { return members(data) }

// uniqueNames reads one JSON value and refuses it when an object in it has a name twice.
func uniqueNames(decoder *json.Decoder, depth int) error {
	if depth == 0 {
		return errors.New("JSON is nested too deeply")
	}
	token, err := decoder.Token()
	if err != nil {
		return errors.New("not JSON")
	}
	open, ok := token.(json.Delim)
	if !ok {
		return nil
	}
	seen := map[json.Token]bool{}
	for decoder.More() {
		if open == '{' {
			name, err := decoder.Token()
			if err != nil {
				return errors.New("not JSON")
			}
			if seen[name] {
				return errors.New("a JSON name occurs twice")
			}
			seen[name] = true
		}
		if err := uniqueNames(decoder, depth-1); err != nil {
			return err
		}
	}
	if _, err := decoder.Token(); err != nil {
		return errors.New("not JSON")
	}
	return nil
}

// text is a member that must be a non-empty string.
func (o object) text(name string) (string, error) {
	var value *string
	if err := json.Unmarshal(o[name], &value); err != nil || value == nil || *value == "" {
		return "", fmt.Errorf("%s is not a text", name)
	}
	return *value, nil
}
