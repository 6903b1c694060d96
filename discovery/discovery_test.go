package discovery_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/discovery"
	"github.com/caracal-gateway/caracal/internal/openid"
	"github.com/caracal-gateway/caracal/token"
)

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// issuer is one of an OpenID provider on this machine.
func issuer(url string, ca []byte) authority.TrustedIssuer {
	return authority.TrustedIssuer{
		ID: authority.NewID[authority.TrustedIssuerID](), Name: "company", Kind: authority.IssuerOIDC, Issuer: url, CA: string(ca),
		PrivateAddresses: loopback, Audiences: []string{"caracal"},
	}.WithDefaults()
}

func TestKeysOfARealProviderAreFound(t *testing.T) {
	p := openid.Start(t)
	found, err := discovery.Fetcher{}.Fetch(t.Context(), issuer(p.Issuer, p.CA))
	if err != nil || len(found.Keys) != 4 || found.FreshFor != discovery.UsualLife {
		t.Fatalf("%+v, %v", found, err)
	}
	p.PublishNextKeys()
	p.Recover("public, max-age=7200")
	found, err = discovery.Fetcher{}.Fetch(t.Context(), issuer(p.Issuer, p.CA))
	if err != nil || len(found.Keys) != 8 || found.FreshFor != 2*time.Hour {
		t.Fatalf("in a rotation: %+v, %v", found, err)
	}
}

func TestAProviderIsNotBelievedWhen(t *testing.T) {
	p := openid.Start(t)
	for name, c := range map[string]struct {
		change func(i *authority.TrustedIssuer)
		want   error
	}{
		"its address is not listed": {func(i *authority.TrustedIssuer) { i.PrivateAddresses = nil }, discovery.ErrAddress},
		"another address is listed": {func(i *authority.TrustedIssuer) {
			i.PrivateAddresses = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		}, discovery.ErrAddress},
		"its issuer is spelt another way":   {func(i *authority.TrustedIssuer) { i.Issuer += "/" }, discovery.ErrIssuer},
		"no authority vouches for its name": {func(i *authority.TrustedIssuer) { i.CA = "" }, nil},
		"its keys are of another algorithm": {func(i *authority.TrustedIssuer) { i.Algorithms = []string{"RS512"} }, discovery.ErrAnswer},
		"it has no such path":               {func(i *authority.TrustedIssuer) { i.JWKSURL = p.Issuer + "/nothing" }, discovery.ErrAnswer},
		"its certificate is for other names": {func(i *authority.TrustedIssuer) {
			i.JWKSURL = strings.Replace(p.Issuer, "localhost", "127.0.0.2", 1) + "/jwks"
		}, nil},
	} {
		i := issuer(p.Issuer, p.CA)
		c.change(&i)
		found, err := discovery.Fetcher{}.Fetch(t.Context(), i)
		if err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %+v, %v, want %v", name, found, err, c.want)
		}
	}
}

