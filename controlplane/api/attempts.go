package api

import (
	"sync"
	"time"
)

const (
	// attemptsPerMinute is how many bad keys one address may try before it is told to wait.
	attemptsPerMinute = 10
	maxAddresses      = 10_000
)

// attempts counts bad keys by address and minute. A good key is never refused on account of them: a gateway brings the
// requests of many agents from one address.
type attempts struct {
	now func() time.Time

	mu     sync.Mutex // guards what follows
	minute int64
	counts map[string]int
}

// exceeded counts one more bad key of the address and reports whether that is too many.
func (a *attempts) exceeded(address string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	minute := a.now().Unix() / 60
	if minute != a.minute || a.counts == nil {
		a.minute, a.counts = minute, map[string]int{}
	}
	if _, known := a.counts[address]; !known && len(a.counts) >= maxAddresses {
		return true
	}
	a.counts[address]++
	return a.counts[address] > attemptsPerMinute
}
