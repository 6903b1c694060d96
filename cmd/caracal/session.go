package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/client"
)

func (p *program) session() *cobra.Command {
	list := p.calling("list", "List your own sessions, the newest first", cobra.NoArgs, func(ctx context.Context, c *call) error {
		all, err := c.Sessions(ctx)
		if err != nil {
			return err
		}
		return things(c.output, all, "session_id", "kind", "current", "last_seen_at", "expires_at", "address", "user_agent")
	})
	link := p.calling("link", "Make a link that signs the holder of the key in with a browser, once", cobra.NoArgs, func(ctx context.Context, c *call) error {
		l, err := c.CreateSignInLink(ctx)
		if err != nil {
			return err
		}
		return c.thing(l)
	})
	end := p.completed(p.calling("end SESSION", "End one of your sessions", cobra.ExactArgs(1), func(ctx context.Context, c *call) error {
		id, err := referred[authority.SessionID](ctx, c, c.args[0], sessionKind())
		if err != nil {
			return err
		}
		return c.EndOneSession(ctx, id)
	}), sessionKind())
	everywhere := p.calling("end-all", "Sign out everywhere", cobra.NoArgs, func(ctx context.Context, c *call) error {
		if err := c.confirm(ctx, "End all your sessions"); err != nil {
			return err
		}
		if err := c.EndSessions(ctx); err != nil {
			return err
		}
		_, err := fmt.Fprintln(c.stderr, "signed out everywhere")
		return err
	})
	everywhere.Flags().Bool("yes", false, "do not ask")
	return noun("session", "Sessions: where you are signed in", list, link, end, everywhere)
}

func sessionKind() kind {
	return kind{"session", "ses_", candidates(unfiltered((*client.Client).Sessions), func(v authority.Session) candidate {
		return candidate{string(v.ID), "", v.UserAgent}
	})}
}
