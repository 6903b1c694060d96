package lease_test

import (
	"time"

	"github.com/caracal-gateway/caracal/lease"
)

// rules are what the model runs. The rules of production are the default; a mutant replaces one of them.
type rules struct {
	grantable       func(says, recorded, fence uint64) bool
	from            func(sent, now lease.Reading, number uint64, term time.Duration) lease.Lease
	adopt           func(held, granted lease.Lease) lease.Lease
	pass            func(judged, enforced uint64, l lease.Lease, now lease.Reading) lease.Verdict
	holds           func(l lease.Lease, now lease.Reading) bool
	holdsUp         func(s lease.Standing, revision uint64) bool
	granted         func(s lease.Standing, held uint64, term time.Duration) lease.Standing
	ended           func(s lease.Standing, number uint64) lease.Standing
	over            func(s lease.Sight, now, wait time.Duration) bool
	restored        func(s lease.Standing, longest time.Duration) lease.Standing
	settling        func(answer, short time.Duration) time.Duration
	resume          func(k lease.Kept, state lease.Position, now lease.Reading) (lease.Lease, bool)
	acknowledgeable func(enforced, kept lease.Position, leaseKept bool) bool
	accepts         func(held, offered lease.Position, successor bool) bool

	// What the rules are used for, where that is no function of theirs.
	locked       bool // the fence is read in the transaction of the grant, under the lock
	rejudges     bool // a stream is judged when it is registered
	cutsAtLapse  bool // streams end with the lease
	cutsAtSwap   bool // streams that a state denies are cut before it is acknowledged
	renewsAhead  bool // a renewal says what is enforced, acknowledged or not
	swapsFirst   bool // a state is acknowledged once decisions are made from it
	drains       bool // a state is acknowledged once nothing that was judged before is unanswered
	looksLater   bool // a replica reads its clock after the database has answered
	newTimeline  bool // a restored database counts on in another timeline
	silentIsOver bool // a gateway that is silent, or whose place another took, counts as over
}

// bootID and gatewayID are the same for the whole of a run.
const bootID, gatewayID = "boot", "gw"

func production() rules {
	return rules{
		grantable: func(says, _, fence uint64) bool { return lease.Grantable(says, fence) },
		from: func(sent, _ lease.Reading, number uint64, term time.Duration) lease.Lease {
			return lease.From(sent, number, term)
		},
		adopt:    lease.Lease.Adopt,
		pass:     lease.Pass,
		holds:    lease.Lease.Holds,
		holdsUp:  lease.Standing.HoldsUp,
		granted:  lease.Standing.Granted,
		ended:    lease.Standing.Ended,
		over:     lease.Sight.Over,
		restored: lease.Standing.Restored,
		settling: lease.Settling,
		resume: func(k lease.Kept, state lease.Position, now lease.Reading) (lease.Lease, bool) {
			return k.Resume(bootID, gatewayID, state, now)
		},
		acknowledgeable: lease.Acknowledgeable,
		accepts:         lease.Accepts,
		locked:          true, rejudges: true, cutsAtLapse: true, cutsAtSwap: true, swapsFirst: true, looksLater: true, newTimeline: true,
	}
}

// mutant is a protocol without one of its rules. Some run of the model has to break a promise.
type mutant struct {
	in     func() model
	breaks violation
	change func(*rules)
}

