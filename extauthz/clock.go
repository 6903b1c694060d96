package extauthz

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Clock tells the control plane's time. It is anchored by what the control plane said last and carried on by a
// monotonic clock, so that neither a jump of the host's wall clock nor a suspended host makes a mandate valid for
// longer. Until it is anchored it tells the wall clock's time, but no earlier one than is known to have passed.
type Clock struct {
	elapsed func() time.Duration
	wall    func() time.Time

	mu     sync.RWMutex
	anchor *anchor
	past   *anchor // the latest instant that is known to have passed; nil for none
}

// anchor is one observation of the control plane's time.
type anchor struct {
	time    time.Time
	elapsed time.Duration
	// doubt is how far off the observation can be: half of the round trip that brought it.
	doubt time.Duration
}

// drift is how much a host's monotonic clock may run fast or slow: 200 parts per million, twice what NTP corrects.
const drift = 5000

// NewClock makes a clock from a monotonic clock that goes on while the host is suspended ([BootTime]) and a wall clock.
func NewClock(elapsed func() time.Duration, wall func() time.Time) *Clock {
	return &Clock{elapsed: elapsed, wall: wall}
}

// Anchor takes note of the time that the control plane told, and of how long asking took. An observation that is less
// certain than what the clock knows already changes nothing.
func (c *Clock) Anchor(server time.Time, roundTrip time.Duration) {
	if roundTrip < 0 {
		return
	}
	now := c.elapsed()
	seen := &anchor{time: server.Add(roundTrip / 2), elapsed: now, doubt: roundTrip / 2}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.anchor == nil || seen.doubt <= c.anchor.doubt+(now-c.anchor.elapsed)/drift {
		c.anchor = seen
	}
}

// Passed takes note of an instant that the control plane has seen, such as when it sealed the state that is enforced: a
// gateway that starts without its control plane on a host whose wall clock is behind, or is set back, does not take what
// ended before for valid.
func (c *Clock) Passed(at time.Time) {
	now := c.elapsed()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.past == nil || c.past.at(now).Before(at) {
		c.past = &anchor{time: at, elapsed: now}
	}
}

// Now is the control plane's present time, in UTC.
func (c *Clock) Now() time.Time {
	c.mu.RLock()
	known, past := c.anchor, c.past
	c.mu.RUnlock()
	elapsed := c.elapsed()
	if known != nil {
		return known.at(elapsed).UTC()
	}
	now := c.wall()
	if past != nil && now.Before(past.at(elapsed)) {
		now = past.at(elapsed)
	}
	return now.UTC()
}

// Skew is by how much the host's wall clock is off the control plane's time at least; 0 while that is not known.
func (c *Clock) Skew() time.Duration {
	c.mu.RLock()
	known := c.anchor
	c.mu.RUnlock()
	if known == nil {
		return 0
	}
	elapsed := c.elapsed()
	off := c.wall().Sub(known.at(elapsed)).Abs()
	return max(0, off-known.doubt-(elapsed-known.elapsed)/drift)
}

// at is the time when the monotonic clock has got so far.
func (a *anchor) at(elapsed time.Duration) time.Time { return a.time.Add(elapsed - a.elapsed) }

// BootTime is the time since the host started, counting the time that it was suspended.
func BootTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic(fmt.Sprintf("read CLOCK_BOOTTIME: %v", err)) // every Linux since 2.6.39 has it
	}
	return time.Duration(ts.Nano())
}
