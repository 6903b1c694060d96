package authority

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"net/url"
	"slices"
	"strings"
	"time"
)

// ClientAuthority is a certificate authority whose certificates identify callers at the gateway port.
type ClientAuthority struct {
	ID          ClientAuthorityID `json:"client_authority_id"`
	WorkspaceID WorkspaceID       `json:"workspace_id"`
	Name        string            `json:"name"`
	// Roots holds the PEM certificates that a caller's certificate must chain to.
	Roots string `json:"roots"`
	// Intermediates holds PEM certificates that a chain may pass, beside those that the caller sends along.
	Intermediates string `json:"intermediates,omitempty"`
	// Bindings say whom a name in a certificate stands for. A certificate without a name of the list is nobody's.
	Bindings  []CertificateBinding `json:"bindings"`
	CreatedAt time.Time            `json:"created_at"`
}

// CertificateName is a kind of name in a certificate.
type CertificateName string

// The kinds of names. A SPIFFE id counts only in a certificate that has no other URI, as X.509-SVID asks for.
const (
	NameSPIFFE CertificateName = "spiffe_id"
	NameDNS    CertificateName = "dns_san"
	NameURI    CertificateName = "uri_san"
	NameEmail  CertificateName = "email_san"
)

// CertificateBinding binds one exact name to a principal.
type CertificateBinding struct {
	Kind        CertificateName `json:"kind"`
	Value       string          `json:"value"`
	PrincipalID PrincipalID     `json:"principal_id"`
}

const (
	maxAuthorityPEM   = 64 << 10
	maxAuthorityCerts = 32
	maxBindings       = 1000
	maxSAN            = 2048
)

// Validate reports the first thing that is wrong with the authority, as an invalid_request whose Field says where.
// Whether the principals exist is another question.
func (a ClientAuthority) Validate() error {
	if problem := nameProblem(a.Name, maxNameLength); problem != "" {
		return Invalid("name", "the name %s", problem)
	}
	roots, err := parseAuthorities(a.Roots)
	if err != nil {
		return Within("roots", err)
	}
	if len(roots) == 0 {
		return Invalid("roots", "holds no certificate")
	}
	if _, err := parseAuthorities(a.Intermediates); err != nil {
		return Within("intermediates", err)
	}
	if len(a.Bindings) > maxBindings {
		return Invalid("bindings", "lists more than %d bindings", maxBindings)
	}
	for i, b := range a.Bindings {
		if err := b.validate(); err != nil {
			return Within("bindings", Within(index(i), err))
		}
		same := func(other CertificateBinding) bool { return other.Kind == b.Kind && other.Value == b.Value }
		if slices.ContainsFunc(a.Bindings[:i], same) {
			return Invalid("bindings"+index(i), "%q is bound already", clip(b.Value))
		}
	}
	return a.requireOneTrustDomain()
}

// requireOneTrustDomain keeps the roots of one trust domain from vouching for another's workloads.
func (a ClientAuthority) requireOneTrustDomain() error {
	var domain string
	for i, b := range a.Bindings {
		if b.Kind != NameSPIFFE {
			continue
		}
		own, _, _ := strings.Cut(strings.TrimPrefix(b.Value, spiffeScheme), "/")
		if domain == "" {
			domain = own
		}
		if own != domain {
			return Invalid("bindings"+index(i)+".value", "is of the trust domain %q, others are of %q; each needs an authority of its own", clip(own), clip(domain))
		}
	}
	return nil
}

func (b CertificateBinding) validate() error {
	var problem string
	switch b.Kind {
	case NameSPIFFE:
		problem = spiffeProblem(b.Value)
	case NameDNS:
		problem = hostProblem(b.Value)
	case NameURI:
		problem = uriProblem(b.Value)
	case NameEmail:
		problem = emailProblem(b.Value)
	default:
		return Invalid("kind", "is one of spiffe_id, dns_san, uri_san, email_san")
	}
	if problem != "" {
		return Invalid("value", "%q: %s", clip(b.Value), problem)
	}
	if _, err := ParseID[PrincipalID](string(b.PrincipalID)); err != nil {
		return Within("principal_id", err)
	}
	return nil
}

// parseAuthorities reads the certificates of authorities, and nothing else, in PEM.
func parseAuthorities(text string) ([]*x509.Certificate, error) {
	if len(text) > maxAuthorityPEM {
		return nil, Invalid("", "is longer than %d bytes", maxAuthorityPEM)
	}
	var all []*x509.Certificate
	rest := bytes.TrimSpace([]byte(text))
	for len(rest) > 0 {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || block.Type != "CERTIFICATE" {
			return nil, Invalid("", "holds something other than PEM certificates")
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, Invalid("", "holds a certificate that cannot be read")
		}
		if !certificate.BasicConstraintsValid || !certificate.IsCA {
			return nil, Invalid("", "holds a certificate that is not an authority's: CA is not set in its basic constraints")
		}
		if all = append(all, certificate); len(all) > maxAuthorityCerts {
			return nil, Invalid("", "holds more than %d certificates", maxAuthorityCerts)
		}
		rest = bytes.TrimSpace(rest)
	}
	return all, nil
}

// Certificates are those that a checked authority's chains end in, and those that they may pass.
func (a ClientAuthority) Certificates() (roots, intermediates []*x509.Certificate, err error) {
	if roots, err = parseAuthorities(a.Roots); err != nil {
		return nil, nil, Within("roots", err)
	}
	if intermediates, err = parseAuthorities(a.Intermediates); err != nil {
		return nil, nil, Within("intermediates", err)
	}
	return roots, intermediates, nil
}

const spiffeScheme = "spiffe://"

// IsSPIFFEID reports whether s is the SPIFFE id of a workload: a trust domain and a path, in the one spelling that the
// SPIFFE specification allows.
func IsSPIFFEID(s string) bool { return spiffeProblem(s) == "" }

func spiffeProblem(s string) string {
	const problem = "is not a SPIFFE id of the form spiffe://trust.domain/path"
	rest, ok := strings.CutPrefix(s, spiffeScheme)
	domain, path, hasPath := strings.Cut(rest, "/")
	if !ok || !hasPath || len(s) > maxSAN || domain == "" || len(domain) > 255 || strings.Trim(domain, lowerAlphanumeric+"._-") != "" {
		return problem
	}
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "" || segment == "." || segment == ".." || strings.Trim(segment, lowerAlphanumeric+"ABCDEFGHIJKLMNOPQRSTUVWXYZ._-") != "" {
			return problem
		}
	}
	return ""
}

const lowerAlphanumeric = "abcdefghijklmnopqrstuvwxyz0123456789"

func uriProblem(s string) string {
	parsed, err := url.Parse(s)
	switch {
	case err != nil || len(s) > maxSAN || !parsed.IsAbs() || parsed.String() != s || !visible(s):
		return "is not an absolute URI"
	case parsed.Scheme == "spiffe":
		return "is a SPIFFE id: use the kind spiffe_id"
	}
	return ""
}

func emailProblem(s string) string {
	local, domain, ok := strings.Cut(s, "@")
	if !ok || local == "" || len(s) > 320 || !visible(s) || hostProblem(domain) != "" {
		return "is not an e-mail address with its domain in lower case"
	}
	return ""
}

func visible(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}
