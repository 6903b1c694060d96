package controlplane

import (
	"time"

	"github.com/caracal-gateway/caracal/authority"
)

// NewKey asks for an API key. PrincipalID is who the key acts for: a user for an owner's key, an agent or a service
// for an agent's, nobody for a gateway's.
type NewKey struct {
	Kind        authority.KeyKind     `json:"kind"`
	Name        string                `json:"name"`
	PrincipalID authority.PrincipalID `json:"principal_id"`
	// ExpiresAt ends the key; nil means that only a revocation does.
	ExpiresAt *time.Time `json:"expires_at"`
}

// CreatedKey is a new API key, told this once.
type CreatedKey struct {
	authority.Key
	APIKey string `json:"api_key"`
}

// KeyFilter narrows a list of keys; a zero field does not.
type KeyFilter struct {
	Kind        authority.KeyKind
	PrincipalID authority.PrincipalID
}

// AccessToken is the answer of RFC 8693 to a token exchange.
type AccessToken struct {
	AccessToken     string `json:"access_token"`
	IssuedTokenType string `json:"issued_token_type"`
	TokenType       string `json:"token_type"`
	ExpiresIn       int64  `json:"expires_in"` // seconds
}
