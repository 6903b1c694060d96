package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/caracal-gateway/caracal/client"
)

// call is one run of a command that calls a control plane.
type call struct {
	*client.Client
	*output
	*program
	command *cobra.Command
	target  target
	args    []string
}

// action is what a command does with a control plane, and what it prints.
type action func(ctx context.Context, c *call) error

// calling makes a command that calls the control plane as somebody. The usage names its arguments, as cobra writes it.
func (p *program) calling(usage, short string, args cobra.PositionalArgs, do action) *cobra.Command {
	return p.asking(usage, short, args, func(ctx context.Context, c *call) error {
		if c.target.key == "" {
			return c.target.noKey()
		}
		if err := do(ctx, c); err != nil {
			return &callError{err, c.target}
		}
		return nil
	})
}

// asking makes a command that knows which control plane is meant, and not always whose key to use.
func (p *program) asking(usage, short string, args cobra.PositionalArgs, do action) *cobra.Command {
	command := &cobra.Command{Use: usage, Short: short, Args: meant(args)}
	command.RunE = func(cmd *cobra.Command, given []string) error {
		out, err := p.output(cmd)
		if err != nil {
			return err
		}
		v := &values{p, cmd, clientSettings()}
		t, err := v.target()
		if err != nil {
			return err
		}
		connected, err := t.connect()
		if err != nil {
			return err
		}
		return do(cmd.Context(), &call{Client: connected, output: out, program: p, command: cmd, target: t, args: given})
	}
	return command
}

// changing is a command that changes something and answers once gateways enforce it.
func (p *program) changing(usage, short string, args cobra.PositionalArgs, do action) *cobra.Command {
	c := p.calling(usage, short, args, do)
	c.Flags().Duration("wait", 10*time.Second, "how long to wait until the connected gateways enforce it; 0 for not at all")
	return c
}

// connected gives a command, and those below it, the flags that say which control plane and how to print.
func connected(c *cobra.Command) *cobra.Command {
	for _, s := range clientSettings() {
		s.define(c.PersistentFlags().Bool, c.PersistentFlags().String)
	}
	outputFlag(c)
	return c
}

// noun is a command that only holds others, which call a control plane.
func noun(name, short string, verbs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: name, Short: short, Args: unknownVerb, RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(verbs...)
	return connected(c)
}

// meant turns what cobra says of wrong arguments and missing flags into how the command is used.
func meant(args cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, given []string) error {
		if args(cmd, given) != nil {
			return &usageError{"usage: " + cmd.UseLine()}
		}
		var missing []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Annotations[cobra.BashCompOneRequiredFlag] != nil && !f.Changed {
				missing = append(missing, fmt.Sprintf("--%s (%s)", f.Name, f.Usage))
			}
		})
		if missing != nil {
			return &usageError{"it needs " + strings.Join(missing, " and ")}
		}
		return nil
	}
}

// unknownVerb refuses a word that is no command here, and says which one may be meant.
func unknownVerb(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	c.SuggestionsMinimumDistance = 2
	return &usageError{fmt.Sprintf("unknown command %q for %q%s", args[0], c.CommandPath(), instead(c.SuggestionsFor(args[0])))}
}

// unknownFlag does the same for a flag.
func unknownFlag(c *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return &usageError{err.Error()}
	}
	names := &cobra.Command{SuggestionsMinimumDistance: 2}
	c.Flags().VisitAll(func(f *pflag.Flag) {
		names.AddCommand(&cobra.Command{Use: f.Name, Run: func(*cobra.Command, []string) {}})
	})
	suggestions := names.SuggestionsFor(unknown.GetSpecifiedName())
	for i := range suggestions {
		suggestions[i] = "--" + suggestions[i]
	}
	return &usageError{err.Error() + instead(suggestions)}
}

func instead(suggestions []string) string {
	if len(suggestions) == 0 {
		return ""
	}
	return ": did you mean " + strings.Join(suggestions, " or ") + "?"
}

// pendingError is a change that is made, but that not every gateway enforces yet.
type pendingError struct{ message string }

func (e *pendingError) Error() string { return e.message }

// enforced prints what a change made once the connected gateways enforce it, so that it can be relied on when the command
// ends. An agent, who may not see gateways, gets its answer at once; it writes through its gateway, which answers when it
// enforces.
func (c *call) enforced(ctx context.Context, made any) error {
	return c.settled(ctx, c.thing(made))
}

// settled waits until the connected gateways enforce what was made and printed.
func (c *call) settled(ctx context.Context, printed error) error {
	if printed != nil {
		return printed
	}
	wait, err := c.command.Flags().GetDuration("wait")
	if err != nil || wait <= 0 {
		return err
	}
	var refusal *client.Error
	enforcing, gateways, err := c.Settle(ctx, wait)
	switch {
	case errors.As(err, &refusal) && (refusal.Status == http.StatusForbidden || refusal.Status == http.StatusNotFound):
		// An agent at a control plane, or anybody at a gateway, which has no list of gateways.
	case err != nil:
		return err
	case enforcing < gateways:
		return &pendingError{fmt.Sprintf("the change is made, but only %d of %d connected gateways enforce it yet", enforcing, gateways)}
	}
	return nil
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
func limited(c *cobra.Command, limit *int) *cobra.Command {
	c.Flags().IntVar(limit, "limit", 50, "how many at most; 0 for all")
	return c
}
