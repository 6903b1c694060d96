package extauthz

import (
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/caracal-gateway/caracal/authority"
)

// Certificates that identify nobody are remembered for a moment: verifying one again for each request of a connection would
// let a stranger spend the gateway's time.
const (
	maxStrangers  = 4096
	strangersTime = 5 * time.Second
)

// minRSA is the size of the smallest RSA key that identifies a caller, in bits.
const minRSA = 2048

// clients know whom client certificates identify, by the authorities of one snapshot. They remember certificates that
// identified somebody, since verifying one costs more than all the rest of a check; nothing outlives the snapshot, so that
// an authority that is taken away ends what it vouched for at once, on connections that are open too.
type clients struct {
	authorities []clientAuthority

	mu        sync.RWMutex
	known     map[[sha256.Size]byte]certified // by the digest of the certificate
	strangers map[[sha256.Size]byte]certified // by the digest of all that the client sent
}

type clientAuthority struct {
	roots, intermediates *x509.CertPool
	bindings             map[certificateName]authority.PrincipalID
}

type certificateName struct {
	kind  authority.CertificateName
	value string
}

// certified is what came of verifying a certificate, and from when to when it would come out the same.
type certified struct {
	principal   authority.PrincipalID
	from, until time.Time
}

func newClients(authorities []authority.ClientAuthority) (*clients, error) {
	c := &clients{}
	for _, a := range authorities {
		roots, intermediates, err := a.Certificates()
		if err != nil {
			return nil, fmt.Errorf("client authority %s: %w", a.ID, err)
		}
		own := clientAuthority{
			roots: x509.NewCertPool(), intermediates: x509.NewCertPool(), bindings: make(map[certificateName]authority.PrincipalID, len(a.Bindings)),
		}
		for _, certificate := range roots {
			own.roots.AddCert(certificate)
		}
		for _, certificate := range intermediates {
			own.intermediates.AddCert(certificate)
		}
		for _, b := range a.Bindings {
			own.bindings[certificateName{b.Kind, b.Value}] = b.PrincipalID
		}
		c.authorities = append(c.authorities, own)
	}
	return c, nil
}

// holder is the principal that a certificate identifies; none for a certificate that no authority vouches for now, that
// nobody is bound to, or that stands for more than one.
func (c *clients) holder(p peer, now time.Time) (authority.PrincipalID, bool) {
	if !p.shown() || len(c.authorities) == 0 {
		return "", false
	}
	digest := sha256.Sum256(p.leaf)
	c.mu.RLock()
	known, stranger := c.known[digest], c.strangers[p.digest()]
	c.mu.RUnlock()
	if known.at(now) {
		return known.principal, true
	}
	if stranger.at(now) {
		return "", false
	}
	found, ok := c.verify(p, now)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !ok {
		c.strangers = remember(c.strangers, maxStrangers, p.digest(), certified{from: now, until: now.Add(strangersTime)})
		return "", false
	}
	c.known = remember(c.known, maxVerified, digest, found)
	return found.principal, true
}

// remember adds to a memory of bounded size, which begins anew when it is full.
func remember(memory map[[sha256.Size]byte]certified, limit int, digest [sha256.Size]byte, what certified) map[[sha256.Size]byte]certified {
	if memory == nil || len(memory) >= limit {
		memory = make(map[[sha256.Size]byte]certified)
	}
	memory[digest] = what
	return memory
}

// at reports whether what was found holds at an instant.
func (c certified) at(now time.Time) bool { return !now.Before(c.from) && now.Before(c.until) }

// verify asks every authority.
func (c *clients) verify(p peer, now time.Time) (certified, bool) {
	leaf, err := x509.ParseCertificate(p.leaf)
	if err != nil || !identifies(leaf) {
		return certified{}, false
	}
	var sent []*x509.Certificate
	for _, der := range p.sent {
		if certificate, err := x509.ParseCertificate(der); err == nil {
			sent = append(sent, certificate)
		}
	}
	names := namesOf(leaf)
	var found certified
	for _, a := range c.authorities {
		chain, ok := a.vouches(leaf, sent, now)
		if !ok {
			continue
		}
		for _, name := range names {
			principal, bound := a.bindings[name]
			switch {
			case !bound:
			case found.principal == "" || found.principal == principal:
				found = lasting(principal, chain)
			default:
				return certified{}, false
			}
		}
	}
	return found, found.principal != ""
}

// identifies refuses certificates that are no caller's: an authority's own, and those with a key that is too weak.
func identifies(leaf *x509.Certificate) bool {
	if leaf.IsCA || leaf.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0 {
		return false
	}
	key, isRSA := leaf.PublicKey.(*rsa.PublicKey)
	return !isRSA || key.N.BitLen() >= minRSA
}

// vouches finds a chain from a certificate to a root, at an instant, for the authentication of a client.
func (a clientAuthority) vouches(leaf *x509.Certificate, sent []*x509.Certificate, now time.Time) ([]*x509.Certificate, bool) {
	intermediates := a.intermediates
	if len(sent) > 0 {
		intermediates = intermediates.Clone()
		for _, certificate := range sent {
			intermediates.AddCert(certificate)
		}
	}
	chains, err := leaf.Verify(x509.VerifyOptions{
		Roots: a.roots, Intermediates: intermediates, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil || len(chains) == 0 {
		return nil, false
	}
	return chains[0], true
}

// lasting is a finding that holds while every certificate of the chain does.
func lasting(principal authority.PrincipalID, chain []*x509.Certificate) certified {
	found := certified{principal: principal, from: chain[0].NotBefore, until: chain[0].NotAfter}
	for _, certificate := range chain[1:] {
		if certificate.NotBefore.After(found.from) {
			found.from = certificate.NotBefore
		}
		if certificate.NotAfter.Before(found.until) {
			found.until = certificate.NotAfter
		}
	}
	return found
}

// namesOf are the names in a certificate that can be bound. A SPIFFE id is one only where there is no other URI.
func namesOf(leaf *x509.Certificate) []certificateName {
	var names []certificateName
	for _, uri := range leaf.URIs {
		text := uri.String()
		switch {
		case uri.Scheme != "spiffe":
			names = append(names, certificateName{authority.NameURI, text})
		case len(leaf.URIs) == 1 && authority.IsSPIFFEID(text):
			names = append(names, certificateName{authority.NameSPIFFE, text})
		}
	}
	for _, name := range leaf.DNSNames {
		names = append(names, certificateName{authority.NameDNS, strings.ToLower(name)})
	}
	for _, address := range leaf.EmailAddresses {
		names = append(names, certificateName{authority.NameEmail, address})
	}
	return names
}
