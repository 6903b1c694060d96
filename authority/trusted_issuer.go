package authority

import (
	"encoding/json"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// TrustedIssuer signs JWTs by which workloads say who they are: an identity provider, a Kubernetes cluster or a SPIFFE
// trust domain. Its tokens are verified offline, with keys that the control plane fetches or is given.
type TrustedIssuer struct {
	ID          TrustedIssuerID `json:"trusted_issuer_id"`
	WorkspaceID WorkspaceID     `json:"workspace_id"`
	Name        string          `json:"name"`
	Kind        IssuerKind      `json:"kind"`
	// Issuer is the claim iss, exactly: the issuer's URL. For SPIFFE it is the trust domain, spiffe://example.org.
	Issuer string `json:"issuer"`
	// JWKSURL is where the keys are, and JWKS the keys themselves. With neither they are found by discovery, below
	// Issuer.
	JWKSURL string          `json:"jwks_url,omitempty"`
	JWKS    json.RawMessage `json:"jwks,omitempty"`
	// CA holds the PEM certificates that the key server must chain to; empty means the public roots.
	CA string `json:"ca,omitempty"`
	// PrivateAddresses are the ranges that the key server may be in beside the public internet.
	PrivateAddresses []netip.Prefix `json:"private_addresses"`
	// Audiences are what tokens may be meant for: the claim aud holds at least one of them.
	Audiences []string `json:"audiences"`
	// Claim names the member of the token whose value the bindings are about.
	Claim string `json:"claim"`
	// Algorithms are those that tokens may be signed by.
	Algorithms []string `json:"algorithms"`
	// MaxLifetimeSeconds is the longest time from a token's iat to its exp.
	MaxLifetimeSeconds int64 `json:"max_lifetime_seconds"`
	// Bindings say whom a value of the claim stands for. A token with any other is nobody's.
	Bindings  []IssuerBinding `json:"bindings"`
	CreatedAt time.Time       `json:"created_at"`
}

// IssuerKind says by which rules an issuer's tokens are read.
type IssuerKind string

// The kinds of issuers.
const (
	IssuerOIDC       IssuerKind = "oidc"       // any OpenID provider
	IssuerKubernetes IssuerKind = "kubernetes" // projected service-account tokens of one cluster
	IssuerSPIFFE     IssuerKind = "spiffe"     // JWT-SVIDs of one trust domain
)

// IssuerBinding binds one exact value of the issuer's claim to a principal.
type IssuerBinding struct {
	Value       string      `json:"value"`
	PrincipalID PrincipalID `json:"principal_id"`
}

const (
	maxAudiences       = 16
	maxAudienceBytes   = 512
	maxClaimBytes      = 128
	maxBoundValue      = 512
	maxIssuerBytes     = 512
	maxPinnedKeys      = 64 << 10
	minTokenLifetime   = 60
	maxTokenLifetime   = 31 * 24 * 60 * 60
	usualTokenLifetime = 24 * 60 * 60
	claimSubject       = "sub"
)

// SignatureAlgorithms lists the algorithms that a trusted issuer may sign by. All of them are of public keys.
func SignatureAlgorithms() []string {
	return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
}

// WithDefaults fills in what was left out: the claim sub, the algorithms RS256, ES256, PS256 and EdDSA (for SPIFFE, which
// has none of these, without EdDSA), tokens of at most a day.
func (i TrustedIssuer) WithDefaults() TrustedIssuer {
	if i.Claim == "" {
		i.Claim = claimSubject
	}
	if len(i.Algorithms) == 0 {
		i.Algorithms = []string{"RS256", "ES256", "PS256"}
		if i.Kind != IssuerSPIFFE {
			i.Algorithms = append(i.Algorithms, "EdDSA")
		}
	}
	if i.MaxLifetimeSeconds == 0 {
		i.MaxLifetimeSeconds = usualTokenLifetime
	}
	i.PrivateAddresses = append([]netip.Prefix{}, i.PrivateAddresses...)
	i.Bindings = append([]IssuerBinding{}, i.Bindings...)
	return i
}

// Pinned reports whether the issuer's keys are given and never fetched.
func (i TrustedIssuer) Pinned() bool { return len(i.JWKS) > 0 }

// Validate reports the first thing that is wrong with the issuer, as an invalid_request whose Field says where. Whether
// the principals exist and the pinned keys can be read are other questions.
func (i TrustedIssuer) Validate() error {
	if problem := nameProblem(i.Name, maxNameLength); problem != "" {
		return Invalid("name", "the name %s", problem)
	}
	for _, check := range []func(TrustedIssuer) error{
		validateIssuerName, validateKeySource, validateKeyServer, validateAudiences, validateClaims, validateIssuerBindings,
	} {
		if err := check(i); err != nil {
			return err
		}
	}
	return nil
}

func validateIssuerName(i TrustedIssuer) error {
	switch i.Kind {
	case IssuerSPIFFE:
		domain := strings.TrimPrefix(i.Issuer, spiffeScheme)
		if strings.Contains(domain, "/") || !IsSPIFFEID(i.Issuer+"/workload") {
			return Invalid("issuer", "%q is not a trust domain of the form spiffe://example.org", clip(i.Issuer))
		}
	case IssuerOIDC, IssuerKubernetes:
		if i.Issuer == "" || len(i.Issuer) > maxIssuerBytes || !visible(i.Issuer) {
			return Invalid("issuer", "is 1 to %d visible ASCII characters", maxIssuerBytes)
		}
	default:
		return Invalid("kind", "%q is not a kind of issuer: oidc, kubernetes or spiffe", clip(string(i.Kind)))
	}
	return nil
}

func validateKeySource(i TrustedIssuer) error {
	switch {
	case i.Pinned() && i.JWKSURL != "":
		return Invalid("jwks", "give jwks or jwks_url, not both")
	case len(i.JWKS) > maxPinnedKeys:
		return Invalid("jwks", "is longer than %d bytes", maxPinnedKeys)
	case i.Pinned():
		return nil
	case i.JWKSURL != "":
		return Within("jwks_url", i.CheckKeyServer(i.JWKSURL))
	case i.Kind == IssuerSPIFFE:
		return Invalid("jwks_url", "a trust domain has no discovery: give jwks_url, its bundle endpoint, or jwks")
	}
	if strings.Contains(i.Issuer, "?") {
		return Invalid("issuer", "has a query: discovery adds a path")
	}
	return Within("issuer", i.CheckKeyServer(i.Issuer))
}

// CheckKeyServer judges a URL that the issuer's keys may be fetched from, as an invalid_request: https, or http to an
// address of this machine that is listed.
func (i TrustedIssuer) CheckKeyServer(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || len(text) > maxIssuerBytes || !visible(text) || u.Opaque != "" || u.Hostname() == "":
		return Invalid("", "%q is not a URL", clip(text))
	case u.User != nil || strings.Contains(text, "#"):
		return Invalid("", "has a user or a fragment")
	case u.Scheme == "https":
		return nil
	case u.Scheme != "http":
		return Invalid("", "is not an https URL")
	}
	// A name could lead elsewhere by the time that it is resolved.
	host, err := netip.ParseAddr(u.Hostname())
	if err != nil || !host.IsLoopback() || !Admits(i.PrivateAddresses, host) || len(i.PrivateAddresses) == 0 {
		return Invalid("", "is not an https URL; http is for a loopback address that private_addresses lists")
	}
	return nil
}

