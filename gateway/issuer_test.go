package gateway_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
	"github.com/caracal-gateway/caracal/internal/openid"
)

const (
	clusterName = "https://kubernetes.default.svc.cluster.local"
	account     = "system:serviceaccount:agents:reporter"
	trustDomain = "spiffe://example.org"
	audience    = "https://caracal.example"
)

// site is where workloads run that are the stack's agent: a cluster, a trust domain, and a company with a real OpenID
// provider.
type site struct {
	*stack
	cluster, spire *openid.Signer
	provider       *openid.Provider
	worker         openid.Client
	company        authority.TrustedIssuerID
}

func newSite(t *testing.T) *site {
	t.Helper()
	w := &site{
		stack: newStack(t), cluster: openid.NewSigner(t, "RS256", "c1"), spire: openid.NewSigner(t, "ES256", "s1"), provider: openid.Start(t),
		worker: openid.Client{ID: "worker", Secret: "a secret of the test"},
	}
	w.spire.Use = "jwt-svid"
	w.provider.AddClient(w.worker)
	w.trust(w.owner, w.agent, authority.TrustedIssuer{
		Kind: authority.IssuerKubernetes, Issuer: clusterName, JWKS: openid.KeySet(t, w.cluster), Bindings: []authority.IssuerBinding{{Value: account}},
	})
	w.trust(w.owner, w.agent, authority.TrustedIssuer{
		Kind: authority.IssuerSPIFFE, Issuer: trustDomain, JWKS: openid.KeySet(t, w.spire), Bindings: []authority.IssuerBinding{{Value: workload}},
	})
	w.company = w.trust(w.owner, w.agent, authority.TrustedIssuer{
		Kind: authority.IssuerOIDC, Issuer: w.provider.Issuer, CA: string(w.provider.CA), PrivateAddresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		Bindings: []authority.IssuerBinding{{Value: w.worker.ID}},
	})
	must(w.RefreshIssuer(t.Context(), w.owner, w.company))(t)
	return w
}

func (w *site) trust(owner controlplane.Caller, agent authority.PrincipalID, i authority.TrustedIssuer) authority.TrustedIssuerID {
	w.t.Helper()
	i.Name, i.Audiences = string(i.Kind), []string{audience}
	i.Bindings[0].PrincipalID = agent
	return must(w.CreateIssuer(w.t.Context(), owner, controlplane.TrustedIssuer{TrustedIssuer: i}))(w.t).Value.ID
}

// claims are those of a token for an hour, with some changed.
func claims(change map[string]any) map[string]any {
	now := time.Now()
	all := map[string]any{"aud": []string{audience}, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix()}
	maps.Copy(all, change)
	return all
}

// projected is a service account's token as a cluster projects it into a pod.
func (w *site) projected(change map[string]any) string {
	all := claims(map[string]any{
		"iss": clusterName, "sub": account, "nbf": time.Now().Unix(), "jti": "0d3c",
		"kubernetes.io": map[string]any{"namespace": "agents", "pod": map[string]any{"name": "reporter-1"}, "serviceaccount": map[string]any{"name": "reporter"}},
	})
	maps.Copy(all, change)
	return w.cluster.SignWith(map[string]any{"alg": "RS256", "kid": w.cluster.ID}, all)
}

func (w *site) svid(change map[string]any) string {
	all := claims(map[string]any{"sub": workload})
	maps.Copy(all, change)
	return w.spire.Sign(all)
}

// bearing sends a request to the upstream as the bearer of a token.
func (e *edge) bearing(jwt, mandate string) answer {
	e.t.Helper()
	r := e.request(http.MethodPost, mandate, upstreamHost, "/v1")
	r.Header.Set("Authorization", "Bearer "+jwt)
	return must(send(e.client(), r))(e.t)
}

