package extauthz

import (
	"strings"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/token"
)

// identify finds the principal whose access token a request bears. Whatever is wrong with a token, the answer is the
// same; only its absence and an API key in its place are told apart, since their senders can do something about it.
func identify(snapshot *Snapshot, r *request, now time.Time) (authority.Principal, error) {
	value := r.value(headerAuthorization)
	if value == "" {
		return authority.Principal{}, deny(authority.ReasonAuthRequired, "The request needs an access token: Authorization: Bearer <JWT>")
	}
	bearer, ok := bearerOf(value)
	if !ok {
		return authority.Principal{}, deny(authority.ReasonAuthFailed, "The Authorization header is not of the form Bearer <JWT>")
	}
	return snapshot.bearer(bearer, now)
}

// bearerOf takes the credential from the value of an Authorization header. The scheme's letter case does not matter.
func bearerOf(value string) (string, bool) {
	scheme, credential, ok := strings.Cut(value, " ")
	if !ok || !strings.EqualFold(scheme, "bearer") || credential == "" || strings.ContainsAny(credential, " ,") {
		return "", false
	}
	return credential, true
}

// bearer identifies the bearer of an access token.
func (s *Snapshot) bearer(jws string, now time.Time) (authority.Principal, error) {
	if _, err := token.ParseAPIKey(jws); err == nil {
		return authority.Principal{}, deny(authority.ReasonAuthFailed, "This endpoint takes an access token; exchange the API key at POST /api/v1/token.")
	}
	access, err := s.tokens.access(jws, now)
	if err != nil {
		return authority.Principal{}, errNotIdentified()
	}
	return s.known(access.Subject)
}

// keyBearer identifies the bearer of an agent's API key.
func (s *Snapshot) keyBearer(key token.APIKey, now time.Time) (authority.Principal, error) {
	kept, ok := s.agentKeys[key.ID]
	if !ok || key.Kind != authority.KeyAgent || !key.Matches(kept.Hash) || kept.ExpiresAt != nil && !now.Before(*kept.ExpiresAt) {
		return authority.Principal{}, errNotIdentified()
	}
	return s.known(kept.PrincipalID)
}

func (s *Snapshot) known(id authority.PrincipalID) (authority.Principal, error) {
	principal, ok := s.Principal(id)
	if !ok {
		return authority.Principal{}, errNotIdentified()
	}
	return principal, nil
}

func errNotIdentified() error {
	return deny(authority.ReasonAuthFailed, "The credential is not valid here, or no longer.")
}
