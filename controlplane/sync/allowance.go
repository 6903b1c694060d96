package sync

import (
	"fmt"
	"sync"
	"time"

	"github.com/caracal-gateway/caracal/authority"
)

// What one gateway process may ask of a replica: allowanceMost at once, and allowanceEach a second over time. A healthy one
// needs a small part of it, also in the shortest lease and while its line breaks again and again; one that is faulty, or
// somebody else's by now, makes no more work than this.
const (
	allowanceMost = 200
	allowanceEach = 20.0
	// A message is answered by one transaction, a stream is opened by several, and a whole state may be large. A change gives
	// what it takes to answer it: that it is enforced, what Envoy makes of it, and a renewal that it held up.
	costOfMessage = 1.0
	costOfStream  = 10.0
	costOfWhole   = 20.0
	giftOfChange  = 3.0
)

// allowance is what is left to a process, as of an instant.
type allowance struct {
	left float64
	at   time.Time
}

// by is the allowance at a later instant.
func (a allowance) by(now time.Time) allowance {
	grown := max(0, now.Sub(a.at).Seconds()) * allowanceEach
	return allowance{min(allowanceMost, a.left+grown), now}
}

// allowances are those of the processes that have asked for something of late; all others have the whole.
type allowances struct {
	mu    sync.Mutex // guards what follows
	of    map[authority.GatewayID]allowance
	swept time.Time
}

// take spends of a process's allowance, and reports false where that is too little.
func (as *allowances) take(id authority.GatewayID, cost float64, now time.Time) bool {
	as.mu.Lock()
	defer as.mu.Unlock()
	own := as.present(id, now)
	enough := own.left >= cost
	if enough {
		own.left -= cost
	}
	as.of[id] = own
	return enough
}

// give adds to a process's allowance.
func (as *allowances) give(id authority.GatewayID, gift float64, now time.Time) {
	as.mu.Lock()
	defer as.mu.Unlock()
	own := as.present(id, now)
	own.left = min(allowanceMost, own.left+gift)
	as.of[id] = own
}

// present is what is left to a process. The caller holds the lock.
func (as *allowances) present(id authority.GatewayID, now time.Time) allowance {
	as.sweep(now)
	own, known := as.of[id]
	if !known {
		return allowance{allowanceMost, now}
	}
	return own.by(now)
}

// sweep forgets those who have the whole again, every so often. The caller holds the lock.
func (as *allowances) sweep(now time.Time) {
	const every = time.Minute
	if now.Sub(as.swept) < every {
		return
	}
	as.swept = now
	for id, a := range as.of {
		if a.by(now).left == allowanceMost {
			delete(as.of, id)
		}
	}
}

// allow spends of a process's allowance. The error ends its stream.
func (s *server) allow(id authority.GatewayID, cost float64) error {
	if s.allowances.take(id, cost, s.now()) {
		return nil
	}
	return s.answer("allow", &authority.Error{Code: authority.CodeLimited, Message: fmt.Sprintf(
		"this gateway asks for more than a healthy one does, %.0f times a second: upgrade it, or revoke it if it is not yours any more", allowanceEach)})
}
