package controlplane_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
	"github.com/caracal-gateway/caracal/internal/openid"
)

// company is an OpenID provider as a workspace trusts it, with one client that is one of its agents.
type company struct {
	*openid.Provider
	worker openid.Client
	agent  authority.Principal
	trust  controlplane.TrustedIssuer // what to create
}

func (w *world) company(owner controlplane.Caller) company {
	w.t.Helper()
	p := openid.Start(w.t)
	c := company{Provider: p, worker: openid.Client{ID: "worker", Secret: "a secret of the test", TokenLifetime: 5 * time.Minute}}
	p.AddClient(c.worker)
	c.agent, _ = w.agent(owner, "worker", authority.Agent)
	c.trust = controlplane.TrustedIssuer{TrustedIssuer: authority.TrustedIssuer{
		Name: "company", Kind: authority.IssuerOIDC, Issuer: p.Issuer, CA: string(p.CA),
		PrivateAddresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Audiences: []string{"https://caracal.example"},
		Bindings: []authority.IssuerBinding{{Value: "worker", PrincipalID: c.agent.ID}},
	}}
	return c
}

// token is one of the agent's for Caracal.
func (c company) token() string { return c.Token(c.worker, "https://caracal.example") }

func (w *world) exchange(slug, jwt string) (controlplane.AccessToken, error) {
	return w.ExchangeToken(w.t.Context(), controlplane.Exchange{WorkspaceSlug: slug, Token: jwt})
}

func (w *world) revision(c controlplane.Caller) uint64 {
	w.t.Helper()
	return must(w.Workspace(w.t.Context(), c, c.Slug()))(w.t).Revision
}

func wantRefused(t *testing.T, what string, err error, code authority.Code, field string) {
	t.Helper()
	var told *authority.Error
	if !errors.As(err, &told) || told.Code != code || told.Field != field {
		t.Errorf("%s: %v, want %s about %q", what, err, code, field)
	}
}

func TestATokenOfAProviderIsExchanged(t *testing.T) {
	w := newWorld(t)
	c := w.company(w.owner)
	created := must(w.CreateIssuer(t.Context(), w.owner, c.trust))(t).Value
	if len(created.Keys.KeyIDs) != 0 || created.Keys.NextAttemptAt == nil {
		t.Errorf("a new issuer has %+v", created.Keys)
	}
	_, err := w.exchange("first", c.token())
	wantRefused(t, "before its keys are known", err, authority.CodeUnauthenticated, "")
	refreshed := must(w.RefreshIssuer(t.Context(), w.owner, created.ID))(t)
	if len(refreshed.Value.Keys.KeyIDs) != 4 || refreshed.Value.Keys.Failure != "" || refreshed.Revision == 0 {
		t.Fatalf("refreshed: %+v", refreshed)
	}

	access := must(w.exchange("first", c.token()))(t)
	if access.ExpiresIn > 300 || access.ExpiresIn < 200 {
		t.Errorf("the access token of a token of five minutes holds %d s", access.ExpiresIn)
	}
	if caller := w.as(access.AccessToken); caller.Principal().ID != c.agent.ID || caller.Kind() != authority.KeyAgent {
		t.Errorf("it is %s's", caller.Principal().ID)
	}

	_, other := w.workspace("second")
	for name, try := range map[string]func() (controlplane.AccessToken, error){
		"another workspace": func() (controlplane.AccessToken, error) { return w.exchange("second", c.token()) },
		"no workspace":      func() (controlplane.AccessToken, error) { return w.exchange("nowhere", c.token()) },
		"another audience": func() (controlplane.AccessToken, error) {
			return w.exchange("first", c.Token(c.worker, "https://other.example"))
		},
		"no token":                func() (controlplane.AccessToken, error) { return w.exchange("first", "x") },
		"an access token of ours": func() (controlplane.AccessToken, error) { return w.exchange("first", access.AccessToken) },
		"a client that is nobody's": func() (controlplane.AccessToken, error) {
			stranger := openid.Client{ID: "stranger", Secret: "a secret of the test"}
			c.AddClient(stranger)
			return w.exchange("first", c.Token(stranger, "https://caracal.example"))
		},
	} {
		_, err := try()
		wantRefused(t, name, err, authority.CodeUnauthenticated, "")
	}
	if _, err := w.Issuer(t.Context(), other, created.ID); err == nil {
		t.Error("another workspace sees the issuer")
	}

	must(w.SuspendPrincipal(t.Context(), w.owner, c.agent.ID, 0))(t)
	_, err = w.exchange("first", c.token())
	wantRefused(t, "a suspended principal", err, authority.CodeForbidden, "")
}

