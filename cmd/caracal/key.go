package main

import (
	"cmp"
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/client"
)

func (p *program) key() *cobra.Command {
	list := listing(p, "List API keys, without their secrets", []filter{
		{flag: "kind", parameter: "kind", meaning: "member, agent, service or gateway"},
		{"principal", "principal_id", "of this principal only", refers(principalKind())},
		{flag: "state", parameter: "state", meaning: "active, expired or revoked"},
		named(), sorted("created_at", "name"),
	}, (*client.Client).Keys, "key_id", "kind", "name", "role", "FOR=principal_id", "expires_at", "USED=last_used_at", "REVOKED=revoked_at")
	return noun("key", "API keys", list,
		showing(p, "get KEY", "Show one API key, without its secret", keyKind(), (*client.Client).Key),
		p.keyCreate(), p.keyRotate(),
		doing(p, "revoke KEY", "Revoke an API key: it opens nothing from here on", keyKind(), (*client.Client).RevokeKey))
}

func (p *program) keyCreate() *cobra.Command {
	var n client.NewKey
	var lifetime time.Duration
	var principal string
	c := p.changing("create NAME", "Create an API key, which is told this once", cobra.ExactArgs(1), func(ctx context.Context, c *call) error {
		n.Name = c.args[0]
		if lifetime > 0 {
			n.ExpiresAt = new(c.now().Add(lifetime).UTC().Truncate(time.Second))
		}
		var err error
		if n.PrincipalID, err = referred[authority.PrincipalID](ctx, c, principal, principalKind()); err != nil {
			return err
		}
		k, err := c.CreateKey(ctx, n)
		if err != nil {
			return err
		}
		return c.enforced(ctx, k)
	})
	c.Flags().StringVar((*string)(&n.Kind), "kind", "", "member, agent, service or gateway")
	c.Flags().StringVar(&principal, "principal", "", "whom the key acts for; nobody for a gateway's")
	c.Flags().StringVar((*string)(&n.Role), "role", "", "the most that a member's key may do; all that the member may unless told")
	c.Flags().StringSliceVar(&n.Workspaces, "also-workspace", nil, "further workspace that a member's own key opens; may be repeated")
	c.Flags().StringSliceVar(&n.AllowedNetworks, "network", nil, "where the key may be used from, such as 192.0.2.0/24; may be repeated, anywhere unless told")
	spanFlag(c, &lifetime, "expires-in", 0, seconds+"; never unless told")
	c.Flags().BoolVar(&n.SingleUse, "single-use", false, "a gateway's key that enrols one process only")
	p.completedFlag(c, "principal", principalKind())
	return withRoles(must(c, "kind"))
}

func (p *program) keyRotate() *cobra.Command {
	var overlap time.Duration
	c := p.changing("rotate KEY", "Make a key's successor, told this once; the old one ends after the overlap", cobra.ExactArgs(1), func(ctx context.Context, c *call) error {
		id, err := referred[authority.KeyID](ctx, c, c.args[0], keyKind())
		if err != nil {
			return err
		}
		k, err := c.RotateKey(ctx, id, overlap)
		if err != nil {
			return err
		}
		return c.enforced(ctx, k)
	})
	spanFlag(c, &overlap, "overlap", time.Hour, "for how long both open, "+seconds+", at most 7d")
	return p.completed(c, keyKind())
}

// token is what an agent sends along at a gateway.
func (p *program) token() *cobra.Command {
	var mandate string
	var lifetime time.Duration
	command := p.calling("token", "Exchange the key of an agent or a service for a short-lived access token", cobra.NoArgs, func(ctx context.Context, c *call) error {
		id, err := referred[authority.MandateID](ctx, c, mandate, mandateKind())
		if err != nil {
			return err
		}
		if id == "" && lifetime != 0 {
			return &usageError{"--lifetime is for a token that is bound to a mandate: say which by --mandate"}
		}
		t, err := exchanged(ctx, c, id, lifetime)
		if err != nil {
			return err
		}
		if c.format != formatTable {
			return c.encode(t)
		}
		_, err = c.w.Write([]byte(printable(t.AccessToken) + "\n")) // alone, for a shell to put into a variable
		return err
	})
	command.Flags().StringVar(&mandate, "mandate", "", "bind the token to this mandate: it opens nothing else, and ends with it")
	spanFlag(command, &lifetime, "lifetime", 0, seconds+"; 15m unless told, at most 24h")
	p.completedFlag(command, "mandate", mandateKind())
	return connected(command)
}

func exchanged(ctx context.Context, c *call, id authority.MandateID, lifetime time.Duration) (client.AccessToken, error) {
	if id == "" {
		return c.Token(ctx)
	}
	return c.BoundToken(ctx, id, cmp.Or(lifetime, 15*time.Minute))
}
