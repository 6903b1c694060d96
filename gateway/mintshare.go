package gateway

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/caracal-gateway/caracal/authority"
)

// eachPrincipal is the part of all certificates that is one principal's at most, of those that are held and of those that are
// made: whatever names its mandates let it open tunnels to, most is left for the others.
const (
	eachPrincipal       = 4
	namesOfEach         = maxNames / eachPrincipal
	evictedAtOnceOfEach = evictedAtOnce / eachPrincipal
	mintsAtOnceOfEach   = mintsAtOnce / eachPrincipal
	mintsEachOfEach     = mintsEach / eachPrincipal
)

// Causes for which a principal is given no further certificate, whatever is left for others.
var (
	errOwnTooManyNames = errors.New("the principal has as many names with certificates as one may have")
	errOwnTooFast      = errors.New("the principal asks for certificates too fast")
)

// cause is why a certificate was refused, and to whom where that is a matter of one principal.
type cause struct {
	why       string
	principal authority.PrincipalID
}

// bucket is what may be minted, as of an instant.
type bucket struct {
	left float64
	at   time.Duration
}

// filled is the bucket at a later instant.
func (b bucket) filled(now time.Duration, most, each float64) bucket {
	return bucket{min(most, b.left+(now-b.at).Seconds()*each), now}
}

// account is what a principal is charged with.
type account struct {
	names int    // that have a certificate, or are to have one
	may   bucket // what may be minted for it
}

// account is a principal's; one that there is nothing to be said of has a full one. The caller holds the lock.
func (m *mint) account(id authority.PrincipalID) account {
	now := m.elapsed()
	own, known := m.accounts[id]
	if !known {
		return account{may: bucket{mintsAtOnceOfEach, now}}
	}
	own.may = own.may.filled(now, mintsAtOnceOfEach, mintsEachOfEach)
	return own
}

// keep remembers an account, unless there is nothing to be said of it. The caller holds the lock.
func (m *mint) keep(id authority.PrincipalID, own account) {
	if own.names == 0 && own.may.left >= mintsAtOnceOfEach {
		delete(m.accounts, id)
		return
	}
	m.accounts[id] = own
}

// count charges a principal with so many names more, or less. The caller holds the lock.
func (m *mint) count(id authority.PrincipalID, names int) {
	own := m.account(id)
	own.names += names
	m.keep(id, own)
	m.counted += names
}

// richest is who has most left of those that have a tunnel to a name open, whoever of them asks: Envoy does not say. One
// that has room for another name is before one that has none. The caller holds the lock.
func (m *mint) richest(of []authority.PrincipalID) authority.PrincipalID {
	return slices.MaxFunc(of, func(a, b authority.PrincipalID) int {
		one, other := m.account(a), m.account(b)
		return cmp.Or(
			cmp.Compare(min(namesOfEach-one.names, 1), min(namesOfEach-other.names, 1)),
			cmp.Compare(one.may.left, other.may.left),
			cmp.Compare(other.names, one.names),
		)
	})
}

// charge charges one of those that have a tunnel to a name open with its certificate, and makes room for it. Who it is comes
// with an error too, where it is for what that one has had. The caller holds the lock, and tells what is dropped once it does not.
func (m *mint) charge(name string, users []authority.PrincipalID) (payer authority.PrincipalID, gone dropped, err error) {
	if m.misspelt(name) >= maxSpellings {
		return "", nil, errTooManySpellings
	}
	payer = m.richest(users)
	own := m.account(payer)
	m.may = m.may.filled(m.elapsed(), mintsAtOnce, mintsEach)
	switch {
	case own.may.left < 1:
		return payer, nil, errOwnTooFast
	case m.may.left < 1:
		return "", nil, errTooFast
	}
	// Whoever is refused for the number of names has used up one too: to look for room costs something.
	own.may.left--
	m.may.left--
	m.keep(payer, own)
	gone = dropped{}
	if m.names[name] != nil { // the next certificate of a name that is due takes no more room
		m.count(payer, 1)
		return payer, gone, nil
	}
	if own.names >= namesOfEach {
		m.evict(gone, evictedAtOnceOfEach, func(n *minted) bool { return n.payer == payer })
		if m.account(payer).names >= namesOfEach {
			return payer, gone, errOwnTooManyNames
		}
	}
	if m.counted >= maxNames {
		m.evict(gone, evictedAtOnce, func(*minted) bool { return true })
		if m.counted >= maxNames {
			return "", gone, errTooManyNames
		}
	}
	m.count(payer, 1)
	return payer, gone, nil
}

// evict takes back the certificates of names that no tunnel is open to: those of whoever is charged with most first, and of
// its own those unused for longest. The caller holds the lock.
func (m *mint) evict(gone dropped, most int, of func(*minted) bool) {
	var idle []string
	for name, own := range m.names {
		if !m.settle(name, own) && of(own) {
			idle = append(idle, name)
		}
	}
	slices.SortFunc(idle, func(a, b string) int {
		one, other := m.names[a], m.names[b]
		return cmp.Or(
			cmp.Compare(m.accounts[other.payer].names, m.accounts[one.payer].names),
			cmp.Compare(one.payer, other.payer),
			cmp.Compare(one.used, other.used),
		)
	})
	m.drop(gone, idle[:min(len(idle), most)])
}

// settle reports whether a name keeps its certificate for a tunnel that is open, and has one of those pay for it who use it. A
// host has very many spellings, to Envoy a name each; only the one in lower case is kept for it. The caller holds the lock.
func (m *mint) settle(name string, own *minted) bool {
	users := m.tunnellers(name)
	if len(users) == 0 {
		return false
	}
	if !slices.Contains(users, own.payer) {
		m.count(own.payer, -1)
		own.payer = m.richest(users)
		m.count(own.payer, 1)
	}
	return true
}