func TestAnExchangedTokenStaysBound(t *testing.T) {
	w := newWorld(t)
	signer := openid.NewSigner(t, "ES256", "k")
	agent, _ := w.agent(w.owner, "worker", authority.Agent)
	must(w.CreateIssuer(t.Context(), w.owner, pinned(t, agent.ID, signer)))(t)
	mine := &authority.Confirmation{Certificate: authority.ThumbprintOf([]byte("mine"))}
	other := &authority.Confirmation{Certificate: authority.ThumbprintOf([]byte("another"))}
	exchange := func(cnf any, asked *authority.Confirmation) (controlplane.AccessToken, error) {
		claims := projected(time.Hour)
		if cnf != nil {
			claims["cnf"] = cnf
		}
		return w.ExchangeToken(t.Context(), controlplane.Exchange{WorkspaceSlug: "first", Token: signer.Sign(claims), TokenTerms: controlplane.TokenTerms{Confirmation: asked}})
	}
	for name, c := range map[string]struct {
		had  any
		ask  *authority.Confirmation
		want *authority.Confirmation
	}{
		"a token that is bound":              {mine, nil, mine},
		"a token that is bound, asked alike": {mine, mine, mine},
		"a token that is to be bound":        {nil, mine, mine},
		"a token that is free":               {nil, nil, nil},
	} {
		access := must(exchange(c.had, c.ask))(t)
		if got := confirmationOf(t, access.AccessToken); (got == nil) != (c.want == nil) || got != nil && *got != *c.want {
			t.Errorf("%s: bound to %v", name, got)
		}
	}
	_, err := exchange(mine, other)
	wantRefused(t, "another certificate", err, authority.CodeInvalid, "cnf")
	if access := must(exchange(nil, nil))(t); access.ExpiresIn != 900 {
		t.Errorf("a token for an hour gives one of %d s", access.ExpiresIn)
	}
}

// confirmationOf reads what a token says that it is bound to.
func confirmationOf(t *testing.T, jwt string) *authority.Confirmation {
	t.Helper()
	var claims struct {
		Cnf *authority.Confirmation `json:"cnf"`
	}
	part := strings.Split(jwt, ".")[1]
	text, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &claims); err != nil {
		t.Fatal(err)
	}
	return claims.Cnf
}

const account = "system:serviceaccount:agents:reporter"

// pinned is a cluster whose keys are given.
func pinned(t *testing.T, agent authority.PrincipalID, signers ...*openid.Signer) controlplane.TrustedIssuer {
	return controlplane.TrustedIssuer{TrustedIssuer: authority.TrustedIssuer{
		Name: "cluster", Kind: authority.IssuerKubernetes, Issuer: "https://kubernetes.default.svc", JWKS: openid.KeySet(t, signers...),
		Audiences: []string{"caracal"}, Bindings: []authority.IssuerBinding{{Value: account, PrincipalID: agent}},
	}}
}

// projected is what a service account's token claims.
func projected(life time.Duration) map[string]any {
	now := time.Now()
	return map[string]any{"iss": "https://kubernetes.default.svc", "sub": account, "aud": []string{"caracal"}, "iat": now.Unix(), "exp": now.Add(life).Unix()}
}

func TestAnIssuerIsChangedAndDeletedAtOnce(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	first, second := openid.NewSigner(t, "ES256", "a"), openid.NewSigner(t, "RS256", "b")
	agent, _ := w.agent(w.owner, "worker", authority.Agent)
	helper, _ := w.agent(w.owner, "helper", authority.Service)
	created := must(w.CreateIssuer(ctx, w.owner, pinned(t, agent.ID, first)))(t).Value
	if created.Keys.NextAttemptAt != nil || !slices.Equal(created.Keys.KeyIDs, []string{"a"}) {
		t.Errorf("pinned keys: %+v", created.Keys)
	}
	holder := func(s *openid.Signer) authority.PrincipalID {
		access, err := w.exchange("first", s.Sign(projected(time.Hour)))
		if err != nil {
			return ""
		}
		return w.as(access.AccessToken).Principal().ID
	}
	if holder(first) != agent.ID || holder(second) != "" {
		t.Error("the pinned key identifies the agent, and no other does")
	}
	changed := pinned(t, helper.ID, second)
	must(w.UpdateIssuer(ctx, w.owner, created.ID, changed))(t)
	if holder(first) != "" || holder(second) != helper.ID {
		t.Error("the keys and the binding were not replaced")
	}
	before := w.revision(w.owner)
	same := must(w.UpdateIssuer(ctx, w.owner, created.ID, changed))(t)
	if same.Revision != before || w.revision(w.owner) != before {
		t.Error("a change that changes nothing has a revision")
	}
	stale := w.owner.IfMatch(controlplane.Tag(created))
	_, err := w.UpdateIssuer(ctx, stale, created.ID, pinned(t, agent.ID, first))
	wantRefused(t, "an editor who saw an older state", err, authority.CodePrecondition, "If-Match")
	must(w.DeleteIssuer(ctx, w.owner, created.ID))(t)
	if holder(second) != "" {
		t.Error("a deleted issuer identifies somebody")
	}
	_, err = w.Issuer(ctx, w.owner, created.ID)
	wantRefused(t, "a deleted issuer", err, authority.CodeNotFound, "")

	var types []authority.EventType
	for _, e := range must(w.Events(ctx, w.owner, controlplane.EventFilter{}, controlplane.Page{Limit: 100}))(t).Items {
		if strings.HasPrefix(string(e.Type), "trusted_issuer") {
			types = append(types, e.Type)
			if e.ActorID != w.owner.Principal().ID || len(e.Detail) == 0 {
				t.Errorf("the event %s has the actor %q and the detail %v", e.Type, e.ActorID, e.Detail)
			}
		}
	}
	if want := []authority.EventType{authority.EventIssuerDeleted, authority.EventIssuerUpdated, authority.EventIssuerCreated}; !slices.Equal(types, want) {
		t.Errorf("events %v, want %v", types, want)
	}
}

