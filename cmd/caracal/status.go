package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/client"
)

// standing is who calls what, and how that is.
type standing struct {
	Context   string `json:"context,omitempty"`
	URL       string `json:"url"`
	Server    string `json:"server"` // ok or degraded
	Version   string `json:"version,omitempty"`
	Restored  string `json:"restored,omitempty"` // how far gateways are beyond a database that was restored from a backup
	Name      string `json:"name"`
	Kind      string `json:"kind"`
	Role      string `json:"role,omitempty"`
	Principal string `json:"principal_id,omitempty"`
	Workspace string `json:"workspace,omitempty"`
	State     string `json:"state,omitempty"` // of the workspace
	Revision  uint64 `json:"revision,omitempty"`
	// Key is the id of the key, and ExpiresAt when it or the session ends; nil for never, or where the caller may not know.
	Key       string           `json:"key_id,omitempty"`
	ExpiresAt *time.Time       `json:"expires_at"`
	Gateways  []client.Gateway `json:"gateways"`
}

func (p *program) status() *cobra.Command {
	return connected(p.calling("status", "Show who you are, where, and how the gateways are", cobra.NoArgs, func(ctx context.Context, c *call) error {
		s := standing{Context: c.target.context, URL: c.target.url, Gateways: []client.Gateway{}}
		who, err := c.Session(ctx)
		if err != nil {
			if more := c.restored(ctx); more != nil {
				return fmt.Errorf("%w; %w", err, more)
			}
			return err
		}
		for _, ask := range []func(context.Context, *standing, client.Identification) error{c.lookAtServer, c.lookAtMyself, c.lookAtGateways} {
			if err := ask(ctx, &s, who); err != nil {
				return err
			}
		}
		if c.format != formatTable {
			return c.encode(s)
		}
		gateways := s.Gateways
		s.Gateways = nil
		if err := c.thing(s); err != nil || len(gateways) == 0 {
			return err
		}
		if _, err := c.w.Write([]byte("\n")); err != nil {
			return err
		}
		return c.gateways(gateways)
	}))
}

func (c *call) lookAtServer(ctx context.Context, s *standing, _ client.Identification) error {
	health, err := c.Health(ctx)
	s.Server, s.Version = health.Status, health.Version
	if health.Restored != nil {
		s.Restored = restoredDetail(*health.Restored)
	}
	return err
}

// lookAtMyself finds what the caller may know of its own key and workspace.
func (c *call) lookAtMyself(ctx context.Context, s *standing, who client.Identification) error {
	s.Name, s.Kind, s.Principal, s.Key = who.Name, string(who.Kind), string(who.PrincipalID), string(who.KeyID)
	if who.Session != nil {
		s.ExpiresAt = &who.Session.ExpiresAt
	}
	all, err := c.Workspaces(ctx)
	if err := orForbidden(err); err != nil {
		return err
	}
	for _, w := range all {
		if c.target.workspace == "" || w.Slug == c.target.workspace {
			s.Workspace, s.State, s.Revision = w.Slug, string(w.State()), w.Revision
			break
		}
	}
	for _, m := range who.Memberships {
		if m.WorkspaceSlug == s.Workspace {
			s.Role, s.Principal = string(m.Role), string(m.PrincipalID)
		}
	}
	if who.KeyID == "" || who.Session != nil {
		return nil
	}
	k, err := c.Key(ctx, who.KeyID)
	if err == nil {
		s.ExpiresAt = k.ExpiresAt
	}
	return orForbidden(err)
}

func (c *call) lookAtGateways(ctx context.Context, s *standing, _ client.Identification) error {
	all, err := c.Gateways(ctx)
	s.Gateways = append(s.Gateways, all...)
	return orForbidden(err)
}

// orForbidden forgives what the caller may not know.
func orForbidden(err error) error {
	var refusal *client.Error
	if errors.As(err, &refusal) && (refusal.Code == string(authority.CodeForbidden) || refusal.Code == string(authority.CodeNotFound)) {
		return nil
	}
	return err
}
