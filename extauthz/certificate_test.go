package extauthz_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/envoy"
	"github.com/caracal-gateway/caracal/extauthz"
	"github.com/caracal-gateway/caracal/internal/pki"
	"github.com/caracal-gateway/caracal/token"
)

const workload = "spiffe://example.org/ns/prod/sa/agent"

// trusting makes an authority of the workspace, with names of the agent and of the child.
func (b *bench) trusting(ca *pki.CA, names ...authority.CertificateBinding) {
	b.State.ClientAuthorities = append(b.State.ClientAuthorities, authority.ClientAuthority{
		ID: authority.NewID[authority.ClientAuthorityID](), WorkspaceID: b.State.Workspace.ID, Name: "mesh", Roots: ca.PEM(), Bindings: names,
	})
}

func bind(kind authority.CertificateName, value string, to authority.Principal) authority.CertificateBinding {
	return authority.CertificateBinding{Kind: kind, Value: value, PrincipalID: to.ID}
}

func escaped(ders ...[]byte) string {
	var text strings.Builder
	for _, der := range ders {
		text.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	return strings.ReplaceAll(url.QueryEscape(text.String()), "+", "%20")
}

// over is a check as Envoy makes it for a connection whose client showed a certificate.
func (a asked) over(c tls.Certificate) *authv3.CheckRequest {
	if c.Certificate == nil {
		return a.check()
	}
	check := a.plus("x-forwarded-client-cert", `Hash=00;Chain="`+escaped(c.Certificate...)+`"`).check()
	check.Attributes.Source.Certificate = escaped(c.Certificate[0])
	return check
}

// at makes certificates that are valid around the start of the bench.
func at(from, until time.Duration) pki.Edit { return pki.Valid(start.Add(from), start.Add(until)) }

func TestACertificateIdentifiesWhomItsNameIsBoundTo(t *testing.T) {
	root, stranger := pki.New(t), pki.New(t)
	day := at(-time.Hour, 24*time.Hour)
	spiffe := pki.SPIFFE(t, workload)
	isCA := func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }
	constrained := root.Intermediate(t, func(c *x509.Certificate) {
		c.PermittedURIDomains, c.PermittedDNSDomainsCritical = []string{"other.example"}, true
	})
	for sentence, c := range map[string]struct {
		shown tls.Certificate
		want  authority.Reason
	}{
		"a SPIFFE id":                            {root.Client(t, day, spiffe), ""},
		"a DNS name":                             {root.Client(t, day, pki.DNS("agent.example.org")), ""},
		"a DNS name in capitals":                 {root.Client(t, day, pki.DNS("Agent.Example.org")), ""},
		"a URI":                                  {root.Client(t, day, pki.SPIFFE(t, "urn:example:agent")), ""},
		"an e-mail address":                      {root.Client(t, day, pki.Email("agent@example.org")), ""},
		"a name beside others that nobody has":   {root.Client(t, day, spiffe, pki.DNS("node-7.example.org")), ""},
		"a chain over an authority in between":   {root.Intermediate(t).Client(t, day, spiffe), ""},
		"a chain over two of them":               {root.Intermediate(t).Intermediate(t).Client(t, day, spiffe), ""},
		"for any use":                            {root.Client(t, day, spiffe, pki.Usage(x509.ExtKeyUsageAny)), ""},
		"for servers and clients":                {root.Client(t, day, spiffe, pki.Usage(x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth)), ""},
		"no certificate":                         {tls.Certificate{}, authority.ReasonAuthRequired},
		"of an authority that nobody knows":      {stranger.Client(t, day, spiffe), authority.ReasonAuthFailed},
		"a chain that lacks its middle":          {lonely(root.Intermediate(t).Client(t, day, spiffe)), authority.ReasonAuthFailed},
		"expired":                                {root.Client(t, at(-2*time.Hour, -time.Second), spiffe), authority.ReasonAuthFailed},
		"not valid yet":                          {root.Client(t, at(time.Hour, 2*time.Hour), spiffe), authority.ReasonAuthFailed},
		"an expired authority in between":        {root.Intermediate(t, at(-2*time.Hour, -time.Hour)).Client(t, day, spiffe), authority.ReasonAuthFailed},
		"for servers only":                       {root.Client(t, day, spiffe, pki.Usage(x509.ExtKeyUsageServerAuth)), authority.ReasonAuthFailed},
		"an authority's own":                     {root.Client(t, day, spiffe, isCA), authority.ReasonAuthFailed},
		"with the use of an authority's":         {root.Client(t, day, spiffe, func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign }), authority.ReasonAuthFailed},
		"outside of its authority's constraints": {constrained.Client(t, day, spiffe), authority.ReasonAuthFailed},
		"a name that nobody has":                 {root.Client(t, day, pki.SPIFFE(t, "spiffe://example.org/ns/prod/sa/other")), authority.ReasonAuthFailed},
		"no name":                                {root.Client(t, day), authority.ReasonAuthFailed},
		"a longer SPIFFE id":                     {root.Client(t, day, pki.SPIFFE(t, workload+"/x")), authority.ReasonAuthFailed},
		"of another trust domain":                {root.Client(t, day, pki.SPIFFE(t, "spiffe://example.com/ns/prod/sa/agent")), authority.ReasonAuthFailed},
		"two SPIFFE ids":                         {root.Client(t, day, spiffe, pki.SPIFFE(t, "spiffe://example.org/x")), authority.ReasonAuthFailed},
		"a SPIFFE id beside another URI":         {root.Client(t, day, spiffe, pki.SPIFFE(t, "urn:example:other")), authority.ReasonAuthFailed},
		"a DNS name that ends like a bound one":  {root.Client(t, day, pki.DNS("x.agent.example.org")), authority.ReasonAuthFailed},
		"names of two principals":                {root.Client(t, day, spiffe, pki.DNS("child.example.org")), authority.ReasonAuthFailed},
		"a name of a principal that is gone":     {root.Client(t, day, pki.DNS("gone.example.org")), authority.ReasonAuthFailed},
		"the SPIFFE id as a DNS name":            {root.Client(t, day, pki.DNS(strings.TrimPrefix(workload, "spiffe://"))), authority.ReasonAuthFailed},
	} {
		t.Run(sentence, func(t *testing.T) {
			b := newBench(t)
			b.trusting(root,
				bind(authority.NameSPIFFE, workload, b.Agent), bind(authority.NameDNS, "agent.example.org", b.Agent),
				bind(authority.NameURI, "urn:example:agent", b.Agent), bind(authority.NameEmail, "agent@example.org", b.Agent),
				bind(authority.NameDNS, "child.example.org", b.Child),
				bind(authority.NameDNS, "gone.example.org", authority.Principal{ID: authority.NewID[authority.PrincipalID]()}))
			b.enforce(t)
			answer := b.check(t, b.proxied().without("authorization").over(c.shown))
			if c.want != "" {
				if d := wantDenial(t, answer); d.Error != string(c.want) {
					t.Errorf("got %+v, want %s", d, c.want)
				}
				return
			}
			p := wantPermission(t, answer)
			if event := b.events.last(t); event.PrincipalID != b.Agent.ID || event.Detail["certificate"] != string(authority.ThumbprintOf(c.shown.Certificate[0])) {
				t.Errorf("the record names %s with %v, want the agent and its certificate", event.PrincipalID, event.Detail)
			}
			if !p.remove["x-forwarded-client-cert"] {
				t.Error("the certificate reaches the upstream")
			}
		})
	}
}