func validateKeyServer(i TrustedIssuer) error {
	if i.Pinned() && (i.CA != "" || len(i.PrivateAddresses) > 0) {
		return Invalid("jwks", "keys that are given are not fetched: leave ca and private_addresses out")
	}
	if problem := caProblem(i.CA); problem != "" {
		return Invalid("ca", "%s", problem)
	}
	if len(i.PrivateAddresses) > maxAddresses {
		return Invalid("private_addresses", "lists more than %d ranges", maxAddresses)
	}
	for n, p := range i.PrivateAddresses {
		if problem := prefixProblem(p); problem != "" {
			return Invalid("private_addresses"+index(n), "%s %s", p, problem)
		}
	}
	return nil
}

func validateAudiences(i TrustedIssuer) error {
	if len(i.Audiences) == 0 || len(i.Audiences) > maxAudiences {
		return Invalid("audiences", "lists 1 to %d audiences: without one, a token for any service of the issuer would be good here", maxAudiences)
	}
	for n, a := range i.Audiences {
		if a == "" || len(a) > maxAudienceBytes || !visible(a) || slices.Contains(i.Audiences[:n], a) {
			return Invalid("audiences"+index(n), "is empty, longer than %d visible ASCII characters, or listed twice", maxAudienceBytes)
		}
	}
	return nil
}

