package lease_test

import (
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/lease"
)

func at(revision uint64) lease.Position { return lease.Position{Timeline: "first", Revision: revision} }

func TestResume(t *testing.T) {
	kept := lease.Kept{BootID: "boot", Gateway: "gw", State: at(7), Sent: reading(0), Lease: lease.From(reading(0), 3, time.Minute)}
	stepped := func(elapsed, step time.Duration) lease.Reading {
		now := reading(elapsed)
		now.Wall = now.Wall.Add(step)
		return now
	}
	for name, c := range map[string]struct {
		boot, gateway string
		state         lease.Position
		now           lease.Reading
		want          bool
	}{
		"within the lease":                         {"boot", "gw", at(7), reading(time.Minute - 1), true},
		"from a later state":                       {"boot", "gw", at(8), reading(time.Second), true},
		"not after its end":                        {"boot", "gw", at(7), reading(time.Minute), false},
		"not after the host started again":         {"another", "gw", at(7), reading(time.Second), false},
		"not where the host has no id":             {"", "gw", at(7), reading(time.Second), false},
		"not as another gateway":                   {"boot", "other", at(7), reading(time.Second), false},
		"not from an older state":                  {"boot", "gw", at(6), reading(time.Second), false},
		"not from a state of another timeline":     {"boot", "gw", lease.Position{Timeline: "second", Revision: 9}, reading(time.Second), false},
		"not without a state":                      {"boot", "gw", lease.Position{}, reading(time.Second), false},
		"not by a clock that says less than once":  {"boot", "gw", at(7), reading(-time.Second), false},
		"not when the wall clock was turned back":  {"boot", "gw", at(7), stepped(time.Second, -time.Hour), false},
		"not when the wall clock says it is over":  {"boot", "gw", at(7), stepped(time.Second, time.Hour), false},
		"not by a wall clock that stands still":    {"boot", "gw", at(7), stepped(time.Minute, -time.Minute), false},
		"also by a wall clock that is a bit ahead": {"boot", "gw", at(7), stepped(time.Second, time.Second), true},
	} {
		t.Run(name, func(t *testing.T) {
			got, resumed := kept.Resume(c.boot, c.gateway, c.state, c.now)
			if resumed != c.want || resumed != (got == kept.Lease) {
				t.Errorf("Resume = %v, %t, want %t", got, resumed, c.want)
			}
		})
	}
	if _, resumed := (lease.Kept{}).Resume("", "", lease.Position{}, lease.Reading{}); resumed {
		t.Error("nothing kept is resumed")
	}
}

func TestAcknowledgeable(t *testing.T) {
	for name, c := range map[string]struct {
		kept      lease.Position
		leaseKept bool
		want      bool
	}{
		"what is on disk":                                    {at(7), true, true},
		"not what a restart would undo":                      {at(6), true, false},
		"what a restart would undo when it has to be fenced": {at(6), false, true},
		"what a restart finds nothing in the place of":       {lease.Position{}, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := lease.Acknowledgeable(at(7), c.kept, c.leaseKept); got != c.want {
				t.Errorf("Acknowledgeable = %t, want %t", got, c.want)
			}
		})
	}
}

func TestCompare(t *testing.T) {
	other := lease.Position{Timeline: "second", Revision: 7}
	for name, c := range map[string]struct {
		says lease.Position
		want lease.Relation
	}{
		"a gateway that is up to date":    {at(7), lease.Behind},
		"one that lags":                   {at(6), lease.Behind},
		"one that knows what was lost":    {at(8), lease.Beyond},
		"one of the timeline before":      {other, lease.Foreign},
		"one that enforces nothing":       {lease.Position{}, lease.Foreign},
		"one whose timeline is not named": {lease.Position{Revision: 9}, lease.Foreign},
	} {
		t.Run(name, func(t *testing.T) {
			if got := lease.Compare(c.says, at(7)); got != c.want {
				t.Errorf("Compare = %v, want %v", got, c.want)
			}
		})
	}
	if lease.Counts(other, "first") != 0 || lease.Counts(other, "second") != 7 {
		t.Error("a revision counts on its own timeline only")
	}
}

func TestAccepts(t *testing.T) {
	next := lease.Position{Timeline: "second", Revision: 3}
	for name, c := range map[string]struct {
		held, offered lease.Position
		successor     bool
		want          bool
	}{
		"the first state":                              {lease.Position{}, at(1), false, true},
		"a later one":                                  {at(6), at(7), false, true},
		"the same again":                               {at(7), at(7), false, true},
		"none that is older":                           {at(7), at(6), false, false},
		"none that is older, whatever it claims":       {at(7), at(6), true, false},
		"none of another timeline":                     {at(7), next, false, false},
		"one of the successor, whatever its number is": {at(7), next, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := lease.Accepts(c.held, c.offered, c.successor); got != c.want {
				t.Errorf("Accepts = %t, want %t", got, c.want)
			}
		})
	}
}
