package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/client"
)

func (p *program) key() *cobra.Command {
	list := listing(p, "List API keys, without their secrets", []filter{
		{flag: "kind", parameter: "kind", meaning: "of this kind only"},
		{"principal", "principal_id", "of this principal only", refers(principalKind())},
	}, (*client.Client).Keys, "key_id", "kind", "name", "principal_id", "expires_at", "REVOKED=revoked_at")
	return noun("key", "API keys", list, p.keyCreate(),
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
	p.completedFlag(c, "principal", principalKind())
	c.Flags().DurationVar(&lifetime, "expires-in", 0, seconds+"; never unless told")
	return must(c, "kind")
}