func TestIssuersThatAreNotTrusted(t *testing.T) {
	w := newWorld(t)
	agent, _ := w.agent(w.owner, "worker", authority.Agent)
	_, other := w.workspace("second")
	foreign, _ := w.agent(other, "theirs", authority.Agent)
	signer := openid.NewSigner(t, "ES256", "a")
	must(w.CreateIssuer(t.Context(), w.owner, pinned(t, agent.ID, signer)))(t)
	for name, c := range map[string]struct {
		change func(i *controlplane.TrustedIssuer)
		code   authority.Code
		field  string
	}{
		"the same name":                 {func(i *controlplane.TrustedIssuer) { i.Issuer = "https://other.example" }, authority.CodeConflict, "name"},
		"the same issuer":               {func(i *controlplane.TrustedIssuer) { i.Name = "again" }, authority.CodeConflict, "issuer"},
		"another workspace's principal": {func(i *controlplane.TrustedIssuer) { i.Bindings[0].PrincipalID = foreign.ID }, authority.CodeInvalid, "bindings[0].principal_id"},
		"a person":                      {func(i *controlplane.TrustedIssuer) { i.Bindings[0].PrincipalID = w.owner.Principal().ID }, authority.CodeInvalid, "bindings[0].principal_id"},
		"keys that are none":            {func(i *controlplane.TrustedIssuer) { i.JWKS = json.RawMessage(`{"keys":[]}`) }, authority.CodeInvalid, "jwks"},
		"no audience":                   {func(i *controlplane.TrustedIssuer) { i.Audiences = nil }, authority.CodeInvalid, "audiences"},
	} {
		i := pinned(t, agent.ID, signer)
		i.Name, i.Issuer = "new", "https://new.example"
		switch name {
		case "the same name":
			i.Name = "cluster"
		case "the same issuer":
			i.Issuer = "https://kubernetes.default.svc"
		}
		c.change(&i)
		_, err := w.CreateIssuer(t.Context(), w.owner, i)
		wantRefused(t, name, err, c.code, c.field)
	}
	_, caller := w.agent(w.owner, "agent", authority.Agent)
	i := pinned(t, agent.ID, signer)
	i.Name, i.Issuer = "new", "https://new.example"
	_, err := w.CreateIssuer(t.Context(), caller, i)
	wantRefused(t, "an agent", err, authority.CodeForbidden, "")
}

func TestAServiceShowsTheTokenOfATrustedIssuer(t *testing.T) {
	w := newWorld(t)
	signer := openid.NewSigner(t, "ES256", "a")
	agent, _ := w.agent(w.owner, "worker", authority.Agent)
	_, service := w.agent(w.owner, "tool", authority.Service)
	w.policy(w.owner, agent, 0)
	m := w.mandate(w.owner, agent)
	must(w.CreateIssuer(t.Context(), w.owner, pinned(t, agent.ID, signer)))(t)
	ask := func(jwt string) controlplane.ValidationAnswer {
		return must(w.ValidateMandate(t.Context(), service, controlplane.Validation{
			MandateID: m.ID, RequestedAction: "read", RequestedResource: "api:external/x", PresenterToken: jwt,
		}))(t)
	}
	if a := ask(signer.Sign(projected(time.Hour))); !a.Allowed {
		t.Errorf("%+v", a)
	}
	if a := ask(openid.NewSigner(t, "ES256", "a").Sign(projected(time.Hour))); a.Allowed || *a.DenialReason != authority.ReasonAuthFailed {
		t.Errorf("a forged token: %+v", a)
	}
	bound := projected(time.Hour)
	bound["cnf"] = authority.Confirmation{Certificate: authority.ThumbprintOf([]byte("x"))}
	if a := ask(signer.Sign(bound)); a.Allowed || *a.DenialReason != authority.ReasonAuthFailed {
		t.Errorf("a token that is bound to what was not shown: %+v", a)
	}
}

