// Package inspection makes and checks the certificates by which a gateway ends the TLS of its clients in place of the
// servers that they ask for.
//
// There are three: the root is a workspace's [Authority], whose private key stays with the control plane; below it, each
// gateway process has an intermediate, made from its [Request], for a key that never leaves the gateway's host; with that,
// its [Issuer] makes a leaf for each name, short-lived and all of one key. Clients trust the root and nothing else.
//
// Nothing here reads a file, a clock or the network.
package inspection

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// How long certificates are good for.
const (
	// RootLifetime is that of a workspace's root. People put the root where their programs look for it, which nobody can
	// do in their place, so that it lives as long as a workspace is likely to; what it signs is short-lived.
	RootLifetime = 10 * 365 * 24 * time.Hour
	// IntermediateLifetime is that of a gateway's: for so long a gateway goes on inspecting without its control plane, and
	// for so long the key of a gateway that was revoked is worth something to who has it.
	IntermediateLifetime = 72 * time.Hour
	// LeafLifetime is the most that a name's certificate is good for.
	LeafLifetime = 24 * time.Hour
	// Backdate is by how much certificates begin before they are made, for clients whose clocks are behind.
	Backdate = 5 * time.Minute
)

// serialBits is the length of serial numbers: they are random, so that no two are alike and none can be guessed.
const serialBits = 128

const (
	blockCertificate = "CERTIFICATE"
	blockKey         = "PRIVATE KEY"
)

func newKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

func newSerial() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), serialBits))
}

// RenewAt is when a certificate is to be replaced: after two thirds of its life.
func RenewAt(certificate *x509.Certificate) time.Time {
	life := certificate.NotAfter.Sub(certificate.NotBefore)
	return certificate.NotBefore.Add(life / 3 * 2)
}

// covers reports whether a certificate is good at an instant.
func covers(c *x509.Certificate, at time.Time) bool {
	return !at.Before(c.NotBefore) && at.Before(c.NotAfter)
}

// sign makes a certificate that the parent's key signs.
func sign(template, parent *x509.Certificate, public *ecdsa.PublicKey, by *ecdsa.PrivateKey) (*x509.Certificate, error) {
	var err error
	if template.SerialNumber, err = newSerial(); err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, by)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// parseKey reads a P-256 key as encodeKey wrote it.
func parseKey(der []byte) (*ecdsa.PrivateKey, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("the key is not on P-256")
	}
	return key, nil
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	return der, nil
}

// PEM is a certificate as clients read it.
func PEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: blockCertificate, Bytes: der})
}

func keyPEM(der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: blockKey, Bytes: der}) }
