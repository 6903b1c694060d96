package revocation_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/client"
)

// pair is a stream whose authority ends, and one of the same kind that goes on.
type pair struct {
	victim, bystander *live
	mandate           authority.MandateID
}

// openPairs opens two streams of every kind through a gateway, each under a mandate of its own, and waits until all carry
// something.
func (s *site) openPairs(ctx context.Context, t *testing.T, gateway int) []pair {
	t.Helper()
	var all []pair
	for kind, run := range kinds() {
		victim, bystander := s.mustIssue(ctx, t), s.mustIssue(ctx, t)
		all = append(all, pair{
			victim:    caller{s, gateway, victim}.open(ctx, kind, run),
			bystander: caller{s, gateway, bystander}.open(ctx, kind, run),
			mandate:   victim,
		})
	}
	for _, p := range all {
		s.awaitFlow(ctx, t, p.victim)
		s.awaitFlow(ctx, t, p.bystander)
	}
	return all
}

func (s *site) mustIssue(ctx context.Context, t *testing.T) authority.MandateID {
	t.Helper()
	m, err := s.issue(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for g := range gateways {
		if err := until(ctx, "a gateway knows the mandate", func() bool { return s.knows(ctx, g, m.ID) }); err != nil {
			t.Fatal(err)
		}
	}
	return m.ID
}

// knows reports whether a gateway permits a short request by a mandate.
func (s *site) knows(ctx context.Context, gateway int, m authority.MandateID) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, caller{s, gateway, m}.proxy(), nil)
	if err != nil {
		return false
	}
	request.Header = caller{s, gateway, m}.headers("short", "/")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// awaitFlow waits until a stream carries what was sent after this call.
