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
	"reflect"
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
)

// workspace is the demo's workspace as this machine remembers it: who is in it, and their keys. The file holds secrets.
type workspace struct {
	Slug       string                  `json:"workspace"`
	OwnerID    authority.PrincipalID   `json:"owner_id"`
	OwnerKey   string                  `json:"owner_key"`
	AgentID    authority.PrincipalID   `json:"agent_id"`
	AgentKey   string                  `json:"agent_key"`
	HelperID   authority.PrincipalID   `json:"helper_id"`
	HelperKey  string                  `json:"helper_key"`
	GatewayKey string                  `json:"gateway_key"`
	Upstream   authority.DestinationID `json:"upstream_destination_id"`
	// Seed makes the idempotency keys of the set-up, so that one that was interrupted goes on where it was.
	Seed string `json:"seed"`
	Done bool   `json:"done"`

	control    *stack
	lastDenial string // decision id of the story's last denial
}

// setUp makes the workspace at the first start and finds it again at every later one.
func (s *stack) setUp(ctx context.Context) (*workspace, error) {
	path := filepath.Join(s.state, "workspace.json")
	w := &workspace{Slug: slug, Seed: string(authority.NewID[authority.KeyID]()), control: s}
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, w)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read %s: %w (`make clean-data` starts over)", path, err)
	}
	if err := w.keep(path); err != nil {
		return nil, err
	}
	if !w.Done {
		if err := w.create(ctx); err != nil {
			return nil, fmt.Errorf("set up the workspace: %w", err)
		}
		w.Done = true
		if err := w.keep(path); err != nil {
			return nil, err
		}
	}
	if err := w.adjustUpstream(ctx); err != nil {
		return nil, fmt.Errorf("set up the destination %s: %w (after an outside change, `make clean-data` starts over)", UpstreamHost, err)
	}
	return w, nil
}

