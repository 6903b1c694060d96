package gateway

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/caracal-gateway/caracal/internal/syncpb"
	"github.com/caracal-gateway/caracal/lease"
)

const (
	// lookEvery bounds how long the link sleeps: the timers that wake it stand still while the host is suspended, the
	// clock that leases are held against does not.
	lookEvery = time.Second
	// answerWithin is the least time that a control plane has to answer a renewal. Longer terms leave more.
	answerWithin = time.Second
)

// errUnanswered is a control plane that takes renewals and does not answer: it is frozen, it has lost its database, or
// nothing reaches it and nobody said so.
var errUnanswered = errors.New("the control plane has not answered a renewal")

// renewals are those of the live stream that wait for an answer, and when the next one is due. All times are the boot
// clock's.
type renewals struct {
	read     func() lease.Reading
	interval time.Duration

	mu      sync.Mutex
	newest  uint64 // id on this stream
	waiting map[uint64]renewal
	term    time.Duration // of the last grant; the shortest before the first
	due     time.Duration
	present uint64 // revision that the control plane has been told to be enforced
	wanted  uint64 // one without which there is no grant; 0 for none
	silent  int    // streams in a row that ended for want of an answer
}

type renewal struct {
	sent     lease.Reading
	revision uint64 // that was enforced then
}

func newRenewals(interval time.Duration, read func() lease.Reading) *renewals {
	return &renewals{read: read, interval: interval, term: lease.MinTerm, waiting: map[uint64]renewal{}}
}

// begin forgets what an earlier stream did not answer. The first renewal on a stream is due at once, if its hello told that
// a revision is enforced.
func (r *renewals) begin(revision uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.newest, r.wanted, r.due, r.present = 0, 0, 0, revision
	clear(r.waiting)
}

// next numbers a renewal if one is due. A lease that it brings counts from this moment. It tells no revision that has not
// been acknowledged: the acknowledgement says more of it. A gateway that enforces nothing decides nothing, and asks for no
// lease that a revocation would wait for.
func (r *renewals) next() (id, revision uint64, due bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.read()
	if r.present == 0 || now.Boot < r.due {
		return 0, 0, false
	}
	r.newest++
	r.waiting[r.newest] = renewal{now, r.present}
	r.due = now.Boot + lease.RenewEvery(r.interval, r.term)
	return r.newest, r.present, true
}

// rest is how long nothing is to be done.
func (r *renewals) rest() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	now, next := r.read().Boot, r.due
	if r.present == 0 {
		next = now + lookEvery
	}
	if oldest, some := r.oldest(); some {
		next = min(next, oldest+r.patience())
	}
	return max(0, min(next-now, lookEvery))
}

// overdue is an error once a renewal has waited for too long: another connection may lead to a replica that answers.
// Each stream in a row that ends so is given twice the time of the one before, so that a database which is slow is not
// made slower.
func (r *renewals) overdue() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	oldest, some := r.oldest()
	if waited := r.read().Boot - oldest; some && waited >= r.patience() {
		r.silent++
		return fmt.Errorf("%w for %s", errUnanswered, waited.Round(10*time.Millisecond))
	}
	return nil
}

// oldest is when the renewal that waits longest was sent. The caller holds the lock.
func (r *renewals) oldest() (sent time.Duration, some bool) {
	for _, w := range r.waiting {
		if !some || w.sent.Boot < sent {
			sent, some = w.sent.Boot, true
		}
	}
	return sent, some
}

// patience is how long a renewal may wait for its answer. The caller holds the lock.
func (r *renewals) patience() time.Duration {
	return min(max(answerWithin, r.term/6)<<min(r.silent, 10), answerTimeout)
}

// granted is the lease that a grant gives, and the revision that the renewal told of. It is an error for a grant that answers nothing which this stream asked, or
// whose term nobody can have chosen.
func (r *renewals) granted(g *syncpb.Grant) (granted lease.Lease, revision uint64, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	asked, known := r.answered(g.GetRenewal())
	if !known {
		return lease.Lease{}, 0, fmt.Errorf("lease %d is granted to the renewal %d, which does not wait for an answer", g.GetLease(), g.GetRenewal())
	}
	term := g.GetTerm().AsDuration()
	if g.GetLease() == 0 || g.GetTerm().CheckValid() != nil || term <= 0 || term > lease.MaxTerm {
		return lease.Lease{}, 0, fmt.Errorf("lease %d is granted for %s", g.GetLease(), term)
	}
	r.term, r.wanted = term, 0
	r.due = min(r.due, asked.sent.Boot+lease.RenewEvery(r.interval, term))
	return lease.From(asked.sent, g.GetLease(), term), asked.revision, nil
}

// withheld notes which revision has to be enforced first. What is enforced since the renewal was sent may be enough.
func (r *renewals) withheld(w *syncpb.Withheld) {
	r.mu.Lock()
	defer r.mu.Unlock()
	asked, known := r.answered(w.GetRenewal())
	if !known {
		return
	}
	r.wanted = w.GetRevision()
	if r.present > asked.revision {
		r.reached()
	}
}

// enforced notes that a revision is acknowledged. A renewal is due if it is what the control plane waits for.
func (r *renewals) enforced(revision uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.present = revision
	r.reached()
}

// reached makes a renewal due if what the control plane waits for is enforced. The caller holds the lock.
func (r *renewals) reached() {
	if r.wanted != 0 && r.present >= r.wanted {
		r.wanted, r.due = 0, 0
	}
}

// answered gives the renewal that is answered; those before it are answered with it. The caller holds the lock.
func (r *renewals) answered(id uint64) (renewal, bool) {
	asked, known := r.waiting[id]
	if !known {
		return renewal{}, false
	}
	for other := range r.waiting {
		if other <= id {
			delete(r.waiting, other)
		}
	}
	r.silent = 0
	return asked, true
}

// settled reports that no renewal waits for an answer.
func (r *renewals) settled() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.waiting) == 0
}

// every is how often the control plane is asked.
func (r *renewals) every() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return lease.RenewEvery(r.interval, r.term)
}
