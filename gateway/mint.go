package gateway

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/envoy"
	"github.com/caracal-gateway/caracal/inspection"
)

const (
	// maxNames bounds how many names have a certificate: Envoy keeps some 40 KB for each.
	maxNames = 4096
	// evictedAtOnce is how many names that no tunnel is open to make room when there are too many.
	evictedAtOnce = maxNames / 8
	// maxSpellings is how many names with capitals of one host have a certificate, beside the host in small letters.
	maxSpellings = 8
	// idleAfter is how long after the last tunnel to a name its certificate is taken back.
	idleAfter = 10 * time.Minute
	// sweepEvery is how often certificates are looked through.
	sweepEvery = 30 * time.Second
	// Certificates that are made at once, and each second over time: a mint takes little, and Envoy ten times that.
	mintsAtOnce = 500
	mintsEach   = 200.0
)

// Causes for which no certificate is made.
var (
	errNoTunnel     = errors.New("no tunnel to the name is open")
	errTooManyNames = errors.New("too many names have certificates")
	errTooFast      = errors.New("certificates are asked for too fast")
	// A host has very many spellings: without a bound of their own, one host would use up what there is for all.
	errTooManySpellings = errors.New("too many spellings of the host have certificates")
)

// mint makes the certificates that Envoy asks for and remembers who has them: a name's is made while a tunnel to the name is
// open which a decision has admitted, replaced before it ends, and taken back once no tunnel to the name has been open for
// a while.
type mint struct {
	issue      func(name string) (inspection.Leaf, error)
	tunnellers func(host string) []authority.PrincipalID // who has a tunnel there open
	now        func() time.Time                          // that certificates are dated by
	elapsed    func() time.Duration                      // goes on while the host is suspended
	log        *slog.Logger

	mu       sync.Mutex
	names    map[string]*minted
	accounts map[authority.PrincipalID]account
	counted  int           // of the names that the accounts are charged with
	may      bucket        // what may be minted for all together
	refused  map[cause]int // how often, since it was told last
}

// minted is a name that has a certificate.
type minted struct {
	leaf    inspection.Leaf
	payer   authority.PrincipalID // who is charged with it
	holders []holder
	used    time.Duration // when a tunnel to the name was seen last
}

// holder is who is told of a name's next certificate, or that there is none any more. It does not wait for the mint.
type holder interface {
	replace(name string, leaf inspection.Leaf)
	remove(names ...string)
}

func newMint(issue func(string) (inspection.Leaf, error), tunnellers func(string) []authority.PrincipalID, now func() time.Time, elapsed func() time.Duration, log *slog.Logger) *mint {
	return &mint{
		issue: issue, tunnellers: tunnellers, now: now, elapsed: elapsed, log: log,
		names: map[string]*minted{}, accounts: map[authority.PrincipalID]account{},
		may: bucket{mintsAtOnce, elapsed()}, refused: map[cause]int{},
	}
}

// Ask gives the certificate of a name to a holder, who is told what becomes of it until it leaves. The error says why there
// is none.
func (m *mint) Ask(name string, who holder) (inspection.Leaf, error) {
	leaf, payer, err := m.ask(name, who)
	if err != nil {
		m.mu.Lock()
		m.refused[cause{err.Error(), payer}]++
		m.mu.Unlock()
		m.log.Debug("no certificate", "name", name, "principal_id", payer, "cause", err)
	}
	return leaf, err
}

// ask says with an error who had too many certificates, where that is why.
func (m *mint) ask(name string, who holder) (inspection.Leaf, authority.PrincipalID, error) {
	host := strings.ToLower(name)
	// Envoy asks for envoy.NoName in the place of no name at all.
	if name == envoy.NoName || !authority.IsHost(host) {
		return inspection.Leaf{}, "", inspection.ErrName
	}
	users := m.tunnellers(host)
	if len(users) == 0 {
		return inspection.Leaf{}, "", errNoTunnel
	}
	if leaf, known := m.join(name, who); known {
		return leaf, "", nil
	}
	payer, err := m.admit(name, users)
	if err != nil {
		return inspection.Leaf{}, payer, err
	}
	leaf, err := m.issue(host)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		m.count(payer, -1)
		return inspection.Leaf{}, "", err
	}
	own := m.names[name]
	if own == nil {
		own = &minted{}
		m.names[name] = own
	} else { // it was due, or somebody else asked meanwhile
		m.count(own.payer, -1)
	}
	own.leaf, own.payer, own.used = leaf, payer, m.elapsed()
	own.hold(who)
	return leaf, "", nil
}

