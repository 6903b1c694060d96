package extauthz

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Clock tells the control plane's time. It is anchored by what the control plane said last and carried on by a
// monotonic clock, so that neither a jump of the host's wall clock nor a suspended host makes a mandate valid for
// longer. Until it is anchored it tells the wall clock's time.
type Clock struct {
	elapsed func() time.Duration
	wall    func() time.Time

	mu     sync.RWMutex
	anchor *anchor
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

// Now is the control plane's present time, in UTC.
func (c *Clock) Now() time.Time {
	c.mu.RLock()
	at := c.anchor
	c.mu.RUnlock()
	if at == nil {
		return c.wall().UTC()
	}
	return at.time.Add(c.elapsed() - at.elapsed).UTC()
}

// BootTime is the time since the host started, counting the time that it was suspended.
func BootTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic(fmt.Sprintf("read CLOCK_BOOTTIME: %v", err)) // every Linux since 2.6.39 has it
	}
	return time.Duration(ts.Nano())
}
