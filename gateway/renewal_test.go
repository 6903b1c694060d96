package gateway

import (
	"errors"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"pgregory.net/rapid"

	"github.com/caracal-gateway/caracal/internal/syncpb"
	"github.com/caracal-gateway/caracal/lease"
)

// clocks are a host's, which a test turns.
type clocks struct {
	mu  sync.Mutex
	now lease.Reading
}

func newClocks() *clocks {
	return &clocks{now: lease.Reading{Boot: time.Hour, Wall: time.Date(2024, 1, 15, 10, 30, 0, 0, time.UTC)}}
}

func (c *clocks) read() lease.Reading {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// pass lets time pass, step turns the wall clock alone.
func (c *clocks) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now.Boot, c.now.Wall = c.now.Boot+d, c.now.Wall.Add(d)
}

func (c *clocks) step(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now.Wall = c.now.Wall.Add(d)
}

func granting(renewal, number uint64, term time.Duration) *syncpb.Grant {
	return &syncpb.Grant{Renewal: renewal, Lease: number, Term: durationpb.New(term)}
}

// renewing are the renewals of a gateway that enforces revision 7.
func renewing(interval time.Duration, c *clocks) *renewals {
	r := newRenewals(interval, c.read)
	r.begin(7)
	return r
}

// asked insists that a renewal is due, or is not.
func asked(t *testing.T, r *renewals, want bool) uint64 {
	t.Helper()
	id, _, due := r.next()
	if due != want {
		t.Fatalf("a renewal is due: %t, want %t", due, want)
	}
	return id
}

