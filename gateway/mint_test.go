package gateway

import (
	"crypto/ecdsa"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/envoy"
	"github.com/caracal-gateway/caracal/inspection"
)

func TestEnvoyIsGivenCertificatesOfNamesThatATunnelIsOpenTo(t *testing.T) {
	m := newMinting(t, "api.test")
	for _, protocol := range []string{"h2", "http/1.1"} {
		state, err := m.shake("api.test", protocol)
		if err != nil {
			t.Fatal(err)
		}
		if state.NegotiatedProtocol != protocol {
			t.Errorf("%s became %q", protocol, state.NegotiatedProtocol)
		}
		leaf := state.PeerCertificates[0]
		if _, ok := leaf.PublicKey.(*ecdsa.PublicKey); !ok || leaf.IsCA || !slices.Equal(leaf.DNSNames, []string{"api.test"}) {
			t.Errorf("the leaf is of %v, a %T", leaf.DNSNames, leaf.PublicKey)
		}
		if life := leaf.NotAfter.Sub(leaf.NotBefore); life > inspection.LeafLifetime {
			t.Errorf("the leaf lives for %s", life)
		}
	}
	if n := m.held(); n != 1 {
		t.Errorf("%d names have certificates", n)
	}
}

func TestHandshakesForOtherNamesFailAtOnce(t *testing.T) {
	m := newMinting(t, "api.test", "no-name", "under_score.test", "10.0.0.1", "api.test:443", strings.Repeat("a", 300)+".test")
	for sentence, name := range map[string]string{
		"no tunnel is open to it":    "other.test",
		"it is below one that is":    "www.api.test",
		"it has an underscore":       "under_score.test",
		"it has a port":              "api.test:443",
		"it is an address":           "10.0.0.1",
		"it has 305 bytes":           strings.Repeat("a", 300) + ".test",
		"it is what no name becomes": "no-name",
		"it is a wildcard":           "*.test",
		"there is none":              "",
	} {
		t.Run(sentence, func(t *testing.T) {
			_, err := m.shake(name)
			// What is longer than any name can be is not even taken for TLS.
			if err == nil || len(name) <= 255 && !strings.Contains(err.Error(), "handshake failure") {
				t.Errorf("got %v", err)
			}
		})
	}
	if n := m.held(); n != 0 {
		t.Errorf("%d names have certificates", n)
	}
}

func TestAHostIsServedInWhateverCaseItIsAskedFor(t *testing.T) {
	m := newMinting(t, "api.test")
	for _, name := range []string{"API.test", "Api.Test"} {
		state, err := m.shake(name)
		if err != nil {
			t.Fatal(err)
		}
		if names := state.PeerCertificates[0].DNSNames; !slices.Equal(names, []string{"api.test"}) {
			t.Errorf("%s is served a certificate of %q", name, names)
		}
	}
	// The spellings are not kept for the tunnel that is open.
	m.advance(idleAfter)
	m.mint.sweep()
	if n := m.held(); n != 0 {
		t.Errorf("%d names have certificates", n)
	}
}

func TestACertificateIsReplacedBeforeItEndsWhileATunnelNeedsIt(t *testing.T) {
	m := newMinting(t, "api.test")
	first := m.serial("api.test")
	m.mint.sweep()
	if again := m.serial("api.test"); again != first {
		t.Error("it is replaced although it is good")
	}
	m.advance(inspection.LeafLifetime*2/3 + time.Minute)
	m.mint.sweep()
	within(t, "Envoy serves the next certificate", func() bool { return m.serial("api.test") != first })
}

func TestANameThatNobodyUsesIsTakenBack(t *testing.T) {
	m := newMinting(t, "api.test", "kept.test")
	first, kept := m.serial("api.test"), m.serial("kept.test")
	m.close("api.test")
	m.mint.sweep()
	if m.serial("api.test") != first {
		t.Error("it is taken back at once")
	}
	m.advance(idleAfter)
	m.mint.sweep()
	within(t, "Envoy asks again, and is refused", func() bool {
		_, err := m.shake("api.test")
		return err != nil && strings.Contains(err.Error(), "handshake failure")
	})
	if m.serial("kept.test") != kept || m.held() != 1 {
		t.Error("a name with a tunnel is taken back too")
	}
	m.open("api.test")
	if next := m.serial("api.test"); next == first {
		t.Error("it is served what was taken back")
	}
}

func TestAnotherGatewayProcessTakesOverWhatEnvoyHolds(t *testing.T) {
	m := newMinting(t, "api.test", "gone.test")
	first := m.serial("api.test")
	m.serial("gone.test")
	m.stop()
	if m.serial("api.test") != first {
		t.Error("without the gateway process Envoy does not serve what it has")
	}
	m.close("gone.test")
	m.certify(time.Now())
	m.serve()
	within(t, "Envoy serves a certificate of the process", func() bool { return m.serial("api.test") != first })
	within(t, "a name without a tunnel is refused", func() bool {
		_, err := m.shake("gone.test")
		return err != nil && strings.Contains(err.Error(), "handshake failure")
	})
	if n := m.held(); n != 1 {
		t.Errorf("%d names have certificates", n)
	}
}

