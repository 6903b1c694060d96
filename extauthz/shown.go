package extauthz

import (
	"encoding/base64"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/token"
)

// credential is what the caller of a request shows of itself beside the certificate of its connection. The zero credential
// is none.
type credential struct {
	secret  string   // a token or an API key; empty for none
	mandate string   // the mandate that is named in the same place; empty for none
	written []string // the forms in which the secret stands in the request, which no upstream may see
	headers []string // where it stands
}

// What callers are told that show nothing of themselves.
const (
	neededToken   = "The request needs an access token: Authorization: Bearer <JWT>"
	neededProxy   = "The proxy needs a credential: Proxy-Authorization: Basic <mandate id or ->:<API key or access token>"
	neededReverse = "The request needs an access token or an API key of Caracal in the place of the upstream's key."
)

// bearerCredential reads a token from the Authorization header.
func bearerCredential(_ *Snapshot, r *request, _ time.Time) (credential, error) {
	value := r.value(headerAuthorization)
	if value == "" {
		return credential{}, nil
	}
	bearer, ok := bearerOf(value)
	if !ok {
		return credential{}, deny(authority.ReasonAuthFailed, "The Authorization header is not of the form Bearer <JWT>")
	}
	return credential{secret: bearer, written: []string{bearer}, headers: []string{headerAuthorization}}, nil
}

// identify finds who sends a request and keeps that for what follows: the bearer of the credential, or without one the
// holder of the client certificate of the connection. A credential that does not hold is never made good by the other.
func (j *judgement) identify(m mode) error {
	asker := j.request.asker()
	shown, err := m.credential(j.snapshot, asker, j.shown)
	if err != nil {
		return err
	}
	j.credential = shown
	caller, err := j.snapshot.caller(m, asker, shown, j.shown)
	if err != nil {
		return err
	}
	j.caller, j.name, j.bound, j.certificate = caller.ID, caller.Name, caller.Mandate, asker.peer.thumbprint
	return nil
}

// caller finds the principal that shows a credential. Whatever is wrong with it, the answer is the same; only the absence
// of any, an API key where none is taken and one that others could read are told apart, since their senders can do
// something about it.
func (s *Snapshot) caller(m mode, r *request, c credential, now time.Time) (Caller, error) {
	if c.secret == "" {
		if !r.peer.shown() {
			return Caller{}, deny(authority.ReasonAuthRequired, "%s", m.needed)
		}
		holder, err := s.holder(r.peer, now)
		return Caller{Principal: holder}, err
	}
	if key, err := token.ParseAPIKey(c.secret); err == nil && m.keys {
		return s.keyHolder(key, r, now)
	}
	claimed, err := s.claimOf(c.secret, now)
	if err != nil {
		return Caller{}, err
	}
	if !claimed.confirmation.MetBy(r.peer.thumbprint) || s.contradicts(claimed, r.peer, now) {
		return Caller{}, errNotIdentified()
	}
	principal, err := s.known(claimed.subject)
	return Caller{principal, claimed.mandate}, err
}

// keyHolder identifies who sends an agent's API key. Such a key is good for long: it is not taken from a connection that
// others could have read it on.
func (s *Snapshot) keyHolder(key token.APIKey, r *request, now time.Time) (Caller, error) {
	from, _ := netip.ParseAddr(r.source) // what cannot be read is an address that no network holds
	if !r.secure && !from.Unmap().IsLoopback() {
		return Caller{}, deny(authority.ReasonAuthFailed, "An API key is not taken over plain text from another host: use TLS, or a token from POST /api/v1/token.")
	}
	principal, err := s.keyBearer(key, from, now)
	if err != nil {
		return Caller{}, err
	}
	if holder, ok := s.clients.holder(r.peer, now); ok && holder != principal.ID {
		return Caller{}, errNotIdentified()
	}
	return Caller{Principal: principal}, nil
}

// tells reports whether a value holds what identifies callers here, and what no upstream may see therefore: a credential of
// ours, or the one that the request itself shows, whoever issued it.
func (j *judgement) tells(value string) bool {
	holds := func(text string) bool {
		within := func(written string) bool { return strings.Contains(text, written) }
		return token.Recognise(text) || slices.ContainsFunc(j.credential.written, within)
	}
	if scheme, encoded, ok := strings.Cut(value, " "); ok && strings.EqualFold(scheme, "basic") {
		if decoded, err := base64.StdEncoding.DecodeString(encoded); err == nil && holds(string(decoded)) {
			return true
		}
	}
	return holds(value)
}
