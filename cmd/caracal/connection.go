package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/client"
)

// action is what a command does with a control plane, and what it prints.
type action func(ctx context.Context, c *client.Client, o *output, args []string) error

// calling makes a command that calls the control plane. The usage names its arguments, as cobra writes it.
func (p *program) calling(usage, short string, args cobra.PositionalArgs, do action) *cobra.Command {
	command := &cobra.Command{Use: usage, Short: short, Args: func(cmd *cobra.Command, given []string) error {
		if args(cmd, given) != nil {
			return &usageError{"usage: " + cmd.UseLine()}
		}
		return nil
	}}
	settings, out := p.bind(command, clientSettings()), p.output(command)
	command.RunE = func(cmd *cobra.Command, args []string) error {
		if err := out.check(); err != nil {
			return err
		}
		c, err := connect(settings)
		if err != nil {
			return err
		}
		if err := do(cmd.Context(), c, out, args); err != nil {
			return &callError{err}
		}
		return nil
	}
	return command
}

func connect(v *values) (*client.Client, error) {
	key, err := v.required("api-key-file")
	if err != nil {
		return nil, err
	}
	ca, err := v.file("ca-file")
	if err != nil {
		return nil, err
	}
	plain, err := v.boolean("allow-plain")
	if err != nil {
		return nil, err
	}
	c, err := client.New(client.Config{URL: v.text("url"), Key: key, Workspace: v.text("workspace"), CA: ca, AllowPlain: plain})
	if err != nil {
		return nil, fmt.Errorf("CARACAL_URL: %w", err)
	}
	return c, nil
}

// enforced prints what a change made once the connected gateways enforce it, so that it can be relied on when the command
// ends. Gateways that do not yet are told of on stderr. An agent, who may not see gateways, gets its answer at once; it
// writes through its gateway, which answers when it enforces.
func (p *program) enforced(ctx context.Context, c *client.Client, o *output, made any) error {
	var refusal *client.Error
	enforcing, connected, err := c.Settle(ctx)
	switch {
	case errors.As(err, &refusal) && refusal.Code == string(authority.CodeForbidden):
	case err != nil:
		return err
	case enforcing < connected:
		fmt.Fprintf(p.stderr, "the change is made, but only %d of %d connected gateways enforce it yet\n", enforcing, connected)
	}
	return o.thing(made)
}

// must marks flags that a command cannot do without.
func must(c *cobra.Command, flags ...string) *cobra.Command {
	for _, name := range flags {
		if err := c.MarkFlagRequired(name); err != nil {
			panic(err) // the flag is not defined: a mistake of the program's
		}
	}
	return c
}

// limited gives a list its --limit.
func limited(c *cobra.Command, limit *int) {
	c.Flags().IntVar(limit, "limit", 50, "how many at most; 0 for all")
}

// seconds is how flags for durations are read: 90s, 15m, 24h.
const seconds = "such as 90s, 15m or 24h"
