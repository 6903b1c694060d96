package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caracal-gateway/caracal/client/contexts"
)

func (p *program) context() *cobra.Command {
	list := p.local("list", "List the contexts that you have", cobra.NoArgs, func(_ context.Context, o *output, _ []string) error {
		set, err := p.contexts().Read()
		if err != nil {
			return err
		}
		shown := make([]shownContext, len(set.Contexts))
		for i, c := range set.Contexts {
			shown[i] = show(set, c)
		}
		return things(o, shown, "USE=state", "name", "url", "workspace", "key")
	})
	use := p.local("use NAME", "Use a context wherever none is named", cobra.ExactArgs(1), func(ctx context.Context, _ *output, args []string) error {
		return p.changeContexts(ctx, args[0], func(set *contexts.Set) error {
			set.Current = args[0]
			return nil
		}, "using the context "+args[0])
	})
	c := &cobra.Command{Use: "context", Short: "Contexts: which control planes and workspaces you work with", Args: unknownVerb,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(list, p.byContext(use), p.contextShow(), p.contextDelete(), p.contextRename())
	outputFlag(c)
	return c
}

// shownContext is a context without what its file keeps secret.
type shownContext struct {
	Name       string `json:"name"`
	State      string `json:"state,omitempty"` // current, or nothing
	URL        string `json:"url"`
	Workspace  string `json:"workspace,omitempty"`
	Key        string `json:"key"` // the public part of it
	CAFile     string `json:"ca_file,omitempty"`
	AllowPlain bool   `json:"allow_plain,omitempty"`
}

func show(set contexts.Set, c contexts.Context) shownContext {
	s := shownContext{Name: c.Name, URL: c.URL, Workspace: c.Workspace, Key: publicPart(c.Key), CAFile: c.CAFile, AllowPlain: c.AllowPlain}
	if c.Name == set.Current {
		s.State = "current"
	}
	return s
}

// publicPart is what of a key may be shown: its kind.
func publicPart(key string) string {
	if key == "" {
		return "none"
	}
	parts := strings.SplitN(key, "_", 3)
	if len(parts) < 3 || len(parts[1]) > 12 {
		return "kept"
	}
	return parts[0] + "_" + parts[1] + "_…"
}

func (p *program) contextShow() *cobra.Command {
	return p.byContext(p.local("show [NAME]", "Show a context, or the current one, without its key", cobra.MaximumNArgs(1),
		func(_ context.Context, o *output, args []string) error {
			set, err := p.contexts().Read()
			if err != nil {
				return err
			}
			name := set.Current
			if len(args) == 1 {
				name = args[0]
			}
			c, found := set.Find(name)
			if !found {
				return unknownContext(set, name)
			}
			return o.thing(show(set, c))
		}))
}

func (p *program) contextDelete() *cobra.Command {
	var yes bool
	c := p.local("delete NAME", "Forget a context and its key, which goes on existing until it is revoked", cobra.ExactArgs(1),
		func(ctx context.Context, _ *output, args []string) error {
			if err := p.confirm(ctx, yes, "Forget the context "+args[0]); err != nil {
				return err
			}
			return p.changeContexts(ctx, args[0], func(set *contexts.Set) error {
				set.Remove(args[0])
				return nil
			}, "forgot the context "+args[0])
		})
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return p.byContext(c)
}

func (p *program) contextRename() *cobra.Command {
	return p.byContext(p.local("rename NAME NEW", "Give a context another name", cobra.ExactArgs(2), func(ctx context.Context, _ *output, args []string) error {
		from, to := args[0], args[1]
		if !contexts.ValidName(to) {
			return badContextName(to)
		}
		return p.changeContexts(ctx, from, func(set *contexts.Set) error {
			if _, taken := set.Find(to); taken {
				return &usageError{fmt.Sprintf("there is a context called %s already", to)}
			}
			set.Rename(from, to)
			return nil
		}, fmt.Sprintf("the context %s is called %s", from, to))
	}))
}

// changeContexts changes what there is about a context, which has to exist, and says what came of it.
func (p *program) changeContexts(ctx context.Context, name string, change func(*contexts.Set) error, said string) error {
	err := p.contexts().Change(ctx, func(set *contexts.Set) error {
		if _, found := set.Find(name); !found {
			return unknownContext(*set, name)
		}
		return change(set)
	})
	if err == nil {
		fmt.Fprintln(p.stderr, printable(said))
	}
	return err
}

func (p *program) contexts() contexts.Store { return contexts.Locate(p.getenv) }

// local makes a command that calls nobody.
func (p *program) local(usage, short string, args cobra.PositionalArgs, do func(context.Context, *output, []string) error) *cobra.Command {
	c := &cobra.Command{Use: usage, Short: short, Args: meant(args)}
	c.RunE = func(cmd *cobra.Command, given []string) error {
		out, err := p.output(cmd)
		if err != nil {
			return err
		}
		return do(cmd.Context(), out, given)
	}
	return c
}

// byContext completes the name of a context as the first argument.
func (p *program) byContext(c *cobra.Command) *cobra.Command {
	c.ValidArgsFunction = func(_ *cobra.Command, given []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(given) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return p.contextNames()
	}
	return c
}

func (p *program) contextNames() ([]string, cobra.ShellCompDirective) {
	set, err := p.contexts().Read()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names := make([]string, len(set.Contexts))
	for i, c := range set.Contexts {
		names[i] = cobra.CompletionWithDesc(c.Name, c.URL)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func unknownContext(set contexts.Set, name string) error {
	if name == "" {
		return &usageError{"no context is in use: `caracal login` makes one, `caracal context use` chooses one"}
	}
	names := &cobra.Command{SuggestionsMinimumDistance: 2}
	for _, c := range set.Contexts {
		names.AddCommand(&cobra.Command{Use: c.Name, Run: func(*cobra.Command, []string) {}})
	}
	return &usageError{fmt.Sprintf("there is no context called %q%s", name, instead(names.SuggestionsFor(name)))}
}

func badContextName(name string) error {
	return &usageError{fmt.Sprintf("%q cannot be the name of a context: it is made of letters, digits and . _ @ : / -, at most 100", name)}
}
