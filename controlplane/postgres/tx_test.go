package postgres

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"pgregory.net/rapid"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres/internal/query"
)

// TestAConnectionKeepsNoWorkspace uses a pool of one connection, so that whatever a transaction leaves behind meets the
// next one.
func TestAConnectionKeepsNoWorkspace(t *testing.T) {
	_, appURL := cluster.New(t)
	s := openStore(t, appURL, 1)
	w := fill(t, s, "mine")
	failure := errors.New("failure")
	endings := map[string]func(){
		"a commit": func() {
			_ = s.Write(t.Context(), w.id, func(ctx context.Context, tx *Tx) error { return nil })
		},
		"an error of ours": func() {
			_ = s.Write(t.Context(), w.id, func(ctx context.Context, tx *Tx) error { return failure })
		},
		"an error of the database": func() {
			_ = s.Write(t.Context(), w.id, func(ctx context.Context, tx *Tx) error {
				_, err := tx.tx.Exec(ctx, "SELECT 1/0")
				return err
			})
		},
		"a panic": func() {
			defer func() { _ = recover() }()
			_ = s.Write(t.Context(), w.id, func(ctx context.Context, tx *Tx) error { panic(failure) })
		},
		"a cancellation in the middle of a statement": func() {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			_ = s.Write(ctx, w.id, func(ctx context.Context, tx *Tx) error {
				_, err := tx.tx.Exec(ctx, "SELECT pg_sleep(5)")
				return err
			})
		},
		"a workspace set for the whole session": func() {
			_ = s.Write(t.Context(), w.id, func(ctx context.Context, tx *Tx) error {
				_, err := tx.tx.Exec(ctx, "SELECT set_config('caracal.workspace', $1, false)", w.id)
				return err
			})
		},
	}
	for name, end := range endings {
		t.Run(name, func(t *testing.T) {
			end()
			conn, err := s.acquire(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Release()
			var left string
			if err := conn.QueryRow(t.Context(), "SELECT coalesce(current_setting('caracal.workspace', true), '')").Scan(&left); err != nil || left != "" {
				t.Errorf("the next use of the connection finds the workspace %q: %v", left, err)
			}
			if _, err := conn.Exec(t.Context(), "SELECT * FROM principals"); err == nil {
				t.Error("the next use of the connection reads rows without naming a workspace")
			}
		})
	}
}

// TestARevocationReachesAChildThatIsBeingBorn checks the locks of the chain by themselves, without the lock of the
// revision under which the service's writes of one workspace take turns anyway.
func TestARevocationReachesAChildThatIsBeingBorn(t *testing.T) {
	ownerURL, appURL := cluster.New(t)
	s := openStore(t, appURL, 8)
	w := fill(t, s, "mine")
	for round := range 30 {
		at := now()
		root := aMandate(w, "root", at)
		root.ID = authority.NewID[authority.MandateID]()
		middle := below(root)
		err := s.Write(t.Context(), w.id, func(ctx context.Context, tx *Tx) error {
			return errors.Join(tx.InsertMandate(ctx, root), tx.InsertMandate(ctx, middle))
		})
		if err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				_ = s.Write(t.Context(), w.id, func(ctx context.Context, tx *Tx) error {
					chain, err := tx.HoldChain(ctx, middle.ID)
					if err != nil {
						return err
					}
					if chain[0].Revoked || chain[1].Revoked {
						return errors.New("the parent is revoked")
					}
					return tx.InsertMandate(ctx, below(chain[0]))
				})
			})
		}
		all.Go(func() {
			err := s.Write(t.Context(), w.id, func(ctx context.Context, tx *Tx) error {
				if _, err := tx.LockMandate(ctx, root.ID); err != nil {
					return err
				}
				_, err := tx.Revoke(ctx, Revocation{MandateID: root.ID, By: w.principal, At: now(), Revision: uint64(round)})
				return err
			})
			if err != nil {
				t.Errorf("revoke: %v", err)
			}
		})
		all.Wait()
	}
	var alive int
	admin := connect(t, cluster.Superuser(t, ownerURL))
	err := admin.QueryRow(t.Context(), `SELECT count(*) FROM mandates c JOIN mandates p ON p.id = c.parent_id WHERE p.revoked AND NOT c.revoked`).Scan(&alive)
	if err != nil || alive != 0 {
		t.Errorf("%d live children of revoked parents: %v", alive, err)
	}
}

