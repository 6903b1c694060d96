package echo

import (
	"slices"
	"sync"
)

// maxRecorded bounds what a recorder remembers; it forgets the oldest first.
const maxRecorded = 10_000

// Recorder remembers requests. The zero value is ready, for any number of
// goroutines.
type Recorder struct {
	mu       sync.Mutex
	requests []*Request
}

// Requests returns what has arrived, the oldest first.
func (rec *Recorder) Requests() []Request {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	requests := make([]Request, len(rec.requests))
	for i, r := range rec.requests {
		requests[i] = *r
	}
	return requests
}

// Find returns the requests that came with a header of that value, the oldest
// first.
func (rec *Recorder) Find(header, value string) []Request {
	var found []Request
	for _, r := range rec.Requests() {
		if slices.Contains(r.Header.Values(header), value) {
			found = append(found, r)
		}
	}
	return found
}

// Reset forgets all requests.
func (rec *Recorder) Reset() {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.requests = nil
}

func (rec *Recorder) note(r Request) *Request {
	if rec == nil {
		return nil
	}
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if len(rec.requests) == maxRecorded {
		rec.requests = slices.Delete(rec.requests, 0, 1)
	}
	rec.requests = append(rec.requests, &r)
	return &r
}

// complete replaces a noted request by what is known of it with its body.
func (rec *Recorder) complete(noted *Request, r Request) {
	if rec == nil {
		return
	}
	rec.mu.Lock()
	defer rec.mu.Unlock()
	*noted = r
}
