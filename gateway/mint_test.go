package gateway

import (
	"crypto/ecdsa"
	"slices"
	"strings"
	"testing"

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
