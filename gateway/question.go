package gateway

import (
	"context"
	"errors"
	"sync"
	"time"
)

// errNotConnected is the state of a gateway whose control plane is away.
var errNotConnected = errors.New("the control plane is not connected")

// questions are the sync requests of the live stream that wait for their answer. The control plane answers the newest,
// and with it all before.
type questions struct {
	elapsed func() time.Duration // goes on while the host is suspended

	mu      sync.Mutex
	open    bool // there is a stream
	newest  uint64
	waiting map[uint64]question
}

type question struct {
	at       time.Duration
	answered chan error // gets nil with the answer, or why there will be none
}

func newQuestions(elapsed func() time.Duration) *questions {
	return &questions{elapsed: elapsed, waiting: map[uint64]question{}}
}

// begin lets questions be asked, end fails those that wait: a stream has begun, or is over.
func (q *questions) begin() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.open = true
}

func (q *questions) end() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.open = false
	for id, w := range q.waiting {
		w.answered <- errNotConnected
		delete(q.waiting, id)
	}
}

// ask numbers a question, from 1. Its channel gets one answer, at once when there is no stream to ask it on.
func (q *questions) ask() (id uint64, answered <-chan error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	answer := make(chan error, 1)
	if !q.open {
		answer <- errNotConnected
		return 0, answer
	}
	q.newest++
	q.waiting[q.newest] = question{q.elapsed(), answer}
	return q.newest, answer
}

// roundTrip is how long ago a question was asked that still waits. It bounds how old the time is that its answer tells.
func (q *questions) roundTrip(id uint64) (time.Duration, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	w, known := q.waiting[id]
	if !known {
		return 0, false
	}
	return q.elapsed() - w.at, true
}

// answer ends the wait of all who asked up to this question.
func (q *questions) answer(id uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for asked, w := range q.waiting {
		if asked <= id {
			w.answered <- nil
			delete(q.waiting, asked)
		}
	}
}

// forget gives a question up.
func (q *questions) forget(id uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.waiting, id)
}

// longest is how long the oldest question waits; false when none does.
func (q *questions) longest() (time.Duration, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	var longest time.Duration
	now := q.elapsed()
	for _, w := range q.waiting {
		longest = max(longest, now-w.at)
	}
	return longest, len(q.waiting) > 0
}

// Sync asks the control plane for the newest revision and returns once it was applied or refused.
func (l *link) Sync(ctx context.Context) error {
	id, answered := l.questions.ask()
	if id != 0 {
		l.outbox.ask(id)
	}
	select {
	case <-ctx.Done():
		l.questions.forget(id)
		return ctx.Err()
	case err := <-answered:
		return err
	}
}