// keep writes the file whole or not at all.
func (w *workspace) keep(path string) error {
	text, err := json.MarshalIndent(w, "", "  ")
	if err != nil {
		return fmt.Errorf("keep workspace: %w", err)
	}
	return replaceFile(path, text)
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

// create makes the workspace with its owner, two agents, their policies, the upstream's destination, the demo's Rego
// policy and the gateway's key.
func (w *workspace) create(ctx context.Context) error {
	setup, err := readSecret(filepath.Join(w.control.state, "setup.key"))
	if err != nil {
		return err
	}
	var made struct {
		Owner  authority.Principal `json:"owner"`
		APIKey string              `json:"api_key"`
	}
	if err := w.once(ctx, setup, "workspaces", "workspace", map[string]any{"name": "My team", "slug": w.Slug, "description": "made by make run"}, &made); err != nil {
		return err
	}
	w.OwnerID, w.OwnerKey = made.Owner.ID, made.APIKey
	if w.AgentID, w.AgentKey, err = w.register(ctx, "research-agent"); err != nil {
		return err
	}
	if w.HelperID, w.HelperKey, err = w.register(ctx, "helper-agent"); err != nil {
		return err
	}
	for _, id := range []authority.PrincipalID{w.AgentID, w.HelperID} {
		policy := map[string]any{
			"principal_id": id, "allowed_resources": []string{"api:echo/*", "api:external/*", "host:*"}, "allowed_actions": []string{"*"},
			"max_validity_seconds": int64(24 * time.Hour / time.Second), "delegation_depth": 2,
		}
		if err := w.once(ctx, w.OwnerKey, w.collection("policies"), "policy-"+string(id), policy, nil); err != nil {
			return err
		}
	}
	var destination authority.Destination
	if err := w.once(ctx, w.OwnerKey, w.collection("destinations"), "destination", w.destination(), &destination); err != nil {
		return err
	}
	w.Upstream = destination.ID
	if err := w.pushPolicy(ctx); err != nil {
		return err
	}
	var key struct {
		APIKey string `json:"api_key"`
	}
	if err := w.once(ctx, w.OwnerKey, w.collection("keys"), "gateway-key", map[string]any{"kind": authority.KeyGateway, "name": "gateway of make run"}, &key); err != nil {
		return err
	}
	w.GatewayKey = key.APIKey
	return nil
}

func (w *workspace) register(ctx context.Context, name string) (authority.PrincipalID, string, error) {
	var made struct {
		ID     authority.PrincipalID `json:"principal_id"`
		APIKey string                `json:"api_key"`
	}
	err := w.once(ctx, w.OwnerKey, w.collection("principals"), "principal-"+name,
		map[string]any{"name": name, "principal_type": authority.Agent, "metadata": map[string]string{"environment": "laptop"}}, &made)
	return made.ID, made.APIKey, err
}

// destination is how the gateway reaches the echo upstream. Everything below /admin is a resource of its own.
func (w *workspace) destination() map[string]any {
	every := map[string]authority.Action{"GET": authority.Read, "HEAD": authority.Read, "POST": authority.Execute, "*": authority.Write}
	return map[string]any{
		"name": "echo", "host": UpstreamHost, "ports": []int{w.control.UpstreamPort}, "tls": authority.TLSRequired,
		"ca": string(w.control.upstream.ca), "connect_to": loopback(w.control.UpstreamPort),
		"addresses":     []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")},
		"encoded_slash": authority.EncodedSlashRefuse,
		"rules": []map[string]any{
			{"path": "/admin/**", "methods": every, "resource": adminResource},
			{"path": "/**", "methods": every, "resource": publicResource},
		},
	}
}

// adjustUpstream makes the destination lead to this run's upstream: its port and its CA may be others than last time.
func (w *workspace) adjustUpstream(ctx context.Context) error {
	path := "destinations/" + string(w.Upstream)
	var present authority.Destination
	if err := w.call(ctx, w.OwnerKey, http.MethodGet, path, nil, &present); err != nil {
		return err
	}
	if present.CA == string(w.control.upstream.ca) && present.ConnectTo == loopback(w.control.UpstreamPort) &&
		reflect.DeepEqual(present.Ports, []uint16{uint16(w.control.UpstreamPort)}) {
		return nil
	}
	return w.call(ctx, w.OwnerKey, http.MethodPut, path, w.destination(), nil)
}

// pushPolicy makes demo/policy.rego the workspace's active Rego policy.
func (w *workspace) pushPolicy(ctx context.Context) error {
	modules := map[string]string{}
	for _, name := range []string{"policy.rego", "policy_test.rego"} {
		text, err := os.ReadFile(filepath.Join(w.control.Project, "demo", name))
		if err != nil {
			return fmt.Errorf("read the demo's policy: %w", err)
		}
		modules[name] = string(text)
	}
	return w.call(ctx, w.OwnerKey, http.MethodPost, w.collection("rego-versions"), map[string]any{"modules": modules, "message": "demo", "activate": true}, nil)
}

// issue makes a mandate for the agent: all of the upstream but /admin, for all actions.
func (w *workspace) issue(ctx context.Context, validity time.Duration) (authority.Mandate, error) {
	var m authority.Mandate
	err := w.call(ctx, w.OwnerKey, http.MethodPost, w.collection("mandates"), map[string]any{
		"issuer_id": w.OwnerID, "subject_id": w.AgentID, "resource_scope": []string{publicResource}, "action_scope": []string{"*"},
		"validity_seconds": int64(validity.Seconds()),
	}, &m)
	return m, err
}

// receipt is what a revocation answers, as far as the story tells it.
type receipt struct {
	State    string                `json:"state"`
	Revision uint64                `json:"revision"`
	Mandates []authority.MandateID `json:"mandates"`
}

func (w *workspace) revoke(ctx context.Context, id authority.MandateID) (receipt, error) {
	var r receipt
	err := w.call(ctx, w.OwnerKey, http.MethodPost, "mandates/"+string(id)+"/revoke", map[string]any{}, &r)
	return r, err
}

// token exchanges an agent's API key for an access token.
func (w *workspace) token(ctx context.Context, key string) (string, error) {
	var t struct {
		AccessToken string `json:"access_token"`
	}
	err := w.call(ctx, key, http.MethodPost, "token", map[string]any{}, &t)
	return t.AccessToken, err
}

func (w *workspace) collection(name string) string { return "workspaces/" + w.Slug + "/" + name }

// once makes a call of the set-up under an idempotency key of its own.
func (w *workspace) once(ctx context.Context, key, path, step string, in, out any) error {
	return w.request(ctx, key, http.MethodPost, path, w.Seed+"-"+step, in, out)
}

func (w *workspace) call(ctx context.Context, key, method, path string, in, out any) error {
	return w.request(ctx, key, method, path, "", in, out)
}

func (w *workspace) request(ctx context.Context, key, method, path, idempotencyKey string, in, out any) error {
	c, err := client.New(client.Config{URL: w.control.controlURL(), Key: key})
	if err != nil {
		return err
	}
	return c.Do(ctx, client.Request{Method: method, Path: "/api/v1/" + path, IdempotencyKey: idempotencyKey, In: in, Out: out})
}

func readSecret(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	for len(text) > 0 && (text[len(text)-1] == '\n' || text[len(text)-1] == '\r') {
		text = text[:len(text)-1]
	}
	return string(text), nil
}
