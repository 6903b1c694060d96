package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/client"
)

const (
	mintedHosts = 500 // how many names certificates are made of
	minters     = 4   // how many agents ask for them: one is made a quarter at once
	openTunnels = 2000
	openers     = 16 // how many connections are opened at once
)

// crowd opens so many connections, several at once, and says how long each took, in ascending order, and all of them.
func crowd[C any](count int, open func(n int) (C, error)) (all []C, each []time.Duration, took time.Duration, err error) {
	var (
		group sync.WaitGroup
		mu    sync.Mutex // guards all, each and err
	)
	began := time.Now()
	for first := range openers {
		group.Go(func() {
			for n := first; n < count; n += openers {
				began := time.Now()
				c, failed := open(n)
				took := time.Since(began)
				mu.Lock()
				if failed == nil {
					all, each = append(all, c), append(each, took)
				}
				err = errors.Join(err, failed)
				stop := err != nil
				mu.Unlock()
				if stop {
					return
				}
			}
		})
	}
	group.Wait()
	took = time.Since(began)
	slices.Sort(each)
	return all, each, took, err
}

// weight is the resident memory of the processes of a road, in bytes.
func (p processes) weight() (envoy, service int64, err error) {
	if envoy, err = residentOf(p.envoy); err == nil && p.service != 0 {
		service, err = residentOf(p.service)
	}
	return envoy, service, err
}

func residentOf(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, fmt.Errorf("read the memory of process %d: %w", pid, err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(text) + " 0 0")[1], 10, 64)
	return pages * int64(os.Getpagesize()), err
}

// several is the gateway's way of several agents, each with a mandate for hosts that no destination names.
func (p *proxying) several(ctx context.Context) (all []tunnel, err error) {
	for n := range minters {
		made, err := p.site.owner.RegisterPrincipal(ctx, client.NewPrincipal{Name: fmt.Sprintf("minter %d", n), Type: authority.Agent})
		if err != nil {
			return nil, err
		}
		if _, err := p.site.owner.CreatePolicy(ctx, client.NewPolicy{
			PrincipalID: made.ID, AllowedResources: []string{"host:*"}, AllowedActions: []string{"*"}, MaxValiditySeconds: 3600,
		}); err != nil {
			return nil, err
		}
		if _, err := p.site.owner.IssueMandate(ctx, client.MandateRequest{
			IssuerID: p.site.ownerID, SubjectID: made.ID, ResourceScope: []string{"host:*"}, ActionScope: []string{"*"}, ValiditySeconds: 3600,
		}); err != nil {
			return nil, err
		}
		as, err := client.New(client.Config{URL: p.site.url, Key: made.APIKey, Workspace: slug})
		if err != nil {
			return nil, err
		}
		token, err := as.Token(ctx)
		if err != nil {
			return nil, err
		}
		t := p.ours
		t.credentials = basicLine("-", token.AccessToken)
		all = append(all, t)
	}
	return all, p.site.settle(ctx, 1)
}

// mint prints how long connections into tunnels of many names take: when the certificate has to be made, when it is
// there, and with one certificate for all.
func (p *proxying) mint(ctx context.Context, out io.Writer) error {
	ours, err := p.several(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\nTLS into tunnels of %d agents to %d names, %d at once\n\n", minters, mintedHosts, openers)
	fmt.Fprintln(out, "| way | a second | p50 | p99 | memory a name: Envoy | gateway |\n|---|---|---|---|---|---|")
	for _, way := range []struct {
		name    string
		tunnels []tunnel
		with    processes
	}{
		{"Envoy, one certificate", []tunnel{p.plain}, p.alone}, {"certificates to be made", ours, p.with}, {"certificates that are there", ours, p.with},
	} {
		envoy, service, err := way.with.weight()
		if err != nil {
			return err
		}
		_, each, took, err := crowd(mintedHosts, func(n int) (struct{}, error) {
			c, err := way.tunnels[n%len(way.tunnels)].secure(fmt.Sprintf("n%d.bench.test", n))
			if err != nil {
				return struct{}{}, err
			}
			return struct{}{}, c.NetConn().Close()
		})
		if err := errors.Join(err, ctx.Err()); err != nil {
			return fmt.Errorf("%s: %w", way.name, err)
		}
		envoyThen, serviceThen, err := way.with.weight()
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "| %s | %.0f | %s | %s | %.1f kB | %.1f kB |\n", way.name, mintedHosts/took.Seconds(), at(each, 50), at(each, 99),
			float64(envoyThen-envoy)/mintedHosts/1000, float64(serviceThen-service)/mintedHosts/1000)
	}
	return nil
}