func validateClaims(i TrustedIssuer) error {
	if i.Claim == "" || len(i.Claim) > maxClaimBytes || !visible(i.Claim) {
		return Invalid("claim", "is 1 to %d visible ASCII characters", maxClaimBytes)
	}
	if i.Kind != IssuerOIDC && i.Claim != claimSubject {
		return Invalid("claim", "is sub for the kind %s", i.Kind)
	}
	if len(i.Algorithms) == 0 {
		return Invalid("algorithms", "lists at least one")
	}
	for n, a := range i.Algorithms {
		if !slices.Contains(SignatureAlgorithms(), a) || i.Kind == IssuerSPIFFE && a == "EdDSA" || slices.Contains(i.Algorithms[:n], a) {
			return Invalid("algorithms"+index(n), "%q is not one of %s for the kind %s, or listed twice", clip(a), strings.Join(SignatureAlgorithms(), ", "), i.Kind)
		}
	}
	if i.MaxLifetimeSeconds < minTokenLifetime || i.MaxLifetimeSeconds > maxTokenLifetime {
		return Invalid("max_lifetime_seconds", "is %d to %d", minTokenLifetime, maxTokenLifetime)
	}
	return nil
}

func validateIssuerBindings(i TrustedIssuer) error {
	if len(i.Bindings) > maxBindings {
		return Invalid("bindings", "lists more than %d bindings", maxBindings)
	}
	seen := make(map[string]bool, len(i.Bindings))
	for n, b := range i.Bindings {
		if problem := i.valueProblem(b.Value); problem != "" {
			return Invalid("bindings"+index(n)+".value", "%q %s", clip(b.Value), problem)
		}
		if seen[b.Value] {
			return Invalid("bindings"+index(n)+".value", "%q is bound already", clip(b.Value))
		}
		seen[b.Value] = true
		if _, err := ParseID[PrincipalID](string(b.PrincipalID)); err != nil {
			return Within("bindings"+index(n)+".principal_id", err)
		}
	}
	return nil
}

// valueProblem says why no token of the issuer could have the value; empty when one could.
func (i TrustedIssuer) valueProblem(value string) string {
	switch {
	case i.Kind == IssuerKubernetes && !isServiceAccount(value):
		return "is not of the form system:serviceaccount:<namespace>:<name>"
	case i.Kind == IssuerSPIFFE && (!IsSPIFFEID(value) || !strings.HasPrefix(value, i.Issuer+"/")):
		return "is not a SPIFFE id of the trust domain " + clip(i.Issuer)
	case i.Kind == IssuerSPIFFE:
		return ""
	}
	return nameProblem(value, maxBoundValue)
}

// Names reports whether a value of the claim is one that the issuer may vouch for.
func (i TrustedIssuer) Names(value string) bool { return i.valueProblem(value) == "" }

// isServiceAccount reads the subject of a Kubernetes service account, whose namespace and name are DNS names.
func isServiceAccount(s string) bool {
	rest, ok := strings.CutPrefix(s, "system:serviceaccount:")
	namespace, name, both := strings.Cut(rest, ":")
	return ok && both && isLabel(namespace) && len(name) <= 253 &&
		!slices.ContainsFunc(strings.Split(name, "."), func(label string) bool { return !isLabel(label) })
}
