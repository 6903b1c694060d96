package gateway_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
	"github.com/caracal-gateway/caracal/gateway"
	"github.com/caracal-gateway/caracal/internal/pki"
)

const workload = "spiffe://example.org/ns/prod/sa/agent"

// mesh is a gateway that serves TLS, and an authority whose certificates identify the stack's agent.
type mesh struct {
	*edge
	ca        *pki.CA
	authority authority.ClientAuthority
}

func newMesh(t *testing.T) *mesh {
	t.Helper()
	s := newStack(t)
	m := &mesh{ca: pki.New(t)}
	m.authority = must(s.CreateClientAuthority(t.Context(), s.owner, authority.ClientAuthority{
		Name: "mesh", Roots: m.ca.PEM(),
		Bindings: []authority.CertificateBinding{{Kind: authority.NameSPIFFE, Value: workload, PrincipalID: s.agent}},
	}))(t).Value
	m.edge = s.edge(func(c *gateway.Config) { c.Certificate, c.PrivateKey = pki.New(t).Server(t, pki.DNS("gateway.test")) })
	return m
}

// showing is a client that shows a certificate; none where there is none.
func showing(c tls.Certificate, change ...func(*tls.Config)) *http.Client {
	config := &tls.Config{InsecureSkipVerify: true} // who the gateway is matters elsewhere
	if c.Certificate != nil {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &c, nil }
	}
	for _, edit := range change {
		edit(config)
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}}
}

// ask sends a request to the upstream through the gateway. A token that is empty is none.
func (m *mesh) ask(client *http.Client, token, mandate string, header http.Header) answer {
	m.t.Helper()
	r := m.request(http.MethodPost, mandate, upstreamHost, "/v1")
	r.Header.Del("Authorization")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for name, values := range header {
		r.Header[name] = values
	}
	return must(send(client, r))(m.t)
}

// bound gets the agent an access token that is bound to a certificate.
func (m *mesh) bound(c tls.Certificate) string {
	m.t.Helper()
	return m.self(m.agentKey, http.MethodPost, "/api/v1/token", map[string]any{"cnf": confirmation(c)}).member("access_token")
}

func confirmation(c tls.Certificate) map[string]any {
	return map[string]any{"x5t#S256": authority.ThumbprintOf(c.Certificate[0])}
}

