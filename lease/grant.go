package lease

import "time"

// Grantable reports whether a gateway may be granted a lease. enforced is what the renewal itself says to be enforced: a
// gateway that acknowledged more before it was restarted may have come back with less. The fence is the revision of the
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
	// Over says that all its leases have been surrendered, or been watched by a replica for as long as they can last.
	Over bool
	// Endless marks a gateway that decides without a lease, as those do that know of none: only its word, or that of an
	// operator who declares it gone, ends the wait for it.
	Endless bool
	// Term is that of the lease that was granted last.
	Term time.Duration
	// Wait is the longest term of the leases that the gateway may decide by still: a grant of a shorter term may never
	// have arrived.
	Wait time.Duration
}

// HoldsUp reports whether a change at a revision has to wait for the gateway: it may decide still, and does not enforce
// the change yet.
func (s Standing) HoldsUp(revision uint64) bool {
	running := s.Endless || s.Lease != 0
	return running && !s.Over && s.Enforced < revision
}

// Granted is the standing with one more lease. held is the lowest number that the gateway may still decide by, in memory
// or after a restart, as its renewal says; 0 for none. Once it says that it holds the lease that was granted last, those
// before count no more.
func (s Standing) Granted(held uint64, term time.Duration) Standing {
	wait := s.Wait
	switch {
	case s.Lease == 0 || s.Over:
		wait = 0
	case held == s.Lease:
		wait = s.Term
	}
	s.Lease, s.Over, s.Endless = s.Lease+1, false, false
	s.Term, s.Wait = term, max(wait, term)
	return s
}

// Ended is the standing once a lease has been surrendered, or watched for as long as it can last: over, if no other has
// been granted since.
func (s Standing) Ended(number uint64) Standing {
	if number != 0 && number == s.Lease {
		s.Over = true
	}
	return s
}

// lost is by how much the numbers of leases are moved on when a database was set back, which is more than were granted.
const lost = 1 << 32

// Restored is the standing after a database was set back and an operator accepted that. What the gateway acknowledged
// was said of another timeline. It may hold a lease that the database has never heard of: a number that was never granted
// stands for it, and is waited for as long as such a lease can last, and one that the database knows.
func (s Standing) Restored(longest time.Duration) Standing {
	if s.Lease != 0 && !s.Over {
		longest = max(longest, s.Wait)
	}
	s.Enforced, s.Lease, s.Over = 0, s.Lease+lost, false
	s.Term, s.Wait = longest, longest
	return s
}

// Sight is what one replica has seen of a gateway's lease. Its clock is the replica's own, and one that nobody turns; it
// may stand still while the replica's host is suspended, which only makes the wait longer.
type Sight struct {
	Lease uint64
	Since time.Duration // when the replica first saw this number
}

// See takes note of the number that the database holds. now is read after the database has answered: a lease that was
// granted while it was asked would otherwise be seen before it began.
func (s Sight) See(number uint64, now time.Duration) Sight {
	if s.Lease == number && number != 0 {
		return s
	}
	return Sight{Lease: number, Since: now}
}

// Over reports whether the lease has run out: the replica has seen the same number for as long as the standing says to
// wait, and a margin, and whoever renews takes another number first. What any clock says of when the lease was granted
// does not count. The conclusion is written down only where the number is still the same.
func (s Sight) Over(now, wait time.Duration) bool {
	return s.Lease != 0 && now-s.Since >= wait+Margin(wait)
}

// Settling is how long after the last gateway's acknowledgement a change is in effect: what was permitted just before has
// reached its upstream by then, or has been refused, and has ended. answer is how long a decision that is on its way can
// still be used; short is the longest time that a request may last without being watched, 0 where all are.
func Settling(answer, short time.Duration) time.Duration { return answer + short }

// Progress is how far one replica has seen a change come into effect.
type Progress struct {
	// Clear says that no gateway holds the change up.
	Clear bool
	// Since is when the replica saw so first, on its own clock.
	Since time.Duration
}

// See takes note of the gateways that the change had to wait for when it was made. now is read after the database has
// answered.
func (p Progress) See(revision uint64, standings []Standing, now time.Duration) Progress {
	for _, s := range standings {
		if s.HoldsUp(revision) {
			return Progress{}
		}
	}
	if p.Clear {
		return p
	}
	return Progress{Clear: true, Since: now}
}

// Effective reports whether the change is in effect.
func (p Progress) Effective(now, settling time.Duration) bool {
	return p.Clear && now-p.Since >= settling
}
