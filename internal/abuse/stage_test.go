package abuse_test

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/internal/abuse"
	"github.com/caracal-gateway/caracal/internal/openid"
	"github.com/caracal-gateway/caracal/internal/world"
	"github.com/caracal-gateway/caracal/token"
)

// policy is the workspace's own, for the paths of the cases that it is about.
const policy = `package caracal.policy

deny contains {"code": "no_refunds", "message": "Refunds are made by people."} if "refunds" in input.request.path

deny contains {"code": "x", "message": "X."} if {
	"broken" in input.request.path
	to_number(input.request.method) == 1
}
`

// stage is one workspace that everything the cases name lives in.
type stage struct {
	*world.World
	t     testing.TB
	names abuse.Names
}

func newStage(t testing.TB, now time.Time) *stage {
	t.Helper()
	s := &stage{World: world.New(t, now), t: t, names: abuse.Names{}}
	s.Govern(policy)
	s.addPrincipals()
	s.addMandates()
	s.addChains()
	s.addIssuers()
	s.names["deployment"] = s.KeySet().Deployment
	s.names["workspace"] = string(s.State.Workspace.ID)
	s.names["kid"] = s.TokenKey.ID
	s.names["now"] = strconv.FormatInt(s.Now.Unix(), 10)
	s.names["soon"] = strconv.FormatInt(s.Now.Add(15*time.Minute).Unix(), 10)
	s.names["past"] = strconv.FormatInt(s.Now.Add(-15*time.Minute).Unix(), 10)
	return s
}

func (s *stage) addPrincipals() {
	suspended := s.Register("suspended", authority.Agent)
	s.Suspend(suspended.ID)
	reader := s.Register("reader", authority.Agent) // may read everywhere, and no more
	s.Issue(reader.ID, authority.Scope{Resources: []authority.ResourcePattern{"*"}, Actions: authority.Actions{authority.Read}})
	leaver := s.Register("leaver", authority.User) // issued a mandate and was suspended since
	s.Suspend(leaver.ID)
	for name, id := range map[string]authority.PrincipalID{
		"agent": s.Agent.ID, "child": s.Child.ID, "service": s.Service.ID, "owner": s.Owner.ID,
		"reader": reader.ID, "suspended": suspended.ID, "leaver": leaver.ID, "stranger": authority.NewID[authority.PrincipalID](),
	} {
		s.names["principal."+name] = string(id)
		s.names["token."+name] = s.Token(id)
	}
	s.names["key.agent"] = s.Key(s.Agent.ID).Reveal()
	access := token.Access{
		Deployment: s.KeySet().Deployment, Workspace: s.State.Workspace.ID, Subject: s.Agent.ID, ID: "tok",
		IssuedAt: s.Now, ExpiresAt: s.Now.Add(15 * time.Minute),
	}
	other := world.New(s.t, s.Now)
	s.names["token.foreign-workspace"] = other.Token(other.Agent.ID)
	s.names["token.foreign-key"] = s.SignToken(other.TokenKey, access)
	expired := access
	expired.IssuedAt, expired.ExpiresAt = s.Now.Add(-time.Hour), s.Now.Add(-time.Minute)
	s.names["token.expired"] = s.SignToken(s.TokenKey, expired)
	future := access
	future.IssuedAt, future.ExpiresAt = s.Now.Add(time.Hour), s.Now.Add(2*time.Hour)
	s.names["token.future"] = s.SignToken(s.TokenKey, future)
	s.names["mandate.foreign-workspace"] = string(other.Mandate.ID)
	s.names["mandate.unknown"] = string(authority.NewID[authority.MandateID]())
}

