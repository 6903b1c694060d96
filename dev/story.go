package dev

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/client"
)

// step is one call of the story and what has to come of it.
type step struct {
	title  string
	call   func(context.Context) (result, error)
	status int
	reason string // empty where the call has to be allowed
}

// result is what came of a call.
type result struct {
	request    string // for people
	status     int
	reason     string
	outcome    string // of what was not refused, where "allowed" would not say it
	detail     string
	decisionID string
}

// play runs the main job on the workspace: allowed, outside the scope, denied by Rego, delegated, delegated too far,
// revoked. A step that ends otherwise is an error, unless its user has activated another Rego policy, which decides now.
func (s *stack) play(ctx context.Context, w *workspace) error {
	p, err := s.newPlay(ctx, w)
	if err != nil {
		return err
	}
	s.say("\nThe main job: an agent's requests through Envoy, judged by a mandate and by Rego\n")
	for i, st := range p.steps() {
		got, err := st.call(ctx)
		if err != nil {
			return fmt.Errorf("step %d, %s: %w", i+1, st.title, err)
		}
		s.say(" %2d. %-38s %-54s → %d %s", i+1, st.title, got.request, got.status, cmp.Or(got.reason, got.outcome, "allowed"))
		if got.detail != "" {
			s.say("     %-38s %s", "", got.detail)
		}
		if p.ownPolicy && got.reason != st.reason && regoDecides(got.reason) && regoDecides(st.reason) {
			s.say("     %-38s %s", "", "(the Rego policy that is active now is yours, not the demo's)")
			continue
		}
		if got.status != st.status || got.reason != st.reason {
			return fmt.Errorf("step %d, %s: got %d %s, expected %d %s", i+1, st.title, got.status, got.reason, st.status, st.reason)
		}
		if got.reason != "" && got.decisionID != "" {
			w.lastDenial = got.decisionID
		}
	}
	return nil
}

// regoDecides tells an outcome that depends on the Rego policy from one that no policy changes.
func regoDecides(reason string) bool {
	return reason == "" || reason == string(authority.ReasonPolicyDenied)
}

// performance is what the steps share.
type performance struct {
	*stack
	ownPolicy     bool // the active Rego policy is not the demo's
	w             *workspace
	agent, helper string // access tokens
	parent, child authority.Mandate
}

func (s *stack) newPlay(ctx context.Context, w *workspace) (*performance, error) {
	p := &performance{stack: s, w: w}
	var err error
	if p.agent, err = w.token(ctx, w.AgentKey); err != nil {
		return nil, err
	}
	if p.helper, err = w.token(ctx, w.HelperKey); err != nil {
		return nil, err
	}
	if p.ownPolicy, err = w.hasOwnPolicy(ctx); err != nil {
		return nil, err
	}
	p.parent, err = w.issue(ctx, storyValidity)
	return p, err
}

const (
	storyValidity = time.Hour
	callTimeout   = 15 * time.Second
)

func (p *performance) steps() []step {
	denied := func(reason authority.Reason) (int, string) { return reason.Status(), string(reason) }
	outside, outsideReason := denied(authority.ReasonNotInScope)
	rego, regoReason := denied(authority.ReasonPolicyDenied)
	revoked, revokedReason := denied(authority.ReasonMandateRevoked)
	return []step{
		{"a call that the mandate covers", p.proxy("agent", http.MethodPost, "/v1/chat/completions", &p.parent), http.StatusOK, ""},
		{"outside the mandate's scope", p.proxy("agent", http.MethodGet, "/admin/users", &p.parent), outside, outsideReason},
		{"denied by the Rego policy", p.proxy("agent", http.MethodPost, "/v1/embeddings", &p.parent), rego, regoReason},
		{"a client that only knows a proxy", p.throughProxy("/v1/models"), http.StatusOK, ""},
		{"the agent delegates to its helper", p.delegate, http.StatusCreated, ""},
		{"the helper under its own mandate", p.proxy("helper", http.MethodGet, "/v1/models", &p.child), http.StatusOK, ""},
		{"a child that would exceed its parent", p.overreach, authority.CodeRefused.Status(), string(authority.ReasonScopeExceedsParent)},
		{"the owner revokes the agent's mandate", p.revoke, http.StatusOK, ""},
		{"the agent again", p.proxy("agent", http.MethodPost, "/v1/chat/completions", &p.parent), revoked, revokedReason},
		{"the helper again", p.proxy("helper", http.MethodGet, "/v1/models", &p.child), revoked, revokedReason},
	}
}