func TestALeaseCountsFromWhenItsRenewalWasSent(t *testing.T) {
	c := newClocks()
	r := renewing(time.Hour, c)
	sent := c.read()
	id := asked(t, r, true)
	c.pass(3 * time.Second)
	granted, _, err := r.granted(granting(id, 4, 10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if want := lease.From(sent, 4, 10*time.Second); granted != want {
		t.Errorf("the lease is %+v, want %+v", granted, want)
	}
}

func TestALeaseThatArrivesAfterItsEndIsWorthNothing(t *testing.T) {
	c := newClocks()
	r := renewing(time.Hour, c)
	id := asked(t, r, true)
	c.pass(5 * time.Second)
	granted, _, err := r.granted(granting(id, 1, 5*time.Second))
	if err != nil || granted.Holds(c.read()) {
		t.Errorf("the lease %+v (%v) holds at its end", granted, err)
	}
}

func TestAGrantThatIsNotAsItShouldBeGivesNoLease(t *testing.T) {
	for sentence, c := range map[string]*syncpb.Grant{
		"to a renewal that was never sent":    granting(9, 1, time.Minute),
		"to no renewal":                       granting(0, 1, time.Minute),
		"without a number":                    granting(1, 0, time.Minute),
		"without a term":                      {Renewal: 1, Lease: 1},
		"for a time that is over at once":     granting(1, 1, 0),
		"for less than no time":               granting(1, 1, -time.Second),
		"for longer than any lease may last":  granting(1, 1, lease.MaxTerm+1),
		"for a time that is none":             {Renewal: 1, Lease: 1, Term: &durationpb.Duration{Seconds: 1, Nanos: -1}},
		"for longer than a duration can tell": {Renewal: 1, Lease: 1, Term: &durationpb.Duration{Seconds: 1 << 60}},
	} {
		t.Run(sentence, func(t *testing.T) {
			r := renewing(time.Hour, newClocks())
			asked(t, r, true)
			if granted, _, err := r.granted(c); err == nil || granted != (lease.Lease{}) {
				t.Errorf("the lease is %+v, error %v", granted, err)
			}
		})
	}
}

func TestAnAnswerCountsOnceAndForAllBeforeIt(t *testing.T) {
	c := newClocks()
	r := renewing(time.Second, c)
	first := asked(t, r, true)
	c.pass(time.Second)
	second := asked(t, r, true)
	if _, _, err := r.granted(granting(second, 2, time.Minute)); err != nil {
		t.Fatal(err)
	}
	for _, id := range []uint64{first, second} {
		if granted, _, err := r.granted(granting(id, 3, time.Minute)); err == nil {
			t.Errorf("the renewal %d is answered again, with %+v", id, granted)
		}
	}
	if !r.settled() {
		t.Error("a renewal waits still")
	}
}

func TestAnotherStreamsRenewalIsNotAnsweredOnThisOne(t *testing.T) {
	c := newClocks()
	r := renewing(time.Second, c)
	before := asked(t, r, true)
	c.pass(time.Second)
	later := asked(t, r, true)
	r.begin(7)
	sent := c.read()
	if again := asked(t, r, true); again != before {
		t.Fatalf("the first renewal of a stream has the id %d", again)
	}
	if granted, _, err := r.granted(granting(later, 1, time.Minute)); err == nil {
		t.Errorf("%+v answers a renewal of the stream before", granted)
	}
	granted, _, err := r.granted(granting(before, 1, time.Minute))
	if want := lease.From(sent, 1, time.Minute); err != nil || granted != want {
		t.Errorf("the lease is %+v (%v), want one from the renewal of this stream, %+v", granted, err, want)
	}
}

func TestAWithheldLeaseIsAskedForAgainOnceTheRevisionIsEnforced(t *testing.T) {
	for sentence, c := range map[string]struct {
		withheld *syncpb.Withheld
		enforced []uint64 // after the answer
		inTime   uint64   // enforced already when the answer comes
		due      bool
	}{
		"at once when it is":                                   {&syncpb.Withheld{Renewal: 1, Revision: 9}, []uint64{9}, 7, true},
		"at once when a newer one is":                          {&syncpb.Withheld{Renewal: 1, Revision: 9}, []uint64{12}, 7, true},
		"when it came to be while the answer was on its way":   {&syncpb.Withheld{Renewal: 1, Revision: 9}, nil, 9, true},
		"not for an older one":                                 {&syncpb.Withheld{Renewal: 1, Revision: 9}, []uint64{8}, 7, false},
		"not without end for what is enforced all along":       {&syncpb.Withheld{Renewal: 1, Revision: 7}, nil, 7, false},
		"not for a cause that no revision mends":               {&syncpb.Withheld{Renewal: 1, Message: "revoked"}, []uint64{9}, 9, false},
		"not for the answer to a renewal that was never asked": {&syncpb.Withheld{Renewal: 5, Revision: 9}, []uint64{9}, 7, false},
	} {
		t.Run(sentence, func(t *testing.T) {
			clock := newClocks()
			r := renewing(time.Hour, clock)
			asked(t, r, true)
			r.enforced(c.inTime)
			r.withheld(c.withheld)
			for _, revision := range c.enforced {
				r.enforced(revision)
			}
			if !c.due {
				asked(t, r, false)
				clock.pass(lease.RenewEvery(time.Hour, lease.MinTerm))
			}
			asked(t, r, true)
		})
	}
}

func TestAControlPlaneThatDoesNotAnswerIsLeftInTimeForAnother(t *testing.T) {
	c := newClocks()
	r := renewing(time.Hour, c)
	wait := func() time.Duration {
		t.Helper()
		r.begin(7)
		asked(t, r, true)
		begun := c.read().Boot
		for {
			if err := r.overdue(); errors.Is(err, errUnanswered) {
				return c.read().Boot - begun
			}
			rest := r.rest()
			if rest <= 0 {
				t.Fatal("there is nothing to wait for, and nothing to do")
			}
			c.pass(rest)
			r.next()
		}
	}
	if waited := wait(); waited > lease.MinTerm/3 {
		t.Errorf("the first is left after %s, which is a third of the shortest term or more", waited)
	}
	if waited := wait(); waited != 2*time.Second {
		t.Errorf("the second is left after %s, want twice as long as the first", waited)
	}
	for range 20 {
		if waited := wait(); waited > answerTimeout {
			t.Fatalf("one is left after %s", waited)
		}
	}
	r.begin(7)
	if _, _, err := r.granted(granting(asked(t, r, true), 1, lease.MinTerm)); err != nil {
		t.Fatal(err)
	}
	if waited := wait(); waited > lease.MinTerm/3 {
		t.Errorf("after an answer, one is left after %s", waited)
	}
}

// TestAnIdleWorkspaceNeverLapses lets a sender sleep as long as it is told to, and answers come late: whatever the term
// and the interval are, the next lease is granted before the one before ends.
func TestAnIdleWorkspaceNeverLapses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		term := time.Duration(rapid.Int64Range(int64(lease.MinTerm), int64(lease.MaxTerm)).Draw(t, "term"))
		interval := time.Duration(rapid.Int64Range(int64(time.Second), int64(time.Minute)).Draw(t, "interval"))
		c := newClocks()
		r := renewing(interval, c)
		var held lease.Lease
		for number := uint64(1); number < 20; {
			if held.Number != 0 && !held.Holds(c.read()) {
				t.Fatalf("the lease %d has lapsed", held.Number)
			}
			id, _, due := r.next()
			if !due {
				c.pass(r.rest())
				continue
			}
			c.pass(time.Duration(rapid.Int64Range(0, int64(answerWithin)-1).Draw(t, "answer")))
			if err := r.overdue(); err != nil {
				t.Fatal(err)
			}
			granted, _, err := r.granted(granting(id, number, term))
			if err != nil {
				t.Fatal(err)
			}
			if held.Number != 0 && !held.Holds(c.read()) {
				t.Fatalf("the lease %d lapsed before the next came", held.Number)
			}
			held = held.Adopt(granted)
			number++
		}
	})
}

func TestAHostThatWasSuspendedRenewsWithinASecond(t *testing.T) {
	c := newClocks()
	r := renewing(time.Hour, c)
	if _, _, err := r.granted(granting(asked(t, r, true), 1, lease.MaxTerm)); err != nil {
		t.Fatal(err)
	}
	if rest := r.rest(); rest > time.Second {
		t.Errorf("the link sleeps for %s by a timer that stands still while the host is suspended", rest)
	}
	c.pass(8 * time.Hour)
	asked(t, r, true)
}

func TestAGatewayThatEnforcesNothingAsksForNoLease(t *testing.T) {
	r := newRenewals(time.Hour, newClocks().read)
	r.begin(0)
	asked(t, r, false)
	if rest := r.rest(); rest <= 0 {
		t.Errorf("the link looks again after %s", rest)
	}
	r.enforced(7)
	if _, revision, due := r.next(); !due || revision != 7 {
		t.Errorf("a renewal is due: %t, of revision %d", due, revision)
	}
}