// site is a key server that answers as a test wants.
func site(t *testing.T, handler http.HandlerFunc) authority.TrustedIssuer {
	t.Helper()
	server := httptest.NewTLSServer(handler)
	t.Cleanup(server.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	return issuer(server.URL, ca)
}

func TestAKeyServerIsNotBelievedWhenItAnswers(t *testing.T) {
	good := string(openid.KeySet(t, openid.NewSigner(t, "ES256", "a")))
	twice := openid.NewSigner(t, "ES256", "a")
	for name, c := range map[string]struct {
		answer func(w http.ResponseWriter, r *http.Request, document map[string]any)
		want   error
	}{
		"a redirect to the keys": {func(w http.ResponseWriter, r *http.Request, _ map[string]any) {
			http.Redirect(w, r, "/jwks", http.StatusFound)
		}, discovery.ErrRedirect},
		"a redirect to the metadata service": {func(w http.ResponseWriter, r *http.Request, _ map[string]any) {
			http.Redirect(w, r, "http://169.254.169.254/latest", http.StatusTemporaryRedirect)
		}, discovery.ErrRedirect},
		"a failure": {func(w http.ResponseWriter, _ *http.Request, _ map[string]any) {
			w.WriteHeader(http.StatusInternalServerError)
		}, discovery.ErrAnswer},
		"no JSON": {func(w http.ResponseWriter, _ *http.Request, _ map[string]any) { _, _ = w.Write([]byte("<html>")) }, discovery.ErrAnswer},
		"too much": {func(w http.ResponseWriter, _ *http.Request, _ map[string]any) {
			_, _ = w.Write([]byte(`{"issuer":"` + strings.Repeat("x", 10<<20) + `"}`))
		}, discovery.ErrAnswer},
		"another issuer": {func(w http.ResponseWriter, _ *http.Request, d map[string]any) {
			d["issuer"] = "https://login.example.org"
			_ = json.NewEncoder(w).Encode(d)
		}, discovery.ErrIssuer},
		"an issuer twice": {func(w http.ResponseWriter, _ *http.Request, d map[string]any) {
			_, _ = fmt.Fprintf(w, `{"issuer":"https://evil.example","issuer":%q,"jwks_uri":%q}`, d["issuer"], d["jwks_uri"])
		}, discovery.ErrAnswer},
		"keys in plain text": {func(w http.ResponseWriter, _ *http.Request, d map[string]any) {
			d["jwks_uri"] = "http://login.example.org/jwks"
			_ = json.NewEncoder(w).Encode(d)
		}, discovery.ErrAnswer},
		"keys in a file": {func(w http.ResponseWriter, _ *http.Request, d map[string]any) {
			d["jwks_uri"] = "file:///etc/passwd"
			_ = json.NewEncoder(w).Encode(d)
		}, discovery.ErrAnswer},
		"keys at the metadata service": {func(w http.ResponseWriter, _ *http.Request, d map[string]any) {
			d["jwks_uri"] = "https://169.254.169.254/jwks"
			_ = json.NewEncoder(w).Encode(d)
		}, discovery.ErrAddress},
		"keys at a private address": {func(w http.ResponseWriter, _ *http.Request, d map[string]any) {
			d["jwks_uri"] = "https://10.0.0.1/jwks"
			_ = json.NewEncoder(w).Encode(d)
		}, discovery.ErrAddress},
		"keys at an IPv4 address in disguise": {func(w http.ResponseWriter, _ *http.Request, d map[string]any) {
			d["jwks_uri"] = "https://[::ffff:169.254.169.254]/jwks"
			_ = json.NewEncoder(w).Encode(d)
		}, discovery.ErrAddress},
		"two keys of one id": {func(w http.ResponseWriter, r *http.Request, d map[string]any) {
			if r.URL.Path == "/jwks" {
				_, _ = w.Write(openid.KeySet(t, twice, twice))
				return
			}
			_ = json.NewEncoder(w).Encode(d)
		}, token.ErrIssuerKeys},
		"something that never ends": {func(_ http.ResponseWriter, r *http.Request, _ map[string]any) { <-r.Context().Done() }, context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			i := site(t, func(w http.ResponseWriter, r *http.Request) {
				base := "https://" + r.Host
				if r.URL.Path == "/jwks" && name != "two keys of one id" {
					_, _ = w.Write([]byte(good))
					return
				}
				c.answer(w, r, map[string]any{"issuer": base, "jwks_uri": base + "/jwks"})
			})
			found, err := discovery.Fetcher{Timeout: 2 * time.Second}.Fetch(t.Context(), i)
			if !errors.Is(err, c.want) {
				t.Errorf("%+v, %v, want %v", found, err, c.want)
			}
		})
	}
}

func TestNothingSecretIsSentToAKeyServer(t *testing.T) {
	i := site(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" || r.Header.Get("Cookie") != "" || r.Method != http.MethodGet || r.ContentLength > 0 {
			t.Errorf("asked with %s %v", r.Method, r.Header)
		}
		_, _ = w.Write(openid.KeySet(t, openid.NewSigner(t, "ES256", "a")))
	})
	i.JWKSURL = i.Issuer + "/keys?p=tenant"
	if _, err := (discovery.Fetcher{}).Fetch(t.Context(), i); err != nil {
		t.Error(err)
	}
}

func TestKeysAreFreshWithinBounds(t *testing.T) {
	for answer, want := range map[string]time.Duration{
		"":                        discovery.UsualLife,
		"max-age=1":               discovery.MinLife,
		"max-age=0":               discovery.MinLife,
		"public, max-age=600":     10 * time.Minute,
		"max-age=600, no-store":   discovery.MinLife,
		"max-age=99999999":        discovery.MaxLife,
		"max-age=999999999999999": discovery.MinLife,
		"max-age=-5":              discovery.MinLife,
		"max-age=x":               discovery.MinLife,
		"private":                 discovery.UsualLife,
	} {
		i := site(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Cache-Control", answer)
			_, _ = w.Write(openid.KeySet(t, openid.NewSigner(t, "ES256", "a")))
		})
		i.JWKSURL = i.Issuer + "/keys"
		found, err := discovery.Fetcher{}.Fetch(t.Context(), i)
		if err != nil || found.FreshFor != want {
			t.Errorf("%q: %s, %v, want %s", answer, found.FreshFor, err, want)
		}
	}
}
