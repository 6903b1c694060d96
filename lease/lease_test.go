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
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.lease.Holds(c.now); got != c.want {
				t.Errorf("Holds = %t, want %t", got, c.want)
			}
		})
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