// lonely is a certificate without what it was sent with.
func lonely(c tls.Certificate) tls.Certificate {
	c.Certificate = c.Certificate[:1]
	return c
}

func TestATokenAndACertificateMustNotBeTwoPrincipals(t *testing.T) {
	root, day := pki.New(t), at(-time.Hour, 24*time.Hour)
	agents, childs := root.Client(t, day, pki.SPIFFE(t, workload)), root.Client(t, day, pki.SPIFFE(t, workload+"/child"))
	unknown := pki.New(t).Client(t, day, pki.SPIFFE(t, workload+"/child"))
	bound := func(c tls.Certificate) *authority.Confirmation {
		return &authority.Confirmation{Certificate: authority.ThumbprintOf(c.Certificate[0])}
	}
	for sentence, c := range map[string]struct {
		shown   tls.Certificate
		binding *authority.Confirmation
		want    authority.Reason
	}{
		"a token alone": {},
		"a token and a certificate of the same principal":             {shown: agents},
		"a token and a certificate that identifies nobody":            {shown: unknown},
		"a token and a certificate of somebody else":                  {shown: childs, want: authority.ReasonAuthFailed},
		"a bound token with its certificate":                          {shown: agents, binding: bound(agents)},
		"a bound token with its certificate, which nobody knows":      {shown: unknown, binding: bound(unknown)},
		"a bound token with its certificate, which is somebody's":     {shown: childs, binding: bound(childs)},
		"a bound token without a certificate":                         {binding: bound(agents), want: authority.ReasonAuthFailed},
		"a bound token with another certificate":                      {shown: agents, binding: bound(unknown), want: authority.ReasonAuthFailed},
		"a bound token with another certificate, which is somebody's": {shown: childs, binding: bound(agents), want: authority.ReasonAuthFailed},
	} {
		t.Run(sentence, func(t *testing.T) {
			b := newBench(t)
			b.trusting(root, bind(authority.NameSPIFFE, workload, b.Agent), bind(authority.NameSPIFFE, workload+"/child", b.Child))
			b.enforce(t)
			jws := b.SignToken(b.TokenKey, token.Access{
				Deployment: b.KeySet().Deployment, Workspace: b.State.Workspace.ID, Subject: b.Agent.ID, ID: "tok",
				IssuedAt: b.Now, ExpiresAt: b.Now.Add(time.Minute), Confirmation: c.binding,
			})
			check := b.proxied().with("authorization", "Bearer "+jws).over(c.shown)
			for range 2 { // the second time the token is recognised
				answer := b.check(t, check)
				if c.want == "" {
					wantPermission(t, answer)
				} else if d := wantDenial(t, answer); d.Error != string(c.want) {
					t.Errorf("got %+v, want %s", d, c.want)
				}
			}
		})
	}
}

