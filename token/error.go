package token

import "errors"

// What a JWS is refused for. Errors of this package wrap exactly one of these; none of them quotes the token.
var (
	ErrTooLarge     = errors.New("token exceeds its size limit")
	ErrMalformed    = errors.New("not a compact JWS in strict base64url")
	ErrHeader       = errors.New("header is not exactly alg, typ and kid")
	ErrAlgorithm    = errors.New("algorithm is not EdDSA")
	ErrType         = errors.New("typ is not the one of this purpose")
	ErrUnknownKey   = errors.New("kid is not in the key set for this purpose")
	ErrKeyPeriod    = errors.New("signed outside the period of its key")
	ErrSignature    = errors.New("signature does not verify")
	ErrClaims       = errors.New("claims are malformed")
	ErrIssuer       = errors.New("issued by another deployment")
	ErrAudience     = errors.New("meant for another audience")
	ErrExpired      = errors.New("token has expired")
	ErrNotYetValid  = errors.New("token is not valid yet")
	ErrBound        = errors.New("token is bound to a client certificate")
	ErrMandateTerms = errors.New("mandate differs from what was signed")
	ErrReceipt      = errors.New("receipt differs from what was signed")
	ErrTooLong      = errors.New("token holds for longer than its issuer may grant")
	ErrUnbound      = errors.New("the issuer's claim is bound to nobody")
	ErrForeignRoot  = errors.New("key set is of another root key")
)

// ErrAPIKey says that a text is not an API key of ours.
var ErrAPIKey = errors.New("not an API key of the form ck_<kind>_…")

// ErrVault says that a stored secret cannot be opened: another master key, id or purpose, or damage.
var ErrVault = errors.New("stored secret does not open under this master key")