// tunnels prints what thousands of open tunnels take, and how long it takes until they are cut by a revocation.
func (p *proxying) tunnels(ctx context.Context, out io.Writer) error {
	mandate, err := p.tunnelMandate(ctx)
	if err != nil {
		return err
	}
	if err := p.site.settle(ctx, 1); err != nil {
		return err
	}
	ours := p.ours
	ours.credentials = p.basic(mandate)
	fmt.Fprintf(out, "\n%d tunnels that are carried unseen, %d opened at once\n\n", openTunnels, openers)
	fmt.Fprintln(out, "| way | opened a second | p50 | p99 | asked for again | memory of one: Envoy | gateway |\n|---|---|---|---|---|---|---|")
	if err := p.hold(ctx, out, "Envoy", p.plain, p.alone, nil); err != nil {
		return err
	}
	return p.hold(ctx, out, "Caracal", ours, p.with, func(open []net.Conn) error {
		return p.cut(ctx, out, mandate, open)
	})
}

// hold opens the tunnels of one way, prints its row, does something with them and closes them.
func (p *proxying) hold(ctx context.Context, out io.Writer, name string, t tunnel, with processes, then func([]net.Conn) error) error {
	envoy, service, err := with.weight()
	if err != nil {
		return err
	}
	var again atomic.Int64
	open, each, took, err := crowd(openTunnels, func(int) (net.Conn, error) { return t.insist(opaqueHost, &again) })
	defer func() {
		for _, c := range open {
			_ = c.Close() // what was cut is closed already
		}
	}()
	if err := errors.Join(err, ctx.Err()); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	envoyThen, serviceThen, err := with.weight()
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "| %s | %.0f | %s | %s | %d | %.1f kB | %.1f kB |\n", name, openTunnels/took.Seconds(), at(each, 50), at(each, 99), again.Load(),
		float64(envoyThen-envoy)/openTunnels/1000, float64(serviceThen-service)/openTunnels/1000)
	if then == nil {
		return nil
	}
	return then(open)
}

// cut revokes the mandate of open tunnels, and prints when they ended, as their client sees it, and when the receipt came.
func (p *proxying) cut(ctx context.Context, out io.Writer, mandate authority.MandateID, open []net.Conn) error {
	var (
		group sync.WaitGroup
		ends  = make([]time.Duration, len(open))
		lives = make([]bool, len(open))
		began = time.Now()
	)
	for i, c := range open {
		if err := c.SetReadDeadline(began.Add(time.Minute)); err != nil {
			return err
		}
		group.Go(func() {
			_, err := c.Read(make([]byte, 1))
			ends[i], lives[i] = time.Since(began), errors.Is(err, os.ErrDeadlineExceeded)
		})
	}
	receipt, err := p.site.owner.RevokeMandate(ctx, mandate, time.Minute)
	answered := time.Since(began)
	group.Wait()
	if err != nil {
		return err
	}
	if slices.Contains(lives, true) || receipt.State != authority.ReceiptEnforced {
		return fmt.Errorf("the receipt is %s, and a tunnel lives on: %t", receipt.State, slices.Contains(lives, true))
	}
	slices.Sort(ends)
	fmt.Fprintf(out, "\nAfter `revoke` was called the first tunnel ended after %s, half of them after %s, the last after %s; the receipt came after %s.\n",
		at(ends, 0), at(ends, 50), at(ends, 100), answered.Round(time.Millisecond))
	return nil
}
