package controlplane_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
)

// crowd is many processes of one gateway key.
func (w *world) crowd(n int) []edge {
	w.t.Helper()
	caller := w.as(w.edgeKey(w.owner).APIKey)
	all := make([]edge, n)
	var ids []string
	for i := range all {
		all[i] = edge{authority.NewID[authority.GatewayID](), caller}
		ids = append(ids, string(all[i].id))
	}
	w.asOwner(`INSERT INTO gateways (id, workspace_id, key_id, public_key, instance, version, formats, revision, connected, enrolled_at, seen_at, envoy_refusal)
		SELECT id, $2, $3, sha256(id::bytea), id, '', '{2}', 0, false, now(), now(), '' FROM unnest($1::text[]) id`, ids, w.owner.Workspace(), caller.Key())
	return all
}

// transactions counts those that wrote to the gateways last.
func (w *world) transactions() int {
	w.t.Helper()
	conn := must(pgx.Connect(w.t.Context(), cluster.Superuser(w.t, w.ownerURL)))(w.t)
	defer func() { _ = conn.Close(w.t.Context()) }()
	var n int
	if err := conn.QueryRow(w.t.Context(), "SELECT count(DISTINCT xmin::text) FROM gateways").Scan(&n); err != nil {
		w.t.Fatal(err)
	}
	return n
}

// atOnce does something for each, all at the same time.
func atOnce(t *testing.T, all []edge, do func(edge) error) {
	t.Helper()
	begin := make(chan struct{})
	var running sync.WaitGroup
	for _, e := range all {
		running.Go(func() {
			<-begin
			if err := do(e); err != nil {
				t.Error(err)
			}
		})
	}
	close(begin)
	running.Wait()
}

// What many gateways say at once is written in a few transactions: a thousand of them cost what a few do.
func TestAThousandGatewaysAreWrittenInFewTransactions(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	all := w.crowd(1000)
	revision := must(w.Revision(ctx, w.owner))(t)
	renew := func(e edge) error {
		granted, err := w.Renew(ctx, e.caller, e.id, controlplane.Renewal{Revision: revision, Report: controlplane.Report{Address: string(e.id)}})
		if err == nil && granted.Number == 0 {
			err = fmt.Errorf("it is answered %+v", granted)
		}
		return err
	}
	began := time.Now()
	atOnce(t, all, renew)
	renewed := time.Since(began)
	if n := w.transactions(); n > 30 {
		t.Errorf("a thousand grants took %d transactions", n)
	} else {
		t.Logf("a thousand grants took %d transactions and %s", n, renewed)
	}
	r := w.revoke(w.agentWithPolicy())
	if len(r.Gateways) != len(all) {
		t.Errorf("the revocation waits for %d gateways", len(r.Gateways))
	}
	began = time.Now()
	atOnce(t, all, func(e edge) error {
		return w.Acknowledge(ctx, e.caller, e.id, controlplane.Acknowledgement{Revision: r.Revision, StreamsCut: 1})
	})
	acknowledged := time.Since(began)
	if n := w.transactions(); n > 30 {
		t.Errorf("a thousand acknowledgements took %d transactions", n)
	} else {
		t.Logf("a thousand acknowledgements took %d transactions and %s", n, acknowledged)
	}
	enforced := must(w.RevokeMandate(ctx, w.owner, r.MandateID, patient))(t).Value
	if enforced.State != authority.ReceiptEnforced || enforced.StreamsCut != 1000 {
		t.Errorf("the receipt is %s with %d streams cut", enforced.State, enforced.StreamsCut)
	}
}

