package extauthz_test

import (
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/extauthz"
)

func TestTheClockTellsTheControlPlanesTime(t *testing.T) {
	var elapsed time.Duration
	wall := start
	clock := extauthz.NewClock(func() time.Duration { return elapsed }, func() time.Time { return wall })
	expect := func(what string, want time.Time) {
		t.Helper()
		if got := clock.Now(); !got.Equal(want) {
			t.Errorf("%s: %s, want %s", what, got.Format(time.RFC3339Nano), want.Format(time.RFC3339Nano))
		}
	}
	expect("before it is anchored, the wall clock's", start)

	server := start.Add(90 * time.Minute)
	clock.Anchor(server, 100*time.Millisecond)
	expect("anchored, with half the round trip", server.Add(50*time.Millisecond))

	wall = wall.Add(-time.Hour)
	expect("after a jump of the wall clock", server.Add(50*time.Millisecond))

	elapsed = 8 * time.Hour
	expect("after the host was suspended for hours", server.Add(8*time.Hour+50*time.Millisecond))

	clock.Anchor(start, time.Hour)
	expect("after an answer that took an hour", server.Add(8*time.Hour+50*time.Millisecond))

	clock.Anchor(start, -time.Second)
	expect("after an answer from before the question", server.Add(8*time.Hour+50*time.Millisecond))

	clock.Anchor(server, 0)
	expect("after a quicker answer", server)
}

func TestBootTimeRuns(t *testing.T) {
	first := extauthz.BootTime()
	if second := extauthz.BootTime(); first <= 0 || second < first {
		t.Errorf("boot time %s, then %s", first, second)
	}
}