func TestWorkloadsBringTheirOwnIdentity(t *testing.T) {
	w := newSite(t)
	e := w.edge()
	for name, jwt := range map[string]string{
		"a projected service account token": w.projected(nil),
		"a token of an OpenID provider":     w.provider.Token(w.worker, audience),
		"a JWT-SVID":                        w.svid(nil),
	} {
		got := e.self(jwt, http.MethodPost, "/api/v1/mandates", e.terms(600, "execute"))
		mandate := got.member("mandate_id")
		if got.status != http.StatusCreated || mandate == "" {
			t.Errorf("%s: a mandate is answered %d %s", name, got.status, got.body)
			continue
		}
		if got := e.bearing(jwt, mandate); got.status != http.StatusOK {
			t.Errorf("%s: the request is answered %d %s", name, got.status, got.body)
		}
		for _, seen := range w.upstream.Requests() {
			if strings.Contains(fmt.Sprint(seen), jwt) {
				t.Errorf("%s reached the upstream", name)
			}
		}
		exchanged := e.self("", http.MethodPost, "/api/v1/token", map[string]any{
			"subject_token": jwt, "subject_token_type": "urn:ietf:params:oauth:token-type:jwt", "workspace_slug": team,
		}).member("access_token")
		if got := e.bearing(exchanged, mandate); got.status != http.StatusOK {
			t.Errorf("%s: the exchanged token is answered %d %s", name, got.status, got.body)
		}
		question := map[string]any{"mandate_id": mandate, "requested_action": "execute", "requested_resource": "api:echo/all"}
		if got := e.self(jwt, http.MethodPost, "/api/v1/mandates/validate", question); !strings.Contains(got.body, `"allowed":true`) {
			t.Errorf("%s: the validation is answered %d %s", name, got.status, got.body)
		}
	}
}

func TestTokensOfOthersAreRefusedAtTheGateway(t *testing.T) {
	w := newSite(t)
	made := must(w.CreateWorkspace(t.Context(), must(w.Authenticate(t.Context(), controlplane.Credential{Bearer: setupKey}))(t), controlplane.NewWorkspace{Name: "other", Slug: "other"}))(t).Value
	owner := must(w.Authenticate(t.Context(), controlplane.Credential{Bearer: made.APIKey}))(t)
	agent := must(w.RegisterPrincipal(t.Context(), owner, controlplane.NewPrincipal{Name: "agent", Type: authority.Agent}))(t).Value
	foreign := openid.NewSigner(t, "ES256", "f1")
	w.trust(owner, agent.ID, authority.TrustedIssuer{
		Kind: authority.IssuerOIDC, Issuer: "https://login.other.example", JWKS: openid.KeySet(t, foreign), Bindings: []authority.IssuerBinding{{Value: "worker"}},
	})
	stranger := openid.Client{ID: "stranger", Secret: "a secret of the test"}
	brief := openid.Client{ID: "brief", Secret: "a secret of the test", TokenLifetime: time.Second}
	w.provider.AddClient(stranger)
	w.provider.AddClient(brief)
	e := w.edge()
	mandate := e.issue(600, "execute")
	for name, jwt := range map[string]string{
		"a service account for the cluster itself":   w.projected(map[string]any{"aud": []string{clusterName}}),
		"another service account":                    w.projected(map[string]any{"sub": "system:serviceaccount:agents:other"}),
		"a service account that has expired":         w.projected(map[string]any{"iat": time.Now().Add(-time.Hour).Unix(), "exp": time.Now().Add(-time.Minute).Unix()}),
		"a service account of another cluster":       openid.NewSigner(t, "RS256", "c1").Sign(claims(map[string]any{"iss": clusterName, "sub": account})),
		"a token of the provider for somebody else":  w.provider.Token(w.worker, "https://other.example"),
		"a client of the provider that is nobody":    w.provider.Token(stranger, audience),
		"an SVID of another trust domain":            w.svid(map[string]any{"sub": "spiffe://example.com/ns/prod/sa/agent"}),
		"an SVID of another workload":                w.svid(map[string]any{"sub": trustDomain + "/ns/prod/sa/other"}),
		"a token of another workspace's issuer":      foreign.Sign(claims(map[string]any{"iss": "https://login.other.example", "sub": "worker"})),
		"a token that is bound to a certificate":     w.projected(map[string]any{"cnf": map[string]any{"x5t#S256": authority.ThumbprintOf([]byte("x"))}}),
		"a token without a signature":                strings.Join(strings.Split(w.projected(nil), ".")[:2], ".") + ".",
		"a service account's token of the wrong key": w.spire.SignWith(map[string]any{"alg": "ES256", "kid": "c1"}, claims(map[string]any{"iss": clusterName, "sub": account})),
	} {
		got := e.bearing(jwt, mandate)
		if got.status != http.StatusUnauthorized || got.member("error") != string(authority.ReasonAuthFailed) {
			t.Errorf("%s: the request is answered %d %s", name, got.status, got.body)
		}
		if got := e.self(jwt, http.MethodGet, "/api/v1/mandates", nil); got.status != http.StatusUnauthorized {
			t.Errorf("%s: the agents' API answers %d %s", name, got.status, got.body)
		}
	}
	must(w.SuspendPrincipal(t.Context(), w.owner, w.agent, 0))(t)
	eventually(t, "a suspended principal's token is refused", func() bool {
		return e.bearing(w.projected(nil), mandate).member("error") == string(authority.ReasonSuspended)
	})
}