func TestABoundMandateIsForItsCertificateOnly(t *testing.T) {
	root, day := pki.New(t), at(-time.Hour, 24*time.Hour)
	agents, others := root.Client(t, day, pki.SPIFFE(t, workload)), root.Client(t, day, pki.SPIFFE(t, workload))
	for sentence, c := range map[string]struct {
		shown tls.Certificate
		token bool
		want  authority.Reason
	}{
		"with its certificate alone":             {shown: agents},
		"with a token and its certificate":       {shown: agents, token: true},
		"with a token alone":                     {token: true, want: authority.ReasonBindingMismatch},
		"with another certificate of its holder": {shown: others, want: authority.ReasonBindingMismatch},
		"with a token and another certificate":   {shown: others, token: true, want: authority.ReasonBindingMismatch},
	} {
		t.Run(sentence, func(t *testing.T) {
			b := newBench(t)
			b.trusting(root, bind(authority.NameSPIFFE, workload, b.Agent))
			m := b.Mandate
			m.Confirmation = &authority.Confirmation{Certificate: authority.ThumbprintOf(agents.Certificate[0])}
			m = b.Add(m)
			b.enforce(t)
			request := b.proxied().with("x-caracal-mandate", string(m.ID))
			if !c.token {
				request = request.without("authorization")
			}
			answer := b.check(t, request.over(c.shown))
			if c.want == "" {
				wantPermission(t, answer)
			} else if d := wantDenial(t, answer); d.Error != string(c.want) || d.Status != http.StatusForbidden {
				t.Errorf("got %+v, want %s", d, c.want)
			}
		})
	}
}

