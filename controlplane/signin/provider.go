package signin

import (
	"context"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/caracal-gateway/caracal/controlplane"
)

const (
	// providerTimeout bounds one exchange with the provider.
	providerTimeout = 10 * time.Second
	// maxAnswer bounds what the provider answers, in bytes.
	maxAnswer = 1 << 20
	// discoveryLifetime is how long what the provider says of itself is used before it is read again; keys are read
	// whenever an unknown one signs.
	discoveryLifetime = time.Hour
	// discoveryPause is how long a provider that could not be read is left alone.
	discoveryPause = 5 * time.Second
)

// ProviderConfig says which OpenID provider people sign in at, and as which of its clients.
type ProviderConfig struct {
	// Issuer is the provider's URL, exactly as it writes it: https, or http on loopback.
	Issuer       string
	ClientID     string
	ClientSecret string // empty for a public client
	// Scopes are asked for beside openid.
	Scopes []string
	// GroupsClaim is the claim that lists a person's groups.
	GroupsClaim string
	// CA holds what the provider's certificate must chain to; nil means the system's roots.
	CA *x509.CertPool
}

// Validate reports what is wrong with the configuration.
func (c ProviderConfig) Validate() error {
	u, err := url.Parse(c.Issuer)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return errors.New("the issuer is not of the form https://host[:port][/path]")
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())) {
		return errors.New("the issuer would be spoken to without TLS: use https")
	}
	if c.ClientID == "" {
		return errors.New("the client id of the OpenID provider is missing")
	}
	if c.GroupsClaim == "" {
		return errors.New("the name of the groups claim is missing")
	}
	return nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// provider is the OpenID provider, found when somebody first signs in: that it is away keeps nobody from anything else.
type provider struct {
	ProviderConfig
	redirect string // where it sends people back to
	client   *http.Client
	now      func() time.Time

	mu      sync.Mutex // guards what follows; held while the provider is read, so that it is read once
	known   *discovered
	readAt  time.Time // of known
	retryAt time.Time // after a failure
	failure error
}

// discovered is what the provider says of itself.
type discovered struct {
	provider *oidc.Provider
	client   oauth2.Config
	metadata metadata
}

type metadata struct {
	UserInfo      string   `json:"userinfo_endpoint"`
	EndSession    string   `json:"end_session_endpoint"`
	NamesItself   bool     `json:"authorization_response_iss_parameter_supported"`
	ClientMethods []string `json:"token_endpoint_auth_methods_supported"`
}

