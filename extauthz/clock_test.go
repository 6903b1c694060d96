package extauthz_test

import (
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/authority"
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

func TestAClockThatWasNotAnchoredDoesNotGoBehindWhatHasPassed(t *testing.T) {
	var elapsed time.Duration
	wall := start.Add(-time.Hour)
	clock := extauthz.NewClock(func() time.Duration { return elapsed }, func() time.Time { return wall })
	expect := func(what string, want time.Time) {
		t.Helper()
		if got := clock.Now(); !got.Equal(want) {
			t.Errorf("%s: %s, want %s", what, got.Format(time.RFC3339Nano), want.Format(time.RFC3339Nano))
		}
	}
	clock.Passed(start)
	expect("on a host whose clock is an hour behind", start)
	elapsed = time.Minute
	expect("a minute later", start.Add(time.Minute))
	clock.Passed(start.Add(time.Second))
	expect("after news of what had passed before", start.Add(time.Minute))
	wall = start.Add(time.Hour)
	expect("once the wall clock is ahead of it", wall)
	clock.Anchor(start.Add(-time.Hour), 0)
	expect("anchored, the control plane's", start.Add(-time.Hour))
}

func TestAMandateThatHasEndedStaysSoOnAHostWhoseClockIsBehind(t *testing.T) {
	b := newBench(t, func(c *extauthz.Config) {
		c.Clock = extauthz.NewClock(func() time.Duration { return 0 }, func() time.Time { return start })
	})
	b.State.IssuedAt = start.Add(2 * time.Hour)
	b.enforce(t)
	answer, err := b.service.Validate(t.Context(), extauthz.Caller{Principal: b.Agent}, extauthz.Question{MandateID: b.Mandate.ID, Action: authority.Read, Resource: "api:model"})
	if err != nil {
		t.Fatal(err)
	}
	if answer.DenialReason == nil || *answer.DenialReason != authority.ReasonExpired {
		t.Errorf("answered %+v, want %s", answer, authority.ReasonExpired)
	}
}

func TestBootTimeRuns(t *testing.T) {
	first := extauthz.BootTime()
	if second := extauthz.BootTime(); first <= 0 || second < first {
		t.Errorf("boot time %s, then %s", first, second)
	}
}

func TestTheSkewOfTheHostsClockIsWhatIsCertainOfIt(t *testing.T) {
	var elapsed time.Duration
	wall := start
	clock := extauthz.NewClock(func() time.Duration { return elapsed }, func() time.Time { return wall })
	if got := clock.Skew(); got != 0 {
		t.Errorf("before the control plane has told its time the skew is %s", got)
	}
	clock.Anchor(start, 2*time.Second) // it is start plus a second, give or take a second
	for name, c := range map[string]struct {
		off  time.Duration
		want time.Duration
	}{"within doubt": {2 * time.Second, 0}, "ahead": {6 * time.Second, 4 * time.Second}, "behind": {-4 * time.Second, 4 * time.Second}} {
		wall = start.Add(c.off)
		if got := clock.Skew(); got != c.want {
			t.Errorf("%s: the skew is %s, want %s", name, got, c.want)
		}
	}
}