func TestACertificateThatWasVerifiedOnceHoldsNoLonger(t *testing.T) {
	root := pki.New(t, at(-time.Hour, 48*time.Hour))
	between := root.Intermediate(t, at(-time.Hour, 10*time.Minute))
	for sentence, c := range map[string]struct {
		shown tls.Certificate
		after time.Duration
		want  authority.Reason
	}{
		"within its time":               {root.Client(t, at(-time.Hour, 20*time.Minute), pki.SPIFFE(t, workload)), 19 * time.Minute, ""},
		"after its end":                 {root.Client(t, at(-time.Hour, 20*time.Minute), pki.SPIFFE(t, workload)), 21 * time.Minute, authority.ReasonAuthFailed},
		"after the end of what vouches": {between.Client(t, at(-time.Hour, 20*time.Minute), pki.SPIFFE(t, workload)), 11 * time.Minute, authority.ReasonAuthFailed},
		"shortly before that":           {between.Client(t, at(-time.Hour, 20*time.Minute), pki.SPIFFE(t, workload)), 9 * time.Minute, ""},
	} {
		t.Run(sentence, func(t *testing.T) {
			b := newBench(t)
			b.trusting(root, bind(authority.NameSPIFFE, workload, b.Agent))
			b.enforce(t)
			check := b.proxied().without("authorization").over(c.shown)
			wantPermission(t, b.check(t, check))
			b.elapsed = c.after
			answer := b.check(t, check)
			if c.want == "" {
				wantPermission(t, answer)
			} else if d := wantDenial(t, answer); d.Error != string(c.want) {
				t.Errorf("got %+v, want %s", d, c.want)
			}
		})
	}
}

func TestACertificateThatWasNobodysIsLookedAtAgain(t *testing.T) {
	root := pki.New(t, at(-time.Hour, 48*time.Hour))
	between := root.Intermediate(t, at(-time.Hour, 48*time.Hour))
	soon, whole := root.Client(t, at(time.Minute, time.Hour), pki.SPIFFE(t, workload)), between.Client(t, at(-time.Hour, time.Hour), pki.SPIFFE(t, workload))
	b := newBench(t)
	b.trusting(root, bind(authority.NameSPIFFE, workload, b.Agent))
	b.enforce(t)
	ask := func(shown tls.Certificate) *authv3.CheckResponse {
		return b.check(t, b.proxied().without("authorization").over(shown))
	}
	wantDenial(t, ask(soon))
	wantDenial(t, ask(soon))
	b.elapsed = 2 * time.Minute
	wantPermission(t, ask(soon))
	wantDenial(t, ask(lonely(whole)))
	wantPermission(t, ask(whole))
}

func TestWhatANewSnapshotDoesNotVouchForIsNobody(t *testing.T) {
	root, day := pki.New(t), at(-time.Hour, 24*time.Hour)
	check := func(b *bench) *authv3.CheckRequest {
		return b.proxied().without("authorization").over(root.Client(t, day, pki.SPIFFE(t, workload)))
	}
	for sentence, change := range map[string]func(*bench){
		"the authority is gone": func(b *bench) { b.State.ClientAuthorities = nil },
		"its roots are others":  func(b *bench) { b.State.ClientAuthorities[0].Roots = pki.New(t).PEM() },
		"the binding is gone":   func(b *bench) { b.State.ClientAuthorities[0].Bindings = nil },
		"another authority binds the name to somebody else": func(b *bench) {
			b.trusting(root, bind(authority.NameSPIFFE, workload, b.Child))
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			b := newBench(t)
			b.trusting(root, bind(authority.NameSPIFFE, workload, b.Agent))
			b.enforce(t)
			asked := check(b)
			wantPermission(t, b.check(t, asked))
			change(b)
			b.enforce(t)
			if d := wantDenial(t, b.check(t, asked)); d.Error != string(authority.ReasonAuthFailed) {
				t.Errorf("got %+v", d)
			}
		})
	}
}

