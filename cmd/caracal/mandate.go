package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/client"
)

func (p *program) mandate() *cobra.Command {
	list := listing(p, "List mandates; with an agent's key its own", []filter{
		{"issuer", "issuer_id", "of this issuer only", refers(principalKind())},
		{"subject", "subject_id", "of this subject only", refers(principalKind())},
		{"parent", "parent_mandate_id", "delegated from this mandate only", refers(mandateKind())},
		{flag: "state", parameter: "state", meaning: "active, scheduled, expired or revoked"}, sorted("created_at", "valid_until"),
	}, (*client.Client).Mandates, "mandate_id", "SUBJECT=subject_id", "RESOURCES=resource_scope", "ACTIONS=action_scope", "ENDS=valid_until", "level", "revoked")
	return noun("mandate", "Mandates: signed, time-bounded, revocable authority", list,
		showing(p, "get MANDATE", "Show one mandate", mandateKind(), (*client.Client).Mandate),
		p.mandateIssue(), p.mandateDelegate(), p.mandateRevoke(), p.mandateValidate(), p.mandateTree())
}

// grant is what is granted and for how long, the same for issuing and delegating.
type grant struct {
	resources, actions []string
	validity           time.Duration
}

func (g *grant) flags(c *cobra.Command) *cobra.Command {
	c.Flags().StringSliceVar(&g.resources, "resource", nil, "pattern such as api:external/openai; may be repeated")
	c.Flags().StringSliceVar(&g.actions, "action", nil, "read, write, execute or *; may be repeated")
	spanFlag(c, &g.validity, "validity", time.Hour, "how long it holds, "+seconds)
	return must(c, "resource", "action")
}

func (p *program) mandateIssue() *cobra.Command {
	var g grant
	var issuer, subject string
	c := p.changing("issue", "Issue a mandate", cobra.NoArgs, func(ctx context.Context, c *call) error {
		r := client.MandateRequest{ResourceScope: g.resources, ActionScope: g.actions, ValiditySeconds: int64(g.validity / time.Second)}
		var err error
		if r.IssuerID, err = referred[authority.PrincipalID](ctx, c, issuer, principalKind()); err != nil {
			return err
		}
		if r.SubjectID, err = referred[authority.PrincipalID](ctx, c, subject, principalKind()); err != nil {
			return err
		}
		m, err := c.IssueMandate(ctx, r)
		if err != nil {
			return err
		}
		return c.enforced(ctx, m)
	})
	c.Flags().StringVar(&issuer, "issuer", "", "who grants")
	c.Flags().StringVar(&subject, "subject", "", "who may act")
	p.completedFlag(c, "issuer", principalKind())
	p.completedFlag(c, "subject", principalKind())
	return must(g.flags(c), "issuer", "subject")
}

func (p *program) mandateDelegate() *cobra.Command {
	var g grant
	var to string
	c := p.changing("delegate PARENT", "Cut a child from a mandate; it can only narrow", cobra.ExactArgs(1), func(ctx context.Context, c *call) error {
		parent, err := referred[authority.MandateID](ctx, c, c.args[0], mandateKind())
		if err != nil {
			return err
		}
		child, err := referred[authority.PrincipalID](ctx, c, to, principalKind())
		if err != nil {
			return err
		}
		m, err := c.DelegateMandate(ctx, client.Delegation{
			ParentMandateID: parent, ChildPrincipalID: child, ResourceScope: g.resources, ActionScope: g.actions,
			ValiditySeconds: int64(g.validity / time.Second),
		})
		if err != nil {
			return err
		}
		return c.enforced(ctx, m)
	})
	c.Flags().StringVar(&to, "to", "", "principal that the child is for")
	p.completedFlag(c, "to", principalKind())
	return must(g.flags(p.completed(c, mandateKind())), "to")
}

func (p *program) mandateRevoke() *cobra.Command {
	var wait time.Duration
	var subject, issuer, under string
	c := p.calling("revoke [MANDATE]", "Revoke a mandate and all that was delegated from it, or all that the flags name", cobra.MaximumNArgs(1), func(ctx context.Context, c *call) error {
		var all client.MassRevocation
		var err error
		if all.SubjectID, err = referred[authority.PrincipalID](ctx, c, subject, principalKind()); err != nil {
			return err
		}
		if all.IssuerID, err = referred[authority.PrincipalID](ctx, c, issuer, principalKind()); err != nil {
			return err
		}
		if all.UnderMandateID, err = referred[authority.MandateID](ctx, c, under, mandateKind()); err != nil {
			return err
		}
		one, many := len(c.args) == 1, all != (client.MassRevocation{})
		if one == many {
			return &usageError{"say either which mandate is revoked, or by --subject, --issuer and --under which of them are"}
		}
		var receipt client.Receipt
		if one {
			id, failed := referred[authority.MandateID](ctx, c, c.args[0], mandateKind())
			if failed != nil {
				return failed
			}
			receipt, err = c.RevokeMandate(ctx, id, firstLook(wait))
		} else {
			receipt, err = c.RevokeMandates(ctx, all, firstLook(wait))
		}
		if err != nil {
			return err
		}
		return c.followed(ctx, receipt, wait-firstLook(wait), "it is revoked")
	})
	waitFlag(c, &wait)
	c.Flags().StringVar(&subject, "subject", "", "all that this principal was given")
	c.Flags().StringVar(&issuer, "issuer", "", "all that this principal gave")
	c.Flags().StringVar(&under, "under", "", "all that was delegated from this mandate, and not the mandate itself")
	p.completedFlag(c, "subject", principalKind())
	p.completedFlag(c, "issuer", principalKind())
	p.completedFlag(c, "under", mandateKind())
	return p.completed(c, mandateKind())
}

// errDenied ends a command whose answer is a denial: it has been printed, and the exit status says it too.
var errDenied = errors.New("denied")

func (p *program) mandateValidate() *cobra.Command {
	var v client.Validation
	var presenter string
	c := p.calling("validate MANDATE", "Ask whether a mandate covers an action; a denial ends with status 3", cobra.ExactArgs(1),
		func(ctx context.Context, c *call) error {
			v.MandateID = authority.MandateID(c.args[0])
			var err error
			if v.PresenterID, err = referred[authority.PrincipalID](ctx, c, presenter, principalKind()); err != nil {
				return err
			}
			answer, err := c.ValidateMandate(ctx, v)
			if err != nil {
				return err
			}
			if err := c.thing(answer); err != nil {
				return err
			}
			if !answer.Allowed {
				return errDenied
			}
			return nil
		})
	c.Flags().StringVar(&v.RequestedAction, "action", "", "read, write or execute")
	c.Flags().StringVar(&v.RequestedResource, "resource", "", "literal, such as api:external/openai")
	c.Flags().StringVar(&presenter, "presenter", "", "who presented it, when a service asks")
	p.completedFlag(c, "presenter", principalKind())
	return must(p.completed(c, mandateKind()), "action", "resource")
}
