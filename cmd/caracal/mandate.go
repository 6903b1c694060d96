package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/client"
)

func (p *program) mandate() *cobra.Command {
	return noun("mandate", "Mandates: signed, time-bounded, revocable authority", p.mandateList(), p.mandateGet(), p.mandateIssue(),
		p.mandateDelegate(), p.mandateRevoke(), p.mandateValidate())
}

func (p *program) mandateList() *cobra.Command {
	var issuer, subject, parent string
	var limit int
	c := p.calling("list", "List mandates; with an agent's key its own", cobra.NoArgs,
		func(ctx context.Context, c *client.Client, o *output, _ []string) error {
			all, err := c.Mandates(ctx, client.Filter{"issuer_id": issuer, "subject_id": subject, "parent_mandate_id": parent}, limit)
			if err != nil {
				return err
			}
			return things(o, all, "mandate_id", "subject_id", "resource_scope", "action_scope", "valid_until", "level", "revoked")
		})
	c.Flags().StringVar(&issuer, "issuer", "", "of this issuer only")
	c.Flags().StringVar(&subject, "subject", "", "of this subject only")
	c.Flags().StringVar(&parent, "parent", "", "delegated from this mandate only")
	limited(c, &limit)
	return c
}

func (p *program) mandateGet() *cobra.Command {
	return p.calling("get MANDATE", "Show one mandate", cobra.ExactArgs(1),
		func(ctx context.Context, c *client.Client, o *output, args []string) error {
			m, err := c.Mandate(ctx, authority.MandateID(args[0]))
			if err != nil {
				return err
			}
			return o.thing(m)
		})
}

// scopeFlags are what is granted and for how long, the same for issuing and delegating.
func scopeFlags(c *cobra.Command, resources, actions *[]string, validity *time.Duration) *cobra.Command {
	c.Flags().StringSliceVar(resources, "resource", nil, "pattern such as api:external/openai; may be repeated")
	c.Flags().StringSliceVar(actions, "action", nil, "read, write, execute or *; may be repeated")
	c.Flags().DurationVar(validity, "validity", time.Hour, "how long it holds, "+seconds)
	return must(c, "resource", "action")
}

func (p *program) mandateIssue() *cobra.Command {
	var r client.MandateRequest
	var validity time.Duration
	c := p.calling("issue", "Issue a mandate", cobra.NoArgs,
		func(ctx context.Context, c *client.Client, o *output, _ []string) error {
			r.ValiditySeconds = int64(validity / time.Second)
			m, err := c.IssueMandate(ctx, r)
			if err != nil {
				return err
			}
			return p.enforced(ctx, c, o, m)
		})
	c.Flags().StringVar((*string)(&r.IssuerID), "issuer", "", "who grants")
	c.Flags().StringVar((*string)(&r.SubjectID), "subject", "", "who may act")
	return must(scopeFlags(c, &r.ResourceScope, &r.ActionScope, &validity), "issuer", "subject")
}

func (p *program) mandateDelegate() *cobra.Command {
	var d client.Delegation
	var validity time.Duration
	c := p.calling("delegate PARENT", "Cut a child from a mandate; it can only narrow", cobra.ExactArgs(1),
		func(ctx context.Context, c *client.Client, o *output, args []string) error {
			d.ParentMandateID, d.ValiditySeconds = authority.MandateID(args[0]), int64(validity/time.Second)
			m, err := c.DelegateMandate(ctx, d)
			if err != nil {
				return err
			}
			return p.enforced(ctx, c, o, m)
		})
	c.Flags().StringVar((*string)(&d.ChildPrincipalID), "to", "", "principal that the child is for")
	return must(scopeFlags(c, &d.ResourceScope, &d.ActionScope, &validity), "to")
}

func (p *program) mandateRevoke() *cobra.Command {
	var wait time.Duration
	c := p.calling("revoke MANDATE", "Revoke a mandate and all that was delegated from it", cobra.ExactArgs(1),
		func(ctx context.Context, c *client.Client, o *output, args []string) error {
			receipt, err := c.RevokeMandate(ctx, authority.MandateID(args[0]), wait)
			if err != nil {
				return err
			}
			return o.thing(receipt)
		})
	c.Flags().DurationVar(&wait, "wait", 10*time.Second, "how long to wait until the gateways enforce it, at most 60s")
	return c
}

func (p *program) mandateValidate() *cobra.Command {
	var v client.Validation
	c := p.calling("validate MANDATE", "Ask whether a mandate covers an action; a denial ends with status 1", cobra.ExactArgs(1),
		func(ctx context.Context, c *client.Client, o *output, args []string) error {
			v.MandateID = authority.MandateID(args[0])
			answer, err := c.ValidateMandate(ctx, v)
			if err != nil {
				return err
			}
			if err := o.thing(answer); err != nil {
				return err
			}
			if !answer.Allowed {
				return errDenied
			}
			return nil
		})
	c.Flags().StringVar(&v.RequestedAction, "action", "", "read, write or execute")
	c.Flags().StringVar(&v.RequestedResource, "resource", "", "literal, such as api:external/openai")
	c.Flags().StringVar((*string)(&v.PresenterID), "presenter", "", "who presented it, when a service asks")
	return must(c, "action", "resource")
}
