package lease

import "time"

// The bounds of a term, which is a workspace's choice: for how long a gateway may decide alone, and for how long a
// revocation may have to wait for a gateway that cannot be reached.
const (
	DefaultTerm = 60 * time.Second
	MinTerm     = 5 * time.Second
	MaxTerm     = 24 * time.Hour
)

// RenewEvery is how often a gateway renews: three times in a term, and at least once an interval.
func RenewEvery(interval, term time.Duration) time.Duration { return min(interval, term/3) }

// Lease is until when a gateway may decide without hearing from the control plane. The zero Lease holds never.
type Lease struct {
	// Number counts the grants to the gateway, from 1.
	Number uint64
	// End is when the lease is over, on whichever clock comes to it first.
	End Reading
}

// From is the lease that a grant gives. It counts from when the renewal was sent, which no delay on the way makes later.
func From(sent Reading, number uint64, term time.Duration) Lease {
	return Lease{Number: number, End: Reading{Boot: sent.Boot + term, Wall: sent.Wall.Round(0).Add(term)}}
}

// Holds reports whether a gateway may still decide under the lease. Either clock says that it is over: it is over.
func (l Lease) Holds(now Reading) bool {
	return l.Number != 0 && now.Boot < l.End.Boot && now.Wall.Round(0).Before(l.End.Wall)
}

// Adopt is the lease that a gateway holds once it has been granted another: the one that was granted last, also where
// that ends earlier. A grant that another overtook on the way changes nothing.
func (l Lease) Adopt(granted Lease) Lease {
	if granted.Number <= l.Number {
		return l
	}
	return granted
}

// Verdict says what may become of a decision at the moment it is to be answered.
type Verdict int

// The verdicts. The zero Verdict is no answer to anything.
const (
	_          Verdict = iota
	Passes             // it may be answered
	Superseded         // another state is enforced since it was judged: it is to be judged again
	Lapsed             // the gateway has no lease: everything is denied
)

// Pass is the last step of every decision: one that was judged from a state that is not enforced any more, or that the
// lease does not cover at the moment of the answer, is not given.
func Pass(judged, enforced uint64, l Lease, now Reading) Verdict {
	switch {
	case !l.Holds(now):
		return Lapsed
	case judged != enforced:
		return Superseded
	}
	return Passes
}
