package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/envoy"
	"github.com/caracal-gateway/caracal/inspection"
)

// ear is a holder that remembers what it is told.
type ear struct{ removed []string }

func (e *ear) replace(string, inspection.Leaf) {}

func (e *ear) remove(names ...string) { e.removed = append(e.removed, names...) }

// newBareMint is a mint without Envoy, whose clock stands still until the test moves it.
func newBareMint(tunnellers func(string) []authority.PrincipalID, elapsed *time.Duration) *mint {
	issue := func(name string) (inspection.Leaf, error) {
		return inspection.Leaf{Serial: name, RenewAt: time.Unix(0, 0).Add(time.Hour), NotAfter: time.Unix(0, 0).Add(2 * time.Hour)}, nil
	}
	now := func() time.Time { return time.Unix(0, 0).Add(*elapsed) }
	return newMint(issue, tunnellers, now, func() time.Duration { return *elapsed }, slog.New(slog.DiscardHandler))
}

// by is that one principal has tunnels to every host open.
func by(id authority.PrincipalID) func(string) []authority.PrincipalID {
	return func(string) []authority.PrincipalID { return []authority.PrincipalID{id} }
}

// byFirstLabel is that each host's first label names who has a tunnel to it open.
func byFirstLabel(host string) []authority.PrincipalID {
	who, _, _ := strings.Cut(host, ".")
	return []authority.PrincipalID{authority.PrincipalID(who)}
}

// floods asks for certificates of further names of a principal until there is one that it is refused, and says how many it
// was given and why no more.
func (m *mint) floods(who string, names *int) (given int, why error) {
	for ; ; given++ {
		*names++
		if _, err := m.Ask(fmt.Sprintf("%s.n%d.test", who, *names), &ear{}); err != nil {
			return given, err
		}
	}
}

func TestCertificatesAreMadeAtABoundedRate(t *testing.T) {
	var (
		elapsed time.Duration
		names   int
	)
	m := newBareMint(byFirstLabel, &elapsed)
	made := func(who string, want int, cause error) {
		t.Helper()
		if n, err := m.floods(who, &names); n != want || !errors.Is(err, cause) {
			t.Errorf("%s is given %d at %s and then refused by %v, want %d and %v", who, n, elapsed, err, want, cause)
		}
	}
	made("flood", mintsAtOnce/4, errOwnTooFast)
	made("other", mintsAtOnce/4, errOwnTooFast)
	elapsed = time.Second
	made("flood", mintsEach/4, errOwnTooFast)
	made("third", mintsAtOnce/4, errOwnTooFast)
	made("fourth", mintsAtOnce/4, errOwnTooFast)
	elapsed = 2 * time.Second
	made("fifth", mintsAtOnce/4, errOwnTooFast)
	made("sixth", mintsAtOnce/4, errOwnTooFast)
	made("seventh", mintsAtOnce+2*mintsEach-6*mintsAtOnce/4-mintsEach/4, errTooFast) // all that is left for all
	if _, err := m.Ask("flood.n1.test", &ear{}); err != nil {
		t.Errorf("a name that has a certificate: %v", err)
	}
}

// One principal opens tunnels to ever more names and lets none go. What others find is as much as if it were not there.
func TestAFloodOfNamesUsesUpOneShareOfThem(t *testing.T) {
	var (
		elapsed time.Duration
		names   int
		open    = func(host string) []authority.PrincipalID { return byFirstLabel(host) }
	)
	m := newBareMint(func(host string) []authority.PrincipalID { return open(host) }, &elapsed)
	held, refused := 0, 0
	for range 100 {
		given, err := m.floods("flood", &names)
		held += given
		if errors.Is(err, errOwnTooManyNames) {
			refused++
		}
		elapsed += time.Second
	}
	if held != maxNames/4 || refused == 0 || m.accounts["flood"].names != held || len(m.names) != held {
		t.Errorf("it holds %d names, as its account says %d, and was refused %d times", held, m.accounts["flood"].names, refused)
	}
	if n, err := m.floods("other", &names); n != mintsAtOnce/4 || !errors.Is(err, errOwnTooFast) {
		t.Errorf("another is given %d, then %v", n, err)
	}
	// Once it lets its tunnels go, its own names make room for its own next ones, and nobody else's do.
	others := &ear{}
	if _, err := m.Ask("idle.test", others); err != nil {
		t.Fatal(err)
	}
	open = func(host string) []authority.PrincipalID {
		if host == "flood.next.test" {
			return byFirstLabel(host)
		}
		return nil
	}
	elapsed += time.Second
	if _, err := m.Ask("flood.next.test", &ear{}); err != nil {
		t.Errorf("its next name, while it has others that no tunnel is open to: %v", err)
	}
	if len(others.removed) != 0 || m.accounts["flood"].names != maxNames/4-evictedAtOnce/4+1 {
		t.Errorf("%v were taken back of somebody else, and it has %d", others.removed, m.accounts["flood"].names)
	}
}