// addIssuers makes the workspace trust a cluster and a trust domain, and names tokens of theirs. Of each, one workload is
// the agent.
func (s *stage) addIssuers() {
	const (
		cluster, account = "https://kubernetes.default.svc.cluster.local", "system:serviceaccount:agents:reporter"
		domain, workload = "spiffe://example.org", "spiffe://example.org/agents/reporter"
	)
	pods, mesh, stranger := openid.NewSigner(s.t, "ES256", "c1"), openid.NewSigner(s.t, "ES256", "s1"), openid.NewSigner(s.t, "ES256", "c1")
	mesh.Use = "jwt-svid"
	trust := func(kind authority.IssuerKind, issuer, value string, signer *openid.Signer) {
		s.Trust(authority.TrustedIssuer{
			Kind: kind, Issuer: issuer, Audiences: []string{"caracal"}, Bindings: []authority.IssuerBinding{{Value: value, PrincipalID: s.Agent.ID}},
		}, openid.KeySet(s.t, signer))
	}
	trust(authority.IssuerKubernetes, cluster, account, pods)
	trust(authority.IssuerSPIFFE, domain, workload, mesh)
	claims := func(name string, value any) map[string]any {
		all := map[string]any{"iss": cluster, "sub": account, "aud": "caracal", "iat": s.Now.Unix(), "exp": s.Now.Add(15 * time.Minute).Unix()}
		all[name] = value
		return all
	}
	header := func(name string, value any) map[string]any {
		return map[string]any{"alg": "ES256", "kid": "c1", name: value}
	}
	svid := claims("sub", workload)
	delete(svid, "iss")
	for name, jwt := range map[string]string{
		"pod": pods.Sign(claims("jti", "1")), "svid": mesh.Sign(svid),
		"pod.audience": pods.Sign(claims("aud", cluster)), "pod.subject": pods.Sign(claims("sub", "system:serviceaccount:agents:other")),
		"pod.expired": pods.Sign(claims("exp", s.Now.Unix())), "pod.forever": pods.Sign(claims("exp", s.Now.AddDate(1, 0, 0).Unix())),
		"pod.exponent": pods.Sign(claims("exp", json.RawMessage("1e400"))), "pod.issuer": pods.Sign(claims("iss", "https://evil.example")),
		"pod.bound":    pods.Sign(claims("cnf", map[string]any{"x5t#S256": authority.ThumbprintOf([]byte("x"))})),
		"pod.stranger": stranger.Sign(claims("jti", "1")), "pod.none": stranger.SignWith(header("alg", "none"), claims("jti", "1")),
		"pod.jku": stranger.SignWith(header("jku", "https://evil.example/jwks"), claims("jti", "1")),
		"pod.jwk": stranger.SignWith(header("jwk", stranger.JWK()), claims("jti", "1")),
		"pod.kid": pods.SignWith(header("kid", "../../dev/null"), claims("jti", "1")), "pod.crit": pods.SignWith(header("crit", []string{"exp"}), claims("jti", "1")),
		"pod.svid": pods.SignWith(map[string]any{"alg": "ES256", "kid": "s1"}, svid),
	} {
		s.names["token."+name] = jwt
	}
}

// everything is the scope of a mandate that nothing stops but the rules themselves.
func everything() authority.Scope {
	return authority.Scope{Resources: []authority.ResourcePattern{"*"}, Actions: authority.Actions{authority.Execute, authority.Read, authority.Write}}
}

func (s *stage) addMandates() {
	changed := func(change func(*authority.Mandate)) authority.Mandate {
		m := s.Mandate
		change(&m)
		return s.Add(m)
	}
	all := map[string]authority.Mandate{
		"own": s.Mandate, "delegated": s.Delegated,
		"second":     s.Issue(s.Agent.ID, s.Mandate.Scope()),
		"everywhere": s.Issue(s.Agent.ID, everything()),
		"reading":    s.Issue(s.Agent.ID, authority.Scope{Resources: []authority.ResourcePattern{"*"}, Actions: authority.Actions{authority.Read}}),
		"expired":    s.expired(),
		"future":     changed(func(m *authority.Mandate) { m.ValidFrom = s.Now.Add(30 * time.Minute) }),
		"revoked":    s.Issue(s.Agent.ID, s.Mandate.Scope()),
		"suspended":  s.Issue(authority.PrincipalID(s.names["principal.suspended"]), s.Mandate.Scope()),
		"tampered":   s.tampered(),
		"from-leaver": changed(func(m *authority.Mandate) {
			m.IssuerID = authority.PrincipalID(s.names["principal.leaver"])
		}),
		"resigned-by-another-key": s.signedByAnother(),
	}
	s.Revoke(all["revoked"].ID)
	s.name(all)
	s.names["signature.own"] = s.Mandate.Signature
}

