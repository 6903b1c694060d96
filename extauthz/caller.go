package extauthz

import (
	"net/netip"
	"strings"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/token"
)

// identify finds the principal that sends a request: the bearer of its token, or without one the holder of the client
// certificate of its connection. Whatever is wrong with either, the answer is the same; only the absence of both and an API
// key in the place of a token are told apart, since their senders can do something about it.
func identify(snapshot *Snapshot, r *request, now time.Time) (authority.Principal, error) {
	value := r.value(headerAuthorization)
	if value == "" {
		return snapshot.holder(r.peer, now)
	}
	bearer, ok := bearerOf(value)
	if !ok {
		return authority.Principal{}, deny(authority.ReasonAuthFailed, "The Authorization header is not of the form Bearer <JWT>")
	}
	claimed, err := snapshot.claimOf(bearer, now)
	if err != nil {
		return authority.Principal{}, err
	}
	if !claimed.confirmation.MetBy(r.peer.thumbprint) || snapshot.contradicts(claimed, r.peer, now) {
		return authority.Principal{}, errNotIdentified()
	}
	return snapshot.known(claimed.subject)
}

// holder identifies the holder of a client certificate.
func (s *Snapshot) holder(p peer, now time.Time) (authority.Principal, error) {
	if !p.shown() {
		return authority.Principal{}, deny(authority.ReasonAuthRequired, "The request needs an access token: Authorization: Bearer <JWT>")
	}
	id, ok := s.clients.holder(p, now)
	if !ok {
		return authority.Principal{}, errNotIdentified()
	}
	return s.known(id)
}

// contradicts reports whether a token is somebody else's than the client certificate that comes with it. A certificate that
// identifies nobody contradicts nothing, nor does one that the token names itself.
func (s *Snapshot) contradicts(claimed claim, p peer, now time.Time) bool {
	if claimed.confirmation != nil {
		return false
	}
	id, ok := s.clients.holder(p, now)
	return ok && id != claimed.subject
}

// bearerOf takes the credential from the value of an Authorization header. The scheme's letter case does not matter.
func bearerOf(value string) (string, bool) {
	scheme, credential, ok := strings.Cut(value, " ")
	if !ok || !strings.EqualFold(scheme, "bearer") || credential == "" || strings.ContainsAny(credential, " ,") {
		return "", false
	}
	return credential, true
}

// claim is what a token says: whose it is, and which certificate it is bound to.
type claim struct {
	subject      authority.PrincipalID
	confirmation *authority.Confirmation // nil for none
}

// claimOf reads an access token, or a token of a trusted issuer. Whoever goes by it holds its confirmation against the certificate that the bearer showed.
func (s *Snapshot) claimOf(jws string, now time.Time) (claim, error) {
	if _, err := token.ParseAPIKey(jws); err == nil {
		return claim{}, deny(authority.ReasonAuthFailed, "This endpoint takes an access token; exchange the API key at POST /api/v1/token.")
	}
	if access, err := s.tokens.access(jws, now); err == nil {
		return claim{access.Subject, access.Confirmation}, nil
	}
	identity, err := s.outsiders.identity(jws, now)
	if err != nil {
		return claim{}, errNotIdentified()
	}
	return claim{identity.Principal, identity.Confirmation}, nil
}

// bearer identifies the bearer of a token who has shown a certificate, or none.
func (s *Snapshot) bearer(jws string, shown authority.Thumbprint, now time.Time) (authority.Principal, error) {
	claimed, err := s.claimOf(jws, now)
	if err != nil {
		return authority.Principal{}, err
	}
	if !claimed.confirmation.MetBy(shown) {
		return authority.Principal{}, errNotIdentified()
	}
	return s.known(claimed.subject)
}

// keyBearer identifies the bearer of an agent's API key, where the key may be used from.
func (s *Snapshot) keyBearer(key token.APIKey, from netip.Addr, now time.Time) (authority.Principal, error) {
	kept, ok := s.agentKeys.get(key.ID)
	if !ok || !key.Kind.IsOwn() || !key.Matches(kept.Hash) || kept.ExpiresAt != nil && !now.Before(*kept.ExpiresAt) ||
		!authority.Admits(kept.AllowedNetworks, from) {
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