// mutants are keyed by what the protocol would do instead.
var mutants = map[string]mutant{
	"answer a revocation at once": {paused, permitAfter, func(r *rules) {
		r.holdsUp = func(lease.Standing, uint64) bool { return false }
	}},
	"answer a decision as it was judged": {paused, permitAfter, func(r *rules) {
		r.pass = func(uint64, uint64, lease.Lease, lease.Reading) lease.Verdict { return lease.Passes }
	}},
	"look at the state again before the answer, but not at the lease": {paused, permitAfter, func(r *rules) {
		r.pass = func(judged, enforced uint64, _ lease.Lease, _ lease.Reading) lease.Verdict {
			if judged != enforced {
				return lease.Superseded
			}
			return lease.Passes
		}
	}},
	"look at the lease again before the answer, but not at the state": {paused, permitAfter, func(r *rules) {
		r.pass = func(_, enforced uint64, l lease.Lease, now lease.Reading) lease.Verdict {
			return lease.Pass(enforced, enforced, l, now)
		}
	}},
	"let decisions drain before a state is acknowledged, instead of looking again": {paused, permitAfter, func(r *rules) {
		r.drains = true
		r.pass = func(uint64, uint64, lease.Lease, lease.Reading) lease.Verdict { return lease.Passes }
	}},
	"wait for a lease without a margin": {stalled, permitAfter, func(r *rules) {
		r.over = func(s lease.Sight, now, wait time.Duration) bool { return s.Lease != 0 && now-s.Since >= wait }
	}},
	"wait for no streams of a frozen gateway": {stalled, streamAfter, func(r *rules) {
		r.over = func(s lease.Sight, now, wait time.Duration) bool { return s.Over(now+lease.Stall, wait) }
	}},
	"count the lease from when the grant arrives": {paused, permitAfter, func(r *rules) {
		r.from = func(_, now lease.Reading, number uint64, term time.Duration) lease.Lease {
			return lease.From(now, number, term)
		}
	}},
	"hold the lease for longer than its term": {simple, permitAfter, func(r *rules) {
		r.from = func(sent, _ lease.Reading, number uint64, term time.Duration) lease.Lease {
			return lease.From(sent, number, 3*term)
		}
	}},
	"grant without a lock on the fence": {simple, permitAfter, func(r *rules) { r.locked = false }},
	"grant whatever is enforced": {simple, permitAfter, func(r *rules) {
		r.grantable = func(uint64, uint64, uint64) bool { return true }
	}},
	"grant by what was acknowledged before a restart": {restarted, permitAfter, func(r *rules) {
		r.grantable = func(_, recorded, fence uint64) bool { return lease.Grantable(recorded, fence) }
	}},
	"renew by what is not acknowledged yet":   {restarted, permitAfter, func(r *rules) { r.renewsAhead = true }},
	"renew before streams are cut":            {simple, streamAfter, func(r *rules) { r.renewsAhead = true }},
	"let streams outlive the lease":           {simple, streamAfter, func(r *rules) { r.cutsAtLapse = false }},
	"acknowledge before streams are cut":      {simple, streamAfter, func(r *rules) { r.cutsAtSwap = false }},
	"acknowledge before decisions enforce":    {simple, permitAfter, func(r *rules) { r.swapsFirst = false }},
	"register a stream by its decision alone": {paused, streamAfter, func(r *rules) { r.rejudges = false }},
	"answer a revocation before what was permitted has settled": {simple, permitAfter, func(r *rules) {
		r.settling = func(time.Duration, time.Duration) time.Duration { return 0 }
	}},
	"count a silent gateway as over": {simple, permitAfter, func(r *rules) { r.silentIsOver = true }},
	"conclude that a lease is over whatever was granted since": {simple, permitAfter, func(r *rules) {
		r.ended = func(s lease.Standing, _ uint64) lease.Standing {
			s.Over = s.Lease != 0
			return s
		}
	}},
	"date what the database says before it was asked": {simple, permitAfter, func(r *rules) { r.looksLater = false }},
	"resume a kept lease as if it began again": {restarted, permitAfter, func(r *rules) {
		r.resume = func(k lease.Kept, _ lease.Position, now lease.Reading) (lease.Lease, bool) {
			return lease.From(now, k.Lease.Number, lease.MinTerm), k.Lease.Number != 0
		}
	}},
	"acknowledge what a restart undoes": {restarted, permitAfter, func(r *rules) {
		r.acknowledgeable = func(lease.Position, lease.Position, bool) bool { return true }
	}},
	"go back to an older state that arrives late": {restarted, permitAfter, func(r *rules) {
		r.accepts = func(lease.Position, lease.Position, bool) bool { return true }
	}},
	"wait for the term that was granted last only": {shortened, permitAfter, func(r *rules) {
		r.granted = func(s lease.Standing, held uint64, term time.Duration) lease.Standing {
			s = s.Granted(held, term)
			s.Wait = term
			return s
		}
	}},
	"hold whichever grant arrives last": {shortened, permitAfter, func(r *rules) {
		r.adopt = func(_, granted lease.Lease) lease.Lease { return granted }
	}},
	"restore without a new timeline": {restored, permitAfter, func(r *rules) { r.newTimeline = false }},
	"forget leases with the database that granted them": {restored, permitAfter, func(r *rules) {
		r.restored = func(s lease.Standing, _ time.Duration) lease.Standing {
			s.Enforced = 0
			return s
		}
	}},
}
