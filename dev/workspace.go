package dev

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/client"
)

const (
	slug           = "my-team"
	publicResource = "api:echo/public"
	adminResource  = "api:echo/admin"
	// renewedValidity is how long the mandate in the environment file holds when it is issued.
	renewedValidity = 12 * time.Hour
	// revocationWait is how long the story waits for the gateway to confirm a revocation.
	revocationWait = 10 * time.Second
	// stepTimeout bounds one step of the set-up.
	stepTimeout = 30 * time.Second
	// policyFile and its tests are in demo/.
	policyFile = "policy.rego"
)

// workspace is the demo's workspace as this machine remembers it: who is in it, and their keys. It is written after
// each step of the set-up, so that one that was interrupted goes on where it was. The file holds secrets.
type workspace struct {
	OwnerID    authority.PrincipalID   `json:"owner_id"`
	OwnerKey   string                  `json:"owner_key"`
	AgentID    authority.PrincipalID   `json:"agent_id"`
	AgentKey   string                  `json:"agent_key"`
	HelperID   authority.PrincipalID   `json:"helper_id"`
	HelperKey  string                  `json:"helper_key"`
	Upstream   authority.DestinationID `json:"upstream_destination_id"`
	Rego       authority.RegoVersionID `json:"rego_version_id"`
	GatewayKey string                  `json:"gateway_key"`

	stack      *stack
	path       string
	lastDenial string // decision id of the story's last denial
}

// setUp makes the workspace at the first start and finds it again at every later one.
func (s *stack) setUp(ctx context.Context) (*workspace, error) {
	w := &workspace{stack: s, path: filepath.Join(s.state, "workspace.json")}
	text, err := os.ReadFile(w.path)
	if err == nil {
		err = json.Unmarshal(text, w)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read %s: %w (%s)", w.path, err, s.startOver())
	}
	for _, step := range []struct {
		done bool
		make func(context.Context) error
	}{
		{w.OwnerKey != "", w.createWorkspace},
		{w.AgentKey != "", func(ctx context.Context) error { return w.register(ctx, "research-agent", &w.AgentID, &w.AgentKey) }},
		{w.HelperKey != "", func(ctx context.Context) error { return w.register(ctx, "helper-agent", &w.HelperID, &w.HelperKey) }},
		{w.Upstream != "", w.createDestination},
		{w.Rego != "", w.pushPolicy},
		{w.GatewayKey != "", w.createGatewayKey},
	} {
		if step.done {
			continue
		}
		if err := w.finish(ctx, step.make); err != nil {
			return nil, fmt.Errorf("set up the workspace: %w (%s)", err, s.startOver())
		}
	}
	return w, errors.Join(w.adjustUpstream(ctx), w.keepRoots(ctx))
}

// finish makes a step and keeps what came of it. What the control plane has made is kept, also when the start is
// interrupted meanwhile: keys are told only once.
func (w *workspace) finish(ctx context.Context, do func(context.Context) error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stepTimeout)
	defer cancel()
	if err := do(ctx); err != nil {
		return err
	}
	return w.keep()
}

// keep writes the file whole or not at all.
func (w *workspace) keep() error {
	text, err := json.MarshalIndent(w, "", "  ")
	if err != nil {
		return fmt.Errorf("keep workspace: %w", err)
	}
	return replaceFile(w.path, text)
}

