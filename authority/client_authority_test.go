package authority_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/authority"
)

func authorityPEM(t *testing.T, isCA bool) string {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: isCA, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestAClientAuthorityIsJudgedWhenItIsWritten(t *testing.T) {
	root, leaf := authorityPEM(t, true), authorityPEM(t, false)
	somebody := authority.NewID[authority.PrincipalID]()
	bind := func(kind authority.CertificateName, value string) func(*authority.ClientAuthority) {
		return func(a *authority.ClientAuthority) {
			a.Bindings = append(a.Bindings, authority.CertificateBinding{Kind: kind, Value: value, PrincipalID: somebody})
		}
	}
	for sentence, c := range map[string]struct {
		change func(*authority.ClientAuthority)
		field  string // of the refusal; empty where it is good
	}{
		"nothing bound":               {change: func(*authority.ClientAuthority) {}},
		"a SPIFFE id":                 {change: bind(authority.NameSPIFFE, "spiffe://example.org/ns/prod/sa/agent")},
		"a DNS name":                  {change: bind(authority.NameDNS, "agent.example.org")},
		"a URI":                       {change: bind(authority.NameURI, "urn:example:agent")},
		"an e-mail address":           {change: bind(authority.NameEmail, "agent@example.org")},
		"intermediates":               {change: func(a *authority.ClientAuthority) { a.Intermediates = root + root }},
		"no name":                     {func(a *authority.ClientAuthority) { a.Name = "" }, "name"},
		"no root":                     {func(a *authority.ClientAuthority) { a.Roots = "" }, "roots"},
		"a root that is no authority": {func(a *authority.ClientAuthority) { a.Roots = leaf }, "roots"},
		"a root that is not PEM":      {func(a *authority.ClientAuthority) { a.Roots = "x" + root }, "roots"},
		"text after the root":         {func(a *authority.ClientAuthority) { a.Roots = root + "x" }, "roots"},
		"a private key among the roots": {func(a *authority.ClientAuthority) {
			a.Roots = root + strings.ReplaceAll(root, "CERTIFICATE", "PRIVATE KEY")
		}, "roots"},
		"roots without bound":             {func(a *authority.ClientAuthority) { a.Roots = strings.Repeat(root, 33) }, "roots"},
		"an intermediate that is none":    {func(a *authority.ClientAuthority) { a.Intermediates = leaf }, "intermediates"},
		"a kind that is none":             {bind("subject", "CN=agent"), "bindings[0].kind"},
		"a SPIFFE id without a path":      {bind(authority.NameSPIFFE, "spiffe://example.org"), "bindings[0].value"},
		"a SPIFFE id with an empty path":  {bind(authority.NameSPIFFE, "spiffe://example.org/"), "bindings[0].value"},
		"a SPIFFE id in upper case":       {bind(authority.NameSPIFFE, "spiffe://Example.org/a"), "bindings[0].value"},
		"a SPIFFE id with a port":         {bind(authority.NameSPIFFE, "spiffe://example.org:1/a"), "bindings[0].value"},
		"a SPIFFE id that climbs":         {bind(authority.NameSPIFFE, "spiffe://example.org/../a"), "bindings[0].value"},
		"a SPIFFE id with an escape":      {bind(authority.NameSPIFFE, "spiffe://example.org/a%2fb"), "bindings[0].value"},
		"a SPIFFE id with a wildcard":     {bind(authority.NameSPIFFE, "spiffe://example.org/*"), "bindings[0].value"},
		"a SPIFFE id as a mere URI":       {bind(authority.NameURI, "spiffe://example.org/a"), "bindings[0].value"},
		"a URI that is relative":          {bind(authority.NameURI, "/agent"), "bindings[0].value"},
		"a DNS wildcard":                  {bind(authority.NameDNS, "*.example.org"), "bindings[0].value"},
		"a DNS name in upper case":        {bind(authority.NameDNS, "Agent.example.org"), "bindings[0].value"},
		"an e-mail address without an at": {bind(authority.NameEmail, "agent"), "bindings[0].value"},
		"a principal's id that is none": {func(a *authority.ClientAuthority) {
			a.Bindings = []authority.CertificateBinding{{Kind: authority.NameDNS, Value: "a.example.org", PrincipalID: "agent"}}
		}, "bindings[0].principal_id"},
		"a name that is bound twice": {func(a *authority.ClientAuthority) {
			bind(authority.NameDNS, "a.example.org")(a)
			bind(authority.NameDNS, "a.example.org")(a)
		}, "bindings[1]"},
		"two trust domains under one root": {func(a *authority.ClientAuthority) {
			bind(authority.NameSPIFFE, "spiffe://example.org/a")(a)
			bind(authority.NameSPIFFE, "spiffe://example.com/a")(a)
		}, "bindings[1].value"},
	} {
		t.Run(sentence, func(t *testing.T) {
			a := authority.ClientAuthority{Name: "mesh", Roots: root}
			c.change(&a)
			err := a.Validate()
			if c.field == "" {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			wantInvalid(t, err, c.field)
		})
	}
}