func TestAnIssuerRotatesItsKeysAndNoRequestFails(t *testing.T) {
	w := newSite(t)
	e := w.edge()
	mandate := e.issue(600, "execute")
	old := w.provider.Token(w.worker, audience)

	stop, failures := make(chan struct{}), make(chan string, 100)
	var working sync.WaitGroup
	var passed sync.Map // kid → true
	for range 2 {
		working.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				jwt := w.provider.Token(w.worker, audience)
				if got := e.bearing(jwt, mandate); got.status != http.StatusOK {
					select {
					case failures <- fmt.Sprintf("%d %s", got.status, got.body):
					default:
					}
				}
				passed.Store(strings.SplitN(jwt, ".", 2)[0], true)
			}
		})
	}
	keys := func() []string { return must(w.Issuer(t.Context(), w.owner, w.company))(t).Keys.KeyIDs }
	first := keys()
	refreshed := func(what string, holds func(ids []string) bool) {
		t.Helper()
		eventually(t, what, func() bool {
			must(w.RefreshIssuer(t.Context(), w.owner, w.company))(t) // answers from memory for some seconds
			return holds(keys())
		})
		e.issue(60, "execute") // is answered once the gateway enforces it, and so all before
	}
	w.provider.PublishNextKeys()
	refreshed("the next keys are known", func(ids []string) bool { return len(ids) == 2*len(first) })
	w.provider.SignWithNextKeys()
	count := func() (n int) { passed.Range(func(any, any) bool { n++; return true }); return n }
	eventually(t, "requests pass under the next key", func() bool { return count() == 2 })
	if got := e.bearing(old, mandate); got.status != http.StatusOK {
		t.Errorf("a token of the former key, while it is published: %d %s", got.status, got.body)
	}
	w.provider.WithdrawFormerKeys()
	refreshed("the former keys are gone", func(ids []string) bool {
		return len(ids) == len(first) && !slices.ContainsFunc(ids, func(id string) bool { return slices.Contains(first, id) })
	})
	close(stop)
	working.Wait()
	close(failures)
	for failure := range failures {
		t.Errorf("a request failed during the rotation: %s", failure)
	}
	if got := e.bearing(old, mandate); got.status != http.StatusUnauthorized || got.member("error") != string(authority.ReasonAuthFailed) {
		t.Errorf("a token of the former key, once it is withdrawn: %d %s", got.status, got.body)
	}
}
