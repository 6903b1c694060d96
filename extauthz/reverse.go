package extauthz

import (
	"slices"
	"strings"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/token"
)

// pathReverse begins the paths below which destinations are served under their base paths.
const pathReverse = "/r/"

// Headers in which some services take their keys.
const (
	headerKey       = "x-api-key"
	headerGoogleKey = "x-goog-api-key"
)

// reverseCredential finds our credential where clients put the key of the service that they take the gateway for:
// `Authorization` with Bearer or as the password of Basic, `x-api-key`, `x-goog-api-key`. It may stand in more than one of
// them, as some clients do; two that differ are refused. What is not a credential of ours stays the upstream's.
func reverseCredential(s *Snapshot, r *request, now time.Time) (credential, error) {
	var shown credential
	for _, h := range r.headers {
		for _, secret := range secretsOf(h) {
			if !s.ours(secret, now) {
				continue
			}
			if shown.secret != "" && shown.secret != secret {
				return credential{}, deny(authority.ReasonAmbiguousHeader, "The request shows two credentials of Caracal.")
			}
			shown.secret = secret
			shown.written = []string{secret}
			if !slices.Contains(shown.headers, h.name) {
				shown.headers = append(shown.headers, h.name)
			}
		}
	}
	return shown, nil
}

// secretsOf gives what could be a credential in a header that clients put one in.
func secretsOf(h header) []string {
	switch h.name {
	case headerAuthorization:
		if bearer, ok := bearerOf(h.value); ok {
			return []string{bearer}
		}
		if scheme, encoded, ok := strings.Cut(h.value, " "); ok && strings.EqualFold(scheme, "basic") {
			if user, password, ok := basicOf(encoded); ok {
				return []string{user, password}
			}
		}
	case headerKey, headerGoogleKey:
		return []string{h.value}
	}
	return nil
}

// ours reports whether a secret is a credential that identifies callers here: one of our own, whether it holds or not, or a
// trusted issuer's token that does.
func (s *Snapshot) ours(secret string, now time.Time) bool {
	if token.Recognise(secret) {
		return true
	}
	_, err := s.outsiders.identity(secret, now)
	return err == nil
}

// reverseTarget reads the target of a request below the base path of a destination.
func (s *Service) reverseTarget(j *judgement) (authority.Target, error) {
	rest, _ := strings.CutPrefix(j.request.path, pathReverse)
	if j.tells(rest) {
		return authority.Target{}, errTargetTells()
	}
	end := strings.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	target, known, err := j.snapshot.directory.catalog.Under(rest[:end], rest[end:])
	if err == nil && !known {
		return target, deny(authority.ReasonUnknownEndpoint, "This gateway serves no destination under that base path.")
	}
	return target, err
}
