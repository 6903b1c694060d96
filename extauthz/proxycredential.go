package extauthz

import (
	"encoding/base64"
	"strings"
	"time"

	"github.com/caracal-gateway/caracal/authority"
)

// headerProxyAuth is where clients of a proxy say who they are.
const headerProxyAuth = "proxy-authorization"

// noMandate stands in the place of a mandate's id where a client names none.
const noMandate = "-"

// proxyCredential reads the Proxy-Authorization header: Basic with a mandate's id, or `-`, in the place of the user and a
// key or token in that of the password, or Bearer with a key or token.
func proxyCredential(_ *Snapshot, r *request, _ time.Time) (credential, error) {
	value := r.value(headerProxyAuth)
	if value == "" {
		return credential{}, nil
	}
	shown := credential{headers: []string{headerProxyAuth}}
	if bearer, ok := bearerOf(value); ok {
		shown.secret, shown.written = bearer, []string{bearer}
		return shown, nil
	}
	scheme, encoded, _ := strings.Cut(value, " ")
	mandate, secret, ok := basicOf(encoded)
	if !strings.EqualFold(scheme, "basic") || !ok {
		return credential{}, deny(authority.ReasonAuthFailed, "The Proxy-Authorization header is neither Basic <mandate id or ->:<API key or access token> nor Bearer <access token>.")
	}
	if mandate != noMandate {
		shown.mandate = mandate
	}
	shown.secret, shown.written = secret, []string{secret, encoded}
	return shown, nil
}

// basicOf reads the user and the password of the Basic scheme, neither of which is empty.
func basicOf(encoded string) (user, password string, ok bool) {
	decoded, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil || strings.ContainsAny(encoded, "\r\n") {
		return "", "", false
	}
	user, password, ok = strings.Cut(string(decoded), ":")
	return user, password, ok && isHeaderValue(user) && isHeaderValue(password)
}
