package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/client"
)

// shownWorkspace is a workspace with a word for how it is.
type shownWorkspace struct {
	authority.Workspace
	State authority.WorkspaceState `json:"state"`
}

func (p *program) workspace() *cobra.Command {
	list := p.calling("list", "List the workspaces that the key may see", cobra.NoArgs, func(ctx context.Context, c *call) error {
		all, err := c.Workspaces(ctx)
		if err != nil {
			return err
		}
		shown := make([]shownWorkspace, len(all))
		for i, w := range all {
			shown[i] = shownWorkspace{w, w.State()}
		}
		return things(c.output, shown, "slug", "name", "state", "revision", "created_at", "workspace_id")
	})
	usage := p.completed(p.calling("usage [SLUG]", "Show how much of each quota is used; in your own workspace unless told", cobra.MaximumNArgs(1), func(ctx context.Context, c *call) error {
		slug, err := c.meantSlug(ctx)
		if err != nil {
			return err
		}
		all, err := c.WorkspaceUsage(ctx, slug)
		if err != nil {
			return err
		}
		return things(c.output, all, "quota", "count", "limit")
	}), workspaceKind())
	return noun("workspace", "Workspaces: the tenants", list,
		p.workspaceGet(), usage,
		p.workspaceCreate(), p.workspaceUpdate(),
		doing(p, "archive SLUG", "Make a workspace read-only: nothing new is issued or configured", workspaceKind(), (*client.Client).ArchiveWorkspace),
		doing(p, "unarchive SLUG", "Open an archived workspace again", workspaceKind(), (*client.Client).UnarchiveWorkspace),
		p.workspaceDelete(),
		doing(p, "restore SLUG", "Undo a deletion, until the workspace is erased", workspaceKind(), (*client.Client).RestoreWorkspace))
}

func (p *program) workspaceGet() *cobra.Command {
	return p.completed(p.calling("get [SLUG]", "Show one workspace; your own unless told", cobra.MaximumNArgs(1), func(ctx context.Context, c *call) error {
		slug, err := c.meantSlug(ctx)
		if err != nil {
			return err
		}
		found, err := c.Workspace(ctx, slug)
		if err != nil {
			return err
		}
		return c.thing(found)
	}), workspaceKind())
}

// meantSlug is the workspace that the command line names, or else the one that is worked in.
func (c *call) meantSlug(ctx context.Context) (string, error) {
	if len(c.args) == 1 {
		return c.args[0], nil
	}
	return c.slug(ctx)
}

func (p *program) workspaceCreate() *cobra.Command {
	var n client.NewWorkspace
	create := p.calling("create SLUG", "Create a workspace with its owner, by the setup key or as somebody's owner", cobra.ExactArgs(1),
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

func (p *program) workspaceUpdate() *cobra.Command {
	var name, description string
	var stream, term, short time.Duration
	var days int
	c := p.changing("update SLUG", "Change a workspace's name, description or settings; its slug stays", cobra.ExactArgs(1), func(ctx context.Context, c *call) error {
		change := client.WorkspaceChange{Name: given(c.command, "name", name), Description: given(c.command, "description", description)}
		settings := client.SettingsChange{
			MaxStreamSeconds: given(c.command, "max-stream", int64(stream/time.Second)), EventRetentionDays: given(c.command, "event-retention-days", days),
			LeaseSeconds: given(c.command, "lease", int64(term/time.Second)), ShortRequestSeconds: given(c.command, "short-request", int64(short/time.Second)),
		}
		if settings != (client.SettingsChange{}) {
			change.Settings = &settings
		}
		w, err := c.EditWorkspace(ctx, c.args[0], func(authority.Workspace) (client.WorkspaceChange, error) { return change, nil })
		if err != nil {
			return err
		}
		return c.enforced(ctx, w)
	})
	c.Flags().StringVar(&name, "name", "", "for people")
	c.Flags().StringVar(&description, "description", "", "for people")
	spanFlag(c, &stream, "max-stream", 0, "bound of every request, however long its mandate holds, "+seconds)
	c.Flags().IntVar(&days, "event-retention-days", 0, "how long events are kept")
	spanFlag(c, &term, "lease", 0, "for how long a gateway decides without the control plane, and a revocation may have to wait for it, "+seconds+", 5s to 24h")
	spanFlag(c, &short, "short-request", 0, "requests to destinations that bound them to this or less are not watched, "+seconds+", at most 60s; 0 watches all")
	return p.completed(c, workspaceKind())
}

// given is the value of a flag that the command line has; nil for one that it has not, which changes nothing.
func given[T any](c *cobra.Command, flag string, value T) *T {
	if !c.Flags().Changed(flag) {
		return nil
	}
	return &value
}

func (p *program) workspaceDelete() *cobra.Command {
	var wait time.Duration
	c := p.calling("delete SLUG", "Delete a workspace: everything in it is denied at once; it can be restored for a while", cobra.ExactArgs(1),
		func(ctx context.Context, c *call) error {
			if err := c.confirm(ctx, "Delete the workspace "+c.args[0]+", and deny all that rests on it"); err != nil {
				return err
			}
			deletion, err := c.DeleteWorkspace(ctx, c.args[0], firstLook(wait))
			if err != nil {
				return err
			}
			if deletion.Receipt, err = c.follow(ctx, deletion.Receipt, wait-firstLook(wait)); err != nil {
				return err
			}
			if err := c.thing(deletion.Workspace); err != nil {
				return err
			}
			return stateError(deletion.Receipt, "it is deleted")
		})
	waitFlag(c, &wait)
	c.Flags().Bool("yes", false, "do not ask")
	return p.completed(c, workspaceKind())
}
