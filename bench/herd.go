package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"
)

// herd measures how long it takes until many gateways that come at once hold a lease: at first, when their streams were
// cut, and when their control plane was killed and started again.
func herd(ctx context.Context, out io.Writer, arguments []string) error {
	flags := flag.NewFlagSet("herd", flag.ContinueOnError)
	caracal := flags.String("caracal", "bin/caracal", "the program")
	size := flags.Int("gateways", 1000, "how many come")
	rounds := flags.Int("rounds", 3, "how often")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	s, err := openSite(ctx, *caracal)
	if err != nil {
		return err
	}
	defer s.close()
	fmt.Fprintf(out, "\n%d gateways at once\n\n| what happened | all have a lease after | came again | snapshots sealed | snapshots sent |\n|---|---|---|---|---|\n", *size)
	f, took, err := newFleet(ctx, s, *size)
	if err != nil {
		return s.explain(err)
	}
	defer f.hangUp()
	show := func(what string, took time.Duration, sealed int) {
		fmt.Fprintf(out, "| %s | %s | %d | %d | %d |\n", what, took.Round(time.Millisecond), f.received.again.Swap(0), s.sealed()-sealed, f.received.snapshots.Swap(0))
	}
	show("they come for the first time", took, 0)
	for range *rounds {
		if err := s.herdOnce(ctx, f, "their streams were cut", func() error { return nil }, show); err != nil {
			return s.explain(err)
		}
	}
	for range *rounds {
		if err := s.herdOnce(ctx, f, "the control plane was killed", func() error { return s.restartControl(ctx) }, show); err != nil {
			return s.explain(err)
		}
	}
	return f.close()
}

func (s *site) herdOnce(ctx context.Context, f *fleet, what string, meanwhile func() error, show func(string, time.Duration, int)) error {
	f.hangUp()
	if err := meanwhile(); err != nil {
		return err
	}
	sealed := s.sealed()
	took, err := f.connect(ctx)
	if err == nil {
		show(what, took, sealed)
	}
	return err
}

// sealed counts the snapshots that the control plane has made, by its log.
func (s *site) sealed() int {
	text, err := os.ReadFile(s.file("control.log"))
	if err != nil {
		return 0
	}
	return bytes.Count(text, []byte("snapshot sealed"))
}

// restartControl kills the control plane and starts it at its address.
func (s *site) restartControl(ctx context.Context) error {
	_ = s.control.Process.Signal(syscall.SIGKILL)
	_ = s.control.Wait() // it was killed
	return s.runControl(ctx)
}
