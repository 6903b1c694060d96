package gateway

import (
	"math/rand/v2"
	"time"
)

const (
	retryPauseMin = 250 * time.Millisecond
	retryPauseMax = 3 * time.Second
	// spread is the time that gateways whose streams end together take to come back. A control plane that ends a thousand
	// streams at once gets about one connection in a millisecond.
	spread = time.Second
)

// retries says how long to wait before the next try to reach the control plane: any time up to a bound, so that gateways
// that were cut off together do not come back together.
type retries struct {
	failed int // tries in a row that brought no stream worth the name
}

// next is the pause after a try that lasted so long. every is how often the gateway wants to hear from the control plane:
// it waits no longer than that.
func (r *retries) next(lasted, every time.Duration) time.Duration {
	bound := max(retryPauseMin, min(retryPauseMin<<min(r.failed, 10), retryPauseMax, every))
	r.failed++
	if lasted > retryPauseMax {
		r.failed, bound = 0, max(retryPauseMin, min(spread, every))
	}
	return rand.N(bound)
}
