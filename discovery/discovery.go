// Package discovery fetches the public keys of trusted issuers over HTTPS, where what answers may be anybody's.
//
// An issuer is a URL that a workspace gave. Nothing is sent to it but a GET for a public document, no redirect is
// followed, and no address is connected to but those of the public internet and those that the issuer lists: what a name
// resolves to is judged when it is dialled. Proxies of the environment are not used, since they would dial in its place.
package discovery

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/envoy"
	"github.com/caracal-gateway/caracal/token"
)

// Bounds of one fetch.
const (
	Timeout    = 10 * time.Second // for everything
	MaxAnswer  = 256 << 10        // bytes, of one document
	maxHeaders = 32 << 10
	connecting = 3 * time.Second
)

// How long a key set counts as fresh, whatever the answer says; UsualLife is for one that says nothing.
const (
	MinLife   = 5 * time.Minute
	UsualLife = time.Hour
	MaxLife   = 24 * time.Hour
)

// wellKnown is where an OpenID provider describes itself, below its issuer.
const wellKnown = "/.well-known/openid-configuration"

// What a fetch fails for. Errors of this package wrap one of these, or are the network's own.
var (
	ErrAddress  = errors.New("the address is not public, and not one of the issuer's private_addresses")
	ErrRedirect = errors.New("the key server redirects; name the final URL")
	ErrAnswer   = errors.New("the key server's answer is not what it should be")
	ErrIssuer   = errors.New("the discovery document is of another issuer")
)

// Fetcher fetches key sets. The zero Fetcher is ready.
type Fetcher struct {
	// Timeout bounds a fetch in place of the package's own; 0 means that one.
	Timeout time.Duration
}

// Found is a key set that was fetched.
type Found struct {
	Keys []token.IssuerKey
	// FreshFor is when to look again, MinLife to MaxLife.
	FreshFor time.Duration
}

// Fetch reads the keys of an issuer that are not pinned. The issuer must be valid.
func (f Fetcher) Fetch(ctx context.Context, issuer authority.TrustedIssuer) (Found, error) {
	limit := f.Timeout
	if limit == 0 {
		limit = Timeout
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	found, err := fetch(ctx, issuer)
	if err != nil {
		return Found{}, fmt.Errorf("fetch keys of %s: %w", issuer.ID, err)
	}
	return found, nil
}

func fetch(ctx context.Context, issuer authority.TrustedIssuer) (Found, error) {
	client, err := newClient(issuer)
	if err != nil {
		return Found{}, err
	}
	defer client.CloseIdleConnections()
	location := issuer.JWKSURL
	if location == "" {
		if location, err = discover(ctx, client, issuer); err != nil {
			return Found{}, err
		}
	}
	text, header, err := get(ctx, client, location)
	if err != nil {
		return Found{}, err
	}
	keys, err := token.ParseIssuerKeys(text, issuer.Kind, issuer.Algorithms)
	if err != nil {
		return Found{}, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	return Found{Keys: keys, FreshFor: freshFor(header)}, nil
}

// discover reads where the keys are from the issuer's own description, which must be its own.
func discover(ctx context.Context, client *http.Client, issuer authority.TrustedIssuer) (string, error) {
	text, _, err := get(ctx, client, strings.TrimSuffix(issuer.Issuer, "/")+wellKnown)
	if err != nil {
		return "", err
	}
	document, err := token.Members(text)
	if err != nil {
		return "", fmt.Errorf("%w: discovery document: %w", ErrAnswer, err)
	}
	var name, location string
	if json.Unmarshal(document["issuer"], &name) != nil || name != issuer.Issuer {
		return "", ErrIssuer
	}
	if json.Unmarshal(document["jwks_uri"], &location) != nil || issuer.CheckKeyServer(location) != nil {
		return "", fmt.Errorf("%w: jwks_uri is not an https URL", ErrAnswer)
	}
	return location, nil
}

func get(ctx context.Context, client *http.Client, location string) ([]byte, http.Header, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, location, nil)
	if err != nil {
		return nil, nil, err
	}
	request.Header.Set("Accept", "application/json, application/jwk-set+json")
	request.Header.Set("User-Agent", "caracal")
	response, err := client.Do(request)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, nil, fmt.Errorf("%w: status %d", ErrAnswer, response.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, MaxAnswer+1))
	if err != nil {
		return nil, nil, fmt.Errorf("read the key server's answer: %w", err)
	}
	if len(text) > MaxAnswer {
		return nil, nil, fmt.Errorf("%w: it is larger than %d bytes", ErrAnswer, MaxAnswer)
	}
	return text, response.Header, nil
}

// newClient makes a client that reaches the key server of one issuer and nothing else that it should not.
func newClient(issuer authority.TrustedIssuer) (*http.Client, error) {
	var roots *x509.CertPool // nil means the system's
	if issuer.CA != "" {
		roots = x509.NewCertPool()
		if !roots.AppendCertsFromPEM([]byte(issuer.CA)) {
			return nil, errors.New("the issuer's ca holds no certificate")
		}
	}
	dialer := &net.Dialer{Timeout: connecting, Control: func(_, address string, _ syscall.RawConn) error {
		return checkAddress(issuer.PrivateAddresses, address)
	}}
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return ErrRedirect },
		Transport: &http.Transport{
			DialContext:            dialer.DialContext,
			TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    connecting,
			MaxResponseHeaderBytes: maxHeaders,
			DisableKeepAlives:      true,
			DisableCompression:     true,
			ForceAttemptHTTP2:      true,
		},
	}, nil
}

// checkAddress judges what a name has resolved to, just before it is connected to.
func checkAddress(private []netip.Prefix, address string) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrAddress, err)
	}
	addr := to.Addr().Unmap().WithZone("")
	for _, never := range envoy.NeverPrivate() {
		if never.Contains(addr) {
			return ErrAddress
		}
	}
	for _, listed := range private {
		if listed.Contains(addr) {
			return nil
		}
	}
	for _, internal := range envoy.NotPublic() {
		if internal.Contains(addr) {
			return ErrAddress
		}
	}
	return nil
}

// freshFor reads for how long an answer may be kept, within the bounds.
func freshFor(header http.Header) time.Duration {
	life := UsualLife
	for directive := range strings.SplitSeq(strings.Join(header.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.ToLower(strings.TrimSpace(directive)), "=")
		switch name {
		case "no-store", "no-cache":
			return MinLife
		case "max-age":
			seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31)
			if err != nil {
				return MinLife
			}
			life = time.Duration(seconds) * time.Second
		}
	}
	return min(max(life, MinLife), MaxLife)
}
