// Command caracal is the one program of Caracal: the control plane, the gateway, and the commands that people and
// scripts use on a workspace.
package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Getenv, os.Stdin, os.Stdout, os.Stderr)
	stop()
	if err != nil {
		os.Exit(1)
	}
}

// program is what every command works with.
type program struct {
	getenv func(string) string
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
}

// errDenied ends a command whose answer is a denial: it has been printed, and the exit status says it too.
var errDenied = errors.New("denied")

// run executes one command line. An error has been explained on stderr when it returns.
func run(ctx context.Context, args []string, getenv func(string) string, stdin io.Reader, stdout, stderr io.Writer) error {
	p := &program{getenv: getenv, stdin: stdin, stdout: stdout, stderr: stderr}
	root := p.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err != nil && !errors.Is(err, errDenied) {
		explain(stderr, err)
	}
	return err
}

// root holds every command; each has a file of its own.
func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "caracal",
		Short:         "Decide what agents may do on the network, and prove what they did",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetIn(p.stdin)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(p.reference())
	root.AddGroup(&cobra.Group{ID: servers, Title: "Servers:"}, &cobra.Group{ID: nouns, Title: "A workspace and what is in it:"})
	for _, c := range []*cobra.Command{p.dev(), p.controlPlane(), p.gateway(), p.migrate()} {
		c.GroupID = servers
		root.AddCommand(c)
	}
	for _, c := range []*cobra.Command{
		p.workspace(), p.principal(), p.policy(), p.mandate(), p.destination(), p.rego(), p.key(), p.event(),
	} {
		c.GroupID = nouns
		root.AddCommand(c)
	}
	return root
}

const (
	servers = "servers"
	nouns   = "nouns"
)

// noun is a command that only holds others.
func noun(name, short string, verbs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: name, Short: short, Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(verbs...)
	return c
}
