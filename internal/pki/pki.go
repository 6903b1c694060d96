// Package pki makes certificate authorities and client certificates for tests, good ones and bad ones.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/url"
	"testing"
	"time"
)

// Edit changes a certificate before it is signed.
type Edit func(*x509.Certificate)

// SPIFFE adds a URI, which need not be a good SPIFFE id.
func SPIFFE(t testing.TB, id string) Edit {
	t.Helper()
	uri, err := url.Parse(id)
	if err != nil {
		t.Fatal(err)
	}
	return func(c *x509.Certificate) { c.URIs = append(c.URIs, uri) }
}

// DNS adds a DNS name.
func DNS(name string) Edit {
	return func(c *x509.Certificate) { c.DNSNames = append(c.DNSNames, name) }
}

// Email adds an e-mail address.
func Email(address string) Edit {
	return func(c *x509.Certificate) { c.EmailAddresses = append(c.EmailAddresses, address) }
}

// Usage makes a certificate for something else than to authenticate a client.
func Usage(usages ...x509.ExtKeyUsage) Edit {
	return func(c *x509.Certificate) { c.ExtKeyUsage = usages }
}

// Valid sets when a certificate is valid.
func Valid(from, until time.Time) Edit {
	return func(c *x509.Certificate) { c.NotBefore, c.NotAfter = from, until }
}

// CA is a certificate authority, a root or one below it.
type CA struct {
	Certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	chain       [][]byte // what a client sends behind its certificate
}

// New makes a root, which is valid around now for a long time.
func New(t testing.TB, edits ...Edit) *CA {
	t.Helper()
	key := newKey(t)
	template := authority(t, "root", edits)
	return &CA{Certificate: sign(t, template, template, &key.PublicKey, key), key: key}
}

// Intermediate makes an authority below this one.
func (c *CA) Intermediate(t testing.TB, edits ...Edit) *CA {
	t.Helper()
	key := newKey(t)
	certificate := sign(t, authority(t, "intermediate", edits), c.Certificate, &key.PublicKey, c.key)
	return &CA{Certificate: certificate, key: key, chain: append([][]byte{certificate.Raw}, c.chain...)}
}

// PEM is the authority's certificate.
func (c *CA) PEM() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate.Raw}))
}

// Client makes a certificate to authenticate a client with, valid for a day around now, and its chain up to the root.
func (c *CA) Client(t testing.TB, edits ...Edit) tls.Certificate {
	t.Helper()
	key := newKey(t)
	template := certificate(t, "client")
	template.KeyUsage, template.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	for _, edit := range edits {
		edit(template)
	}
	leaf := sign(t, template, c.Certificate, &key.PublicKey, c.key)
	return tls.Certificate{Certificate: append([][]byte{leaf.Raw}, c.chain...), PrivateKey: key, Leaf: leaf}
}

// Server makes a certificate of a server and its key, in PEM.
func (c *CA) Server(t testing.TB, edits ...Edit) (chain, key []byte) {
	t.Helper()
	made := c.Client(t, append([]Edit{Usage(x509.ExtKeyUsageServerAuth)}, edits...)...)
	for _, der := range made.Certificate {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	der, err := x509.MarshalPKCS8PrivateKey(made.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return chain, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func authority(t testing.TB, name string, edits []Edit) *x509.Certificate {
	t.Helper()
	template := certificate(t, name)
	template.NotBefore, template.NotAfter = template.NotBefore.AddDate(-10, 0, 0), template.NotAfter.AddDate(10, 0, 0)
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	for _, edit := range edits {
		edit(template)
	}
	return template
}

func certificate(t testing.TB, name string) *x509.Certificate {
	t.Helper()
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-12 * time.Hour), NotAfter: now.Add(12 * time.Hour),
	}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t testing.TB, template, parent *x509.Certificate, public *ecdsa.PublicKey, by *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, by)
	if err != nil {
		t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return made
}