// below is a child of a mandate.
func below(parent authority.Mandate) authority.Mandate {
	child := parent
	child.ID, child.ParentID = authority.NewID[authority.MandateID](), &parent.ID
	child.Level, child.DelegationDepth = parent.Level+1, parent.DelegationDepth-1
	return child
}

func TestTheDatabaseRefusesAChildThatExceedsItsParent(t *testing.T) {
	_, appURL := cluster.New(t)
	s := openStore(t, appURL, 2)
	w := fill(t, s, "mine")
	cases := map[string]func(*authority.Mandate){
		"an action more":          func(m *authority.Mandate) { m.ActionScope = authority.Actions{authority.Read, authority.Write} },
		"a second longer":         func(m *authority.Mandate) { m.ValidUntil = m.ValidUntil.Add(time.Second) },
		"a second earlier":        func(m *authority.Mandate) { m.ValidFrom = m.ValidFrom.Add(-time.Second) },
		"as many delegations":     func(m *authority.Mandate) { m.DelegationDepth++ },
		"the level of its parent": func(m *authority.Mandate) { m.Level = 0 },
		"a level left out":        func(m *authority.Mandate) { m.Level++ },
	}
	insert := func(m authority.Mandate) error {
		return s.Write(t.Context(), w.id, func(ctx context.Context, tx *Tx) error { return tx.InsertMandate(ctx, m) })
	}
	var parent authority.Mandate
	err := s.Read(t.Context(), w.id, func(ctx context.Context, tx *Tx) (err error) {
		parent, err = tx.Mandate(ctx, w.mandate)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, exceed := range cases {
		child := below(parent)
		exceed(&child)
		var refused *pgconn.PgError
		if err := insert(child); !errors.As(err, &refused) || refused.Code != "23514" {
			t.Errorf("%s: error %v, want a violation of a check", name, err)
		}
	}
	if err := insert(below(parent)); err != nil {
		t.Errorf("a child within its parent: %v", err)
	}
}

func TestTheTermsOfAMandateNeverChangeInTheDatabase(t *testing.T) {
	_, appURL := cluster.New(t)
	s := openStore(t, appURL, 2)
	w := fill(t, s, "mine")
	err := s.Write(t.Context(), w.id, func(ctx context.Context, tx *Tx) error {
		_, err := tx.Revoke(ctx, Revocation{MandateID: w.mandate, By: w.principal, At: now(), Revision: 2})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, statement := range map[string]string{
		"a longer validity":       "UPDATE mandates SET valid_until = valid_until + interval '1 hour'",
		"another action":          "UPDATE mandates SET action_scope = '{write}'",
		"a revocation undone":     "UPDATE mandates SET revoked = false, revoked_at = NULL, revoked_revision = NULL, revoked_by = ''",
		"an event of the ledger":  "UPDATE events SET record = '{}'",
		"a ledger without events": "DELETE FROM events",
	} {
		err := s.Write(t.Context(), w.id, func(ctx context.Context, tx *Tx) error {
			_, err := tx.tx.Exec(ctx, statement)
			return err
		})
		if err == nil {
			t.Errorf("%s: the database let it happen", name)
		}
	}
}

func TestABatchIsStoredOnceHoweverItIsSent(t *testing.T) {
	_, appURL := cluster.New(t)
	s := openStore(t, appURL, 2)
	w := fill(t, s, "mine")
	var epoch uint64 = 100
	rapid.Check(t, func(r *rapid.T) {
		epoch++
		const total = 40
		seen := map[uint64]bool{}
		for range rapid.IntRange(1, 8).Draw(r, "batches") {
			first := rapid.Uint64Range(1, total).Draw(r, "first")
			last := rapid.Uint64Range(first, min(total, first+15)).Draw(r, "last")
			b := Batch{GatewayID: w.gateway, KeyID: w.key, Epoch: epoch, First: first, Last: last}
			for n := first; n <= last; n++ {
				seen[n] = true
				b.Events = append(b.Events, authority.Event{
					ID: authority.NewID[authority.EventID](), WorkspaceID: w.id, Type: authority.EventAllowed, Time: now(),
					DecisionID: authority.NewID[authority.DecisionID](), Gateway: &authority.GatewayRecord{ID: w.gateway, Epoch: epoch, Sequence: n},
				})
			}
			var answered uint64
			err := s.Write(t.Context(), w.id, func(ctx context.Context, tx *Tx) (err error) {
				answered, err = tx.RecordBatch(ctx, b)
				return err
			})
			if err != nil {
				r.Fatal(err)
			}
			var unbroken uint64
			for seen[unbroken+1] {
				unbroken++
			}
			if answered != unbroken {
				r.Fatalf("answered %d, stored without a gap up to %d", answered, unbroken)
			}
		}
		var stored []uint64
		err := s.Read(t.Context(), w.id, func(ctx context.Context, tx *Tx) error {
			events, err := tx.Events(ctx, EventFilter{Type: authority.EventAllowed, Until: now().AddDate(1, 0, 0)}, Page{Size: 200})
			for _, e := range events {
				if e.Gateway != nil && e.Gateway.Epoch == epoch {
					stored = append(stored, e.Gateway.Sequence)
				}
			}
			return err
		})
		if err != nil {
			r.Fatal(err)
		}
		slices.Sort(stored)
		if len(stored) != len(seen) || len(slices.Compact(stored)) != len(seen) {
			r.Fatalf("stored %v, sent %d different events", stored, len(seen))
		}
	})
}

func TestGapsAreWhatNoStoredRunCovers(t *testing.T) {
	run := func(first, last uint64) query.BatchesRow { return query.BatchesRow{First: first, Last: last} }
	cases := map[string]struct {
		stored      []query.BatchesRow
		first, last uint64
		want        []query.BatchesRow
	}{
		"nothing is stored":               {nil, 1, 5, []query.BatchesRow{run(1, 5)}},
		"all is stored":                   {[]query.BatchesRow{run(1, 9)}, 2, 5, nil},
		"the middle is stored":            {[]query.BatchesRow{run(3, 4)}, 1, 6, []query.BatchesRow{run(1, 2), run(5, 6)}},
		"the beginning and the end":       {[]query.BatchesRow{run(1, 2), run(5, 9)}, 2, 6, []query.BatchesRow{run(3, 4)}},
		"a batch of outcomes has no runs": {[]query.BatchesRow{run(1, 2)}, 0, 0, nil},
	}
	for name, c := range cases {
		if got := gaps(c.stored, c.first, c.last); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// TestDecisionsDoNotWaitForTheRevision holds the lock under which writes of the workspace take turns.
func TestDecisionsDoNotWaitForTheRevision(t *testing.T) {
	_, appURL := cluster.New(t)
	s := openStore(t, appURL, 4)
	w := fill(t, s, "mine")
	err := s.Write(t.Context(), w.id, func(ctx context.Context, tx *Tx) error {
		if _, err := tx.AdvanceRevision(ctx, now(), false); err != nil {
			return err
		}
		return s.Write(ctx, w.id, func(ctx context.Context, other *Tx) error {
			_, err := other.RecordBatch(ctx, Batch{GatewayID: w.gateway, KeyID: w.key, Epoch: 2, First: 1, Last: 1, Events: []authority.Event{{
				ID: authority.NewID[authority.EventID](), WorkspaceID: w.id, Type: authority.EventDenied, Time: now(),
			}}})
			return err
		})
	})
	if err != nil {
		t.Error(err)
	}
}

func TestEventsOfAMonthAheadHaveAPartitionAndOldOnesGo(t *testing.T) {
	ownerURL, appURL := cluster.New(t)
	s := openStore(t, appURL, 2)
	w := fill(t, s, "mine")
	ahead := now().AddDate(0, 2, 0)
	old := now().AddDate(0, -6, 0)
	record := func(at time.Time) error {
		return s.Write(t.Context(), w.id, func(ctx context.Context, tx *Tx) error {
			return tx.AppendEvents(ctx, []authority.Event{{ID: authority.NewID[authority.EventID](), WorkspaceID: w.id, Type: authority.EventDenied, Time: at}})
		})
	}
	for name, at := range map[string]time.Time{"in two months": ahead, "six months ago": old} {
		if record(at) == nil {
			t.Fatalf("an event %s has a partition before it is made", name)
		}
		if err := s.EnsureEventPartitions(t.Context(), at); err != nil {
			t.Fatal(err)
		}
		if err := s.EnsureEventPartitions(t.Context(), at); err != nil {
			t.Errorf("a second time: %v", err)
		}
		if err := record(at); err != nil {
			t.Errorf("an event %s: %v", name, err)
		}
	}
	if err := s.ExpireEvents(t.Context()); err != nil {
		t.Fatal(err)
	}
	admin := connect(t, cluster.Superuser(t, ownerURL))
	var before, after, partitions int
	err := admin.QueryRow(t.Context(), `SELECT count(*) FILTER (WHERE time < now() - interval '90 days'), count(*),
		(SELECT count(*) FROM pg_class WHERE relname = 'events_' || to_char($1::timestamptz, 'YYYY_MM')) FROM events`, old).Scan(&before, &after, &partitions)
	if err != nil || before != 0 || after < 2 || partitions != 0 {
		t.Errorf("%d events older than the retention, %d in all, %d partitions of their month: %v", before, after, partitions, err)
	}
}

// Whoever writes while a partition is made waits for it, or the partition waits: neither ends the other.
func TestAPartitionIsMadeWhileSomebodyWrites(t *testing.T) {
	ownerURL, appURL := cluster.New(t)
	s := openStore(t, appURL, 4)
	w := fill(t, s, "mine")
	admin := connect(t, cluster.Superuser(t, ownerURL))
	ahead := now().AddDate(0, 2, 0)
	made := make(chan error, 1)
	attempts := 0
	err := s.Write(t.Context(), w.id, func(ctx context.Context, tx *Tx) error {
		attempts++
		if _, err := tx.AdvanceRevision(ctx, now(), false); err != nil {
			return err
		}
		if attempts == 1 {
			go func() { made <- s.EnsureEventPartitions(context.Background(), ahead) }()
			awaitWaiting(t, admin)
		}
		return tx.AppendEvents(ctx, []authority.Event{{ID: authority.NewID[authority.EventID](), WorkspaceID: w.id, Type: authority.EventDenied, Time: now()}})
	})
	if err != nil || attempts != 1 {
		t.Errorf("the write, at its attempt %d: %v", attempts, err)
	}
	if err := <-made; err != nil {
		t.Errorf("the partition: %v", err)
	}
}

func TestAPartitionIsMadeOnceByManyAtOnce(t *testing.T) {
	_, appURL := cluster.New(t)
	s := openStore(t, appURL, 8)
	for months := range 3 {
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				if err := s.EnsureEventPartitions(t.Context(), now().AddDate(0, -4*months-3, 0)); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
}

// awaitWaiting returns once a session of the database waits for a lock on a table.
func awaitWaiting(t *testing.T, admin *pgx.Conn) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		var waits bool
		err := admin.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'relation' AND NOT granted
			AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))`).Scan(&waits)
		if err != nil || waits {
			if err != nil {
				t.Error(err)
			}
			return
		}
		if time.Now().After(deadline) {
			t.Error("nobody waits for a lock")
			return
		}
	}
}

func TestADeadlockIsRunAgain(t *testing.T) {
	_, appURL := cluster.New(t)
	s := openStore(t, appURL, 4)
	w := fill(t, s, "mine")
	var attempts int
	err := s.Write(t.Context(), w.id, func(context.Context, *Tx) error {
		if attempts++; attempts < 3 {
			return &pgconn.PgError{Code: deadlockDetected}
		}
		return nil
	})
	if err != nil || attempts != 3 {
		t.Errorf("%d attempts: %v", attempts, err)
	}
	attempts = 0
	err = s.Write(t.Context(), w.id, func(context.Context, *Tx) error {
		attempts++
		return &pgconn.PgError{Code: serializationFailure}
	})
	if !errors.Is(err, ErrUnavailable) || attempts != maxAttempts {
		t.Errorf("after %d attempts: %v", attempts, err)
	}
}

func TestErrorsOfTheDatabaseHaveOneMeaning(t *testing.T) {
	cases := map[string]struct {
		err  error
		want error
	}{
		"no row":                       {pgx.ErrNoRows, ErrNotFound},
		"a name that is taken":         {&pgconn.PgError{Code: "23505"}, ErrDuplicate},
		"a server that shuts down":     {&pgconn.PgError{Code: "57P01"}, ErrUnavailable},
		"a lock that is not given":     {&pgconn.PgError{Code: "55P03"}, ErrUnavailable},
		"a standby":                    {&pgconn.PgError{Code: "25006"}, ErrUnavailable},
		"a database not yet migrated":  {&pgconn.PgError{Code: "42P01"}, ErrUnavailable},
		"a deadline":                   {context.DeadlineExceeded, ErrUnavailable},
		"a connection that was closed": {io.ErrUnexpectedEOF, ErrUnavailable},
	}
	for name, c := range cases {
		if err := translate("try", c.err); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if err := translate("try", &pgconn.PgError{Code: "22012"}); errors.Is(err, ErrUnavailable) || err == nil {
		t.Errorf("a defect of ours is told as %v", err)
	}
}
