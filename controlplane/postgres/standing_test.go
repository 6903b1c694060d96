package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/lease"
)

var errUndo = errors.New("nothing of it is to stay")

// terms are those that leases of generated cases have.
func terms() *rapid.Generator[time.Duration] {
	return rapid.SampledFrom([]time.Duration{lease.MinTerm, lease.DefaultTerm, time.Hour, lease.MaxTerm})
}

// standing is any that the database can hold.
func standing() *rapid.Generator[lease.Standing] {
	return rapid.Custom(func(r *rapid.T) lease.Standing {
		s := lease.Standing{Enforced: rapid.Uint64Range(0, 3).Draw(r, "enforced"), Endless: rapid.Bool().Draw(r, "endless")}
		if s.Endless {
			return s
		}
		if s.Lease = rapid.Uint64Range(0, 3).Draw(r, "lease"); s.Lease != 0 {
			s.Term, s.Over = terms().Draw(r, "term"), rapid.Bool().Draw(r, "over")
			s.Wait = max(s.Term, terms().Draw(r, "wait"))
		}
		return s
	})
}

// stand adds a process that stands like that.
func stand(ctx context.Context, tx *Tx, w tenant, s lease.Standing) (authority.GatewayID, error) {
	g := Gateway{ID: authority.NewID[authority.GatewayID](), WorkspaceID: w.id, KeyID: w.key, PublicKey: make([]byte, 32), Formats: []uint32{2}, EnrolledAt: now()}
	rand.Read(g.PublicKey)
	if s.Endless {
		g.Formats = []uint32{1}
	}
	if err := tx.InsertGateway(ctx, g); err != nil {
		return "", err
	}
	_, err := tx.tx.Exec(ctx, `UPDATE gateways SET revision = $2, lease_number = $3, lease_over = $4, lease_term_ms = $5, lease_wait_ms = $6 WHERE id = $1`,
		g.ID, s.Enforced, s.Lease, s.Over, s.Term.Milliseconds(), s.Wait.Milliseconds())
	return g.ID, err
}

// stands is how the database has a process stand.
func stands(ctx context.Context, tx *Tx, id authority.GatewayID) (lease.Standing, error) {
	all, err := tx.LockApplicants(ctx, []authority.GatewayID{id})
	if err != nil || len(all) != 1 {
		return lease.Standing{}, errors.Join(err, errors.New("it is not there"))
	}
	return all[0].Standing, nil
}

// step does something to a process that stands like that, and answers how it stands then by the rules.
type step func(*rapid.T, context.Context, *Tx, authority.GatewayID, lease.Standing) (lease.Standing, error)

// check does it to any process, and holds what the database has then against the rules. Nothing of it stays.
func (do step) check(r *rapid.T, s *Store, w tenant) {
	err := s.Write(context.Background(), w.id, func(ctx context.Context, tx *Tx) error {
		if _, err := tx.tx.Exec(ctx, "UPDATE workspaces SET revision = 3 WHERE id = $1", w.id); err != nil {
			return err
		}
		before := standing().Draw(r, "before")
		id, err := stand(ctx, tx, w, before)
		if err != nil {
			return err
		}
		want, err := do(r, ctx, tx, id, before)
		if err != nil {
			return err
		}
		got, err := stands(ctx, tx, id)
		if err != nil {
			return err
		}
		if diff := cmp.Diff(want, got); diff != "" {
			r.Errorf("(-rule +database)\n%s", diff)
		}
		list, err := tx.Standings(ctx)
		if err != nil {
			return err
		}
		at := slices.IndexFunc(list, func(g Standing) bool { return g.GatewayID == id })
		if (at >= 0) != got.HoldsUp(math.MaxUint64) || at >= 0 && list[at].Standing != got {
			r.Errorf("of %+v, those that may decide are said to be %+v", got, list)
		}
		return errUndo
	})
	if !errors.Is(err, errUndo) {
		r.Fatal(err)
	}
}

// What statements do to how a process stands is what the rules say, whatever it was before.
func TestStatementsFollowTheRulesOfLeases(t *testing.T) {
	_, appURL := cluster.New(t)
	s := openStore(t, appURL, 2)
	w := fill(t, s, "mine")
	for sentence, do := range map[string]step{
		"a grant": func(r *rapid.T, ctx context.Context, tx *Tx, id authority.GatewayID, before lease.Standing) (lease.Standing, error) {
			if before.Endless {
				return before, nil // its program asks for none
			}
			after := before.Granted(rapid.Uint64Range(0, 4).Draw(r, "held"), terms().Draw(r, "next term"))
			return after, tx.Grant(ctx, map[authority.GatewayID]lease.Standing{id: after}, now())
		},
		"the end of a lease": func(r *rapid.T, ctx context.Context, tx *Tx, id authority.GatewayID, before lease.Standing) (lease.Standing, error) {
			number := rapid.Uint64Range(0, 4).Draw(r, "number")
			after := before.Ended(number)
			ended, err := tx.EndLease(ctx, id, number, now())
			if ended != (after.Over && !before.Over) {
				r.Errorf("ending the lease %d of %+v is reported as %t", number, before, ended)
			}
			return after, err
		},
		"an acknowledgement": func(r *rapid.T, ctx context.Context, tx *Tx, id authority.GatewayID, before lease.Standing) (lease.Standing, error) {
			said, after := rapid.Uint64Range(0, 4).Draw(r, "said"), before
			if said <= 3 { // the workspace has no more
				after.Enforced = max(after.Enforced, said)
			}
			_, err := tx.Acknowledge(ctx, []Acknowledgement{{GatewayID: id, KeyID: w.key, Revision: said}}, now())
			return after, err
		},
		"a restore": func(r *rapid.T, ctx context.Context, tx *Tx, _ authority.GatewayID, before lease.Standing) (lease.Standing, error) {
			longest := terms().Draw(r, "longest")
			return before.Restored(longest), tx.RestoreStandings(ctx, longest, now())
		},
		"nothing": func(_ *rapid.T, _ context.Context, _ *Tx, _ authority.GatewayID, before lease.Standing) (lease.Standing, error) {
			return before, nil
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			rapid.Check(t, func(r *rapid.T) { do.check(r, s, w) })
		})
	}
}