func TestAnotherEnvoyAsksForWhatItNeeds(t *testing.T) {
	m := newMinting(t, "api.test")
	m.serial("api.test")
	m.stopping()
	within(t, "the names of the Envoy that ended are forgotten", func() bool { return m.held() == 0 })
	m.startEnvoy()
	m.serial("api.test")
}

func TestWithoutAGoodIntermediateHandshakesFail(t *testing.T) {
	m := newMinting(t, "api.test", "other.test")
	m.serial("api.test")
	m.advance(inspection.IntermediateLifetime)
	if _, err := m.shake("other.test"); err == nil || !strings.Contains(err.Error(), "handshake failure") {
		t.Errorf("got %v", err)
	}
	m.mint.sweep()
	within(t, "what was made before is taken back", func() bool {
		_, err := m.shake("api.test")
		return err != nil && strings.Contains(err.Error(), "handshake failure")
	})
}

func TestAFloodOfNamesHurtsNobodyElse(t *testing.T) {
	m := newMinting(t, "api.test")
	serial := m.serial("api.test")
	const names = 1000
	flood := make(chan int)
	go func() {
		refused := 0
		for i := range names {
			name := fmt.Sprintf("n%d.test", i)
			if i%2 == 0 {
				m.open(name)
			}
			if _, err := m.shake(name); err != nil {
				refused++
			}
			m.close(name)
		}
		flood <- refused
	}()
	for asked := 0; ; asked++ {
		select {
		case refused := <-flood:
			t.Logf("%d of %d names were refused while another client shook hands %d times; %d are held", refused, names, asked, m.held())
			if refused < names/2 || m.held() > maxNames {
				t.Error("names without a tunnel were given certificates, or too many have some")
			}
			return
		default:
			if m.serial("api.test") != serial {
				t.Fatal("the certificate of the other client's host has changed")
			}
		}
	}
}

// ear is a holder that remembers what it is told.
type ear struct{ removed []string }

func (e *ear) replace(string, inspection.Leaf) {}

func (e *ear) remove(names ...string) { e.removed = append(e.removed, names...) }

// newBareMint is a mint without Envoy, whose clock stands still until the test moves it.
func newBareMint(tunnelled func(string) bool, elapsed *time.Duration) *mint {
	issue := func(name string) (inspection.Leaf, error) {
		return inspection.Leaf{Serial: name, RenewAt: time.Unix(0, 0).Add(time.Hour), NotAfter: time.Unix(0, 0).Add(2 * time.Hour)}, nil
	}
	now := func() time.Time { return time.Unix(0, 0).Add(*elapsed) }
	return newMint(issue, tunnelled, now, func() time.Duration { return *elapsed }, slog.New(slog.DiscardHandler))
}

func TestCertificatesAreMadeAtABoundedRate(t *testing.T) {
	var elapsed time.Duration
	m := newBareMint(func(string) bool { return true }, &elapsed)
	made := func() (n int) {
		for {
			if _, err := m.Ask(fmt.Sprintf("n%d-%d.test", elapsed, n), &ear{}); errors.Is(err, errTooFast) {
				return n
			} else if err != nil {
				t.Fatal(err)
			}
			n++
		}
	}
	if n := made(); n != mintsAtOnce {
		t.Errorf("%d at once", n)
	}
	elapsed = time.Second
	if n := made(); n != mintsEach {
		t.Errorf("%d within a second", n)
	}
	if _, err := m.Ask("n0-0.test", &ear{}); err != nil {
		t.Errorf("a name that has a certificate: %v", err)
	}
}

// A host of some letters has thousands of spellings, which are names of their own to Envoy.
func TestTheSpellingsOfOneHostUseUpNothingOfOthers(t *testing.T) {
	var elapsed time.Duration
	m := newBareMint(func(name string) bool { return name == "abcdefghijkl.test" || name == "other.test" }, &elapsed)
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
	for i := range mintsAtOnce + 1 {
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
	m := newBareMint(func(name string) bool { return open[name] }, &elapsed)
	who := &ear{}
	ask := func(i int) error {
		name := fmt.Sprintf("n%d.test", i)
		open[name] = true
		elapsed += time.Second / mintsEach
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
	m := newBareMint(func(string) bool { return true }, &elapsed)
	if _, err := m.Ask(envoy.NoName, &ear{}); !errors.Is(err, inspection.ErrName) {
		t.Errorf("got %v", err)
	}
}