func newProvider(c ProviderConfig, redirect string, now func() time.Time) *provider {
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		TLSClientConfig:       &tls.Config{RootCAs: c.CA, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:   providerTimeout,
		ResponseHeaderTimeout: providerTimeout,
		MaxIdleConns:          4,
		IdleConnTimeout:       time.Minute,
		ForceAttemptHTTP2:     true,
	}
	return &provider{ProviderConfig: c, redirect: redirect, now: now, client: &http.Client{
		Transport:     bounded{transport},
		Timeout:       providerTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// bounded cuts answers that are larger than any of a provider has to be.
type bounded struct{ http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := b.RoundTripper.RoundTrip(r)
	if err == nil {
		response.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(response.Body, maxAnswer), response.Body}
	}
	return response, err
}

// discover reads what the provider says of itself, unless that is known.
func (p *provider) discover(ctx context.Context) (*discovered, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	if p.known != nil && now.Sub(p.readAt) < discoveryLifetime {
		return p.known, nil
	}
	if now.Before(p.retryAt) {
		return p.known, p.unlessKnown(p.failure)
	}
	read, err := p.read(ctx)
	if err != nil {
		p.failure, p.retryAt = fmt.Errorf("find the OpenID provider: %w", err), now.Add(discoveryPause)
		return p.known, p.unlessKnown(p.failure)
	}
	p.known, p.readAt, p.failure = read, now, nil
	return read, nil
}

// unlessKnown lets what was read before stand in for a provider that cannot be read again: its keys and answers are
// verified all the same.
func (p *provider) unlessKnown(err error) error {
	if p.known != nil {
		return nil
	}
	return err
}

func (p *provider) read(ctx context.Context) (*discovered, error) {
	// One visitor who leaves must not fail those who wait for the same answer.
	ctx, cancel := context.WithTimeout(oidc.ClientContext(context.WithoutCancel(ctx), p.client), providerTimeout)
	defer cancel()
	found, err := oidc.NewProvider(ctx, p.Issuer)
	if err != nil {
		return nil, err
	}
	d := &discovered{provider: found}
	if err := found.Claims(&d.metadata); err != nil {
		return nil, err
	}
	endpoint := found.Endpoint()
	for _, address := range []string{endpoint.AuthURL, endpoint.TokenURL} {
		if !secureURL(address) {
			return nil, fmt.Errorf("the endpoint %q is not https", address)
		}
	}
	endpoint.AuthStyle = p.authStyle(d.metadata.ClientMethods)
	d.client = oauth2.Config{
		ClientID: p.ClientID, ClientSecret: p.ClientSecret, Endpoint: endpoint, RedirectURL: p.redirect,
		Scopes: append([]string{oidc.ScopeOpenID}, p.Scopes...),
	}
	return d, nil
}

func secureURL(address string) bool {
	u, err := url.Parse(address)
	return err == nil && u.Host != "" && (u.Scheme == "https" || u.Scheme == "http" && isLoopback(u.Hostname()))
}

// authStyle is how the client proves itself. Trying one way after the other could use up a code.
func (p *provider) authStyle(methods []string) oauth2.AuthStyle {
	if p.ClientSecret == "" || len(methods) > 0 && !slices.Contains(methods, "client_secret_basic") {
		return oauth2.AuthStyleInParams
	}
	return oauth2.AuthStyleInHeader
}

// authorizationURL is where the browser goes to sign in.
func (d *discovered) authorizationURL(a controlplane.SignInAttempt) string {
	return d.client.AuthCodeURL(a.State, oidc.Nonce(a.Nonce), oauth2.S256ChallengeOption(a.Verifier))
}

// signOutURL is where a browser goes to sign out of the provider too; empty where that is not offered. The ID token is
// no part of it: it would be in logs of every place that the address passes.
func (d *discovered) signOutURL(back string) string {
	u, err := url.Parse(d.metadata.EndSession)
	if err != nil || !secureURL(d.metadata.EndSession) {
		return ""
	}
	q := u.Query()
	q.Set("client_id", d.client.ClientID)
	q.Set("post_logout_redirect_uri", back)
	u.RawQuery = q.Encode()
	return u.String()
}

// isAnswerOf reports whether an authorization response can be this provider's, as RFC 9207 says.
func (p *provider) isAnswerOf(d *discovered, answer url.Values) error {
	named := answer["iss"]
	switch {
	case len(named) == 0 && d.metadata.NamesItself:
		return errors.New("the answer does not name its issuer, as those of this provider do")
	case len(named) > 1, len(named) == 1 && named[0] != p.Issuer:
		return errors.New("the answer names another issuer")
	}
	return nil
}

// identify turns a code into who signed in.
func (p *provider) identify(ctx context.Context, d *discovered, code string, a controlplane.SignInAttempt) (controlplane.Identity, error) {
	none := controlplane.Identity{}
	ctx, cancel := context.WithTimeout(oidc.ClientContext(ctx, p.client), 2*providerTimeout)
	defer cancel()
	tokens, err := d.client.Exchange(ctx, code, oauth2.VerifierOption(a.Verifier))
	if err != nil {
		return none, fmt.Errorf("exchange the code: %w", withoutSecrets(err))
	}
	raw, _ := tokens.Extra("id_token").(string)
	if raw == "" {
		return none, errors.New("exchange the code: the provider gave no ID token")
	}
	id, err := d.provider.Verifier(&oidc.Config{ClientID: p.ClientID, Now: p.now}).Verify(ctx, raw)
	if err != nil {
		return none, fmt.Errorf("verify the ID token: %w", err)
	}
	if subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(a.Nonce)) != 1 {
		return none, errors.New("verify the ID token: it was not made for this sign-in")
	}
	if id.AccessTokenHash != "" {
		if err := id.VerifyAccessToken(tokens.AccessToken); err != nil {
			return none, fmt.Errorf("verify the ID token: %w", err)
		}
	}
	c, err := p.claims(ctx, d, id, tokens)
	if err != nil {
		return none, err
	}
	return controlplane.Identity{
		Issuer: id.Issuer, Subject: id.Subject, Name: c.Name, Email: c.Email, EmailVerified: bool(c.EmailVerified), Groups: c.groups,
	}, nil
}

// withoutSecrets keeps what the provider answered to an exchange, which may hold tokens, out of logs.
func withoutSecrets(err error) error {
	var refused *oauth2.RetrieveError
	if errors.As(err, &refused) {
		return fmt.Errorf("the provider answered %q (%s)", refused.ErrorCode, refused.Response.Status)
	}
	return err
}

type claims struct {
	AuthorizedParty string `json:"azp"`
	Name            string `json:"name"`
	Preferred       string `json:"preferred_username"`
	Email           string `json:"email"`
	EmailVerified   truth  `json:"email_verified"`
	groups          []string
}

// truth is true for true and nothing else; some providers write it as a string.
type truth bool

// UnmarshalJSON reads any JSON value.
func (t *truth) UnmarshalJSON(text []byte) error {
	*t = string(text) == "true"
	return nil
}

// claims reads what the ID token says, and the groups from the userinfo endpoint where the token has none.
func (p *provider) claims(ctx context.Context, d *discovered, id *oidc.IDToken, tokens *oauth2.Token) (claims, error) {
	var c claims
	var all map[string]json.RawMessage
	if err := errors.Join(id.Claims(&c), id.Claims(&all)); err != nil {
		return c, fmt.Errorf("read the ID token: %w", err)
	}
	if c.AuthorizedParty != "" && c.AuthorizedParty != p.ClientID || len(id.Audience) > 1 && c.AuthorizedParty == "" {
		return c, errors.New("verify the ID token: it was made for another client")
	}
	if _, told := all[p.GroupsClaim]; !told && d.metadata.UserInfo != "" && secureURL(d.metadata.UserInfo) {
		info, err := d.provider.UserInfo(ctx, oauth2.StaticTokenSource(tokens))
		if err != nil {
			return c, errors.New("ask the provider for the groups: it did not answer")
		}
		if info.Subject != id.Subject {
			return c, errors.New("ask the provider for the groups: it answered about somebody else")
		}
		if err := info.Claims(&all); err != nil {
			return c, fmt.Errorf("read the userinfo: %w", err)
		}
	}
	c.groups = groupsOf(all[p.GroupsClaim])
	for _, name := range []string{c.Preferred, c.Email, id.Subject} {
		if c.Name == "" {
			c.Name = name
		}
	}
	return c, nil
}

// groupsOf reads a list of names, or one name. Anything else is no group.
func groupsOf(claim json.RawMessage) []string {
	var many []string
	if json.Unmarshal(claim, &many) == nil {
		return many
	}
	var one string
	if json.Unmarshal(claim, &one) == nil && one != "" {
		return []string{one}
	}
	return nil
}
