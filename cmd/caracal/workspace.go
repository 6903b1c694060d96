package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/caracal-gateway/caracal/client"
)

func (p *program) workspace() *cobra.Command {
	list := p.calling("list", "List the workspaces that the key may see", cobra.NoArgs, func(ctx context.Context, c *call) error {
		all, err := c.Workspaces(ctx)
		if err != nil {
			return err
		}
		return things(c.output, all, "slug", "name", "revision", "created_at", "workspace_id")
	})
	return noun("workspace", "Workspaces: the tenants", list, p.workspaceGet(), p.workspaceCreate())
}

func (p *program) workspaceCreate() *cobra.Command {
	var n client.NewWorkspace
	create := p.calling("create SLUG", "Create a workspace with its owner, as the bearer of the setup key", cobra.ExactArgs(1),
		func(ctx context.Context, c *call) error {
			if n.Slug = c.args[0]; n.Name == "" {
				n.Name = n.Slug
			}
			w, err := c.CreateWorkspace(ctx, n)
			if err != nil {
				return err
			}
			return c.thing(w)
		})
	create.Flags().StringVar(&n.Name, "name", "", "for people; the slug unless told")
	create.Flags().StringVar(&n.Description, "description", "", "for people")
	return create
}

func (p *program) workspaceGet() *cobra.Command {
	return p.calling("get SLUG", "Show one workspace", cobra.ExactArgs(1), func(ctx context.Context, c *call) error {
		w, err := c.Workspace(ctx, c.args[0])
		if err != nil {
			return err
		}
		return c.thing(w)
	})
}