func TestAClientCertificateIsAnIdentityAtTheGatewayPort(t *testing.T) {
	m := newMesh(t)
	mandate := m.issue(600, "execute")
	spiffe := pki.SPIFFE(t, workload)
	good, other := m.ca.Client(t, spiffe), m.ca.Client(t, spiffe)
	foreign := m.foreignAuthority()
	boundMandate := m.issueBound(good)
	escaped := url.QueryEscape(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: good.Certificate[0]})))
	spoofed := http.Header{
		"X-Forwarded-Client-Cert": {`By=x;Hash=00;URI=` + workload + `;Cert="` + escaped + `";Chain="` + escaped + `"`},
		"X-Caracal-Int-Holder":    {string(m.agent)}, "X-Caracal-Int-Certificate": {string(authority.ThumbprintOf(good.Certificate[0]))},
		"X-Ssl-Client-Verify": {"SUCCESS"}, "X-Ssl-Client-S-Dn": {"CN=client"}, "Client-Cert": {":AAAA:"}, "X-Spiffe-Id": {workload},
	}
	for _, c := range []struct {
		sentence string
		shown    tls.Certificate
		token    string
		mandate  string
		header   http.Header
		want     authority.Reason
	}{
		{sentence: "a SPIFFE certificate", shown: good},
		{sentence: "a SPIFFE certificate, and headers that say so", shown: good, header: spoofed},
		{sentence: "a chain that the client sends along", shown: m.ca.Intermediate(t).Intermediate(t).Client(t, spiffe)},
		{sentence: "a token and a certificate that nobody knows", shown: pki.New(t).Client(t), token: m.jwt},
		{sentence: "a bound token with its certificate", shown: good, token: m.bound(good)},
		{sentence: "a bound mandate with its certificate", shown: good, mandate: boundMandate},
		{sentence: "no certificate and no token", want: authority.ReasonAuthRequired},
		{sentence: "headers in the place of a certificate", header: spoofed, want: authority.ReasonAuthRequired},
		{sentence: "an authority that nobody knows", shown: pki.New(t).Client(t, spiffe), want: authority.ReasonAuthFailed},
		{sentence: "an unknown authority, and headers that say otherwise", shown: pki.New(t).Client(t, spiffe), header: spoofed, want: authority.ReasonAuthFailed},
		{sentence: "the authority of another workspace", shown: foreign.Client(t, spiffe), want: authority.ReasonAuthFailed},
		{sentence: "expired", shown: m.ca.Client(t, spiffe, pki.Valid(time.Now().Add(-time.Hour), time.Now().Add(-time.Minute))), want: authority.ReasonAuthFailed},
		{sentence: "not valid yet", shown: m.ca.Client(t, spiffe, pki.Valid(time.Now().Add(time.Hour), time.Now().Add(2*time.Hour))), want: authority.ReasonAuthFailed},
		{sentence: "for servers only", shown: m.ca.Client(t, spiffe, pki.Usage(x509.ExtKeyUsageServerAuth)), want: authority.ReasonAuthFailed},
		{sentence: "a name that nobody has", shown: m.ca.Client(t, pki.SPIFFE(t, workload+"/x")), want: authority.ReasonAuthFailed},
		{sentence: "two SPIFFE ids", shown: m.ca.Client(t, spiffe, pki.SPIFFE(t, workload+"/x")), want: authority.ReasonAuthFailed},
		{sentence: "a bound token without a certificate", token: m.bound(good), want: authority.ReasonAuthFailed},
		{sentence: "a bound token with another certificate", shown: other, token: m.bound(good), want: authority.ReasonAuthFailed},
		{sentence: "a bound mandate without a certificate", token: m.jwt, mandate: boundMandate, want: authority.ReasonBindingMismatch},
		{sentence: "a bound mandate with another certificate of the same name", shown: other, mandate: boundMandate, want: authority.ReasonBindingMismatch},
		{sentence: "a bound mandate, and headers that name its certificate", token: m.jwt, header: spoofed, mandate: boundMandate, want: authority.ReasonBindingMismatch},
	} {
		t.Run(c.sentence, func(t *testing.T) {
			if c.mandate == "" {
				c.mandate = mandate
			}
			before := len(m.upstream.Requests())
			got := m.ask(showing(c.shown), c.token, c.mandate, c.header)
			seen := m.upstream.Requests()[before:]
			if c.want != "" {
				wantDenied(t, got, c.want.Status(), c.want)
				if len(seen) != 0 {
					t.Errorf("the upstream got %+v", seen)
				}
				return
			}
			if got.status != http.StatusOK || len(seen) != 1 {
				t.Fatalf("answered %d %s, and the upstream got %d requests", got.status, got.body, len(seen))
			}
			for name := range seen[0].Header {
				lower := strings.ToLower(name)
				if strings.Contains(lower, "cert") || strings.HasPrefix(lower, "x-ssl-") || strings.HasPrefix(lower, "x-caracal-") || strings.HasPrefix(lower, "x-forwarded-") || lower == "x-spiffe-id" {
					t.Errorf("the upstream got the header %s", name)
				}
			}
		})
	}
}

// foreignAuthority is one that another workspace of the same control plane trusts.
func (m *mesh) foreignAuthority() *pki.CA {
	m.t.Helper()
	made := must(m.CreateWorkspace(m.t.Context(), must(m.Authenticate(m.t.Context(), controlplane.Credential{Bearer: setupKey}))(m.t), controlplane.NewWorkspace{Name: "other", Slug: "other"}))(m.t).Value
	owner := must(m.Authenticate(m.t.Context(), controlplane.Credential{Bearer: made.APIKey}))(m.t)
	agent := must(m.RegisterPrincipal(m.t.Context(), owner, controlplane.NewPrincipal{Name: "agent", Type: authority.Agent}))(m.t).Value
	ca := pki.New(m.t)
	must(m.CreateClientAuthority(m.t.Context(), owner, authority.ClientAuthority{
		Name: "mesh", Roots: ca.PEM(), Bindings: []authority.CertificateBinding{{Kind: authority.NameSPIFFE, Value: workload, PrincipalID: agent.ID}},
	}))(m.t)
	return ca
}

// issueBound gets the agent a mandate that is bound to a certificate.
func (m *mesh) issueBound(c tls.Certificate) string {
	m.t.Helper()
	terms := m.terms(600, "execute")
	terms["confirmation"] = confirmation(c)
	got := m.self(m.agentKey, http.MethodPost, "/api/v1/mandates", terms)
	if got.status != http.StatusCreated {
		m.t.Fatalf("a bound mandate is answered %d %s", got.status, got.body)
	}
	return got.member("mandate_id")
}

