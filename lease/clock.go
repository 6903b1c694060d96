package lease

import "time"

// Reading is what the clocks of one host say at one instant.
type Reading struct {
	// Boot is the time since the host started, counting the time that it was suspended: no step of a clock moves it.
	Boot time.Duration
	// Wall is the host's wall clock, a second opinion: it can only shorten a lease. What a time.Time carries of the
	// monotonic clock does not count.
	Wall time.Time
}

const (
	// baseMargin covers the resolution of timers and a decision that is on its way.
	baseMargin = 500 * time.Millisecond
	// Stall is for how long live streams outlast a gateway process that stands still: an Envoy that goes on notices by
	// the keep-alives on its connection to the process, and ends them.
	Stall = 2 * time.Second
	// slew is by which part of a term a gateway's clock may run slow. Services that keep a clock right turn it by up to a
	// tenth, and the clock since boot with it: a term then lasts a ninth longer.
	slew = 8
)

// Margin is by how much longer than its term a lease is waited for, so that a gateway whose clock runs slow has ended,
// with all its streams, before anybody concludes that it has.
func Margin(term time.Duration) time.Duration { return baseMargin + Stall + term/slew }