// keyServer counts who asks for its keys, and answers what it is told to.
type keyServer struct {
	trust controlplane.TrustedIssuer
	hits  atomic.Int64

	mu     sync.Mutex
	answer []byte // nil fails
}

func (k *keyServer) set(answer []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.answer = answer
}

func newKeyServer(t *testing.T, agent authority.PrincipalID) *keyServer {
	k := &keyServer{}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		k.hits.Add(1)
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.answer == nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		w.Header().Set("Cache-Control", "max-age=600")
		_, _ = w.Write(k.answer)
	}))
	t.Cleanup(server.Close)
	k.trust = pinned(t, agent)
	k.trust.JWKS, k.trust.JWKSURL = nil, server.URL+"/jwks"
	k.trust.CA = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	k.trust.PrivateAddresses = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	return k
}

// clocked is a world whose clock a test sets.
func clocked(t *testing.T) (*world, func(time.Duration)) {
	ownerURL, appURL := cluster.New(t)
	var ahead atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	w := &world{Service: serviceAt(t, appURL, now), t: t, appURL: appURL, ownerURL: ownerURL}
	_, w.owner = w.workspace("first")
	return w, func(d time.Duration) { ahead.Add(int64(d)) }
}

func TestKeysOutliveTheirServerForABoundedTime(t *testing.T) {
	w, wait := clocked(t)
	agent, _ := w.agent(w.owner, "worker", authority.Agent)
	signer := openid.NewSigner(t, "ES256", "a")
	k := newKeyServer(t, agent.ID)
	k.set(openid.KeySet(t, signer))
	id := must(w.CreateIssuer(t.Context(), w.owner, k.trust))(t).Value.ID
	refresh := func() controlplane.TrustedIssuer { return must(w.RefreshIssuer(t.Context(), w.owner, id))(t).Value }
	if got := refresh(); len(got.Keys.KeyIDs) != 1 {
		t.Fatalf("%+v", got.Keys)
	}
	revision := w.revision(w.owner)
	k.set(nil)
	wait(10*time.Minute + 23*time.Hour)
	got := refresh()
	if len(got.Keys.KeyIDs) != 1 || !strings.Contains(got.Keys.Failure, "502") {
		t.Errorf("within the time of grace: %+v", got.Keys)
	}
	if now := w.revision(w.owner); now != revision {
		t.Errorf("a failure moved the revision from %d to %d", revision, now)
	}
	wait(time.Hour + time.Minute)
	if got = refresh(); len(got.Keys.KeyIDs) != 0 {
		t.Errorf("after the time of grace: %+v", got.Keys)
	}
	if now := w.revision(w.owner); now != revision+1 {
		t.Errorf("the end of the keys moved the revision from %d to %d", revision, now)
	}
	k.set(openid.KeySet(t, signer))
	wait(time.Minute)
	if got = refresh(); len(got.Keys.KeyIDs) != 1 || got.Keys.Failure != "" {
		t.Errorf("after it came back: %+v", got.Keys)
	}
}

