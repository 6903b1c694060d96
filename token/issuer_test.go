package token_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/internal/openid"
	"github.com/caracal-gateway/caracal/token"
)

const company, clusterName, domain = "https://login.example.org", "https://kubernetes.default.svc.cluster.local", "spiffe://example.org"

// realm is three issuers of one workspace, each with a signer.
type realm struct {
	t                                   testing.TB
	now                                 time.Time
	provider, cluster, spire            *openid.Signer
	worker, reporter, workload          authority.PrincipalID
	issuers                             []token.TrustedIssuer
	providerClaims, clusterClaims, svid map[string]any
}

func newRealm(t testing.TB) *realm {
	t.Helper()
	r := &realm{
		t: t, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
		provider: openid.NewSigner(t, "RS256", "p1"), cluster: openid.NewSigner(t, "ES256", "c1"), spire: openid.NewSigner(t, "ES256", "s1"),
		worker: authority.NewID[authority.PrincipalID](), reporter: authority.NewID[authority.PrincipalID](), workload: authority.NewID[authority.PrincipalID](),
	}
	r.spire.Use = "jwt-svid"
	r.trust(authority.IssuerOIDC, company, "worker", r.worker, r.provider)
	r.trust(authority.IssuerKubernetes, clusterName, "system:serviceaccount:agents:reporter", r.reporter, r.cluster)
	r.trust(authority.IssuerSPIFFE, domain, domain+"/agents/reporter", r.workload, r.spire)
	times := map[string]any{"iat": r.now.Unix(), "exp": r.now.Add(time.Hour).Unix(), "aud": "caracal"}
	with := func(more map[string]any) map[string]any { c := maps.Clone(times); maps.Copy(c, more); return c }
	r.providerClaims = with(map[string]any{"iss": company, "sub": "worker"})
	r.clusterClaims = with(map[string]any{
		"iss": clusterName, "sub": "system:serviceaccount:agents:reporter", "aud": []string{"caracal"}, "nbf": r.now.Unix(),
		"kubernetes.io": map[string]any{"namespace": "agents", "serviceaccount": map[string]any{"name": "reporter", "uid": "8e"}},
	})
	r.svid = with(map[string]any{"sub": domain + "/agents/reporter", "aud": []string{"caracal"}})
	return r
}

func (r *realm) trust(kind authority.IssuerKind, name, value string, principal authority.PrincipalID, signers ...*openid.Signer) {
	r.t.Helper()
	i := authority.TrustedIssuer{
		ID: authority.NewID[authority.TrustedIssuerID](), Name: name, Kind: kind, Issuer: name, JWKS: openid.KeySet(r.t, signers...),
		Audiences: []string{"caracal"}, Bindings: []authority.IssuerBinding{{Value: value, PrincipalID: principal}},
	}.WithDefaults()
	if err := i.Validate(); err != nil {
		r.t.Fatal(err)
	}
	keys, err := token.ParseIssuerKeys(i.JWKS, kind, i.Algorithms)
	if err != nil {
		r.t.Fatal(err)
	}
	r.issuers = append(r.issuers, token.TrustedIssuer{TrustedIssuer: i, Keys: keys})
}

func (r *realm) verify(jws string) (token.Identity, error) {
	r.t.Helper()
	issuers, err := token.NewIssuers(r.issuers)
	if err != nil {
		r.t.Fatal(err)
	}
	return issuers.Verify(jws, r.now)
}

// with is a copy of claims with one of them changed; nil removes it.
func with(claims map[string]any, name string, value any) map[string]any {
	c := maps.Clone(claims)
	c[name] = value
	if value == nil {
		delete(c, name)
	}
	return c
}

