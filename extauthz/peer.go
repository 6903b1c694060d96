package extauthz

import (
	"crypto/sha256"
	"encoding/pem"
	"net/url"
	"strings"

	"github.com/caracal-gateway/caracal/authority"
)

// headerPeer is where Envoy puts the certificates that a client sent beside its own. What a client says under this name is
// gone before, and what stands there decides nothing: it only helps to find a way to a root.
const headerPeer = "x-forwarded-client-cert"

// maxChain bounds the certificates that are read of one connection.
const maxChain = 8

// peer is the client certificate of a connection. Envoy has made sure that the client holds its private key, and of nothing
// else. The zero peer showed none.
type peer struct {
	leaf       []byte // DER
	thumbprint authority.Thumbprint
	// sent are what the client sent behind it, in DER.
	sent [][]byte
}

func (p peer) shown() bool { return p.leaf != nil }

// digest tells apart whatever clients show and send along.
func (p peer) digest() [sha256.Size]byte {
	hash := sha256.New()
	for _, der := range append([][]byte{p.leaf}, p.sent...) {
		own := sha256.Sum256(der)
		hash.Write(own[:])
	}
	return [sha256.Size]byte(hash.Sum(nil))
}

// readPeer reads what Envoy tells of a connection's client certificate: the certificate itself as an attribute, and the
// header with all that the client sent.
func readPeer(certificate, forwarded string) (peer, error) {
	if certificate == "" {
		return peer{}, nil
	}
	shown, ok := certificates(certificate)
	if !ok || len(shown) != 1 {
		return peer{}, deny(authority.ReasonMalformedRequest, "The check has a client certificate that cannot be read.")
	}
	p := peer{leaf: shown[0], thumbprint: authority.ThumbprintOf(shown[0])}
	if _, rest, found := strings.Cut(forwarded, `Chain="`); found {
		text, _, _ := strings.Cut(rest, `"`)
		if sent, ok := certificates(text); ok && len(sent) > 1 {
			p.sent = sent[1:]
		}
	}
	return p, nil
}

// certificates reads PEM certificates that are escaped as in a URL. It fails for anything else, and for more than maxChain.
func certificates(escaped string) ([][]byte, bool) {
	text, err := url.PathUnescape(escaped)
	if err != nil {
		return nil, false
	}
	var all [][]byte
	for rest := []byte(text); len(strings.TrimSpace(string(rest))) > 0; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || block.Type != "CERTIFICATE" || len(all) == maxChain {
			return nil, false
		}
		all = append(all, block.Bytes)
	}
	return all, true
}