func TestAKeyServerIsNotAskedTwiceForOneAnswer(t *testing.T) {
	w, wait := clocked(t)
	agent, _ := w.agent(w.owner, "worker", authority.Agent)
	k := newKeyServer(t, agent.ID)
	id := must(w.CreateIssuer(t.Context(), w.owner, k.trust))(t).Value.ID
	other := newService(t, w.appURL)
	var all sync.WaitGroup
	for n := range 10 {
		all.Go(func() {
			replica := w.Service
			if n%2 == 1 {
				replica = other
			}
			if _, err := replica.RefreshIssuer(t.Context(), w.owner, id); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := k.hits.Load(); n != 1 {
		t.Errorf("ten at once asked %d times", n)
	}
	must(w.RefreshIssuer(t.Context(), w.owner, id))(t)
	if n := k.hits.Load(); n != 1 {
		t.Error("a failure is not remembered")
	}
	wait(11 * time.Second)
	must(w.RefreshIssuer(t.Context(), w.owner, id))(t)
	if n := k.hits.Load(); n != 2 {
		t.Errorf("asked %d times after the pause", n)
	}
}

func TestKeysFromAnotherPlaceAreDroppedAtOnce(t *testing.T) {
	w, _ := clocked(t)
	agent, _ := w.agent(w.owner, "worker", authority.Agent)
	k := newKeyServer(t, agent.ID)
	k.set(openid.KeySet(t, openid.NewSigner(t, "ES256", "a")))
	id := must(w.CreateIssuer(t.Context(), w.owner, k.trust))(t).Value.ID
	must(w.RefreshIssuer(t.Context(), w.owner, id))(t)
	i := k.trust
	i.Audiences = []string{"another"}
	if got := must(w.UpdateIssuer(t.Context(), w.owner, id, i))(t).Value; len(got.Keys.KeyIDs) != 1 {
		t.Errorf("another audience left the keys %+v", got.Keys)
	}
	i.JWKSURL += "/elsewhere"
	if got := must(w.UpdateIssuer(t.Context(), w.owner, id, i))(t).Value; len(got.Keys.KeyIDs) != 0 || got.Keys.NextAttemptAt == nil {
		t.Errorf("another URL left the keys %+v", got.Keys)
	}
}

// Two replicas that run fetch new keys by themselves, and wake the gateways of the workspace.
func TestKeysAreFetchedWhileTheServiceRuns(t *testing.T) {
	w := newWorld(t)
	agent, _ := w.agent(w.owner, "worker", authority.Agent)
	k := newKeyServer(t, agent.ID)
	k.set(openid.KeySet(t, openid.NewSigner(t, "ES256", "a")))
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for _, replica := range []*controlplane.Service{w.Service, newService(t, w.appURL)} {
		running.Go(func() { _ = replica.Run(ctx) })
	}
	defer running.Wait()
	defer stop()
	wake, cancel := w.Subscribe(w.owner)
	defer cancel()
	id := must(w.CreateIssuer(t.Context(), w.owner, k.trust))(t).Value.ID
	<-wake // of the creation
	eventually(t, "the keys are fetched", func() bool {
		return len(must(w.Issuer(t.Context(), w.owner, id))(t).Keys.KeyIDs) == 1
	})
	<-wake
	if n := k.hits.Load(); n != 1 {
		t.Errorf("two replicas asked %d times", n)
	}
}

// What the control plane can reach is the operator's: whoever owns a workspace cannot have it look around there.
func TestAnIssuersKeysComeFromNoOtherPrivateNetworkThanTheOperatorLends(t *testing.T) {
	w := newWorld(t)
	agent, _ := w.agent(w.owner, "worker", authority.Agent)
	k := newKeyServer(t, agent.ID)
	id := must(w.CreateIssuer(t.Context(), w.owner, k.trust))(t).Value.ID
	for _, private := range []string{"10.0.0.0/8", "127.0.0.0/7", "::1/128"} {
		elsewhere := k.trust
		elsewhere.PrivateAddresses = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix(private)}
		_, err := w.UpdateIssuer(t.Context(), w.owner, id, elsewhere)
		wantRefused(t, private, err, authority.CodeInvalid, "private_addresses[1]")
	}

	// It holds for issuers that were trusted while more was lent.
	store := must(postgres.Open(postgres.Config{URL: w.appURL, MaxConns: 2}))(t)
	t.Cleanup(store.Close)
	strict := must(controlplane.New(controlplane.Config{
		Store: store, MasterKey: []byte(strings.Repeat("m", 32)), Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Now: time.Now,
	}))(t)
	got := must(strict.RefreshIssuer(t.Context(), w.owner, id))(t).Value.Keys
	if k.hits.Load() != 0 || len(got.KeyIDs) != 0 || !strings.Contains(got.Failure, "private_addresses") {
		t.Errorf("the key server was asked %d times: %+v", k.hits.Load(), got)
	}
}

func TestNobodyIsToldWhatANameResolvesTo(t *testing.T) {
	w := newWorld(t)
	agent, _ := w.agent(w.owner, "worker", authority.Agent)
	i := pinned(t, agent.ID)
	i.JWKS, i.JWKSURL = nil, "https://localhost:1/jwks"
	id := must(w.CreateIssuer(t.Context(), w.owner, i))(t).Value.ID
	got := must(w.RefreshIssuer(t.Context(), w.owner, id))(t).Value.Keys
	if !strings.Contains(got.Failure, "private_addresses") || strings.Contains(got.Failure, "127.0.0.1") || len(got.KeyIDs) != 0 {
		t.Errorf("told %+v", got)
	}
}