// proxy calls the upstream through the gateway under a mandate, like any HTTP client would.
func (p *performance) proxy(who, method, path string, m *authority.Mandate) func(context.Context) (result, error) {
	return func(ctx context.Context) (result, error) {
		request, err := http.NewRequestWithContext(ctx, method, p.gatewayURL()+"/api/proxy", strings.NewReader(`{"model":"gpt-4"}`))
		if err != nil {
			return result{}, fmt.Errorf("make request: %w", err)
		}
		bearer := p.agent
		if who == "helper" {
			bearer = p.helper
		}
		request.Header.Set("Authorization", "Bearer "+bearer)
		request.Header.Set("X-Caracal-Mandate", string(m.ID))
		request.Header.Set("X-Caracal-Target-URL", p.upstreamURL()+path)
		return send(&http.Client{Timeout: callTimeout}, request, fmt.Sprintf("%s: %s %s%s", who, method, UpstreamHost, path))
	}
}

// throughProxy calls the upstream by its own URL with nothing but a proxy, as clients do that know nothing of Caracal.
func (p *performance) throughProxy(path string) func(context.Context) (result, error) {
	return func(ctx context.Context) (result, error) {
		roots, err := os.ReadFile(p.rootsFile())
		if err != nil {
			return result{}, fmt.Errorf("read what clients believe: %w", err)
		}
		believed := x509.NewCertPool()
		believed.AppendCertsFromPEM(roots)
		bound, err := p.w.boundToken(ctx, p.parent)
		if err != nil {
			return result{}, err
		}
		transport := &http.Transport{
			Proxy: http.ProxyURL(p.proxyURL(p.parent.ID, bound)), TLSClientConfig: &tls.Config{RootCAs: believed, MinVersion: tls.VersionTLS12},
		}
		defer transport.CloseIdleConnections()
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.upstreamURL()+path, nil)
		if err != nil {
			return result{}, fmt.Errorf("make request: %w", err)
		}
		return send(&http.Client{Transport: transport, Timeout: callTimeout}, request, fmt.Sprintf("agent: GET %s%s", UpstreamHost, path))
	}
}

// delegate cuts the helper's mandate from the agent's: the same resources, reading only. It goes through the gateway,
// like an agent's own call.
func (p *performance) delegate(ctx context.Context) (result, error) {
	got, err := p.delegation(ctx, []string{publicResource}, &p.child)
	got.request = "agent: delegate read on " + publicResource
	return got, err
}

// overreach asks for a child that may do more than its parent.
func (p *performance) overreach(ctx context.Context) (result, error) {
	got, err := p.delegation(ctx, []string{publicResource, adminResource}, nil)
	got.request = "agent: delegate read on " + adminResource + " too"
	return got, err
}

// delegation cuts a mandate for the helper from the agent's.
func (p *performance) delegation(ctx context.Context, resources []string, into *authority.Mandate) (result, error) {
	c, err := client.New(client.Config{URL: p.gatewayURL(), Key: p.w.AgentKey})
	if err != nil {
		return result{}, err
	}
	made, err := c.DelegateMandate(ctx, client.Delegation{
		ParentMandateID: p.parent.ID, ChildPrincipalID: p.w.HelperID, ResourceScope: resources, ActionScope: []string{string(authority.Read)},
		ValiditySeconds: int64(storyValidity.Seconds()) / 2,
	})
	var refusal *client.Error
	if errors.As(err, &refusal) {
		return result{status: refusal.Status, reason: cmp.Or(refusal.Reason, refusal.Code), detail: refusal.Detail}, nil
	}
	if err != nil {
		return result{}, err
	}
	if into != nil {
		*into = made
	}
	return result{status: http.StatusCreated, outcome: "delegated"}, nil
}

func (p *performance) revoke(ctx context.Context) (result, error) {
	receipt, err := p.w.revoke(ctx, p.parent.ID)
	if err != nil {
		return result{}, err
	}
	return result{
		request: "owner: revoke " + string(p.parent.ID), status: http.StatusOK, outcome: "revoked",
		detail: fmt.Sprintf("%s: %d mandates, revision %d", receipt.State, len(receipt.Mandates), receipt.Revision),
	}, nil
}

// send calls the gateway; what is denied becomes the result's reason.
func send(c *http.Client, request *http.Request, title string) (result, error) {
	response, err := c.Do(request)
	if err != nil {
		return result{}, fmt.Errorf("call the gateway: %w", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return result{}, fmt.Errorf("call the gateway: %w", err)
	}
	got := result{request: title, status: response.StatusCode}
	if response.StatusCode < http.StatusBadRequest {
		return got, nil
	}
	var denial struct {
		Error      string `json:"error"`
		Message    string `json:"message"`
		Code       string `json:"code"`
		DecisionID string `json:"decision_id"`
	}
	if err := json.Unmarshal(body, &denial); err != nil {
		return got, fmt.Errorf("the answer %d is no JSON: %.200s", response.StatusCode, body)
	}
	got.reason, got.detail, got.decisionID = denial.Error, denial.Message, denial.DecisionID
	if denial.Code != "" {
		got.detail = denial.Code + ": " + denial.Message
	}
	return got, nil
}