func (s *stage) expired() authority.Mandate {
	m := s.Mandate
	m.ValidFrom, m.ValidUntil = s.Now.Add(-time.Hour), s.Now.Add(-time.Second)
	return s.Add(m)
}

// tampered is a mandate that was widened after it was signed.
func (s *stage) tampered() authority.Mandate {
	m := s.Issue(s.Agent.ID, s.Mandate.Scope())
	m.ResourceScope = everything().Resources
	s.Change(m.ID, func(changed *authority.Mandate) { changed.ResourceScope = m.ResourceScope })
	return m
}

// farDown is the last of a chain that is longer than any may be, and right in everything else that a level can say.
func (s *stage) farDown() authority.Mandate {
	m := s.Mandate
	m.DelegationDepth = 16
	m = s.Add(m)
	for range 18 {
		m = s.Delegate(m, s.Child.ID, s.Mandate.Scope())
	}
	return m
}

// bottomless is a mandate that may be delegated more often than any may.
func (s *stage) bottomless() authority.Mandate {
	m := s.Mandate
	m.DelegationDepth = 1 << 31
	return s.Add(m)
}

// signedByAnother is a mandate whose terms are right and whose signature is by a key of another workspace.
func (s *stage) signedByAnother() authority.Mandate {
	m := s.Issue(s.Agent.ID, s.Mandate.Scope())
	signature, err := token.SignMandate(world.New(s.t, s.Now).MandateKey, s.KeySet().Deployment, m)
	if err != nil {
		s.t.Fatal(err)
	}
	s.Change(m.ID, func(m *authority.Mandate) { m.Signature = signature })
	return m
}

// addChains adds delegations that the control plane would not have made; a gateway must not rely on that.
func (s *stage) addChains() {
	parent := s.Issue(s.Agent.ID, s.Mandate.Scope())
	child := func(of authority.Mandate, change func(*authority.Mandate)) authority.Mandate {
		m := s.Delegate(of, s.Child.ID, s.Mandate.Scope())
		change(&m)
		return s.Add(m)
	}
	revoked, suspended := s.Issue(s.Agent.ID, s.Mandate.Scope()), s.Issue(authority.PrincipalID(s.names["principal.suspended"]), s.Mandate.Scope())
	leaf := s.Issue(s.Agent.ID, s.Mandate.Scope())
	leaf = child(leaf, func(m *authority.Mandate) { m.DelegationDepth = 0 })
	all := map[string]authority.Mandate{
		"below-revoked":      child(revoked, func(*authority.Mandate) {}),
		"far-below-revoked":  s.Delegate(child(revoked, func(m *authority.Mandate) { m.SubjectID = s.Agent.ID }), s.Child.ID, s.Mandate.Scope()),
		"below-suspended":    child(suspended, func(*authority.Mandate) {}),
		"wider-child":        child(parent, func(m *authority.Mandate) { m.ResourceScope = everything().Resources }),
		"longer-child":       child(parent, func(m *authority.Mandate) { m.ValidUntil = parent.ValidUntil.Add(time.Second) }),
		"earlier-child":      child(parent, func(m *authority.Mandate) { m.ValidFrom = parent.ValidFrom.Add(-time.Second) }),
		"deeper-child":       child(parent, func(m *authority.Mandate) { m.DelegationDepth = parent.DelegationDepth }),
		"child-of-childless": child(leaf, func(m *authority.Mandate) { m.DelegationDepth = 0 }),
		"issued-by-another":  child(parent, func(m *authority.Mandate) { m.IssuerID = s.Service.ID }),
		"skipped-level":      child(parent, func(m *authority.Mandate) { m.Level++ }),
		"circle":             child(parent, func(*authority.Mandate) {}),
		"ring":               child(parent, func(*authority.Mandate) {}),
		"ring-back":          child(parent, func(*authority.Mandate) {}),
		"far-down":           s.farDown(),
		"bottomless":         s.bottomless(),
		"below-tampered":     child(s.tampered(), func(*authority.Mandate) {}),
		"below-expired":      child(s.expired(), func(m *authority.Mandate) { m.ValidUntil = s.Now.Add(time.Hour) }),
		"orphan": child(parent, func(m *authority.Mandate) {
			gone := authority.NewID[authority.MandateID]()
			m.ParentID = &gone
		}),
		"own-child-acts-more": child(s.Issue(s.Agent.ID, authority.Scope{
			Resources: []authority.ResourcePattern{"api:echo/*"}, Actions: authority.Actions{authority.Read},
		}), func(m *authority.Mandate) { m.ActionScope = everything().Actions }),
	}
	s.Revoke(revoked.ID)
	parentOf := func(name, parent string) {
		id := all[parent].ID
		s.Change(all[name].ID, func(m *authority.Mandate) { m.ParentID = &id })
	}
	parentOf("circle", "circle")
	parentOf("ring", "ring-back")
	parentOf("ring-back", "ring")
	s.name(all)
}

