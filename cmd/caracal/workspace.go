package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/caracal-gateway/caracal/client"
)

func (p *program) workspace() *cobra.Command {
	var n client.NewWorkspace
	create := p.calling("create SLUG", "Create a workspace with its owner, as the bearer of the setup key", cobra.ExactArgs(1),
		func(ctx context.Context, c *client.Client, o *output, args []string) error {
			if n.Slug = args[0]; n.Name == "" {
				n.Name = n.Slug
			}
			w, err := c.CreateWorkspace(ctx, n)
			if err != nil {
				return err
			}
			return o.thing(w)
		})
	create.Flags().StringVar(&n.Name, "name", "", "for people; the slug unless told")
	create.Flags().StringVar(&n.Description, "description", "", "for people")
	list := p.calling("list", "List the workspaces that the key may see", cobra.NoArgs,
		func(ctx context.Context, c *client.Client, o *output, _ []string) error {
			all, err := c.Workspaces(ctx)
			if err != nil {
				return err
			}
			return things(o, all, "slug", "name", "revision", "workspace_id")
		})
	return noun("workspace", "Workspaces: the tenants", create, list)
}
