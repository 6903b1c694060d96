package revocation_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/client"
)

// fault breaks something of a site; mend undoes it.
type fault struct {
	name string
	put  func(ctx context.Context, s *site) error
	mend func(ctx context.Context, s *site) error
}

// round lets agents call under some mandates through all gateways, breaks what the faults say, revokes the mandates, goes
// on until every receipt is enforced and a little longer, mends, and holds what was seen against the model.
func (s *site) round(ctx context.Context, t *testing.T, mandates int, faults ...fault) error {
	var h history
	own := make([]authority.Mandate, mandates)
	for i := range own {
		var err error
		if own[i], err = s.issue(ctx); err != nil {
			return err
		}
	}
	calling, stop := context.WithCancel(ctx)
	defer stop()
	var group sync.WaitGroup
	for _, m := range own {
		for g := range gateways {
			a := agent{
				history: &h, at: &http.Client{Transport: &http.Transport{}}, gateway: g, address: s.addresses[g], mandate: m.ID, token: s.agentToken,
				target: s.targetURL,
			}
			group.Go(func() {
				defer a.at.CloseIdleConnections()
				a.run(calling)
			})
		}
	}
	if err := s.awaitPermits(ctx, &h, own); err != nil {
		return err
	}
	var failed error
	for _, f := range faults {
		failed = errors.Join(failed, f.put(ctx, s))
	}
	for _, m := range own {
		group.Go(func() { s.revoke(ctx, &h, m.ID) })
	}
	failed = errors.Join(failed, s.awaitReceipts(ctx, &h, own))
	tick := time.NewTimer(time.Second) // in which nothing may be permitted
	select {
	case <-tick.C:
	case <-ctx.Done():
	}
	for _, f := range faults {
		failed = errors.Join(failed, f.mend(ctx, s))
	}
	for g := range gateways {
		failed = errors.Join(failed, s.gateways[g].await(ctx, "http://"+s.addresses[g]+"/ready"))
	}
	stop()
	group.Wait()
	for _, m := range own {
		failed = errors.Join(failed, check(&h, m.ID))
		t.Logf("%s: permitted %d times, refused %d times", m.ID, h.count(m.ID, permitted), h.count(m.ID, revoked))
	}
	t.Logf("other answers: %v", h.other)
	return failed
}

// awaitPermits waits until every mandate was permitted at every gateway: then all of them have something to lose.
func (s *site) awaitPermits(ctx context.Context, h *history, all []authority.Mandate) error {
	return until(ctx, "every gateway permits every mandate", func() bool {
		for _, m := range all {
			at := map[int]int{}
			for _, o := range h.of(m.ID) {
				if o.what == permitted {
					at[o.gateway]++
				}
			}
			for g := range gateways {
				if at[g] < 10 {
					return false
				}
			}
		}
		return true
	})
}

func (s *site) awaitReceipts(ctx context.Context, h *history, all []authority.Mandate) error {
	return until(ctx, "every receipt is enforced", func() bool {
		for _, m := range all {
			if h.count(m.ID, enforced) == 0 {
				return false
			}
		}
		return true
	})
}

func until(ctx context.Context, what string, holds func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait until %s: %w", what, ctx.Err())
		case <-tick.C:
		}
	}
	return nil
}

// revoke asks until a receipt says enforced: a call whose answer is lost or late is made again, as an operator would.
func (s *site) revoke(ctx context.Context, h *history, id authority.MandateID) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	call := since()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		answer, err := s.ask(ctx, id)
		if err == nil && answer.State == "enforced" {
			returned := since()
			h.note(seen{id, -1, asked, call, returned})
			h.note(seen{id, -1, enforced, call, returned})
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (s *site) ask(ctx context.Context, id authority.MandateID) (client.Receipt, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return s.owner.RevokeMandate(ctx, id, 2*time.Second)
}
