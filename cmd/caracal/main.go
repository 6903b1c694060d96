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
	os.Exit(int(statusOf(err)))
}

// program is what every command works with.
type program struct {
	getenv func(string) string
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
}

// run executes one command line. An error has been explained on stderr when it returns.
func run(ctx context.Context, args []string, getenv func(string) string, stdin io.Reader, stdout, stderr io.Writer) error {
	p := &program{getenv: getenv, stdin: stdin, stdout: stdout, stderr: stderr}
	root := p.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var ran *ranError
	if err != nil && !errors.As(err, &ran) && !errors.Is(err, errDenied) && !errors.Is(err, errUnwell) {
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
		Args:          unknownVerb,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetIn(p.stdin)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	root.SetFlagErrorFunc(unknownFlag)
	root.SetHelpCommandGroupID(you)
	root.SetCompletionCommandGroupID(you)
	root.AddCommand(p.reference())
	root.AddGroup(&cobra.Group{ID: servers, Title: "Servers:"}, &cobra.Group{ID: nouns, Title: "A workspace and what is in it:"},
		&cobra.Group{ID: you, Title: "You and this machine:"})
	grouped(root, servers, p.dev(), p.controlPlane(), p.gateway(), p.migrate())
	grouped(root, nouns, p.workspace(), p.principal(), p.policy(), p.mandate(), p.receipt(), p.destination(), p.rego(), p.key(), p.token(),
		p.member(), p.issuer(), p.clientAuthority(), p.signingKey(), p.inspectionCA(), p.event())
	grouped(root, you, p.run(), p.login(), p.logout(), p.session(), p.status(), p.doctor(), p.context())
	return root
}

func grouped(root *cobra.Command, group string, commands ...*cobra.Command) {
	for _, c := range commands {
		c.GroupID = group
		root.AddCommand(c)
	}
}

const (
	servers = "servers"
	nouns   = "nouns"
	you     = "you"
)
