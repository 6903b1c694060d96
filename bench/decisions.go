package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// contender is a service and the form in which it is asked.
type contender struct {
	name   string
	raw    bool // it reads the list of raw headers
	judges bool // it does not say yes to everything
	start  func(ctx context.Context, dir, socket string) (service, error)
}

// decisions compares the services, round by round in turn, so that what the machine does meanwhile meets all of them.
func decisions(ctx context.Context, out io.Writer, arguments []string) error {
	flags := flag.NewFlagSet("decisions", flag.ContinueOnError)
	opa := flags.String("opa", "", "OPA with its plugin for Envoy, built from bench/opa; without it the peer is left out")
	policy := flags.String("policy", "bench/opa/policy.rego", "the policy that OPA judges by")
	rounds := flags.Int("rounds", 3, "how often each service is measured")
	lasting := flags.Duration("for", 3*time.Second, "how long one measurement lasts")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	s := newScenario(time.Now())
	if err := s.write(dir); err != nil {
		return err
	}
	all := contenders(*opa, *policy)
	for _, load := range []shape{{1, 1}, {1, 16}, {4, 32}} {
		if err := compare(ctx, out, s, dir, all, load, *rounds, *lasting); err != nil {
			return err
		}
	}
	return nil
}

func contenders(opa, policy string) []contender {
	own := func(what string) func(context.Context, string, string) (service, error) {
		return func(ctx context.Context, dir, socket string) (service, error) {
			program, err := os.Executable()
			if err != nil {
				return service{}, err
			}
			return startService(ctx, what, socket, program, "serve", "-what", what, "-socket", socket, "-scenario", dir)
		}
	}
	all := []contender{{"no-op", true, false, own("noop")}, {"Caracal", true, true, own("caracal")}}
	if opa == "" {
		return all
	}
	return append(all, contender{"OPA", false, true, func(ctx context.Context, dir, socket string) (service, error) {
		return startService(ctx, "opa", socket, opa, "run", "--server", "--addr", "unix://"+filepath.Join(dir, "opa-rest.sock"), "--skip-version-check",
			"--log-level", "error",
			"--set", "plugins.envoy_ext_authz_grpc.addr=unix://"+socket, "--set", "plugins.envoy_ext_authz_grpc.path=bench/allow",
			filepath.Join(dir, dataFile), policy)
	}})
}

// compare measures each service under one load and prints the medians of the rounds.
func compare(ctx context.Context, out io.Writer, s *scenario, dir string, all []contender, load shape, rounds int, lasting time.Duration) error {
	found := make([][]measured, len(all))
	for range rounds {
		for i, c := range all {
			m, err := measure(ctx, s, dir, c, load, lasting)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			found[i] = append(found[i], m)
		}
	}
	fmt.Fprintf(out, "\n%s checks, medians of %d rounds of %s\n\n", load, rounds, lasting)
	fmt.Fprintln(out, "| service | decisions/s | decisions/s per core | against no-op | p50 | p99 |\n|---|---|---|---|---|---|")
	base := middle(found[0], measured.perCore)
	for i, c := range all {
		at := func(q float64) time.Duration {
			return time.Duration(middle(found[i], func(m measured) float64 { return float64(m.quantile(q)) })).Round(time.Microsecond)
		}
		core := middle(found[i], measured.perCore)
		fmt.Fprintf(out, "| %s | %.0f | %.0f | %.2f | %s | %s |\n", c.name, middle(found[i], measured.rate), core, core/base, at(0.50), at(0.99))
	}
	return nil
}

// measure runs one service for one load, once it has judged every call as the others do: it has seen each mandate and each
// token by then.
func measure(ctx context.Context, s *scenario, dir string, c contender, load shape, lasting time.Duration) (measured, error) {
	checks := make([][]byte, len(s.requests))
	for i, r := range s.requests {
		var err error
		if checks[i], err = r.check(c.raw); err != nil {
			return measured{}, err
		}
	}
	socket := filepath.Join(dir, c.name+".sock")
	_ = os.Remove(socket) // of the round before
	at, err := c.start(ctx, dir, socket)
	if err != nil {
		return measured{}, err
	}
	defer at.stop()
	if c.judges {
		if err := agree(ctx, socket, checks, s.requests); err != nil {
			return measured{}, err
		}
	}
	if _, err := drive(ctx, at, checks, load, lasting/3); err != nil { // its heap grows to what it needs
		return measured{}, err
	}
	return drive(ctx, at, checks, load, lasting)
}

// middle is the median of a figure of all rounds.
func middle[T any](all []T, figure func(T) float64) float64 {
	values := make([]float64, len(all))
	for i, m := range all {
		values[i] = figure(m)
	}
	slices.Sort(values)
	return values[len(values)/2]
}
