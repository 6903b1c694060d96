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
	// refusedPause is the longest between the tries of a gateway that the control plane refuses. What is wrong may be on that
	// side, and mended soon; one that is revoked for good makes next to no work.
	refusedPause = time.Minute
)

// retries says how long to wait before the next try to reach the control plane: any time up to a bound, so that gateways
// that were cut off together do not come back together.
type retries struct {
	failed int // tries in a row that brought no stream worth the name
}

// next is the pause after a try that lasted so long. every is how often the gateway wants to hear from the control plane:
// it waits no longer than that, unless it is refused.
func (r *retries) next(lasted, every time.Duration, refused bool) time.Duration {
	longest := min(retryPauseMax, every)
	if refused {
		longest = refusedPause
	}
	bound := max(retryPauseMin, min(retryPauseMin<<min(r.failed, 10), longest))
	r.failed++
	if lasted > retryPauseMax {
		r.failed, bound = 0, max(retryPauseMin, min(spread, every))
	}
	if refused {
		return bound/2 + rand.N(bound/2)
	}
	return rand.N(bound)
}