func TestTokensOfTrustedIssuersIdentifyTheirPrincipal(t *testing.T) {
	r := newRealm(t)
	for name, c := range map[string]struct {
		jws  string
		want authority.PrincipalID
	}{
		"an OpenID provider's":             {r.provider.Sign(r.providerClaims), r.worker},
		"a cluster's":                      {r.cluster.SignWith(map[string]any{"alg": "ES256", "kid": "c1"}, r.clusterClaims), r.reporter},
		"a JWT-SVID":                       {r.spire.Sign(r.svid), r.workload},
		"a JWT-SVID with an iss":           {r.spire.Sign(with(r.svid, "iss", "https://spire.example.org")), r.workload},
		"a JWT-SVID of the type JOSE":      {r.spire.SignWith(map[string]any{"alg": "ES256", "kid": "s1", "typ": "JOSE"}, r.svid), r.workload},
		"an access token by RFC 9068":      {r.provider.SignWith(map[string]any{"alg": "RS256", "kid": "p1", "typ": "at+jwt"}, r.providerClaims), r.worker},
		"one with thumbprints":             {r.provider.SignWith(map[string]any{"alg": "RS256", "kid": "p1", "typ": "JWT", "x5t": "abc"}, r.providerClaims), r.worker},
		"one for several audiences":        {r.provider.Sign(with(r.providerClaims, "aud", []string{"other", "caracal"})), r.worker},
		"one with fractions of a second":   {r.provider.Sign(with(r.providerClaims, "iat", json.RawMessage("1772366400.25"))), r.worker},
		"one that does not say since when": {r.provider.Sign(with(r.providerClaims, "iat", nil)), r.worker},
		"one of a clock that is ahead":     {r.provider.Sign(with(r.providerClaims, "iat", r.now.Add(20*time.Second).Unix())), r.worker},
	} {
		got, err := r.verify(c.jws)
		if err != nil || got.Principal != c.want || got.Confirmation != nil {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestTokensOfTrustedIssuersThatAreRefused(t *testing.T) {
	r := newRealm(t)
	stranger := openid.NewSigner(t, "RS256", "p1")
	sign := func(name string, value any) string { return r.provider.Sign(with(r.providerClaims, name, value)) }
	headed := func(header map[string]any) string {
		maps.Copy(header, map[string]any{"typ": "JWT"})
		return r.provider.SignWith(header, r.providerClaims)
	}
	good := r.provider.Sign(r.providerClaims)
	raw := func(text string) json.RawMessage { return json.RawMessage(text) }
	for name, c := range map[string]struct {
		jws  string
		want error
	}{
		"no algorithm":                              {headed(map[string]any{"alg": "none", "kid": "p1"}), token.ErrAlgorithm},
		"no algorithm nor signature":                {strings.Join(strings.Split(headed(map[string]any{"alg": "none", "kid": "p1"}), ".")[:2], ".") + ".", token.ErrMalformed},
		"a shared secret":                           {headed(map[string]any{"alg": "HS256", "kid": "p1"}), token.ErrAlgorithm},
		"another algorithm of the key":              {headed(map[string]any{"alg": "PS256", "kid": "p1"}), token.ErrAlgorithm},
		"a key that nobody knows":                   {headed(map[string]any{"alg": "RS256", "kid": "p2"}), token.ErrUnknownKey},
		"a key that is a path":                      {headed(map[string]any{"alg": "RS256", "kid": "../../dev/null"}), token.ErrUnknownKey},
		"a key that is SQL":                         {headed(map[string]any{"alg": "RS256", "kid": "x' UNION SELECT 'p1"}), token.ErrUnknownKey},
		"a key that is a URL":                       {headed(map[string]any{"alg": "RS256", "kid": "https://evil.example/jwks"}), token.ErrUnknownKey},
		"no key":                                    {headed(map[string]any{"alg": "RS256"}), token.ErrHeader},
		"a key that is a number":                    {headed(map[string]any{"alg": "RS256", "kid": 1}), token.ErrHeader},
		"a key of its own":                          {headed(map[string]any{"alg": "RS256", "kid": "p1", "jwk": stranger.JWK()}), token.ErrHeader},
		"a URL of keys":                             {headed(map[string]any{"alg": "RS256", "kid": "p1", "jku": "https://evil.example/jwks"}), token.ErrHeader},
		"a URL of certificates":                     {headed(map[string]any{"alg": "RS256", "kid": "p1", "x5u": "https://evil.example/x"}), token.ErrHeader},
		"certificates":                              {headed(map[string]any{"alg": "RS256", "kid": "p1", "x5c": []string{"MIIB"}}), token.ErrHeader},
		"an extension that is critical":             {headed(map[string]any{"alg": "RS256", "kid": "p1", "crit": []string{"exp"}}), token.ErrHeader},
		"a payload that is not encoded":             {headed(map[string]any{"alg": "RS256", "kid": "p1", "b64": false}), token.ErrHeader},
		"a token within a token":                    {headed(map[string]any{"alg": "RS256", "kid": "p1", "cty": "JWT"}), token.ErrHeader},
		"a payload that is a token":                 {r.provider.SignWith(map[string]any{"alg": "RS256", "kid": "p1"}, good), token.ErrClaims},
		"an algorithm twice":                        {respell(good, 0, `{"alg":"RS256","alg":"none","kid":"p1"}`), token.ErrHeader},
		"a subject twice":                           {r.provider.SignWith(map[string]any{"alg": "RS256", "kid": "p1"}, `{"iss":"`+company+`","sub":"x","sub":"worker","aud":"caracal","exp":1772370000}`), token.ErrClaims},
		"a notice of a sign-out":                    {r.provider.SignWith(map[string]any{"alg": "RS256", "kid": "p1", "typ": "logout+jwt"}, r.providerClaims), token.ErrType},
		"a type of ours":                            {r.provider.SignWith(map[string]any{"alg": "RS256", "kid": "p1", "typ": "caracal-access+jwt"}, r.providerClaims), token.ErrType},
		"an encrypted token":                        {good + ".e30.e30", token.ErrMalformed},
		"a megabyte of dots":                        {strings.Repeat(".", 1<<20), token.ErrTooLarge},
		"dots":                                      {strings.Repeat(".", 100), token.ErrMalformed},
		"a signature of a stranger":                 {stranger.Sign(r.providerClaims), token.ErrSignature},
		"a signature of another issuer":             {r.cluster.SignWith(map[string]any{"alg": "ES256", "kid": "p1"}, r.providerClaims), token.ErrAlgorithm},
		"a claim changed afterwards":                {respell(good, 1, `{"iss":"`+company+`","sub":"admin","aud":"caracal","exp":1772370000}`), token.ErrSignature},
		"a token that is too long":                  {sign("padding", strings.Repeat("x", 9000)), token.ErrTooLarge},
		"another issuer":                            {sign("iss", "https://evil.example"), token.ErrIssuer},
		"the issuer with a slash":                   {sign("iss", company+"/"), token.ErrIssuer},
		"no issuer":                                 {sign("iss", nil), token.ErrIssuer},
		"another audience":                          {sign("aud", "other"), token.ErrAudience},
		"audiences of others":                       {sign("aud", []string{"other", "caracal.evil"}), token.ErrAudience},
		"no audience":                               {sign("aud", nil), token.ErrClaims},
		"an empty list of audiences":                {sign("aud", []string{}), token.ErrClaims},
		"an audience that is an object":             {sign("aud", map[string]any{"caracal": true}), token.ErrClaims},
		"no end":                                    {sign("exp", nil), token.ErrClaims},
		"an end in words":                           {sign("exp", "1772370000"), token.ErrClaims},
		"an end beyond numbers":                     {sign("exp", raw("1e400")), token.ErrClaims},
		"an end with an exponent":                   {sign("exp", raw("1.77237e9")), token.ErrClaims},
		"a negative end":                            {sign("exp", raw("-1")), token.ErrClaims},
		"an end that has come":                      {sign("exp", r.now.Unix()), token.ErrExpired},
		"a begin that has not":                      {sign("nbf", r.now.Add(time.Minute).Unix()), token.ErrNotYetValid},
		"issued in the future":                      {sign("iat", r.now.Add(time.Minute).Unix()), token.ErrNotYetValid},
		"a life of a year":                          {sign("exp", r.now.Add(365*24*time.Hour).Unix()), token.ErrTooLong},
		"an unbound subject":                        {sign("sub", "stranger"), token.ErrUnbound},
		"no subject":                                {sign("sub", nil), token.ErrClaims},
		"a subject that is a list":                  {sign("sub", []string{"worker"}), token.ErrClaims},
		"bound to a key of its own":                 {sign("cnf", map[string]any{"jkt": "abc"}), token.ErrClaims},
		"another trust domain":                      {r.spire.Sign(with(r.svid, "sub", "spiffe://example.com/agents/reporter")), token.ErrIssuer},
		"a SPIFFE id with dots":                     {r.spire.Sign(with(r.svid, "sub", domain+"/agents/x/../reporter")), token.ErrUnbound},
		"an SVID by the provider":                   {r.provider.Sign(with(r.svid, "aud", "caracal")), token.ErrUnknownKey},
		"an SVID without an audience":               {r.spire.Sign(with(r.svid, "aud", nil)), token.ErrClaims},
		"a cluster's claim that it is the provider": {r.cluster.Sign(with(r.clusterClaims, "iss", company)), token.ErrUnknownKey},
	} {
		if got, err := r.verify(c.jws); !errors.Is(err, c.want) {
			t.Errorf("%s: %+v, %v, want %v", name, got, err, c.want)
		} else if strings.Contains(err.Error(), "worker") || strings.Contains(err.Error(), "stranger") {
			t.Errorf("%s: the error quotes the token: %v", name, err)
		}
	}
}

// respell replaces one part of a JWS by another text.
func respell(jws string, part int, text string) string {
	parts := strings.Split(jws, ".")
	parts[part] = base64.RawURLEncoding.EncodeToString([]byte(text))
	return strings.Join(parts, ".")
}

func TestTokenOfAnIssuerTellsWhatItIsBoundTo(t *testing.T) {
	r := newRealm(t)
	print := authority.ThumbprintOf([]byte("a certificate"))
	got, err := r.verify(r.provider.Sign(with(r.providerClaims, "cnf", map[string]any{"x5t#S256": print})))
	if err != nil || got.Confirmation == nil || got.Confirmation.Certificate != print {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestKeySetsOfIssuers(t *testing.T) {
	rs, es := openid.NewSigner(t, "RS256", "a"), openid.NewSigner(t, "ES256", "b")
	jwk := func(s *openid.Signer, change func(map[string]any)) map[string]any {
		key := s.JWK()
		change(key)
		return key
	}
	short := map[string]any{"kty": "RSA", "kid": "short", "alg": "RS256", "e": "AQAB", "n": base64.RawURLEncoding.EncodeToString(append([]byte{0xc1}, make([]byte, 127)...))}
	algorithms := []string{"RS256", "ES256"}
	same := func(map[string]any) {}
	for name, c := range map[string]struct {
		keys []map[string]any
		kind authority.IssuerKind
		want string // the ids, empty for a refusal
	}{
		"keys of two algorithms":               {[]map[string]any{jwk(es, same), jwk(rs, same)}, authority.IssuerOIDC, "a b"},
		"an algorithm that goes unsaid":        {[]map[string]any{jwk(rs, func(k map[string]any) { delete(k, "alg"); delete(k, "use") })}, authority.IssuerOIDC, "a"},
		"a key for encryption beside":          {[]map[string]any{jwk(es, same), jwk(rs, func(k map[string]any) { k["use"] = "enc" })}, authority.IssuerOIDC, "b"},
		"a key without an id beside":           {[]map[string]any{jwk(es, same), jwk(rs, func(k map[string]any) { delete(k, "kid") })}, authority.IssuerOIDC, "b"},
		"a key of an unlisted algorithm":       {[]map[string]any{jwk(es, same), jwk(rs, func(k map[string]any) { k["alg"] = "RS512" })}, authority.IssuerOIDC, "b"},
		"a key of an unknown type beside":      {[]map[string]any{jwk(es, same), {"kty": "AKP", "kid": "q", "alg": "ML-DSA-44"}}, authority.IssuerOIDC, "b"},
		"a trust domain's bundle":              {[]map[string]any{jwk(es, func(k map[string]any) { k["use"] = "jwt-svid" }), jwk(rs, func(k map[string]any) { k["use"] = "x509-svid"; delete(k, "kid") })}, authority.IssuerSPIFFE, "b"},
		"a provider's keys for a trust domain": {[]map[string]any{jwk(es, same)}, authority.IssuerSPIFFE, ""},
		"two keys of one id":                   {[]map[string]any{jwk(es, same), jwk(rs, func(k map[string]any) { k["kid"] = "b" })}, authority.IssuerOIDC, ""},
		"a weak key":                           {[]map[string]any{jwk(es, same), short}, authority.IssuerOIDC, ""},
		"a private key":                        {[]map[string]any{jwk(es, func(k map[string]any) { k["d"] = "AAAA" })}, authority.IssuerOIDC, ""},
		"a shared secret":                      {[]map[string]any{jwk(es, same), {"kty": "oct", "kid": "s", "k": "AAAA"}}, authority.IssuerOIDC, ""},
		"a point off the curve":                {[]map[string]any{jwk(es, func(k map[string]any) { k["x"], k["y"] = k["y"], k["x"] })}, authority.IssuerOIDC, ""},
		"RSA that says it is elliptic":         {[]map[string]any{jwk(rs, func(k map[string]any) { k["alg"] = "ES256" })}, authority.IssuerOIDC, ""},
		"no keys":                              {[]map[string]any{}, authority.IssuerOIDC, ""},
	} {
		text, err := json.Marshal(map[string]any{"keys": c.keys})
		if err != nil {
			t.Fatal(err)
		}
		keys, err := token.ParseIssuerKeys(text, c.kind, algorithms)
		var ids []string
		for _, k := range keys {
			ids = append(ids, k.ID)
		}
		if got := strings.Join(ids, " "); got != c.want || (c.want == "") != errors.Is(err, token.ErrIssuerKeys) {
			t.Errorf("%s: %q, %v, want %q", name, got, err, c.want)
		}
	}
	for name, text := range map[string]string{
		"no JSON": "<html>", "a list": "[]", "keys that are no list": `{"keys":{}}`, "no member": `{}`, "nothing": "",
		"keys twice": `{"keys":[],"keys":[]}`, "a kid twice in one key": `{"keys":[{"kty":"RSA","kid":"a","kid":"b"}]}`,
		"more than may be": `{"keys":[` + strings.Repeat(" ", token.MaxIssuerKeys) + `]}`,
	} {
		if _, err := token.ParseIssuerKeys([]byte(text), authority.IssuerOIDC, algorithms); !errors.Is(err, token.ErrIssuerKeys) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestKeysOfAnIssuerKeepTheirOneSpelling(t *testing.T) {
	for _, algorithm := range []string{"RS256", "PS256", "ES256", "EdDSA"} {
		s := openid.NewSigner(t, algorithm, "k")
		keys, err := token.ParseIssuerKeys(openid.KeySet(t, s), authority.IssuerOIDC, []string{algorithm})
		if err != nil {
			t.Fatal(err)
		}
		first, err := json.Marshal(keys)
		if err != nil {
			t.Fatal(err)
		}
		var again []token.IssuerKey
		if err := json.Unmarshal(first, &again); err != nil {
			t.Fatalf("%s: %v", algorithm, err)
		}
		second, _ := json.Marshal(again)
		if string(first) != string(second) || again[0].Algorithm != algorithm {
			t.Errorf("%s: %s became %s", algorithm, first, second)
		}
	}
}

func TestIssuersOfOneNameAreRefused(t *testing.T) {
	r := newRealm(t)
	if _, err := token.NewIssuers(append(r.issuers, r.issuers[0])); err == nil {
		t.Error("two issuers of one name are indexed")
	}
}

func FuzzTokenOfAnIssuer(f *testing.F) {
	r := newRealm(f)
	issuers, err := token.NewIssuers(r.issuers)
	if err != nil {
		f.Fatal(err)
	}
	good := map[string]bool{}
	for _, jws := range []string{r.provider.Sign(r.providerClaims), r.cluster.Sign(r.clusterClaims), r.spire.Sign(r.svid)} {
		good[jws] = true
		f.Add(jws)
		f.Add(respell(jws, 0, `{"alg":"none"}`))
		f.Add(respell(jws, 1, `{"iss":"`+company+`"}`))
	}
	f.Fuzz(func(t *testing.T, jws string) {
		if id, err := issuers.Verify(jws, r.now); err == nil && !good[jws] {
			t.Errorf("%q is %+v", jws, id)
		}
	})
}

func FuzzKeySetOfAnIssuer(f *testing.F) {
	f.Add([]byte(openid.KeySet(f, openid.NewSigner(f, "ES256", "a"), openid.NewSigner(f, "EdDSA", "b"))))
	f.Add([]byte(`{"keys":[{"kty":"RSA","kid":"a","n":"AQAB","e":"AQAB"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		keys, err := token.ParseIssuerKeys(text, authority.IssuerOIDC, authority.SignatureAlgorithms())
		if err != nil {
			return
		}
		kept, err := json.Marshal(keys)
		if err != nil {
			t.Fatal(err)
		}
		var again []token.IssuerKey
		if err := json.Unmarshal(kept, &again); err != nil {
			t.Errorf("%s cannot be read again: %v", kept, err)
		}
	})
}
