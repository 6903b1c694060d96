package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/client"
)

func (p *program) member() *cobra.Command {
	list := listing(p, "List members and their roles", []filter{{flag: "role", parameter: "role", meaning: "with this role only"}},
		(*client.Client).Members, "principal_id", "name", "role", "suspended", "person_id", "created_at")
	return noun("member", "Members: people with a role in the workspace", list,
		showing(p, "get MEMBER", "Show one member", memberKind(), (*client.Client).Member),
		p.memberAdd(), p.memberUpdate(),
		removing(p, "remove MEMBER", "Take a member's role: its keys and sessions open nothing in the workspace any more", memberKind(), (*client.Client).RemoveMember),
		showing(p, "invite MEMBER", "Make a one-time link with which whoever signs in first becomes this member", memberKind(), (*client.Client).InviteMember),
		p.memberEndSessions(), p.memberGroups(), p.memberSetGroups())
}

// withRoles completes --role.
func withRoles(c *cobra.Command) *cobra.Command {
	roles := authority.Roles()
	words := make([]cobra.Completion, len(roles))
	for i, r := range roles {
		words[i] = string(r)
	}
	_ = c.RegisterFlagCompletionFunc("role", cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
	return c
}

const roleMeaning = "owner, admin, operator, policy_author, auditor or viewer"

func (p *program) memberAdd() *cobra.Command {
	var n client.NewMember
	c := p.changing("add NAME", "Make a person a member", cobra.ExactArgs(1), func(ctx context.Context, c *call) error {
		n.Name = c.args[0]
		m, err := c.AddMember(ctx, n)
		if err != nil {
			return err
		}
		return c.enforced(ctx, m)
	})
	c.Aliases = []string{"create"}
	c.Flags().StringVar((*string)(&n.Role), "role", "", roleMeaning)
	c.Flags().StringVar((*string)(&n.PersonID), "person", "", "somebody who is a member of another of your workspaces; a new person unless told")
	return withRoles(must(c, "role"))
}

func (p *program) memberUpdate() *cobra.Command {
	var name string
	var role authority.Role
	c := p.changing("update MEMBER", "Change a member's name or role, from its next request on", cobra.ExactArgs(1), func(ctx context.Context, c *call) error {
		id, err := referred[authority.PrincipalID](ctx, c, c.args[0], memberKind())
		if err != nil {
			return err
		}
		m, err := c.EditMember(ctx, id, func(authority.Member) (client.MemberChange, error) {
			return client.MemberChange{Name: given(c.command, "name", name), Role: given(c.command, "role", role)}, nil
		})
		if err != nil {
			return err
		}
		return c.enforced(ctx, m)
	})
	c.Flags().StringVar(&name, "name", "", "what the member is called from here on")
	c.Flags().StringVar((*string)(&role), "role", "", roleMeaning)
	return withRoles(p.completed(c, memberKind()))
}

func (p *program) memberEndSessions() *cobra.Command {
	ended := func(c *client.Client, ctx context.Context, id authority.PrincipalID) (map[string]int, error) {
		n, err := c.EndMemberSessions(ctx, id)
		return map[string]int{"ended": n}, err
	}
	return showing(p, "end-sessions MEMBER", "End every session of a member, in whatever workspace it acts", memberKind(), ended)
}

func (p *program) memberGroups() *cobra.Command {
	return p.calling("groups", "Show which groups of the OpenID provider have which role", cobra.NoArgs, func(ctx context.Context, c *call) error {
		slug, err := c.slug(ctx)
		if err != nil {
			return err
		}
		groups, err := c.GroupRoles(ctx, slug)
		if err != nil {
			return err
		}
		return things(c.output, groups.GroupRoles, "group", "role")
	})
}

func (p *program) memberSetGroups() *cobra.Command {
	c := p.changing("set-groups [GROUP=ROLE…]", "Say which groups have which role, from each person's next sign-in on; no others have one", cobra.ArbitraryArgs,
		func(ctx context.Context, c *call) error {
			roles := client.GroupRoles{GroupRoles: []authority.GroupRole{}}
			for _, pair := range c.args {
				at := strings.LastIndex(pair, "=")
				if at < 1 {
					return &usageError{fmt.Sprintf("%q is not of the form GROUP=ROLE", pair)}
				}
				roles.GroupRoles = append(roles.GroupRoles, authority.GroupRole{Group: pair[:at], Role: authority.Role(pair[at+1:])})
			}
			slug, err := c.slug(ctx)
			if err != nil {
				return err
			}
			groups, err := c.EditGroupRoles(ctx, slug, func(client.GroupRoles) (client.GroupRoles, error) { return roles, nil })
			if err != nil {
				return err
			}
			return c.enforced(ctx, groups)
		})
	c.Example = "  caracal member set-groups platform=operator security=auditor"
	return c
}

// slug is the workspace that is meant: the one that is said, or the first that the key may see.
func (c *call) slug(ctx context.Context) (string, error) {
	if c.target.workspace != "" {
		return c.target.workspace, nil
	}
	all, err := c.Workspaces(ctx)
	if err == nil && len(all) == 0 {
		err = &absentError{"the key sees no workspace: say which by --workspace"}
	}
	if err != nil {
		return "", err
	}
	return all[0].Slug, nil
}
