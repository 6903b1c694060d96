package extauthz

import (
	"net/netip"
	"strings"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/token"
)

// holder identifies the holder of a client certificate.
func (s *Snapshot) holder(p peer, now time.Time) (authority.Principal, error) {
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

// claim is what a token says: whose it is, and which certificate and which mandate it is bound to.
type claim struct {
	subject      authority.PrincipalID
	confirmation *authority.Confirmation // nil for none
	mandate      authority.MandateID     // empty for none
}

// claimOf reads an access token, or a token of a trusted issuer. Whoever goes by it holds its confirmation against the certificate that the bearer showed.
func (s *Snapshot) claimOf(jws string, now time.Time) (claim, error) {
	if _, err := token.ParseAPIKey(jws); err == nil {
		return claim{}, deny(authority.ReasonAuthFailed, "This endpoint takes an access token; exchange the API key at POST /api/v1/token.")
	}
	if access, err := s.tokens.access(jws, now); err == nil {
		return claim{access.Subject, access.Confirmation, access.Mandate}, nil
	}
	identity, err := s.outsiders.identity(jws, now)
	if err != nil {
		return claim{}, errNotIdentified()
	}
	return claim{subject: identity.Principal, confirmation: identity.Confirmation}, nil
}

// bearer identifies the bearer of a token who has shown a certificate, or none, and presents a mandate.
func (s *Snapshot) bearer(jws string, shown authority.Thumbprint, presented authority.MandateID, now time.Time) (authority.Principal, error) {
	claimed, err := s.claimOf(jws, now)
	if err != nil {
		return authority.Principal{}, err
	}
	if !claimed.confirmation.MetBy(shown) || claimed.mandate != "" && claimed.mandate != presented {
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
