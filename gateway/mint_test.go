package gateway

import (
	"crypto/ecdsa"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

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

// One principal opens tunnels to ever more names. Another goes on with the names that it has, and gets new ones.
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
				m.openBy("flood", name)
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
			if asked < mintsAtOnceOfEach-1 { // beside the one above
				name := fmt.Sprintf("other%d.test", asked)
				m.open(name)
				m.serial(name)
			}
		}
	}
}
