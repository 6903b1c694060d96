package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/client"
)

func (p *program) key() *cobra.Command {
	var limit int
	list := p.calling("list", "List API keys, without their secrets", cobra.NoArgs,
		func(ctx context.Context, c *client.Client, o *output, _ []string) error {
			all, err := c.Keys(ctx, nil, limit)
			if err != nil {
				return err
			}
			return things(o, all, "key_id", "kind", "name", "principal_id", "expires_at", "revoked_at")
		})
	limited(list, &limit)
	revoke := p.calling("revoke KEY", "Revoke an API key, by its id", cobra.ExactArgs(1),
		func(ctx context.Context, c *client.Client, o *output, args []string) error {
			k, err := c.RevokeKey(ctx, authority.KeyID(args[0]))
			if err != nil {
				return err
			}
			return o.thing(k)
		})
	return noun("key", "API keys", p.keyCreate(), list, revoke)
}

func (p *program) keyCreate() *cobra.Command {
	var n client.NewKey
	var lifetime time.Duration
	c := p.calling("create NAME", "Create an API key, which is told this once", cobra.ExactArgs(1),
		func(ctx context.Context, c *client.Client, o *output, args []string) error {
			n.Name = args[0]
			if lifetime > 0 {
				end := time.Now().Add(lifetime).UTC().Truncate(time.Second)
				n.ExpiresAt = &end
			}
			k, err := c.CreateKey(ctx, n)
			if err != nil {
				return err
			}
			return o.thing(k)
		})
	c.Flags().StringVar((*string)(&n.Kind), "kind", "", "owner, agent or gateway")
	c.Flags().StringVar((*string)(&n.PrincipalID), "principal", "", "whom an owner's or an agent's key acts for")
	c.Flags().DurationVar(&lifetime, "expires-in", 0, seconds+"; never unless told")
	return must(c, "kind")
}