func TestASuspendedHolderOfACertificateIsDenied(t *testing.T) {
	root, day := pki.New(t), at(-time.Hour, 24*time.Hour)
	b := newBench(t)
	b.trusting(root, bind(authority.NameSPIFFE, workload, b.Agent))
	b.Suspend(b.Agent.ID)
	b.enforce(t)
	if d := wantDenial(t, b.check(t, b.proxied().without("authorization").over(root.Client(t, day, pki.SPIFFE(t, workload))))); d.Error != string(authority.ReasonSuspended) {
		t.Errorf("got %+v", d)
	}
}

func TestACertificateThatCannotBeReadIsDenied(t *testing.T) {
	root, day := pki.New(t), at(-time.Hour, 24*time.Hour)
	leaf := root.Client(t, day, pki.SPIFFE(t, workload)).Certificate[0]
	for sentence, text := range map[string]string{
		"no PEM":           "certificate",
		"no escape":        "%zz",
		"two certificates": escaped(leaf, leaf),
		"another block":    strings.ReplaceAll(escaped(leaf), "CERTIFICATE", "PUBLIC%20KEY"),
	} {
		t.Run(sentence, func(t *testing.T) {
			b := newBench(t)
			b.trusting(root, bind(authority.NameSPIFFE, workload, b.Agent))
			b.enforce(t)
			check := b.proxied().check()
			check.Attributes.Source.Certificate = text
			if d := wantDenial(t, b.check(t, check)); d.Error != string(authority.ReasonMalformedRequest) {
				t.Errorf("got %+v", d)
			}
		})
	}
	t.Run("what is no DER identifies nobody", func(t *testing.T) {
		b := newBench(t)
		b.trusting(root, bind(authority.NameSPIFFE, workload, b.Agent))
		b.enforce(t)
		check := b.proxied().without("authorization").check()
		check.Attributes.Source.Certificate = escaped([]byte("no certificate"))
		if d := wantDenial(t, b.check(t, check)); d.Error != string(authority.ReasonAuthFailed) {
			t.Errorf("got %+v", d)
		}
	})
}

func TestTheGatewayProcessIsToldOfTheCertificate(t *testing.T) {
	root, day := pki.New(t), at(-time.Hour, 24*time.Hour)
	shown, unknown := root.Client(t, day, pki.SPIFFE(t, workload)), pki.New(t).Client(t, day)
	b := newBench(t)
	b.trusting(root, bind(authority.NameSPIFFE, workload, b.Agent))
	b.enforce(t)
	self := asked{mode: envoy.ModeGateway, method: "POST", path: "/api/v1/mandates/validate", host: "localhost:8443"}
	for sentence, c := range map[string]struct {
		shown  tls.Certificate
		holder authority.PrincipalID
	}{
		"one that identifies somebody": {shown, b.Agent.ID},
		"one that identifies nobody":   {unknown, ""},
		"none":                         {},
	} {
		t.Run(sentence, func(t *testing.T) {
			p := wantPermission(t, b.check(t, self.over(c.shown)))
			var thumbprint authority.Thumbprint
			if c.shown.Certificate != nil {
				thumbprint = authority.ThumbprintOf(c.shown.Certificate[0])
			}
			if p.set[envoy.HolderHeader] != string(c.holder) || p.set[envoy.CertificateHeader] != string(thumbprint) {
				t.Errorf("it is told %v", p.set)
			}
		})
	}
}