func (s *site) awaitFlow(ctx context.Context, t *testing.T, l *live) {
	t.Helper()
	from := since()
	err := until(ctx, "a stream flows: "+l.kind, func() bool { return l.last.Load() > from || l.over() })
	if err == nil && l.over() {
		err = fmt.Errorf("%s has ended: %w", l.kind, l.why)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func awaitEnd(ctx context.Context, t *testing.T, l *live) {
	t.Helper()
	if err := until(ctx, "a stream ends: "+l.kind, l.over); err != nil {
		t.Error(err)
	}
}

// everyKindEnds cuts streams of every kind at once; those of other mandates, on other
// connections or the same, go on.
func everyKindEnds(t *testing.T, s *site) {
	ctx := t.Context()
	all := s.openPairs(ctx, t, 0)
	enforced := map[*live]int64{}
	var group sync.WaitGroup
	var mu sync.Mutex // guards enforced
	for _, p := range all {
		group.Go(func() {
			receipt, err := s.owner.RevokeMandate(ctx, p.mandate, 10*time.Second)
			if err != nil || receipt.State != "enforced" {
				t.Errorf("%s: %v %v", p.victim.kind, receipt.State, err)
			}
			mu.Lock()
			defer mu.Unlock()
			enforced[p.victim] = since()
		})
	}
	group.Wait()
	for _, p := range all {
		awaitEnd(ctx, t, p.victim)
		if p.victim.last.Load() > enforced[p.victim] {
			t.Errorf("%s carried what was sent %s after the receipt", p.victim.kind, time.Duration(p.victim.last.Load()-enforced[p.victim]))
		}
		t.Logf("%s ended as: %v", p.victim.kind, p.victim.why)
		s.awaitFlow(ctx, t, p.bystander)
	}
}

// onlyTheRightOnesEnd multiplexes streams of two mandates on one HTTP/2 connection.
func onlyTheRightOnesEnd(t *testing.T, s *site) {
	ctx := t.Context()
	shared := http2Transport()
	one := func() http.RoundTripper { return shared }
	victim, bystander := s.mustIssue(ctx, t), s.mustIssue(ctx, t)
	var own, other []*live
	for range 5 {
		own = append(own, caller{s, 0, victim}.open(ctx, "of the revoked mandate", down(one, "/stream")))
		other = append(other, caller{s, 0, bystander}.open(ctx, "of another mandate", down(one, "/stream")))
	}
	for _, l := range slices.Concat(own, other) {
		s.awaitFlow(ctx, t, l)
	}
	if _, err := s.owner.RevokeMandate(ctx, victim, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	for _, l := range own {
		awaitEnd(ctx, t, l)
	}
	for _, l := range other {
		s.awaitFlow(ctx, t, l)
	}
}

// manyEndTogether cuts two thousand streams of one mandate and tells how long the last of them lived.
func manyEndTogether(t *testing.T, s *site) {
	const many = 2000
	ctx := t.Context()
	m := s.mustIssue(ctx, t)
	var all []*live
	for len(all) < many { // not all at once: what is measured is their end
		var opening []*live
		for range 50 {
			opening = append(opening, caller{s, 0, m}.open(ctx, "server-sent events", down(http1, "/slow-stream")))
		}
		if err := until(ctx, "streams are open", func() bool {
			return !slices.ContainsFunc(opening, func(l *live) bool { return l.last.Load() == 0 && !l.over() })
		}); err != nil {
			t.Fatal(err)
		}
		all = append(all, slices.DeleteFunc(opening, (*live).over)...) // a busy machine refuses some
	}
	called, last := time.Now(), make(chan time.Duration, 1)
	go func() {
		for _, l := range all {
			<-l.ended
		}
		last <- time.Since(called)
	}()
	receipt, err := s.owner.RevokeMandate(ctx, m, 30*time.Second)
	if err != nil || receipt.State != "enforced" {
		t.Fatal(receipt.State, err)
	}
	t.Logf("%d streams: the receipt after %s, settling for %d ms of it, the last stream's end seen after %s",
		many, time.Since(called), receipt.SettlingMS, <-last)
}

// endWithTheirGateway: what ends a gateway, or its lease, ends what it carries.
func endWithTheirGateway(t *testing.T, s *site) {
	for name, c := range map[string]struct {
		put  func() error
		mend func() error
	}{
		"it is stopped in order": {
			func() error { return s.gateways[0].signal(syscall.SIGTERM) },
			func() error { <-s.gateways[0].ended; return s.gateways[0].start() },
		},
		"it is killed": {s.gateways[0].kill, s.gateways[0].start},
		"its process stands still": {
			func() error { return s.gateways[0].signal(syscall.SIGSTOP) },
			func() error { return s.gateways[0].signal(syscall.SIGCONT) },
		},
		"it is cut off until its lease ends": {
			func() error { return cutOff(0, outward, inward).put(t.Context(), s) },
			func() error { s.toControl[0].mend(); return nil },
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			all := s.openPairs(ctx, t, 0)
			if err := c.put(); err != nil {
				t.Fatal(err)
			}
			for _, p := range all {
				awaitEnd(ctx, t, p.victim)
				awaitEnd(ctx, t, p.bystander)
			}
			if err := c.mend(); err != nil {
				t.Fatal(err)
			}
			if err := s.gateways[0].await(ctx, "http://"+s.addresses[0]+"/ready"); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// stoppedInOrder gives its lease back.
func stoppedInOrder(t *testing.T, s *site) {
	m := s.mustIssue(t.Context(), t)
	if err := s.gateways[2].signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-s.gateways[2].ended
	receipt, err := s.owner.RevokeMandate(t.Context(), m, 2*time.Second) // less than a lease
	if err != nil || receipt.State != "enforced" {
		t.Fatalf("revoke = %v %v, want enforced", receipt.State, err)
	}
	if err := s.gateways[2].start(); err != nil {
		t.Fatal(err)
	}
}

// throughAGateway: the answer comes after the gateway that carried it enforces it.
func throughAGateway(t *testing.T, s *site) {
	through, err := client.New(client.Config{URL: "http://" + s.addresses[1], Key: s.ownerKey, Workspace: slug})
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		m := s.mustIssue(t.Context(), t)
		if _, err := through.RevokeMandate(t.Context(), m, 0); err != nil {
			t.Fatal(err)
		}
		if s.knows(t.Context(), 1, m) {
			t.Fatal("the gateway permits what was revoked through it")
		}
	}
}
