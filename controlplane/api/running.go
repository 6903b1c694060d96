package api

import (
	"sync"

	"github.com/caracal-gateway/caracal/controlplane"
)

// maxRunning is how many requests of one caller may run at once. All callers share the connections to the database, and
// an owner's revocation must not stand behind the requests of the agent that it is about.
const maxRunning = 32

// running counts the requests that run, by caller. The zero value is ready.
type running struct {
	mu     sync.Mutex // guards counts
	counts map[string]int
}

// begin counts a request of the caller until end is called, unless most of them run already.
func (r *running) begin(c controlplane.Caller, most int) (end func(), err error) {
	name := callerName(c)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.counts[name] >= most {
		return nil, errBusy
	}
	if r.counts == nil {
		r.counts = map[string]int{}
	}
	r.counts[name]++
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.counts[name]--; r.counts[name] == 0 {
			delete(r.counts, name)
		}
	}, nil
}

// callerName tells callers apart.
func callerName(c controlplane.Caller) string {
	return string(c.Kind()) + " " + string(c.Key()) + " " + string(c.Person()) + " " + string(c.Principal().ID)
}
