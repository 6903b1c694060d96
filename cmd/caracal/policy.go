package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/caracal-gateway/caracal/client"
)

func (p *program) policy() *cobra.Command {
	return noun("policy", "Authority policies: what may be issued to a principal", p.policyCreate(), p.policyList())
}

func (p *program) policyCreate() *cobra.Command {
	var n client.NewPolicy
	var validity time.Duration
	c := p.calling("create", "Create an authority policy; you are its first grantor", cobra.NoArgs,
		func(ctx context.Context, c *client.Client, o *output, _ []string) error {
			n.MaxValiditySeconds = int64(validity / time.Second)
			created, err := c.CreatePolicy(ctx, n)
			if err != nil {
				return err
			}
			return o.thing(created)
		})
	c.Flags().StringVar((*string)(&n.PrincipalID), "principal", "", "whom mandates may be issued to")
	c.Flags().StringSliceVar(&n.AllowedResources, "resource", nil, "pattern such as api:external/*; may be repeated")
	c.Flags().StringSliceVar(&n.AllowedActions, "action", nil, "read, write, execute or *; may be repeated")
	c.Flags().DurationVar(&validity, "max-validity", 24*time.Hour, "how long a mandate may hold, "+seconds)
	c.Flags().IntVar(&n.DelegationDepth, "delegation-depth", 0, "how many delegations may follow")
	return must(c, "principal", "resource", "action")
}

func (p *program) policyList() *cobra.Command {
	var principal string
	var limit int
	c := p.calling("list", "List authority policies", cobra.NoArgs,
		func(ctx context.Context, c *client.Client, o *output, _ []string) error {
			all, err := c.Policies(ctx, client.Filter{"principal_id": principal}, limit)
			if err != nil {
				return err
			}
			return things(o, all, "policy_id", "principal_id", "allowed_resources", "allowed_actions", "max_validity_seconds", "delegation_depth", "active")
		})
	c.Flags().StringVar(&principal, "principal", "", "of this principal only")
	limited(c, &limit)
	return c
}
