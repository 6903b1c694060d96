package token

import (
	"encoding/base64"
	"strings"
)

// signedPrefix is `{"alg":"EdDSA",` in base64url: how everything begins that this package signs.
const signedPrefix = "eyJhbGciOiJFZERTQSIs"

// maxHeader bounds the length of a header of ours, in base64url.
const maxHeader = 256

// Recognise reports whether a value holds something that looks like a credential of ours: an API key, or a JWT of any
// of our types, alone or within other text. It decides what must not reach an upstream, so it verifies nothing.
func Recognise(value string) bool {
	return anywhere(value, apiKeyPrefix, looksLikeAPIKey) || anywhere(value, signedPrefix, looksLikeJWT)
}

// anywhere tries the text from each occurrence of a prefix on.
func anywhere(value, prefix string, looksLike func(string) bool) bool {
	for {
		at := strings.Index(value, prefix)
		if at < 0 {
			return false
		}
		if looksLike(value[at:]) {
			return true
		}
		value = value[at+len(prefix):]
	}
}

func looksLikeAPIKey(text string) bool {
	for _, kind := range []string{"member", "agent", "service", "gateway", "owner"} {
		rest, ok := strings.CutPrefix(text, apiKeyPrefix+kind+"_")
		if ok && len(rest) > idLength+digestLength && rest[idLength] == '_' &&
			isBase32(rest[:idLength], idLength) && isBase32(rest[idLength+1:][:digestLength], digestLength) {
			return true
		}
	}
	return false
}

func looksLikeJWT(text string) bool {
	header, _, ok := strings.Cut(text[:min(len(text), maxHeader)], ".")
	if !ok {
		return false
	}
	decoded, err := base64.RawURLEncoding.DecodeString(header)
	return err == nil && strings.Contains(string(decoded), `"typ":"caracal-`)
}