func TestWhoShowsACertificateIsIdentifiedAtTheGatewaysOwnEndpoints(t *testing.T) {
	b := newBench(t)
	key := b.Key(b.Agent.ID).Reveal()
	b.enforce(t)
	mine := authority.ThumbprintOf([]byte("mine"))
	bound := b.SignToken(b.TokenKey, token.Access{
		Deployment: b.KeySet().Deployment, Workspace: b.State.Workspace.ID, Subject: b.Agent.ID, ID: "tok",
		IssuedAt: b.Now, ExpiresAt: b.Now.Add(time.Minute), Confirmation: &authority.Confirmation{Certificate: mine},
	})
	for sentence, c := range map[string]struct {
		shown extauthz.Credential
		want  authority.Reason
	}{
		"a certificate alone":                      {extauthz.Credential{Certificate: mine, Holder: b.Agent.ID}, ""},
		"a certificate that identifies nobody":     {extauthz.Credential{Certificate: mine}, authority.ReasonAuthRequired},
		"a bound token with its certificate":       {extauthz.Credential{Bearer: bound, Certificate: mine}, ""},
		"a bound token without":                    {extauthz.Credential{Bearer: bound}, authority.ReasonAuthFailed},
		"a bound token with another":               {extauthz.Credential{Bearer: bound, Certificate: "x"}, authority.ReasonAuthFailed},
		"a key and a certificate of the same":      {extauthz.Credential{Bearer: key, Certificate: mine, Holder: b.Agent.ID}, ""},
		"a key and a certificate of another":       {extauthz.Credential{Bearer: key, Certificate: mine, Holder: b.Child.ID}, authority.ReasonAuthFailed},
		"a token and a certificate of another":     {extauthz.Credential{Bearer: b.Token(b.Agent.ID), Certificate: mine, Holder: b.Child.ID}, authority.ReasonAuthFailed},
		"the holder is one that the state has not": {extauthz.Credential{Certificate: mine, Holder: "prn_x"}, authority.ReasonAuthFailed},
	} {
		t.Run(sentence, func(t *testing.T) {
			got, err := b.service.Identify(c.shown)
			var reason authority.Reason
			if denial := (*extauthz.Denial)(nil); errors.As(err, &denial) {
				reason = denial.Reason
			}
			if reason != c.want || (c.want == "") != (got.ID == b.Agent.ID) {
				t.Errorf("got %s and %q, want %q", got.ID, reason, c.want)
			}
		})
	}
}

func TestAServiceTellsThePresentersCertificate(t *testing.T) {
	mine := &authority.Confirmation{Certificate: authority.ThumbprintOf([]byte("mine"))}
	other := &authority.Confirmation{Certificate: authority.ThumbprintOf([]byte("other"))}
	for sentence, c := range map[string]struct {
		caller func(*bench) authority.Principal
		told   *authority.Confirmation
		shown  authority.Thumbprint
		token  bool
		want   authority.Reason
	}{
		"a service tells it":                     {caller: theService, told: mine},
		"a service tells another":                {caller: theService, told: other, want: authority.ReasonBindingMismatch},
		"a service tells none":                   {caller: theService, want: authority.ReasonBindingMismatch},
		"a service's own certificate is not it":  {caller: theService, shown: mine.Certificate, want: authority.ReasonBindingMismatch},
		"the subject shows it":                   {caller: theAgent, shown: mine.Certificate},
		"the subject shows another":              {caller: theAgent, shown: other.Certificate, want: authority.ReasonBindingMismatch},
		"the subject shows none":                 {caller: theAgent, want: authority.ReasonBindingMismatch},
		"the subject only tells it":              {caller: theAgent, told: mine, want: authority.ReasonBindingMismatch},
		"an owner inquires, and nobody shows it": {caller: theOwner},
	} {
		t.Run(sentence, func(t *testing.T) {
			b := newBench(t)
			m := b.Mandate
			m.Confirmation = mine
			m = b.Add(m)
			b.enforce(t)
			q := extauthz.Question{
				MandateID: m.ID, Action: authority.Read, Resource: "api:model", PresenterConfirmation: c.told, Certificate: c.shown,
			}
			caller := c.caller(b)
			if caller.Type == authority.Service {
				q.PresenterID = b.Agent.ID
			}
			got, err := b.service.Validate(t.Context(), extauthz.Caller{Principal: caller}, q)
			if err != nil {
				t.Fatal(err)
			}
			var reason authority.Reason
			if got.DenialReason != nil {
				reason = *got.DenialReason
			}
			if reason != c.want || got.Allowed != (c.want == "") {
				t.Errorf("answered %+v (%q), want %q", got, reason, c.want)
			}
		})
	}
}

func theService(b *bench) authority.Principal { return b.Service }
func theAgent(b *bench) authority.Principal   { return b.Agent }
func theOwner(b *bench) authority.Principal   { return b.Owner }