func replaceFile(path string, content []byte) error {
	next := path + ".next"
	if err := os.WriteFile(next, content, 0o600); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(next, path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func (w *workspace) createWorkspace(ctx context.Context) error {
	setup, err := os.ReadFile(filepath.Join(w.stack.state, "setup.key"))
	if err != nil {
		return fmt.Errorf("read setup key: %w", err)
	}
	c, err := client.New(client.Config{URL: w.stack.controlURL(), Key: strings.TrimSpace(string(setup))})
	if err != nil {
		return err
	}
	made, err := c.CreateWorkspace(ctx, client.NewWorkspace{Name: "My team", Slug: slug, Description: "made by make run"})
	w.OwnerID, w.OwnerKey = made.Owner.ID, made.APIKey
	return err
}

// as is a client of the control plane with somebody's key.
func (w *workspace) as(key string) (*client.Client, error) {
	return client.New(client.Config{URL: w.stack.controlURL(), Key: key, Workspace: slug})
}

// signInLink makes a link that signs the owner in with a browser.
func (w *workspace) signInLink(ctx context.Context) (string, error) {
	c, err := w.as(w.OwnerKey)
	if err != nil {
		return "", err
	}
	link, err := c.CreateSignInLink(ctx)
	if err != nil {
		return "", fmt.Errorf("make a sign-in link: %w", err)
	}
	return link.URL, nil
}

// register makes an agent and the policy that bounds what it may be given.
func (w *workspace) register(ctx context.Context, name string, id *authority.PrincipalID, key *string) error {
	c, err := w.as(w.OwnerKey)
	if err != nil {
		return err
	}
	made, err := c.RegisterPrincipal(ctx, client.NewPrincipal{Name: name, Type: authority.Agent, Metadata: map[string]string{"environment": "laptop"}})
	if err != nil {
		return err
	}
	*id, *key = made.ID, made.APIKey
	_, err = c.CreatePolicy(ctx, client.NewPolicy{
		PrincipalID: made.ID, AllowedResources: []string{"api:echo/*", "api:external/*", "host:*"}, AllowedActions: []string{"*"},
		MaxValiditySeconds: int64(24 * time.Hour / time.Second), DelegationDepth: 2,
	})
	return err
}

// destination is how the gateway reaches the echo upstream. Everything below /admin is a resource of its own.
func (w *workspace) destination() authority.Destination {
	every := map[string]authority.Action{"GET": authority.Read, "HEAD": authority.Read, "POST": authority.Execute, "*": authority.Write}
	return authority.Destination{
		Name: "echo", Host: UpstreamHost, Ports: []uint16{uint16(w.stack.UpstreamPort)}, TLS: authority.TLSRequired,
		CA: string(w.stack.upstream.ca), ConnectTo: loopback(w.stack.UpstreamPort),
		Addresses:    []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")},
		EncodedSlash: authority.EncodedSlashRefuse,
		Rules: []authority.Rule{
			{Path: "/admin/**", Methods: every, Resource: adminResource},
			{Path: "/**", Methods: every, Resource: publicResource},
		},
	}
}

func (w *workspace) createDestination(ctx context.Context) error {
	c, err := w.as(w.OwnerKey)
	if err != nil {
		return err
	}
	made, err := c.CreateDestination(ctx, w.destination())
	w.Upstream = made.ID
	return err
}

// adjustUpstream makes the destination lead to this run's upstream: its port and its CA may be others than last time.
func (w *workspace) adjustUpstream(ctx context.Context) error {
	c, err := w.as(w.OwnerKey)
	if err != nil {
		return err
	}
	all, err := c.Destinations(ctx, nil, 1000)
	var refusal *client.Error
	if errors.As(err, &refusal) && refusal.Status == http.StatusUnauthorized {
		return fmt.Errorf("the database does not know the keys in %s: use the database of the last run again, or %s", w.path, w.stack.startOver())
	}
	if err != nil {
		return fmt.Errorf("find the destination %s: %w", UpstreamHost, err)
	}
	wanted := w.destination()
	for _, d := range all {
		if d.ID == w.Upstream && d.CA == wanted.CA && d.ConnectTo == wanted.ConnectTo && slices.Equal(d.Ports, wanted.Ports) {
			return nil
		}
	}
	_, err = c.ReplaceDestination(ctx, w.Upstream, wanted)
	if errors.As(err, &refusal) && refusal.Changes != nil {
		// Mandates of the last run move with the upstream: it is the same one elsewhere.
		_, err = c.Accepting(refusal.Changes.Digest).ReplaceDestination(ctx, w.Upstream, wanted)
	}
	if err != nil {
		return fmt.Errorf("set up the destination %s: %w (%s)", UpstreamHost, err, w.stack.startOver())
	}
	return nil
}

// pushPolicy makes demo/policy.rego the workspace's active Rego policy.
func (w *workspace) pushPolicy(ctx context.Context) error {
	modules := map[string]string{}
	for _, name := range []string{policyFile, "policy_test.rego"} {
		text, err := os.ReadFile(w.stack.demo(name))
		if err != nil {
			return fmt.Errorf("read the demo's policy: %w", err)
		}
		modules[name] = string(text)
	}
	c, err := w.as(w.OwnerKey)
	if err != nil {
		return err
	}
	version, err := c.PushRego(ctx, client.RegoPush{Modules: modules, Message: "the demo's policy", Activate: true})
	w.Rego = version.ID
	return err
}

// hasOwnPolicy reports whether another Rego policy than the demo's is active.
func (w *workspace) hasOwnPolicy(ctx context.Context) (bool, error) {
	c, err := w.as(w.OwnerKey)
	if err != nil {
		return false, err
	}
	all, err := c.RegoVersions(ctx, nil, 1000)
	if err != nil {
		return false, err
	}
	for _, v := range all {
		if v.Active {
			return v.ID != w.Rego, nil
		}
	}
	return true, nil
}

func (w *workspace) createGatewayKey(ctx context.Context) error {
	c, err := w.as(w.OwnerKey)
	if err != nil {
		return err
	}
	made, err := c.CreateKey(ctx, client.NewKey{Kind: authority.KeyGateway, Name: "gateway of make run"})
	w.GatewayKey = made.APIKey
	return err
}

// issue makes a mandate for the agent: all of the upstream but /admin, for all actions. It goes through the gateway,
// which answers when it enforces the mandate, so that it can be used at once.
func (w *workspace) issue(ctx context.Context, validity time.Duration) (authority.Mandate, error) {
	c, err := client.New(client.Config{URL: w.stack.gatewayURL(), Key: w.OwnerKey})
	if err != nil {
		return authority.Mandate{}, err
	}
	return c.IssueMandate(ctx, client.MandateRequest{
		IssuerID: w.OwnerID, SubjectID: w.AgentID, ResourceScope: []string{publicResource}, ActionScope: []string{"*"},
		ValiditySeconds: int64(validity.Seconds()),
	})
}

func (w *workspace) revoke(ctx context.Context, id authority.MandateID) (client.Receipt, error) {
	c, err := w.as(w.OwnerKey)
	if err != nil {
		return client.Receipt{}, err
	}
	return c.RevokeMandate(ctx, id, revocationWait)
}

// token exchanges an agent's API key for an access token.
func (w *workspace) token(ctx context.Context, key string) (string, error) {
	c, err := w.as(key)
	if err != nil {
		return "", err
	}
	t, err := c.Token(ctx)
	return t.AccessToken, err
}

// boundToken is an access token of the agent's for a mandate, which lasts as long as it does.
func (w *workspace) boundToken(ctx context.Context, m authority.Mandate) (string, error) {
	c, err := w.as(w.AgentKey)
	if err != nil {
		return "", err
	}
	t, err := c.BoundToken(ctx, m.ID, time.Until(m.ValidUntil).Truncate(time.Second))
	return t.AccessToken, err
}

// keepRoots writes what clients meet here chain to.
func (w *workspace) keepRoots(ctx context.Context) error {
	c, err := w.as(w.AgentKey)
	if err != nil {
		return err
	}
	ca, err := c.InspectionCA(ctx)
	if err != nil {
		return fmt.Errorf("ask for the inspection CA: %w", err)
	}
	return replaceFile(w.stack.rootsFile(), append([]byte(ca.Certificate+"\n"), w.stack.upstream.ca...))
}
