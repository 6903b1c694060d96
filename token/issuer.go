package token

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/caracal-gateway/caracal/authority"
)

const (
	// MaxForeign is the size of the largest token of a trusted issuer that is read, in bytes.
	MaxForeign = 8 << 10
	// issuerSkew is by how much an issuer's clock may be ahead. Nothing lives longer by it.
	issuerSkew = 30 * time.Second
)

// TrustedIssuer is an issuer with the keys that its tokens are verified with.
type TrustedIssuer struct {
	authority.TrustedIssuer
	Keys []IssuerKey `json:"keys"`
}

// Issuers are the trusted issuers of one workspace. They are immutable and safe for concurrent use.
type Issuers struct {
	byName map[string]verifier // by `iss`, and for SPIFFE by trust domain
}

// verifier is an issuer with an index of its keys and bindings.
type verifier struct {
	issuer   authority.TrustedIssuer
	keys     map[string]IssuerKey
	bindings map[string]authority.PrincipalID
}

// NewIssuers indexes the issuers of a workspace. Two that have the same name, or two keys of one issuer that have the
// same id, are an error.
func NewIssuers(list []TrustedIssuer) (Issuers, error) {
	all := Issuers{byName: make(map[string]verifier, len(list))}
	for _, i := range list {
		if _, double := all.byName[i.Issuer]; double || i.Issuer == "" {
			return Issuers{}, fmt.Errorf("index issuer %s: another one is %q too", i.ID, i.Issuer)
		}
		v := verifier{issuer: i.TrustedIssuer, keys: make(map[string]IssuerKey, len(i.Keys)), bindings: make(map[string]authority.PrincipalID, len(i.Bindings))}
		for _, k := range i.Keys {
			if _, double := v.keys[k.ID]; double {
				return Issuers{}, fmt.Errorf("index issuer %s: two keys share an id", i.ID)
			}
			v.keys[k.ID] = k
		}
		for _, b := range i.Bindings {
			v.bindings[b.Value] = b.PrincipalID
		}
		all.byName[i.Issuer] = v
	}
	return all, nil
}

// Identity is what the token of a trusted issuer proves.
type Identity struct {
	Issuer    authority.TrustedIssuerID
	Principal authority.PrincipalID // whom the issuer's binding names
	Value     string                // of the issuer's claim
	// The token holds until ExpiresAt, exclusive.
	IssuedAt, ExpiresAt time.Time
	// Confirmation binds the token to a certificate; nil for one that its bearer alone proves.
	Confirmation *authority.Confirmation
}

// Verify reads a JWT of one of the issuers. What the token says of itself before it is verified picks the issuer and its
// key by their names, and nothing else: no URL is followed and no algorithm taken from it.
func (i Issuers) Verify(jws string, now time.Time) (Identity, error) {
	identity, err := i.verify(jws, now)
	if err != nil {
		return Identity{}, fmt.Errorf("verify token of an issuer: %w", err)
	}
	return identity, nil
}

func (i Issuers) verify(jws string, now time.Time) (Identity, error) {
	if len(i.byName) == 0 {
		return Identity{}, ErrIssuer
	}
	decoded, err := splitCompact(jws, MaxForeign)
	if err != nil {
		return Identity{}, err
	}
	header, err := readForeignHeader(decoded[0])
	if err != nil {
		return Identity{}, err
	}
	claims, err := members(decoded[1])
	if err != nil {
		return Identity{}, fmt.Errorf("%w: %w", ErrClaims, err)
	}
	v, ok := i.of(claims)
	if !ok {
		return Identity{}, ErrIssuer
	}
	key, ok := v.keys[header.kid]
	switch {
	case !ok:
		return Identity{}, ErrUnknownKey
	case header.alg != key.Algorithm || !slices.Contains(v.issuer.Algorithms, key.Algorithm):
		return Identity{}, ErrAlgorithm
	case !header.fits(v.issuer.Kind):
		return Identity{}, ErrType
	}
	if err := key.verify(jws); err != nil {
		return Identity{}, err
	}
	return v.identity(claims, now)
}

// of finds the issuer that a token names: by iss, else by the trust domain of its subject, since a JWT-SVID need not
// name its issuer.
func (i Issuers) of(claims object) (verifier, bool) {
	if iss, err := claims.text("iss"); err == nil {
		if v, ok := i.byName[iss]; ok && v.issuer.Kind != authority.IssuerSPIFFE {
			return v, true
		}
	}
	sub, err := claims.text("sub")
	rest, isSPIFFE := strings.CutPrefix(sub, "spiffe://")
	if err != nil || !isSPIFFE {
		return verifier{}, false
	}
	domain, _, _ := strings.Cut(rest, "/")
	v, ok := i.byName["spiffe://"+domain]
	return v, ok && v.issuer.Kind == authority.IssuerSPIFFE
}

