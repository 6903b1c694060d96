package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caracal-gateway/caracal/client"
)

// completionTimeout is how long a shell waits for what it offers.
const completionTimeout = time.Second

// filter is a flag that narrows a list, and the parameter that it becomes.
type filter struct {
	flag, parameter, meaning string
	of                       *kind // what its value refers to; nil for a value as it is
}

func refers(k kind) *kind { return &k }

// named is the filter that several lists have.
func named() filter {
	return filter{flag: "name", parameter: "q", meaning: "whose name begins so, letter for letter"}
}

// sorted is the order of a list, by one of some fields.
func sorted(fields ...string) filter {
	words := make([]string, 0, 2*len(fields))
	for _, f := range fields {
		words = append(words, f, "-"+f)
	}
	return filter{flag: "sort", parameter: "sort", meaning: strings.Join(words, ", ") + "; the newest first unless told"}
}

// filters gives a list its flags. What they say is read when the command runs.
func (p *program) filters(c *cobra.Command, all []filter) func(context.Context, *call) (client.Filter, error) {
	given := make([]*string, len(all))
	for i, f := range all {
		given[i] = c.Flags().String(f.flag, "", f.meaning)
		if f.of != nil {
			p.completedFlag(c, f.flag, *f.of)
		}
	}
	return func(ctx context.Context, c *call) (client.Filter, error) {
		chosen := client.Filter{}
		for i, f := range all {
			chosen[f.parameter] = *given[i]
			if f.of == nil {
				continue
			}
			var err error
			if chosen[f.parameter], err = referred[string](ctx, c, *given[i], *f.of); err != nil {
				return nil, err
			}
		}
		return chosen, nil
	}
}

// listing is the verb `list` of a noun.
func listing[T any](p *program, short string, narrow []filter, list func(*client.Client, context.Context, client.Filter, int) ([]T, error), columns ...string) *cobra.Command {
	var limit int
	var chosen func(context.Context, *call) (client.Filter, error)
	command := p.calling("list", short, cobra.NoArgs, func(ctx context.Context, c *call) error {
		f, err := chosen(ctx, c)
		if err != nil {
			return err
		}
		all, err := list(c.Client, ctx, f, limit)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(columns, namesPrincipal) {
			return things(c.named(ctx), all, columns...)
		}
		return things(c.output, all, columns...)
	})
	chosen = p.filters(command, narrow)
	return limited(command, &limit)
}

// namesPrincipal reports whether a column refers to a principal. The first column of a list of principals is about them.
func namesPrincipal(column string) bool {
	return slices.Contains([]string{"SUBJECT=subject_id", "FOR=principal_id"}, column)
}

// showing is a verb that shows one thing.
func showing[ID ~string, T any](p *program, usage, short string, k kind, find func(*client.Client, context.Context, ID) (T, error)) *cobra.Command {
	return p.completed(p.calling(usage, short, cobra.ExactArgs(1), func(ctx context.Context, c *call) error {
		id, err := referred[ID](ctx, c, c.args[0], k)
		if err != nil {
			return err
		}
		found, err := find(c.Client, ctx, id)
		if err != nil {
			return err
		}
		return c.thing(found)
	}), k)
}

// doing is a verb that changes one thing and needs to know nothing more.
func doing[ID ~string, T any](p *program, usage, short string, k kind, do func(*client.Client, context.Context, ID) (T, error)) *cobra.Command {
	return p.completed(p.changing(usage, short, cobra.ExactArgs(1), func(ctx context.Context, c *call) error {
		id, err := referred[ID](ctx, c, c.args[0], k)
		if err != nil {
			return err
		}
		done, err := do(c.Client, ctx, id)
		if err != nil {
			return err
		}
		return c.enforced(ctx, done)
	}), k)
}

// removing is a verb after which something is gone: it asks before.
func removing[ID ~string, T any](p *program, usage, short string, k kind, do func(*client.Client, context.Context, ID) (T, error)) *cobra.Command {
	command := doing(p, usage, short, k, do)
	remove := command.RunE
	command.RunE = func(cmd *cobra.Command, args []string) error {
		if err := p.confirm(cmd.Context(), cmd.Flag("yes").Value.String() == "true", cmd.CommandPath()+" "+args[0]); err != nil {
			return err
		}
		return remove(cmd, args)
	}
	command.Flags().Bool("yes", false, "do not ask")
	return command
}
