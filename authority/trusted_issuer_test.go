package authority_test

import (
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/caracal-gateway/caracal/authority"
)

func provider(change func(*authority.TrustedIssuer)) authority.TrustedIssuer {
	i := authority.TrustedIssuer{
		Name: "company", Kind: authority.IssuerOIDC, Issuer: "https://login.example.org/tenant", Audiences: []string{"caracal"},
		Bindings: []authority.IssuerBinding{{Value: "worker", PrincipalID: authority.NewID[authority.PrincipalID]()}},
	}
	change(&i)
	return i.WithDefaults()
}

func cluster(change func(*authority.TrustedIssuer)) authority.TrustedIssuer {
	return provider(func(i *authority.TrustedIssuer) {
		i.Kind, i.Issuer = authority.IssuerKubernetes, "https://kubernetes.default.svc.cluster.local"
		i.Bindings[0].Value = "system:serviceaccount:agents:reporter"
		change(i)
	})
}

func trustDomain(change func(*authority.TrustedIssuer)) authority.TrustedIssuer {
	return provider(func(i *authority.TrustedIssuer) {
		i.Kind, i.Issuer, i.JWKSURL = authority.IssuerSPIFFE, "spiffe://example.org", "https://spire.example.org/bundle"
		i.Bindings[0].Value = "spiffe://example.org/ns/agents/sa/reporter"
		change(i)
	})
}

func nothing(*authority.TrustedIssuer) {}

