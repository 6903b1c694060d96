package inspection

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/caracal-gateway/caracal/authority"
)

// Errors of an issuer.
var (
	// ErrName says that a name is not the DNS name of a server in lower case.
	ErrName = errors.New("the name is not a host's DNS name in lower case")
	// ErrOver says that the intermediate is not good at the moment.
	ErrOver = errors.New("the gateway's inspection certificate is not good now")
	// ErrChain says that a chain is not one that a gateway can issue under.
	ErrChain = errors.New("the inspection certificate does not fit")
)

// Request is a gateway's for an intermediate, with the private key that it is for.
type Request struct {
	key *ecdsa.PrivateKey
	der []byte
}

// NewRequest makes a key, and the request for its certificate.
func NewRequest() (Request, error) {
	key, err := newKey()
	if err != nil {
		return Request{}, fmt.Errorf("make inspection key: %w", err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return Request{}, fmt.Errorf("request inspection certificate: %w", err)
	}
	return Request{key, der}, nil
}

// DER is the request as it is sent.
func (r Request) DER() []byte { return r.der }

// Issuer makes leaves under a gateway's intermediate. Its methods are safe for concurrent use.
type Issuer struct {
	key          *ecdsa.PrivateKey
	intermediate *x509.Certificate
	root         *x509.Certificate

	leafKey     *ecdsa.PrivateKey
	leafKeyPEM  []byte
	chainBehind []byte // PEM of what follows a leaf
}

// Accept takes the answer to a request: the intermediate and the root, in DER. The error is ErrChain unless the intermediate
// is of the request's key, good at the instant, signed by the root, and may sign what the issuer is to sign.
func (r Request) Accept(intermediate, root []byte, now time.Time) (*Issuer, error) {
	return newIssuer(r.key, intermediate, root, now)
}

func newIssuer(key *ecdsa.PrivateKey, intermediate, root []byte, now time.Time) (*Issuer, error) {
	i := &Issuer{key: key}
	var err error
	if i.intermediate, err = x509.ParseCertificate(intermediate); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrChain, err)
	}
	if i.root, err = x509.ParseCertificate(root); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrChain, err)
	}
	if err := i.check(now); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrChain, err)
	}
	if i.leafKey, err = newKey(); err != nil {
		return nil, fmt.Errorf("make leaf key: %w", err)
	}
	der, err := encodeKey(i.leafKey)
	if err != nil {
		return nil, err
	}
	i.leafKeyPEM, i.chainBehind = keyPEM(der), PEM(i.intermediate.Raw)
	return i, nil
}

func (i *Issuer) check(now time.Time) error {
	if !i.key.PublicKey.Equal(i.intermediate.PublicKey) {
		return errors.New("it is of another key")
	}
	roots := x509.NewCertPool()
	roots.AddCert(i.root)
	options := x509.VerifyOptions{Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	if _, err := i.intermediate.Verify(options); err != nil {
		return err
	}
	if bytes.Equal(i.intermediate.Raw, i.root.Raw) || !i.intermediate.IsCA || !i.intermediate.MaxPathLenZero ||
		i.intermediate.KeyUsage&x509.KeyUsageCertSign == 0 {
		return errors.New("it is not an intermediate that signs leaves only")
	}
	return nil
}

// ParseIssuer reads what Encode gave. The error is ErrChain for what Accept would refuse at the instant.
func ParseIssuer(text []byte, now time.Time) (*Issuer, error) {
	var blocks [][]byte
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		blocks = append(blocks, block.Bytes)
	}
	if len(blocks) != 3 {
		return nil, fmt.Errorf("%w: what is kept is not a key, a certificate and its root", ErrChain)
	}
	key, err := parseKey(blocks[0])
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrChain, err)
	}
	return newIssuer(key, blocks[1], blocks[2], now)
}

// Encode gives the private key, the intermediate and the root as PEM, to be kept where nobody else reads it.
func (i *Issuer) Encode() ([]byte, error) {
	der, err := encodeKey(i.key)
	if err != nil {
		return nil, err
	}
	return bytes.Join([][]byte{keyPEM(der), PEM(i.intermediate.Raw), PEM(i.root.Raw)}, nil), nil
}

// Intermediate is the certificate that leaves are issued under.
func (i *Issuer) Intermediate() *x509.Certificate { return i.intermediate }

// Workspace is the id of the workspace whose root it is.
func (i *Issuer) Workspace() string { return i.root.Subject.SerialNumber }

// Holds reports whether leaves can be issued at an instant.
func (i *Issuer) Holds(now time.Time) bool { return covers(i.intermediate, now) && covers(i.root, now) }

// Leaf is a server's certificate with its key.
type Leaf struct {
	// Chain is the leaf and the intermediate, Key the leaf's private key, both PEM.
	Chain, Key []byte
	// Serial is the leaf's serial number in hexadecimal; no other leaf has it.
	Serial string
	// RenewAt is when another is due, NotAfter when it ends.
	RenewAt, NotAfter time.Time
}

// Issue makes a leaf for a name, which never outlives the intermediate. The error is ErrName or ErrOver, or that of a defect.
func (i *Issuer) Issue(name string, now time.Time) (Leaf, error) {
	if !authority.IsHost(name) {
		return Leaf{}, ErrName
	}
	if !i.Holds(now) {
		return Leaf{}, ErrOver
	}
	until := now.Add(LeafLifetime - Backdate)
	for _, above := range []*x509.Certificate{i.intermediate, i.root} {
		if above.NotAfter.Before(until) {
			until = above.NotAfter
		}
	}
	template := &x509.Certificate{
		NotBefore: now.Add(-Backdate), NotAfter: until, DNSNames: []string{name}, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if len(name) <= maxCommonName {
		template.Subject = pkix.Name{CommonName: name} // for who reads it
	}
	made, err := sign(template, i.intermediate, &i.leafKey.PublicKey, i.key)
	if err != nil {
		return Leaf{}, fmt.Errorf("issue certificate: %w", err)
	}
	return Leaf{
		Chain: append(PEM(made.Raw), i.chainBehind...), Key: i.leafKeyPEM, Serial: made.SerialNumber.Text(16),
		RenewAt: RenewAt(made), NotAfter: made.NotAfter,
	}, nil
}