// Where all names are held, those that nobody uses make room: of whoever holds most first.
func TestWhoeverHoldsMostMakesRoom(t *testing.T) {
	var elapsed time.Duration
	held := map[string]bool{}
	m := newBareMint(func(host string) []authority.PrincipalID {
		if held[host] {
			return byFirstLabel(host)
		}
		return nil
	}, &elapsed)
	ears := map[string]*ear{}
	ask := func(who string, i int) error {
		if ears[who] == nil {
			ears[who] = &ear{}
		}
		name := fmt.Sprintf("%s.n%d.test", who, i)
		held[name] = true
		elapsed += time.Second / 50 // as fast as one may
		_, err := m.Ask(name, ears[who])
		return err
	}
	const few = 100
	for who, names := range map[string]int{"few": few, "a": namesOfEach, "b": namesOfEach, "c": namesOfEach, "most": namesOfEach - few} {
		for i := range names {
			if err := ask(who, i); err != nil {
				t.Fatal(who, i, err)
			}
		}
	}
	clear(held)
	for name := range m.names {
		held[name] = !strings.HasPrefix(name, "most.") && !strings.HasPrefix(name, "few.")
	}
	if err := ask("another", 0); err != nil {
		t.Fatal(err)
	}
	if len(ears["few"].removed) != 0 || len(ears["most"].removed) != evictedAtOnce {
		t.Errorf("taken back: %d of who has few, %d of who has most", len(ears["few"].removed), len(ears["most"].removed))
	}
}

// A name is charged to one of those that use it, to whom it costs least; and to another once that one does not.
func TestANameIsChargedToWhoUsesItAndHasMostLeft(t *testing.T) {
	var (
		elapsed time.Duration
		names   int
	)
	shared := []authority.PrincipalID{"flood", "other"}
	m := newBareMint(func(host string) []authority.PrincipalID {
		if host == "shared.test" {
			return shared
		}
		return byFirstLabel(host)
	}, &elapsed)
	if _, err := m.floods("flood", &names); !errors.Is(err, errOwnTooFast) {
		t.Fatal(err)
	}
	if _, err := m.Ask("shared.test", &ear{}); err != nil || m.names["shared.test"].payer != "other" {
		t.Fatalf("charged to %v, %v", m.names["shared.test"], err)
	}
	shared = shared[:1]
	m.sweep()
	if payer := m.names["shared.test"].payer; payer != "flood" || m.accounts["other"].names != 0 {
		t.Errorf("charged to %s, and %+v is left of the one that has gone", payer, m.accounts["other"])
	}
}

func TestARefusalIsCountedByItsCauseAndWhoHadTooMuch(t *testing.T) {
	var (
		elapsed time.Duration
		names   int
	)
	m := newBareMint(byFirstLabel, &elapsed)
	for range 2 {
		if _, err := m.floods("flood", &names); !errors.Is(err, errOwnTooFast) {
			t.Fatal(err)
		}
	}
	if n := m.refused[cause{errOwnTooFast.Error(), "flood"}]; n != 2 || len(m.refused) != 1 {
		t.Errorf("counted: %v", m.refused)
	}
}