// An authority that is taken away ends the identity on connections that are open, and a session that is resumed brings
// none back.
func TestACertificateOfAnAuthorityThatIsTakenAwayIsNobodys(t *testing.T) {
	m := newMesh(t)
	mandate := m.issue(600, "execute")
	leaf := m.ca.Client(t, pki.SPIFFE(t, workload))
	for _, version := range []struct {
		name  string
		limit uint16
	}{{"TLS 1.2", tls.VersionTLS12}, {"TLS 1.3", tls.VersionTLS13}} {
		t.Run(version.name, func(t *testing.T) {
			must(m.UpdateClientAuthority(t.Context(), m.owner, m.authority.ID, m.authority))(t)
			sessions := tls.NewLRUClientSessionCache(4)
			newClient := func() *http.Client {
				return showing(leaf, func(c *tls.Config) { c.ClientSessionCache, c.MaxVersion = sessions, version.limit })
			}
			open := newClient()
			eventually(t, "the certificate identifies the agent", func() bool { return m.ask(open, "", mandate, nil).status == http.StatusOK })
			if !m.resumes(newClient()) {
				t.Fatal("the session is not resumed: the test shows nothing")
			}
			without := m.authority
			without.Roots = pki.New(t).PEM()
			must(m.UpdateClientAuthority(t.Context(), m.owner, m.authority.ID, without))(t)
			m.awaitNewest()
			wantDenied(t, m.ask(open, "", mandate, nil), http.StatusUnauthorized, authority.ReasonAuthFailed)
			resumed := newClient()
			if !m.resumes(resumed) {
				t.Error("the session is not resumed")
			}
			wantDenied(t, m.ask(resumed, "", mandate, nil), http.StatusUnauthorized, authority.ReasonAuthFailed)
		})
	}
}

// resumes opens a connection and reports whether the TLS session of an earlier one goes on.
func (m *mesh) resumes(client *http.Client) bool {
	m.t.Helper()
	var resumed bool
	r := must(http.NewRequestWithContext(httptrace.WithClientTrace(m.t.Context(), &httptrace.ClientTrace{
		TLSHandshakeDone: func(state tls.ConnectionState, _ error) { resumed = state.DidResume },
	}), http.MethodGet, m.base+"/health", nil))(m.t)
	must(send(client, r))(m.t)
	return resumed
}

// awaitNewest waits until the gateway enforces what the control plane has.
func (m *mesh) awaitNewest() {
	m.t.Helper()
	_, newest := m.revisions()
	eventually(m.t, "the gateway enforces the newest revision", func() bool {
		enforced, _ := m.revisions()
		return enforced >= newest
	})
}

// revisions are the one that the gateway has acknowledged and the workspace's own.
func (m *mesh) revisions() (enforced, newest uint64) {
	m.t.Helper()
	for _, g := range must(m.Gateways(m.t.Context(), m.owner))(m.t) {
		enforced = max(enforced, g.Revision)
	}
	for _, w := range must(m.Workspaces(m.t.Context(), m.owner))(m.t) {
		newest = w.Revision
	}
	return enforced, newest
}

// A subject that shows its certificate asks about its own bound mandate, at the gateway.
func TestABoundMandateIsValidatedForWhoShowsItsCertificate(t *testing.T) {
	m := newMesh(t)
	leaf := m.ca.Client(t, pki.SPIFFE(t, workload))
	mandate := m.issueBound(leaf)
	question := map[string]any{"mandate_id": mandate, "requested_action": "execute", "requested_resource": "api:echo/all"}
	for _, c := range []struct {
		sentence, key string
		shown         tls.Certificate
		status        int
		want          string
	}{
		{sentence: "the certificate alone", shown: leaf, status: http.StatusOK, want: `"allowed":true`},
		{sentence: "the agent's key and the certificate", key: m.agentKey, shown: leaf, status: http.StatusOK, want: `"allowed":true`},
		{sentence: "a bound token and the certificate", key: m.bound(leaf), shown: leaf, status: http.StatusOK, want: `"allowed":true`},
		{sentence: "the agent's key alone", key: m.agentKey, status: http.StatusOK, want: `"denial_reason":"binding_mismatch"`},
		{sentence: "a bound token alone", key: m.bound(leaf), status: http.StatusUnauthorized, want: "authentication_failed"},
		{sentence: "a certificate that nobody knows", shown: pki.New(t).Client(t), status: http.StatusUnauthorized, want: "authentication_required"},
	} {
		t.Run(c.sentence, func(t *testing.T) {
			got := call(t, showing(c.shown), c.key, http.MethodPost, m.base+"/api/v1/mandates/validate", question)
			if got.status != c.status || !bytes.Contains([]byte(got.body), []byte(c.want)) {
				t.Errorf("answered %d %s, want %d with %s", got.status, got.body, c.status, c.want)
			}
		})
	}
	t.Run("the control plane takes no bound token: it sees no certificate", func(t *testing.T) {
		if got := m.call(m.bound(leaf), http.MethodGet, "/api/v1/mandates", nil); got.status != http.StatusUnauthorized {
			t.Errorf("answered %d %s", got.status, got.body)
		}
	})
}
