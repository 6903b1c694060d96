package main

import (
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/caracal-gateway/caracal/controlplane"
	"github.com/caracal-gateway/caracal/controlplane/api"
	"github.com/caracal-gateway/caracal/controlplane/signin"
)

// The bounds of how long sessions last.
const (
	minSession = time.Minute
	maxSession = 7 * 24 * time.Hour
)

// signInSettings say how people sign in.
type signInSettings struct {
	public   *url.URL // nil where nobody signs in
	provider *signin.ProviderConfig
	sessions controlplane.SignIn
}

func readSignIn(settings *values) (signInSettings, error) {
	var s signInSettings
	for flag, length := range map[string]*time.Duration{"session-idle": &s.sessions.Idle, "session-lifetime": &s.sessions.Lifetime} {
		parsed, err := time.ParseDuration(settings.text(flag))
		if err != nil || parsed < minSession || parsed > maxSession {
			return s, &usageError{fmt.Sprintf("%s must be a duration from 1m to 168h, such as 12h", settings.of(flag).variable)}
		}
		*length = parsed
	}
	public, issuer := settings.text("public-url"), settings.text("oidc-issuer")
	if public == "" {
		if issuer != "" {
			return s, &usageError{"CARACAL_OIDC_ISSUER needs CARACAL_PUBLIC_URL: the provider sends people back there"}
		}
		return s, nil
	}
	var err error
	if s.public, err = signin.ParsePublicURL(public); err != nil {
		return s, &usageError{fmt.Sprintf("CARACAL_PUBLIC_URL %q %v", public, err)}
	}
	s.sessions.PublicURL, s.sessions.Issuer = s.public.String(), issuer
	if issuer != "" {
		s.provider, err = readProvider(settings)
	}
	return s, err
}

func readProvider(settings *values) (*signin.ProviderConfig, error) {
	clientID, err := settings.required("oidc-client-id")
	if err != nil {
		return nil, err
	}
	secret, err := settings.secret("oidc-client-secret-file")
	if err != nil {
		return nil, err
	}
	p := &signin.ProviderConfig{
		Issuer: settings.text("oidc-issuer"), ClientID: clientID, ClientSecret: secret,
		Scopes: strings.Fields(settings.text("oidc-scopes")), GroupsClaim: settings.text("oidc-groups-claim"),
	}
	if err := p.Validate(); err != nil {
		return nil, &usageError{"CARACAL_OIDC_ISSUER: " + err.Error()}
	}
	roots, err := settings.file("oidc-ca-file")
	if err != nil {
		return nil, err
	}
	if roots != nil {
		p.CA = x509.NewCertPool()
		if !p.CA.AppendCertsFromPEM(roots) {
			return nil, &usageError{"CARACAL_OIDC_CA_FILE holds no PEM certificate"}
		}
	}
	return p, nil
}

// pages are where people sign in; nil where nobody does.
func (s signInSettings) pages(service *controlplane.Service, proxies []netip.Prefix, log *slog.Logger) (*signin.Handler, error) {
	if s.public == nil {
		return nil, nil
	}
	return signin.New(signin.Config{
		Service: service, PublicURL: s.public, Provider: s.provider, Log: log, Now: time.Now,
		Address: func(r *http.Request) netip.Addr { return api.ClientAddress(r, proxies) },
	})
}

func credentialOf(pages *signin.Handler) func(*http.Request) (string, error) {
	if pages == nil {
		return nil
	}
	return pages.Credential
}

// withPages serves both on one port.
func withPages(pages *signin.Handler, rest http.Handler) http.Handler {
	if pages == nil {
		return rest
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if signin.Serves(r.URL.Path) {
			pages.ServeHTTP(w, r)
			return
		}
		rest.ServeHTTP(w, r)
	})
}