// join makes the holder one of a name that has a certificate which is not due to be replaced.
func (m *mint) join(name string, who holder) (inspection.Leaf, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	own := m.names[name]
	if own == nil || !m.now().Before(own.leaf.RenewAt) {
		return inspection.Leaf{}, false
	}
	own.used = m.elapsed()
	own.hold(who)
	return own.leaf, true
}

func (n *minted) hold(who holder) {
	if !slices.Contains(n.holders, who) {
		n.holders = append(n.holders, who)
	}
}

// admit charges somebody with the certificate of a name, and makes room for it.
func (m *mint) admit(name string, users []authority.PrincipalID) (authority.PrincipalID, error) {
	m.mu.Lock()
	payer, gone, err := m.charge(name, users)
	m.mu.Unlock()
	gone.tell()
	return payer, err
}

// misspelt is how many other spellings of a name's host have certificates, but for the one in small letters, which always
// may: it is none for that one. The caller holds the lock.
func (m *mint) misspelt(name string) int {
	host := strings.ToLower(name)
	if name == host {
		return 0
	}
	n := 0
	for other := range m.names {
		if len(other) == len(name) && other != host && other != name && strings.EqualFold(other, host) {
			n++
		}
	}
	return n
}

// dropped are names that have no certificate any more, by who held it.
type dropped map[holder][]string

func (d dropped) tell() {
	for who, names := range d {
		who.remove(names...)
	}
}

// drop forgets names. The caller holds the lock, and tells the holders once it does not.
func (m *mint) drop(gone dropped, names []string) {
	for _, name := range names {
		for _, who := range m.names[name].holders {
			gone[who] = append(gone[who], name)
		}
		m.forget(name)
	}
}

// forget forgets a name, and that it was charged to somebody. The caller holds the lock.
func (m *mint) forget(name string) {
	m.count(m.names[name].payer, -1)
	delete(m.names, name)
}

// Run looks through the certificates until ctx ends.
func (m *mint) Run(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			m.sweep()
		}
	}
}

// sweep takes back what is idle, replaces what is due, and says what was refused.
func (m *mint) sweep() {
	idle, due := m.look()
	m.mu.Lock()
	gone, refused := dropped{}, m.refused
	m.drop(gone, idle)
	m.refused = map[cause]int{}
	for id := range m.accounts {
		m.keep(id, m.account(id))
	}
	m.mu.Unlock()
	gone.tell()
	for _, name := range due {
		m.renew(name)
	}
	for c, times := range refused {
		told := []any{"cause", c.why, "times", times}
		if c.principal != "" {
			told = append(told, "principal_id", c.principal)
		}
		m.log.Warn("certificates were refused", told...)
	}
}

// look finds the names whose certificates are to be taken back or replaced. One that is due is replaced only while a tunnel
// needs it: the next asks again.
func (m *mint) look() (idle, due []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now, at := m.now(), m.elapsed()
	for name, own := range m.names {
		live := m.settle(name, own)
		if live {
			own.used = at
		}
		renew := !now.Before(own.leaf.RenewAt)
		switch {
		case live && renew:
			due = append(due, name)
		case renew, at-own.used >= idleAfter:
			idle = append(idle, name)
		}
	}
	return idle, due
}

// renew replaces the certificate of a name. One that cannot be replaced is taken back when it ends.
func (m *mint) renew(name string) {
	leaf, err := m.issue(name)
	m.mu.Lock()
	own := m.names[name]
	if own == nil {
		m.mu.Unlock()
		return
	}
	if err != nil {
		m.refused[cause{why: err.Error()}]++
		gone := dropped{}
		if !m.now().Before(own.leaf.NotAfter) {
			m.drop(gone, []string{name})
		}
		m.mu.Unlock()
		gone.tell()
		return
	}
	own.leaf = leaf
	holders := slices.Clone(own.holders)
	m.mu.Unlock()
	for _, who := range holders {
		who.replace(name, leaf)
	}
}

// Leave takes a holder from all names that it has. A name without holders is forgotten.
func (m *mint) Leave(who holder, names ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range names {
		own := m.names[name]
		if own == nil {
			continue
		}
		own.holders = slices.DeleteFunc(own.holders, func(h holder) bool { return h == who })
		if len(own.holders) == 0 {
			m.forget(name)
		}
	}
}
