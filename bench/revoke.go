package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/caracal-gateway/caracal/authority"
)

// settling is the part of a revocation that is waited for on purpose: no destination here has short requests.
const settling = 500 * time.Millisecond

// revoke measures how long a revocation takes until its receipt says enforced, with no gateway, with some, and with many.
func revoke(ctx context.Context, arguments []string) error {
	flags := flag.NewFlagSet("revoke", flag.ContinueOnError)
	caracal := flags.String("caracal", "bin/caracal", "the program")
	revocations := flags.Int("revocations", 50, "how many are measured with each number of gateways")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	s, err := openSite(ctx, *caracal)
	if err != nil {
		return err
	}
	defer s.close()
	fmt.Printf("\n%d revocations each; beyond the settling time of %s\n\n", *revocations, settling)
	fmt.Println("| gateways | leases after | snapshots built for | bytes a revocation and gateway | p50 | p99 | p50 against none |\n|---|---|---|---|---|---|---|")
	var base time.Duration
	for _, size := range []int{0, 10, 100, 1000} {
		if base, err = s.revokeWith(ctx, size, *revocations, base); err != nil {
			text, _ := os.ReadFile(s.file("control.log")) // for the message only
			return fmt.Errorf("%d gateways: %w; the end of the control plane's log:\n%s", size, err, text[max(0, len(text)-3000):])
		}
	}
	return nil
}

// revokeWith prints a row. base is the median without gateways, which the first call finds.
func (s *site) revokeWith(ctx context.Context, size, revocations int, base time.Duration) (time.Duration, error) {
	f, took, err := newFleet(ctx, s, size)
	if err != nil {
		return base, err
	}
	defer f.close()
	mandates := make([]authority.Mandate, revocations)
	for i := range mandates {
		if mandates[i], err = s.issue(ctx); err != nil {
			return base, err
		}
	}
	if err := s.settle(ctx, f); err != nil {
		return base, err
	}
	before := f.received.bytes.Load()
	var all []time.Duration
	for _, m := range mandates {
		began := time.Now()
		receipt, err := s.owner.RevokeMandate(ctx, m.ID, time.Minute)
		if err != nil {
			return base, err
		}
		if receipt.State != "enforced" {
			return base, fmt.Errorf("the receipt is %s after a minute", receipt.State)
		}
		all = append(all, time.Since(began)-settling)
	}
	slices.Sort(all)
	p50, p99 := all[len(all)/2], all[min(len(all)-1, len(all)*99/100)]
	if size == 0 {
		base = p50
	}
	perOne := int64(0)
	if size > 0 {
		perOne = (f.received.bytes.Load() - before) / int64(size*revocations)
	}
	fmt.Printf("| %d | %s | %d | %d | %s | %s | %.1f |\n", size, took.Round(time.Millisecond), f.received.snapshots.Load(), perOne,
		p50.Round(100*time.Microsecond), p99.Round(100*time.Microsecond), float64(p50)/float64(base))
	return base, nil
}

// settle waits until every gateway has what was written, by a revocation that is not measured.
func (s *site) settle(ctx context.Context, f *fleet) error {
	m, err := s.issue(ctx)
	if err != nil {
		return err
	}
	_, err = s.owner.RevokeMandate(ctx, m.ID, 2*time.Minute)
	select {
	case failed := <-f.failed:
		return failed
	default:
		return err
	}
}