// foreignHeader is what a token of an issuer says before it is verified.
type foreignHeader struct{ alg, kid, typ string }

// readForeignHeader reads a header that points nowhere and asks for nothing: members that could are refused. The
// thumbprints that some issuers add are not looked at.
func readForeignHeader(data []byte) (h foreignHeader, err error) {
	header, err := members(data)
	if err != nil {
		return h, fmt.Errorf("%w: %w", ErrHeader, err)
	}
	for name := range header {
		if !slices.Contains([]string{"alg", "kid", "typ", "x5t", "x5t#S256"}, name) {
			return h, ErrHeader
		}
	}
	if h.alg, err = header.text("alg"); err != nil {
		return h, fmt.Errorf("%w: %w", ErrHeader, err)
	}
	if h.kid, err = header.text("kid"); err != nil {
		return h, fmt.Errorf("%w: %w", ErrHeader, err)
	}
	if header["typ"] == nil {
		return h, nil
	}
	if h.typ, err = header.text("typ"); err != nil {
		return h, fmt.Errorf("%w: %w", ErrHeader, err)
	}
	return h, nil
}

// fits reports whether the token's type is one that identifies its bearer. Other JWTs of an issuer, such as those that
// tell of a sign-out, have types of their own.
func (h foreignHeader) fits(kind authority.IssuerKind) bool {
	typ := strings.TrimPrefix(strings.ToLower(h.typ), "application/")
	switch {
	case typ == "" || typ == "jwt":
		return true
	case kind == authority.IssuerSPIFFE:
		return typ == "jose"
	}
	return typ == "at+jwt"
}

// verify checks the signature by the one algorithm of the key.
func (k IssuerKey) verify(jws string) error {
	signed, err := jose.ParseSignedCompact(jws, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(k.Algorithm)})
	if err != nil {
		return ErrAlgorithm
	}
	if _, err := signed.Verify(k.public); err != nil {
		return ErrSignature
	}
	return nil
}

// identity judges claims whose signature is good.
func (v verifier) identity(claims object, now time.Time) (Identity, error) {
	id := Identity{Issuer: v.issuer.ID}
	var err error
	if err := claims.meantFor(v.issuer.Audiences); err != nil {
		return id, err
	}
	if id.IssuedAt, id.ExpiresAt, err = claims.lifetime(now, time.Duration(v.issuer.MaxLifetimeSeconds)*time.Second); err != nil {
		return id, err
	}
	if id.Confirmation, err = confirmationOf(claims); err != nil {
		return id, err
	}
	if id.Value, err = claims.text(v.issuer.Claim); err != nil {
		return id, fmt.Errorf("%w: %w", ErrClaims, err)
	}
	principal, bound := v.bindings[id.Value]
	if !bound || !v.issuer.Names(id.Value) {
		return id, ErrUnbound
	}
	id.Principal = principal
	return id, nil
}

// meantFor checks the audience, which is a text or a list of texts.
func (o object) meantFor(audiences []string) error {
	var list []string
	if one, err := o.text("aud"); err == nil {
		list = []string{one}
	} else if json.Unmarshal(o["aud"], &list) != nil || len(list) == 0 {
		return fmt.Errorf("%w: aud is neither a text nor a list of texts", ErrClaims)
	}
	if !slices.ContainsFunc(list, func(a string) bool { return slices.Contains(audiences, a) }) {
		return ErrAudience
	}
	return nil
}

// lifetime checks when the token holds. One that does not say when it was issued may have as much of its life before it
// as another has in all.
func (o object) lifetime(now time.Time, longest time.Duration) (issued, expires time.Time, err error) {
	if expires, err = o.numericDate("exp"); err != nil {
		return issued, expires, err
	}
	issued = now
	horizon := now.Add(issuerSkew)
	for _, name := range []string{"nbf", "iat"} {
		if o[name] == nil {
			continue
		}
		at, err := o.numericDate(name)
		if err != nil {
			return issued, expires, err
		}
		if at.After(horizon) {
			return issued, expires, ErrNotYetValid
		}
		issued = at
	}
	switch {
	case !now.Before(expires):
		return issued, expires, ErrExpired
	case expires.Sub(issued) > longest:
		return issued, expires, ErrTooLong
	}
	return issued, expires, nil
}

// numericDate is a member that must be seconds since 1970, whole or with a fraction, in plain digits. The fraction is
// cut.
func (o object) numericDate(name string) (time.Time, error) {
	whole, fraction, split := strings.Cut(string(o[name]), ".")
	if split && (fraction == "" || len(fraction) > 9 || strings.Trim(fraction, "0123456789") != "") {
		return time.Time{}, fmt.Errorf("%w: %s is not a number of seconds", ErrClaims, name)
	}
	return object{name: json.RawMessage(whole)}.instant(name)
}
