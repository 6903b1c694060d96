package lease_test

import (
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/lease"
)

func reading(elapsed time.Duration) lease.Reading {
	return lease.Reading{Boot: time.Hour + elapsed, Wall: time.Date(2024, 1, 15, 10, 30, 0, 0, time.UTC).Add(elapsed)}
}

func TestLeaseHolds(t *testing.T) {
	held := lease.From(reading(0), 1, time.Minute)
	stepped := func(elapsed, step time.Duration) lease.Reading {
		at := reading(elapsed)
		at.Wall = at.Wall.Add(step)
		return at
	}
	for name, c := range map[string]struct {
		lease lease.Lease
		now   lease.Reading
		want  bool
	}{
		"until its end":  {held, reading(time.Minute - 1), true},
		"not at its end": {held, reading(time.Minute), false},
		"not when the wall clock says it is over":   {held, stepped(time.Second, time.Hour), false},
		"no longer for a wall clock that goes back": {held, stepped(time.Minute, -time.Hour), false},
		"never without a grant":                     {lease.Lease{}, lease.Reading{}, false},
		"no longer for what a time.Time knows of the monotonic clock": {lease.From(lease.Reading{Wall: time.Now()}, 1, time.Minute),
			lease.Reading{Wall: time.Now().Round(0).Add(time.Minute)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.lease.Holds(c.now); got != c.want {
				t.Errorf("Holds = %t, want %t", got, c.want)
			}
		})
	}
}

func TestAdopt(t *testing.T) {
	long, short := lease.From(reading(0), 4, time.Hour), lease.From(reading(time.Second), 5, time.Minute)
	if got := long.Adopt(short); got != short {
		t.Errorf("the lease granted last is the one that is held, got %v", got)
	}
	if got := short.Adopt(long); got != short {
		t.Errorf("a grant that was overtaken changes nothing, got %v", got)
	}
}

func TestGrantable(t *testing.T) {
	for enforced, want := range map[uint64]bool{6: false, 7: true, 8: true} {
		if got := lease.Grantable(enforced, 7); got != want {
			t.Errorf("Grantable(%d, 7) = %t, want %t", enforced, got, want)
		}
	}
}

// A grant that shortens the term may be lost on the way; the gateway then goes on under the longer one.
func TestGrantedWaitsForTheLongestTermThatMayBeInUse(t *testing.T) {
	s := lease.Standing{}.Granted(0, time.Hour)
	if s.Lease != 1 || s.Wait != time.Hour {
		t.Fatalf("first grant: %+v", s)
	}
	steps := []struct {
		sentence string
		held     uint64
		term     time.Duration
		wait     time.Duration
	}{
		{"a shorter term waits for the longer one", 1, time.Minute, time.Hour},
		{"also when the gateway has not got it", 1, time.Minute, time.Hour},
		{"until the gateway holds one that is shorter", 3, time.Minute, time.Minute},
		{"a longer term counts at once", 4, time.Hour, time.Hour},
		{"a gateway that holds nothing may have lost what was granted last only", 0, time.Minute, time.Hour},
	}
	for _, step := range steps {
		if s = s.Granted(step.held, step.term); s.Wait != step.wait || s.Term != step.term {
			t.Errorf("%s: %+v, want to wait %v", step.sentence, s, step.wait)
		}
	}
	s.Over = true
	if s = s.Granted(0, time.Minute); s.Wait != time.Minute || s.Over {
		t.Errorf("nothing is left of leases that are over: %+v", s)
	}
}

func TestRestoredWaitsForLeasesThatTheDatabaseHasForgotten(t *testing.T) {
	for name, before := range map[string]lease.Standing{
		"one that never had a lease":  {},
		"one whose lease was over":    {Enforced: 9, Lease: 4, Over: true},
		"one that had acknowledged":   {Enforced: 9, Lease: 4},
		"one that was given up again": {Endless: true, Over: true},
		"one that has been over long": {Lease: 4, Over: true, Wait: lease.MaxTerm},
	} {
		t.Run(name, func(t *testing.T) {
			after := before.Restored(time.Hour)
			if !after.HoldsUp(1) || after.Wait != time.Hour || after.Lease <= before.Lease+1000 {
				t.Errorf("Restored = %+v", after)
			}
			if next := after.Granted(before.Lease+1, time.Minute); next.Wait != time.Hour {
				t.Errorf("a grant of the new timeline lets the one before be forgotten: %+v", next)
			}
		})
	}
	if known := (lease.Standing{Lease: 4, Wait: lease.MaxTerm}).Restored(time.Hour); known.Wait != lease.MaxTerm {
		t.Errorf("a longer lease that the database knows is waited for %v", known.Wait)
	}
}

func TestProgress(t *testing.T) {
	waits, done := lease.Standing{Enforced: 6, Lease: 1}, lease.Standing{Enforced: 7, Lease: 1}
	p := lease.Progress{}.See(7, []lease.Standing{done, waits}, time.Second)
	if p.Effective(time.Hour, 0) {
		t.Error("a change that is held up is in effect")
	}
	p = p.See(7, []lease.Standing{done, done}, 10*time.Second).See(7, []lease.Standing{done, done}, 11*time.Second)
	if p.Effective(12*time.Second-1, 2*time.Second) || !p.Effective(12*time.Second, 2*time.Second) {
		t.Errorf("it takes effect when it has settled: %+v", p)
	}
	if none := (lease.Progress{}).See(7, nil, 0); !none.Effective(0, 0) {
		t.Error("a change that no gateway holds up waits for one")
	}
}

func TestMarginCoversWhatIsAssumed(t *testing.T) {
	for _, term := range []time.Duration{lease.MinTerm, lease.DefaultTerm, lease.MaxTerm} {
		slowest := term + term/9 + 500*time.Millisecond // by a clock that is turned by a tenth, and a timer that is late
		if got := term + lease.Margin(term); got < slowest+lease.Stall {
			t.Errorf("a term of %v is waited for %v, but a slow gateway that is frozen at its end goes on for %v", term, got, slowest+lease.Stall)
		}
	}
}

func TestSightIsOverOnlyForOneNumberSeenTheWholeTime(t *testing.T) {
	const term = 5 * time.Second
	whole := term + lease.Margin(term)
	first := lease.Sight{}.See(1, 0)
	if first.Over(whole-1, term) || !first.Over(whole, term) {
		t.Error("a lease is over after its term and margin, and not before")
	}
	if renewed := first.See(2, whole-1); renewed.Over(2*whole-2, term) {
		t.Error("another number starts the wait anew")
	}
	if none := (lease.Sight{}).See(0, 0); none.Over(24*time.Hour, term) {
		t.Error("what was never granted is never over")
	}
}

func TestStandingHoldsUp(t *testing.T) {
	for name, c := range map[string]struct {
		standing lease.Standing
		want     bool
	}{
		"a lease at an older revision":          {lease.Standing{Enforced: 6, Lease: 1}, true},
		"not one that enforces the change":      {lease.Standing{Enforced: 7, Lease: 1}, false},
		"not a lease that is over":              {lease.Standing{Enforced: 6, Lease: 1, Over: true}, false},
		"not a gateway that never had one":      {lease.Standing{Enforced: 6}, false},
		"a gateway that knows of no leases":     {lease.Standing{Enforced: 6, Endless: true}, true},
		"not one of those that was given up":    {lease.Standing{Enforced: 6, Endless: true, Over: true}, false},
		"not one of those that enforces change": {lease.Standing{Enforced: 7, Endless: true}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.standing.HoldsUp(7); got != c.want {
				t.Errorf("HoldsUp = %t, want %t", got, c.want)
			}
		})
	}
}