// Who comes and goes at once is written in few transactions, too, and each is answered for itself.
func TestAThousandGatewaysComeAndGoInFewTransactions(t *testing.T) {
	w := newWorld(t)
	all := w.crowd(1000)
	revoked := all[7]
	must(w.RevokeGateway(t.Context(), w.owner, revoked.id, 0))(t)
	var (
		mu      sync.Mutex
		present []controlplane.Presence
	)
	atOnce(t, all, func(e edge) error {
		p, err := w.ConnectGateway(t.Context(), e.caller, e.id, "", current)
		if e.id == revoked.id {
			wantError(t, err, authority.CodeNotFound, "")
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		present = append(present, p)
		return err
	})
	if n := w.connected(); n != 999 {
		t.Errorf("%d are connected", n)
	}
	if n := w.transactions(); n > 30 {
		t.Errorf("a thousand arrivals took %d transactions", n)
	}
	var leaving sync.WaitGroup
	for _, p := range present {
		leaving.Go(p.Leave)
	}
	leaving.Wait()
	if n := w.connected(); n != 0 {
		t.Errorf("%d are connected after all have left", n)
	}
	if n := w.transactions(); n > 30 {
		t.Errorf("a thousand departures took %d transactions", n)
	}
}

// connected counts the gateways that the database has as connected.
func (w *world) connected() int {
	w.t.Helper()
	n := 0
	for _, g := range must(w.Gateways(w.t.Context(), w.owner))(w.t) {
		if g.Connected {
			n++
		}
	}
	return n
}

// Two replicas, gateways that renew, acknowledge, surrender and are forgotten, revocations and the end of leases, all at
// once: nobody is stuck, and nobody keeps others waiting.
func TestNobodyIsStuckWhenEverythingHappensAtOnce(t *testing.T) {
	w := newWorld(t)
	agent := w.agentWithPolicy()
	other := newService(t, w.appURL)
	gateways := w.crowd(12)
	ctx, stop := context.WithTimeout(t.Context(), patient)
	defer stop()
	const enough = 12
	var (
		running sync.WaitGroup
		revoked atomic.Int64
		grants  atomic.Int64
		done    atomic.Int64
	)
	forever := func(do func(*controlplane.Service) error) {
		for _, s := range []*controlplane.Service{w.Service, other} {
			running.Go(func() {
				for ctx.Err() == nil {
					var told *authority.Error
					// A database that much waits for may let somebody wait too long, who asks again.
					if err := do(s); err != nil && ctx.Err() == nil && (!errors.As(err, &told) || told.Code != authority.CodeUnavailable) {
						t.Error(err)
					}
					done.Add(1)
				}
			})
		}
	}
	some := func() edge { return gateways[rand.N(len(gateways))] }
	for range 4 {
		forever(func(s *controlplane.Service) error {
			e := some()
			revision, err := s.Revision(ctx, e.caller)
			if err != nil {
				return err
			}
			revision -= rand.N(min(revision, 3)) // it may be behind
			granted, err := s.Renew(ctx, e.caller, e.id, controlplane.Renewal{Revision: revision})
			if err == nil && granted.Number != 0 {
				grants.Add(1)
			}
			return err
		})
	}
	forever(func(s *controlplane.Service) error {
		e := some()
		revision, err := s.Revision(ctx, e.caller)
		if err == nil {
			err = s.Acknowledge(ctx, e.caller, e.id, controlplane.Acknowledgement{Revision: revision})
		}
		return err
	})
	forever(func(s *controlplane.Service) error {
		e := some()
		return s.Surrender(ctx, e.caller, e.id, rand.Uint64N(40))
	})
	forever(func(s *controlplane.Service) error {
		running, err := s.Running(ctx)
		if err == nil && len(running) > 3 {
			err = s.Conclude(ctx, running[:3])
		}
		return err
	})
	forever(func(s *controlplane.Service) error {
		m, err := s.RequestMandate(ctx, w.owner, request(w.owner.Principal().ID, agent.ID))
		if err != nil {
			return err
		}
		_, err = s.RevokeMandate(ctx, w.owner, m.Value.ID, 0)
		if err == nil && revoked.Add(1) >= enough && grants.Load() >= enough {
			stop()
		}
		return err
	})
	running.Wait()
	t.Logf("%d operations, %d revocations, %d grants", done.Load(), revoked.Load(), grants.Load())
	if revoked.Load() < enough || grants.Load() < enough {
		t.Error("somebody was kept waiting by the others")
	}
}
