package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/lease"
)

// stepper runs one transaction a step at a time.
type stepper struct {
	steps []func(context.Context, *Tx) error // the commit is one more
	next  chan struct{}
	done  chan error // is sent to after each step
	pid   int
	taken int
	busy  bool
}

func begin(t *testing.T, s *Store, w authority.WorkspaceID, steps ...func(context.Context, *Tx) error) *stepper {
	t.Helper()
	p := &stepper{steps: steps, next: make(chan struct{}), done: make(chan error, 1)}
	started := make(chan struct{})
	go func() {
		err := s.Write(t.Context(), w, func(ctx context.Context, tx *Tx) error {
			if err := tx.tx.QueryRow(ctx, "SELECT pg_backend_pid()").Scan(&p.pid); err != nil {
				return err
			}
			close(started)
			for _, step := range steps {
				<-p.next
				if err := step(ctx, tx); err != nil {
					return err
				}
				p.done <- nil
			}
			<-p.next
			return nil
		})
		p.done <- err
	}()
	<-started
	return p
}

// finish waits until a step that is under way is over, or waits for another transaction; it answers which.
func (p *stepper) finish(t *testing.T, watch *pgx.Conn) (over bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-p.done:
			if err != nil {
				t.Fatal(err)
			}
			p.busy = false
			return true
		case <-tick.C:
			var blocked bool
			if err := watch.QueryRow(t.Context(), "SELECT cardinality(pg_blocking_pids($1)) > 0", p.pid).Scan(&blocked); err != nil {
				t.Fatal(err)
			}
			if blocked {
				return false
			}
		}
	}
}

// take takes the next step, unless the one before still waits for the other transaction.
func (p *stepper) take(t *testing.T, watch *pgx.Conn) (taken bool) {
	t.Helper()
	if p.busy && !p.finish(t, watch) || p.taken > len(p.steps) {
		return false
	}
	p.taken, p.busy = p.taken+1, true
	p.next <- struct{}{}
	p.finish(t, watch)
	return true
}

// orders are all the ways in which so many steps of one and of another follow each other, as words of g and r.
func orders(g, r int) []string {
	if g == 0 || r == 0 {
		return []string{strings.Repeat("g", g) + strings.Repeat("r", r)}
	}
	var all []string
	for _, rest := range orders(g-1, r) {
		all = append(all, "g"+rest)
	}
	for _, rest := range orders(g, r-1) {
		all = append(all, "r"+rest)
	}
	return all
}

// However the steps of a grant and of a revocation come between each other, a lease at an older revision is either among
// those that the revocation waits for, or not granted.
func TestAGrantAndARevocationDoNotMissEachOther(t *testing.T) {
	ownerURL, appURL := cluster.New(t)
	s := openStore(t, appURL, 4)
	watch := connect(t, cluster.Superuser(t, ownerURL))
	for _, order := range orders(4, 3) {
		t.Run(order, func(t *testing.T) {
			w := fill(t, s, "mine")
			leased := []Standing(nil)
			var granted bool
			var held Held
			var applicant Applicant
			grant := begin(t, s, w.id,
				func(ctx context.Context, tx *Tx) (err error) {
					held, err = tx.HoldRevision(ctx)
					return err
				},
				func(ctx context.Context, tx *Tx) error {
					all, err := tx.LockApplicants(ctx, []authority.GatewayID{w.gateway})
					if err == nil {
						applicant = all[0]
					}
					return err
				},
				func(ctx context.Context, tx *Tx) error {
					if granted = lease.Grantable(applicant.Enforced, held.Fence); !granted {
						return nil
					}
					return tx.Grant(ctx, map[authority.GatewayID]lease.Standing{w.gateway: applicant.Granted(0, time.Minute)}, now())
				},
			)
			revocation := begin(t, s, w.id,
				func(ctx context.Context, tx *Tx) error {
					_, err := tx.AdvanceRevision(ctx, now(), true)
					return err
				},
				func(ctx context.Context, tx *Tx) (err error) {
					leased, err = tx.Standings(ctx)
					return err
				},
			)
			for _, whose := range order {
				if whose == 'g' {
					grant.take(t, watch)
				} else {
					revocation.take(t, watch)
				}
			}
			for grant.taken <= len(grant.steps) || revocation.taken <= len(revocation.steps) || grant.busy || revocation.busy {
				took := grant.take(t, watch)
				if !revocation.take(t, watch) && !took {
					break
				}
			}
			waitedFor := slices.ContainsFunc(leased, func(g Standing) bool { return g.GatewayID == w.gateway && g.Lease == 1 && g.HoldsUp(2) })
			if granted && !waitedFor {
				t.Errorf("a lease at revision %d is granted, and the revocation waits for %+v", applicant.Enforced, leased)
			}
			if !granted && waitedFor {
				t.Errorf("nothing is granted, and the revocation waits for %+v", leased)
			}
		})
	}
}

func TestStandingsAreThoseThatMayDecide(t *testing.T) {
	_, appURL := cluster.New(t)
	s := openStore(t, appURL, 2)
	w := fill(t, s, "mine") // with a gateway of a format that knows no leases
	at := now()
	var want []string
	err := s.Write(t.Context(), w.id, func(ctx context.Context, tx *Tx) error {
		for i, over := range []bool{false, true} {
			g := Gateway{ID: authority.NewID[authority.GatewayID](), WorkspaceID: w.id, KeyID: w.key, PublicKey: append(make([]byte, 31), byte(i+1)), Formats: []uint32{2}, EnrolledAt: at}
			if err := tx.InsertGateway(ctx, g); err != nil {
				return err
			}
			if err := tx.Grant(ctx, map[authority.GatewayID]lease.Standing{g.ID: {Lease: 7, Term: 5 * time.Second, Wait: time.Minute}}, at); err != nil {
				return err
			}
			if !over {
				want = append(want, fmt.Sprint(g.ID, 7, false))
				continue
			}
			if ended, err := tx.EndLease(ctx, g.ID, 6, at); err != nil || ended {
				t.Errorf("a lease of another number is ended: %t %v", ended, err)
			}
			if ended, err := tx.EndLease(ctx, g.ID, 7, at); err != nil || !ended {
				t.Errorf("the lease is not ended: %t %v", ended, err)
			}
		}
		want = append(want, fmt.Sprint(w.gateway, 0, true))
		standings, err := tx.Standings(ctx)
		var got []string
		for _, g := range standings {
			got = append(got, fmt.Sprint(g.GatewayID, g.Lease, g.Endless))
			if g.Lease == 7 && (g.Term != 5*time.Second || g.Wait != time.Minute || g.GrantedAt == nil || !g.GrantedAt.Equal(at)) {
				t.Errorf("the lease is %+v", g)
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("they are %v, want %v", got, want)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
