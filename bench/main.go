package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
)

// command is one measurement, or a part of one that runs in a process of its own.
type command struct {
	name, says string
	run        func(ctx context.Context, out io.Writer, arguments []string) error
}

func commands() []command {
	return []command{
		{"decisions", "decisions a second and core, and how long one takes, against no-op and OPA", decisions},
		{"envoy", "requests through the real Envoy: alone, with no-op, OPA, and a gateway's short and watched ones", throughEnvoy},
		{"proxy", "each way through the proxy port against an Envoy that does the same and asks nobody, certificates, tunnels", throughProxy},
		{"revoke", "how long a revocation takes until it is enforced, with up to 1,000 gateways", revoke},
		{"herd", "how long it takes until 1,000 gateways that come at once hold a lease", herd},
		{"serve", "one of the services that are compared; started by the others", serve},
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, arguments []string) error {
	all := commands()
	if len(arguments) > 0 {
		at := slices.IndexFunc(all, func(c command) bool { return c.name == arguments[0] })
		if at >= 0 {
			err := all[at].run(ctx, out, arguments[1:])
			if errors.Is(err, flag.ErrHelp) {
				return nil
			}
			return err
		}
	}
	var text strings.Builder
	text.WriteString("usage: bench COMMAND\n")
	for _, c := range all {
		fmt.Fprintf(&text, "  %-12s %s\n", c.name, c.says)
	}
	return errors.New(text.String())
}
