package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/client"
)

func (p *program) policy() *cobra.Command {
	list := listing(p, "List authority policies", []filter{
		{"principal", "principal_id", "of this principal only", refers(principalKind())},
		{flag: "active", parameter: "active", meaning: "true or false"}, sorted("created_at"),
	},
		(*client.Client).Policies, "policy_id", "FOR=principal_id", "RESOURCES=allowed_resources", "ACTIONS=allowed_actions",
		"LONGEST=max_validity_seconds", "DEPTH=delegation_depth", "active")
	return noun("policy", "Authority policies: what may be issued to a principal", list,
		showing(p, "get POLICY", "Show one policy", policyKind(), (*client.Client).Policy),
		p.policyCreate(), p.policyUpdate(),
		doing(p, "join POLICY", "Consent in advance to be named as issuer under a policy", policyKind(), (*client.Client).JoinPolicy),
		doing(p, "deactivate POLICY", "Let nothing more be issued under a policy; its mandates run out by themselves", policyKind(), (*client.Client).DeactivatePolicy))
}

// bounds are what a policy allows, the same for creating and updating.
type bounds struct {
	resources, actions []string
	validity           time.Duration
	depth              int
}

func (b *bounds) flags(c *cobra.Command) {
	c.Flags().StringSliceVar(&b.resources, "resource", nil, "pattern such as api:external/*; may be repeated")
	c.Flags().StringSliceVar(&b.actions, "action", nil, "read, write, execute or *; may be repeated")
	spanFlag(c, &b.validity, "max-validity", day, "how long a mandate may hold, "+seconds)
	c.Flags().IntVar(&b.depth, "delegation-depth", 0, "how many delegations may follow")
}

func (p *program) policyCreate() *cobra.Command {
	var b bounds
	var principal string
	c := p.changing("create", "Create an authority policy; you are its first grantor", cobra.NoArgs, func(ctx context.Context, c *call) error {
		id, err := referred[authority.PrincipalID](ctx, c, principal, principalKind())
		if err != nil {
			return err
		}
		created, err := c.CreatePolicy(ctx, client.NewPolicy{
			PrincipalID: id, AllowedResources: b.resources, AllowedActions: b.actions,
			MaxValiditySeconds: int64(b.validity / time.Second), DelegationDepth: b.depth,
		})
		if err != nil {
			return err
		}
		return c.enforced(ctx, created)
	})
	c.Flags().StringVar(&principal, "principal", "", "whom mandates may be issued to")
	p.completedFlag(c, "principal", principalKind())
	b.flags(c)
	return must(c, "principal", "resource", "action")
}

func (p *program) policyUpdate() *cobra.Command {
	var b bounds
	c := p.changing("update POLICY", "Change a policy; mandates that exist already keep what they were issued with", cobra.ExactArgs(1),
		func(ctx context.Context, c *call) error {
			change := client.PolicyChange{AllowedResources: b.resources, AllowedActions: b.actions}
			if c.command.Flags().Changed("max-validity") {
				change.MaxValiditySeconds = new(int64(b.validity / time.Second))
			}
			if c.command.Flags().Changed("delegation-depth") {
				change.DelegationDepth = &b.depth
			}
			id, err := referred[authority.PolicyID](ctx, c, c.args[0], policyKind())
			if err != nil {
				return err
			}
			updated, err := c.EditPolicy(ctx, id, func(authority.Policy) (client.PolicyChange, error) { return change, nil })
			if err != nil {
				return err
			}
			return c.enforced(ctx, updated)
		})
	b.flags(c)
	return p.completed(c, policyKind())
}
