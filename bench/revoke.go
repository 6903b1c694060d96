package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/caracal-gateway/caracal/authority"
)

// revoke measures how long a revocation takes until its receipt says enforced: with simulated gateways, few and many, and
// with processes of the real program that decide meanwhile.
func revoke(ctx context.Context, out io.Writer, arguments []string) error {
	flags := flag.NewFlagSet("revoke", flag.ContinueOnError)
	caracal := flags.String("caracal", "bin/caracal", "the program")
	revocations := flags.Int("revocations", 50, "how many are measured with each number of gateways")
	processes := flags.Int("processes", 10, "how many processes of the real program decide, in a row of their own; 0 leaves it out")
	rate := flags.Int("rate", 100, "how many decisions a second each of them makes")
	least := flags.Int("least", 1, "the smallest number of simulated gateways")
	most := flags.Int("most", 1000, "the largest; 0 for none")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	s, err := openSite(ctx, *caracal)
	if err != nil {
		return err
	}
	defer s.close()
	fmt.Fprintf(out, "\n%d revocations each, one after the other; beyond the settling time that each receipt states\n\n", *revocations)
	fmt.Fprintln(out, "| gateways | leases after | snapshots sent | came again | bytes a change and gateway | p50 | p99 |\n|---|---|---|---|---|---|---|")
	for _, size := range []int{1, 10, 100, 1000} {
		if size < *least || size > *most {
			continue
		}
		if err := s.revokeWith(ctx, out, size, *revocations); err != nil {
			return s.explain(fmt.Errorf("%d gateways: %w", size, err))
		}
	}
	if *processes > 0 {
		if err := s.revokeUnderLoad(ctx, out, *caracal, *processes, *rate, *revocations); err != nil {
			return s.explain(fmt.Errorf("%d processes: %w", *processes, err))
		}
	}
	return nil
}

// revokeWith prints the row of so many simulated gateways.
func (s *site) revokeWith(ctx context.Context, out io.Writer, size, revocations int) error {
	f, took, err := newFleet(ctx, s, size)
	if err != nil {
		return err
	}
	snapshots := f.received.snapshots.Load()
	if err := s.settle(ctx, size); err != nil {
		return err
	}
	before := f.received.bytes.Load()
	all, err := s.revocations(ctx, revocations)
	if err != nil {
		return err
	}
	// A mandate that is revoked was issued before: two changes.
	perOne := (f.received.bytes.Load() - before) / int64(2*size*revocations)
	fmt.Fprintf(out, "| %d | %s | %d | %d | %d | %s | %s |\n",
		size, took.Round(time.Millisecond), snapshots, f.received.again.Load(), perOne, at(all, 50), at(all, 99))
	if err := f.close(); err != nil {
		return err
	}
	return s.forget(ctx, f)
}

// revocations ends mandates one after the other, and gives in ascending order how long it took beyond the settling time.
func (s *site) revocations(ctx context.Context, count int) ([]time.Duration, error) {
	var all []time.Duration
	for range count {
		m, err := s.issue(ctx)
		if err != nil {
			return nil, err
		}
		began := time.Now()
		receipt, err := s.owner.RevokeMandate(ctx, m.ID, time.Minute)
		if err != nil {
			return nil, err
		}
		if receipt.State != authority.ReceiptEnforced {
			return nil, fmt.Errorf("the receipt is %s after a minute", receipt.State)
		}
		all = append(all, time.Since(began)-time.Duration(receipt.SettlingMS)*time.Millisecond)
	}
	slices.Sort(all)
	return all, nil
}

func at(all []time.Duration, percent int) time.Duration {
	return all[min(len(all)-1, len(all)*percent/100)].Round(100 * time.Microsecond)
}

// settle waits until every gateway has what was written, by a revocation that is not measured.
func (s *site) settle(ctx context.Context, gateways int) error {
	m, err := s.issue(ctx)
	if err != nil {
		return err
	}
	receipt, err := s.owner.RevokeMandate(ctx, m.ID, 2*time.Minute)
	if err == nil && (receipt.State != authority.ReceiptEnforced || len(receipt.Gateways) < gateways) {
		err = fmt.Errorf("a revocation that waited for %d gateways is %s after two minutes", len(receipt.Gateways), receipt.State)
	}
	return err
}

// forget has the control plane wait no more for gateways that are gone.
func (s *site) forget(ctx context.Context, f *fleet) error {
	for _, g := range f.members {
		if _, err := s.owner.ForgetGateway(ctx, authority.GatewayID(g.id), "its measurement is over"); err != nil {
			return err
		}
	}
	return nil
}