func (s *stage) name(mandates map[string]authority.Mandate) {
	for name, m := range mandates {
		s.names["mandate."+name] = string(m.ID)
	}
}

// message makes a case's request, its forged token included.
func (s *stage) message(t testing.TB, c abuse.Case) abuse.Message {
	t.Helper()
	names := s.names
	if c.Request.Forged != nil {
		names = abuse.Names{"forged": s.forge(t, *c.Request.Forged)}
		for name, value := range s.names {
			names[name] = value
		}
	}
	m, err := c.Message(names)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (s *stage) forge(t testing.TB, f abuse.Forged) string {
	t.Helper()
	if f.Header == "" {
		f.Header = `{"alg":"EdDSA","kid":"${kid}","typ":"caracal-access+jwt"}`
	}
	if f.Claims == "" {
		f.Claims = `{"iss":"${deployment}","aud":"${workspace}/token","sub":"${principal.agent}","jti":"tok","iat":${now},"exp":${soon}}`
	}
	for _, text := range []*string{&f.Header, &f.Claims} {
		expanded, err := s.names.Expand(*text)
		if err != nil {
			t.Fatal(err)
		}
		*text = expanded
	}
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(f.Header)) + "." + encode([]byte(f.Claims))
	return signed + "." + encode(s.signature(t, f.Key, []byte(signed)))
}

func (s *stage) signature(t testing.TB, key string, signed []byte) []byte {
	t.Helper()
	var by token.SigningKey
	switch key {
	case "", "token":
		by = s.TokenKey
	case "mandate":
		by = s.MandateKey
	case "bundle":
		by = s.BundleKey
	case "foreign":
		by = token.NewSigningKey(token.PurposeToken, s.Now.Add(-time.Hour), s.Now.Add(time.Hour))
	case "public":
		mac := hmac.New(sha256.New, s.TokenKey.Public().PublicKey)
		mac.Write(signed)
		return mac.Sum(nil)
	case "none":
		return nil
	default:
		t.Fatalf("there is no key %q", key)
	}
	return ed25519.Sign(ed25519.NewKeyFromSeed(by.Seed()), signed)
}

// cases are those of a level; there are always some.
func cases(t testing.TB, level abuse.Level) []abuse.Case {
	t.Helper()
	all, err := abuse.Cases()
	if err != nil {
		t.Fatal(err)
	}
	var chosen []abuse.Case
	for _, c := range all {
		if c.At(level) {
			chosen = append(chosen, c)
		}
	}
	if len(chosen) == 0 {
		t.Fatalf("there is no case for %s", level)
	}
	return chosen
}
