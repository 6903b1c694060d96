package lease

import "time"

// Reading is what the clocks of one host say at one instant.
type Reading struct {
	// Boot is the time since the host started, counting the time that it was suspended: no setting of a clock moves it.
	Boot time.Duration
	// Wall is the host's wall clock, a second opinion: it can only shorten a lease.
	Wall time.Time
}

const (
	// baseMargin covers what does not grow with the term: the resolution of timers and a decision that is on its way.
	baseMargin = 500 * time.Millisecond
	// drift is how far the clocks of two hosts run apart at most: a thousandth, five times what NTP corrects.
	drift = 1000
)

// Margin is by how much longer than its term a lease is waited for, so that a gateway whose clock runs slow has ended
// before anybody concludes that it has.
func Margin(term time.Duration) time.Duration { return baseMargin + term/drift }
