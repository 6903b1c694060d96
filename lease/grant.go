package lease

import "time"

// Grantable reports whether a gateway that enforces a revision may be granted a lease. The fence is the revision of the
// last change that took authority away: a gateway that does not enforce it catches up first. It is read in the
// transaction of the grant under a lock that such a change takes too, so that a lease at an older revision is either
// visible to the change, which waits for it, or never granted.
func Grantable(enforced, fence uint64) bool { return enforced >= fence }

// Standing is what the database knows of one gateway process.
type Standing struct {
	// Enforced is the highest revision that the gateway has acknowledged.
	Enforced uint64
	// Lease is the number of the lease that was granted last; 0 for none.
	Lease uint64
	// Over says that this lease has been surrendered, or been watched by a replica for as long as it can last.
	Over bool
	// Endless marks a gateway that decides without a lease, as those do that know of none: only its word, or that of an
	// operator who declares it gone, ends the wait for it.
	Endless bool
}

// HoldsUp reports whether a change at a revision has to wait for the gateway: it may decide still, and does not enforce
// the change yet.
func (s Standing) HoldsUp(revision uint64) bool {
	running := s.Endless || s.Lease != 0
	return running && !s.Over && s.Enforced < revision
}

// Sight is what one replica has seen of a gateway's lease, on the replica's own clock.
type Sight struct {
	Lease uint64
	Since time.Duration // on the replica's boot clock: when it first saw this number
}

// See takes note of the number that the database holds.
func (s Sight) See(number uint64, now time.Duration) Sight {
	if s.Lease == number && number != 0 {
		return s
	}
	return Sight{Lease: number, Since: now}
}

// Over reports whether the lease has run out: the replica has seen the same number for a whole term and its margin, and
// whoever renews takes another number first. What any clock says of when the lease was granted does not count.
func (s Sight) Over(now, term time.Duration) bool {
	return s.Lease != 0 && now-s.Since >= term+Margin(term)
}

// Settling is how long after the last gateway's acknowledgement a change is in effect: what was permitted just before has
// reached its upstream by then, or has been refused, and has ended. answer is how long a decision that is on its way can
// still be used; short is the longest time that a request may last without being watched, 0 where all are.
func Settling(answer, short time.Duration) time.Duration { return answer + short }