// Many ask at once, are given certificates, or none for want of an issuer, and leave. Nothing is left of their accounts.
func TestNothingIsLeftOfThosePrincipalsThatHaveGone(t *testing.T) {
	var broken sync.Map
	issue := func(name string) (inspection.Leaf, error) {
		if _, here := broken.Load(name); here {
			return inspection.Leaf{}, errNotCertified
		}
		return inspection.Leaf{Serial: name, RenewAt: time.Unix(1<<32, 0), NotAfter: time.Unix(1<<32, 0)}, nil
	}
	began := time.Now()
	elapsed := func() time.Duration { return time.Since(began) * 100 }
	m := newMint(issue, byFirstLabel, time.Now, elapsed, slog.New(slog.DiscardHandler))
	var group sync.WaitGroup
	for i := range 16 {
		who := &ear{}
		group.Go(func() {
			for n := range 200 {
				name := fmt.Sprintf("p%d.n%d.test", i%4, n) // four of each ask for the same
				if n%7 == 0 {
					broken.Store(name, true)
				}
				_, _ = m.Ask(name, who) // either way there is nothing left of it
				if n%50 == 0 {
					m.sweep()
				}
				m.Leave(who, name)
			}
		})
	}
	group.Wait()
	within(t, "the accounts are as those of whom nothing is known", func() bool {
		m.sweep()
		m.mu.Lock()
		defer m.mu.Unlock()
		return len(m.accounts) == 0
	})
	if len(m.names) != 0 || m.counted != 0 {
		t.Errorf("%d names are left, and %d are counted", len(m.names), m.counted)
	}
}

// A host of some letters has thousands of spellings, which are names of their own to Envoy.
func TestTheSpellingsOfOneHostUseUpNothingOfOthers(t *testing.T) {
	var elapsed time.Duration
	m := newBareMint(func(name string) []authority.PrincipalID {
		if name == "abcdefghijkl.test" || name == "other.test" {
			return []authority.PrincipalID{"somebody"}
		}
		return nil
	}, &elapsed)
	spell := func(i int) string {
		name := []byte("abcdefghijkl.test")
		for bit := range 12 {
			if i&(1<<bit) != 0 {
				name[bit] -= 'a' - 'A'
			}
		}
		return string(name)
	}
	given := 0
	for i := range mintsAtOnceOfEach + 1 {
		switch _, err := m.Ask(spell(i+1), &ear{}); {
		case err == nil:
			given++
		case !errors.Is(err, errTooManySpellings):
			t.Fatalf("%s: %v", spell(i+1), err)
		}
	}
	if given != maxSpellings || len(m.names) != maxSpellings {
		t.Errorf("%d spellings have certificates, %d names in all", given, len(m.names))
	}
	for _, name := range []string{"other.test", spell(0), spell(1)} {
		if _, err := m.Ask(name, &ear{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	elapsed = idleAfter
	m.sweep()
	if _, err := m.Ask(spell(1+maxSpellings), &ear{}); err != nil {
		t.Errorf("once the others are taken back: %v", err)
	}
}

func TestTheNumberOfNamesIsBounded(t *testing.T) {
	var elapsed time.Duration
	open := map[string]bool{}
	m := newBareMint(func(name string) []authority.PrincipalID {
		if !open[name] {
			return nil
		}
		i, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(name, "n"), ".test")) // four take all there is, one after the other
		return []authority.PrincipalID{authority.PrincipalID(fmt.Sprintf("p%d", i/namesOfEach))}
	}, &elapsed)
	who := &ear{}
	ask := func(i int) error {
		name := fmt.Sprintf("n%d.test", i)
		open[name] = true
		elapsed += time.Second / mintsEachOfEach
		_, err := m.Ask(name, who)
		return err
	}
	for i := range maxNames {
		if err := ask(i); err != nil {
			t.Fatal(err)
		}
	}
	if err := ask(maxNames); !errors.Is(err, errTooManyNames) {
		t.Errorf("one more, while each has a tunnel: %v", err)
	}
	for i := range evictedAtOnce + 1 {
		delete(open, fmt.Sprintf("n%d.test", i))
	}
	if err := ask(maxNames); err != nil {
		t.Errorf("one more, while some have no tunnel: %v", err)
	}
	if len(who.removed) != evictedAtOnce || slices.Contains(who.removed, fmt.Sprintf("n%d.test", evictedAtOnce)) || len(m.names) > maxNames {
		t.Errorf("%d were taken back, %d are left", len(who.removed), len(m.names))
	}
}

func TestTheNameThatStandsForNoneIsNoHost(t *testing.T) {
	var elapsed time.Duration
	m := newBareMint(by("somebody"), &elapsed)
	if _, err := m.Ask(envoy.NoName, &ear{}); !errors.Is(err, inspection.ErrName) {
		t.Errorf("got %v", err)
	}
}