func TestTrustedIssuersThatAreGood(t *testing.T) {
	loopback := netip.MustParsePrefix("127.0.0.0/8")
	for name, i := range map[string]authority.TrustedIssuer{
		"a provider with discovery": provider(nothing),
		"a cluster with discovery":  cluster(nothing),
		"a trust domain's endpoint": trustDomain(nothing),
		"a cluster's pinned keys":   cluster(func(i *authority.TrustedIssuer) { i.JWKS = json.RawMessage(`{"keys":[]}`) }),
		"a pinned issuer without URL": cluster(func(i *authority.TrustedIssuer) {
			i.JWKS, i.Issuer = json.RawMessage(`{}`), "kubernetes/serviceaccount"
		}),
		"plain text on this machine where it is listed": provider(func(i *authority.TrustedIssuer) {
			i.Issuer, i.PrivateAddresses = "http://127.0.0.1:8080", []netip.Prefix{loopback}
		}),
		"a provider's own claim":      provider(func(i *authority.TrustedIssuer) { i.Claim = "client_id" }),
		"an issuer that binds nobody": provider(func(i *authority.TrustedIssuer) { i.Bindings = nil }),
	} {
		if err := i.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTrustedIssuersThatAreRefused(t *testing.T) {
	loopback := netip.MustParsePrefix("127.0.0.0/8")
	with := func(change func(*authority.TrustedIssuer)) authority.TrustedIssuer { return provider(change) }
	for name, c := range map[string]struct {
		issuer authority.TrustedIssuer
		field  string
	}{
		"no name":                   {with(func(i *authority.TrustedIssuer) { i.Name = "" }), "name"},
		"an unknown kind":           {with(func(i *authority.TrustedIssuer) { i.Kind = "saml" }), "kind"},
		"no issuer":                 {with(func(i *authority.TrustedIssuer) { i.Issuer = "" }), "issuer"},
		"an issuer with a space":    {with(func(i *authority.TrustedIssuer) { i.Issuer = "https://a b.example" }), "issuer"},
		"discovery in plain text":   {with(func(i *authority.TrustedIssuer) { i.Issuer = "http://login.example.org" }), "issuer"},
		"plain text to an unlisted": {with(func(i *authority.TrustedIssuer) { i.Issuer = "http://127.0.0.1" }), "issuer"},
		"plain text to a name that could be anybody": {with(func(i *authority.TrustedIssuer) {
			i.Issuer, i.PrivateAddresses = "http://localhost", []netip.Prefix{loopback}
		}), "issuer"},
		"a file":                  {with(func(i *authority.TrustedIssuer) { i.JWKSURL = "file:///etc/keys" }), "jwks_url"},
		"a URL with a password":   {with(func(i *authority.TrustedIssuer) { i.JWKSURL = "https://a:b@login.example.org/keys" }), "jwks_url"},
		"discovery with a query":  {with(func(i *authority.TrustedIssuer) { i.Issuer = "https://login.example.org/?a=b" }), "issuer"},
		"a URL with a fragment":   {with(func(i *authority.TrustedIssuer) { i.JWKSURL = "https://login.example.org/keys#" }), "jwks_url"},
		"keys from two places":    {with(func(i *authority.TrustedIssuer) { i.JWKS, i.JWKSURL = json.RawMessage(`{}`), "https://x.example/" }), "jwks"},
		"keys that are too large": {with(func(i *authority.TrustedIssuer) { i.JWKS = json.RawMessage(strings.Repeat(" ", 70_000)) }), "jwks"},
		"a CA for pinned keys":    {with(func(i *authority.TrustedIssuer) { i.JWKS, i.CA = json.RawMessage(`{}`), "x" }), "jwks"},
		"a CA that is none":       {with(func(i *authority.TrustedIssuer) { i.CA = "x" }), "ca"},
		"the metadata service": {with(func(i *authority.TrustedIssuer) {
			i.PrivateAddresses = []netip.Prefix{netip.MustParsePrefix("169.254.169.254/32")}
		}), "private_addresses[0]"},
		"every address": {with(func(i *authority.TrustedIssuer) {
			i.PrivateAddresses = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}
		}), "private_addresses[0]"},
		"no audience":                      {with(func(i *authority.TrustedIssuer) { i.Audiences = nil }), "audiences"},
		"an empty audience":                {with(func(i *authority.TrustedIssuer) { i.Audiences = []string{""} }), "audiences[0]"},
		"an audience twice":                {with(func(i *authority.TrustedIssuer) { i.Audiences = []string{"a", "a"} }), "audiences[1]"},
		"no signature":                     {with(func(i *authority.TrustedIssuer) { i.Algorithms = []string{"none"} }), "algorithms[0]"},
		"a shared secret":                  {with(func(i *authority.TrustedIssuer) { i.Algorithms = []string{"RS256", "HS256"} }), "algorithms[1]"},
		"EdDSA of a trust domain":          {trustDomain(func(i *authority.TrustedIssuer) { i.Algorithms = []string{"EdDSA"} }), "algorithms[0]"},
		"tokens for a year":                {with(func(i *authority.TrustedIssuer) { i.MaxLifetimeSeconds = 365 * 24 * 3600 }), "max_lifetime_seconds"},
		"tokens for a second":              {with(func(i *authority.TrustedIssuer) { i.MaxLifetimeSeconds = 1 }), "max_lifetime_seconds"},
		"a claim of a cluster":             {cluster(func(i *authority.TrustedIssuer) { i.Claim = "kubernetes.io" }), "claim"},
		"a value twice":                    {with(func(i *authority.TrustedIssuer) { i.Bindings = append(i.Bindings, i.Bindings[0]) }), "bindings[1].value"},
		"an empty value":                   {with(func(i *authority.TrustedIssuer) { i.Bindings[0].Value = "" }), "bindings[0].value"},
		"a principal that is no id":        {with(func(i *authority.TrustedIssuer) { i.Bindings[0].PrincipalID = "x" }), "bindings[0].principal_id"},
		"a pattern of accounts":            {cluster(func(i *authority.TrustedIssuer) { i.Bindings[0].Value = "system:serviceaccount:agents:*" }), "bindings[0].value"},
		"a group of accounts":              {cluster(func(i *authority.TrustedIssuer) { i.Bindings[0].Value = "system:serviceaccounts:agents" }), "bindings[0].value"},
		"another trust domain":             {trustDomain(func(i *authority.TrustedIssuer) { i.Bindings[0].Value = "spiffe://example.com/x" }), "bindings[0].value"},
		"a trust domain that begins alike": {trustDomain(func(i *authority.TrustedIssuer) { i.Bindings[0].Value = "spiffe://example.org.evil/x" }), "bindings[0].value"},
		"a SPIFFE id with dots":            {trustDomain(func(i *authority.TrustedIssuer) { i.Bindings[0].Value = "spiffe://example.org/a/../b" }), "bindings[0].value"},
		"a trust domain with a path":       {trustDomain(func(i *authority.TrustedIssuer) { i.Issuer = "spiffe://example.org/x" }), "issuer"},
		"a trust domain that is a URL":     {trustDomain(func(i *authority.TrustedIssuer) { i.Issuer = "https://example.org" }), "issuer"},
		"a trust domain without keys":      {trustDomain(func(i *authority.TrustedIssuer) { i.JWKSURL = "" }), "jwks_url"},
	} {
		err := c.issuer.Validate()
		var told *authority.Error
		if !errors.As(err, &told) || told.Code != authority.CodeInvalid || told.Field != c.field {
			t.Errorf("%s: %v (field %q), want an invalid_request about %s", name, err, told.Field, c.field)
		}
	}
}
