package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/client"
)

func (p *program) principal() *cobra.Command {
	list := listing(p, "List principals", []filter{
		{flag: "type", parameter: "principal_type", meaning: "agent, user or service"},
		{flag: "role", parameter: "role", meaning: "of members with this role only"},
		{flag: "suspended", parameter: "suspended", meaning: "true or false"},
		named(), sorted("created_at", "name"),
	}, (*client.Client).Principals, "principal_id", "TYPE=principal_type", "name", "role", "suspended", "created_at")
	return noun("principal", "Principals: agents, users and services", list,
		showing(p, "get PRINCIPAL", "Show one principal", principalKind(), (*client.Client).Principal),
		p.principalCreate(), p.principalUpdate(),
		p.principalSuspend(),
		doing(p, "resume PRINCIPAL", "Undo a suspension", principalKind(), (*client.Client).ResumePrincipal))
}

func (p *program) principalCreate() *cobra.Command {
	var n client.NewPrincipal
	c := p.changing("create NAME", "Register a principal; the first key of an agent or a service is told this once", cobra.ExactArgs(1),
		func(ctx context.Context, c *call) error {
			n.Name = c.args[0]
			registered, err := c.RegisterPrincipal(ctx, n)
			if err != nil {
				return err
			}
			return c.enforced(ctx, registered)
		})
	c.Aliases = []string{"register"}
	c.Flags().StringVar((*string)(&n.Type), "type", string(authority.Agent), "agent, user or service")
	c.Flags().StringVar((*string)(&n.Role), "role", "", "of a user who is to be a member; caracal member add does the same")
	c.Flags().StringToStringVar(&n.Metadata, "metadata", nil, "such as environment=production,team=search")
	return c
}

func (p *program) principalUpdate() *cobra.Command {
	var name string
	var metadata map[string]string
	c := p.changing("update PRINCIPAL", "Change a principal's name or metadata", cobra.ExactArgs(1), func(ctx context.Context, c *call) error {
		id, err := referred[authority.PrincipalID](ctx, c, c.args[0], principalKind())
		if err != nil {
			return err
		}
		updated, err := c.EditPrincipal(ctx, id, func(authority.Principal) (client.PrincipalChange, error) {
			return client.PrincipalChange{Name: given(c.command, "name", name), Metadata: given(c.command, "metadata", metadata)}, nil
		})
		if err != nil {
			return err
		}
		return c.enforced(ctx, updated)
	})
	c.Flags().StringVar(&name, "name", "", "what it is called from here on")
	c.Flags().StringToStringVar(&metadata, "metadata", nil, "all of it, such as environment=production,team=search")
	return p.completed(c, principalKind())
}

func (p *program) principalSuspend() *cobra.Command {
	var wait time.Duration
	c := p.calling("suspend PRINCIPAL", "Suspend a principal: nothing holds that passes through it", cobra.ExactArgs(1), func(ctx context.Context, c *call) error {
		id, err := referred[authority.PrincipalID](ctx, c, c.args[0], principalKind())
		if err != nil {
			return err
		}
		suspension, err := c.SuspendPrincipal(ctx, id, firstLook(wait))
		if err != nil {
			return err
		}
		return c.followed(ctx, suspension.Receipt, wait-firstLook(wait), "it is suspended")
	})
	waitFlag(c, &wait)
	return p.completed(c, principalKind())
}
