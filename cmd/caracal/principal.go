package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/client"
)

func (p *program) principal() *cobra.Command {
	return noun("principal", "Principals: agents, users and services", p.principalRegister(), p.principalList(),
		p.principalChange("suspend", "Suspend a principal: nothing holds that passes through it", (*client.Client).SuspendPrincipal),
		p.principalChange("resume", "Undo a suspension", (*client.Client).ResumePrincipal))
}

func (p *program) principalRegister() *cobra.Command {
	var n client.NewPrincipal
	c := p.calling("register NAME", "Register a principal; the first key of an agent or a service is told this once", cobra.ExactArgs(1),
		func(ctx context.Context, c *client.Client, o *output, args []string) error {
			n.Name = args[0]
			registered, err := c.RegisterPrincipal(ctx, n)
			if err != nil {
				return err
			}
			return o.thing(registered)
		})
	c.Flags().StringVar((*string)(&n.Type), "type", string(authority.Agent), "agent, user or service")
	c.Flags().StringVar((*string)(&n.Role), "role", "", "of a user: owner")
	c.Flags().StringToStringVar(&n.Metadata, "metadata", nil, "such as environment=production,team=search")
	return c
}

func (p *program) principalList() *cobra.Command {
	var kind string
	var limit int
	c := p.calling("list", "List principals", cobra.NoArgs,
		func(ctx context.Context, c *client.Client, o *output, _ []string) error {
			all, err := c.Principals(ctx, client.Filter{"principal_type": kind}, limit)
			if err != nil {
				return err
			}
			return things(o, all, "principal_id", "principal_type", "name", "role", "suspended")
		})
	c.Flags().StringVar(&kind, "type", "", "agent, user or service")
	limited(c, &limit)
	return c
}

func (p *program) principalChange(verb, short string, do func(*client.Client, context.Context, authority.PrincipalID) (authority.Principal, error)) *cobra.Command {
	return p.calling(verb+" PRINCIPAL", short, cobra.ExactArgs(1),
		func(ctx context.Context, c *client.Client, o *output, args []string) error {
			changed, err := do(c, ctx, authority.PrincipalID(args[0]))
			if err != nil {
				return err
			}
			return p.enforced(ctx, c, o, changed)
		})
}
