package inspection

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"strings"
	"time"
)

// maxCommonName is the most that X.509 allows, in characters. Bytes are counted here, which is never more generous.
const maxCommonName = 64

const rootSuffix = " inspection CA"

// Errors of an authority that is asked for an intermediate.
var (
	// ErrRequest says that a request is malformed, is not signed by the key that it is for, or is for a key that is not
	// on P-256.
	ErrRequest = errors.New("the certificate request is not a good one")
	// ErrEnded says that the root ends before what it is to sign, or has not begun.
	ErrEnded = errors.New("the inspection CA ends too soon")
)

// Authority is the root of a workspace, with its private key.
type Authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// NewAuthority makes the root of a workspace. The name is for people and is shortened where it is too long for a
// certificate; the id tells roots of equal names apart.
func NewAuthority(name, id string, now time.Time) (Authority, error) {
	key, err := newKey()
	if err != nil {
		return Authority{}, fmt.Errorf("make inspection CA: %w", err)
	}
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: rootName(name), SerialNumber: id},
		NotBefore: now.Add(-Backdate), NotAfter: now.Add(RootLifetime),
		IsCA: true, BasicConstraintsValid: true, MaxPathLen: 1,
		KeyUsage: x509.KeyUsageCertSign,
	}
	certificate, err := sign(template, template, &key.PublicKey, key)
	if err != nil {
		return Authority{}, fmt.Errorf("make inspection CA: %w", err)
	}
	return Authority{certificate, key}, nil
}

func rootName(name string) string {
	if len(name) > maxCommonName-len(rootSuffix) {
		name = name[:maxCommonName-len(rootSuffix)]
	}
	return strings.ToValidUTF8(name, "") + rootSuffix
}

// ParseAuthority reads what Certificate and Key gave.
func ParseAuthority(certificate, key []byte) (Authority, error) {
	private, err := parseKey(key)
	if err != nil {
		return Authority{}, fmt.Errorf("read inspection CA: %w", err)
	}
	parsed, err := x509.ParseCertificate(certificate)
	if err != nil {
		return Authority{}, fmt.Errorf("read inspection CA: %w", err)
	}
	if !private.PublicKey.Equal(parsed.PublicKey) {
		return Authority{}, errors.New("read inspection CA: the certificate is of another key")
	}
	return Authority{parsed, private}, nil
}

// Certificate is the root in DER.
func (a Authority) Certificate() []byte { return a.certificate.Raw }

// NotBefore and NotAfter are when the root is good, in whole seconds of UTC.
func (a Authority) NotBefore() time.Time { return a.certificate.NotBefore }

// NotAfter is when the root ends.
func (a Authority) NotAfter() time.Time { return a.certificate.NotAfter }

// Key is the private key, to be kept sealed.
func (a Authority) Key() ([]byte, error) { return encodeKey(a.key) }

// Certify makes the intermediate that a gateway asks for in a request, which it signed with the key that it is for. Of what
// else the request says nothing is taken over. The error is ErrRequest or ErrEnded, or that of a defect.
func (a Authority) Certify(request []byte, gateway string, now time.Time) (*x509.Certificate, error) {
	asked, err := x509.ParseCertificateRequest(request)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	if err := asked.CheckSignature(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	public, ok := asked.PublicKey.(*ecdsa.PublicKey)
	if !ok || public.Curve != elliptic.P256() {
		return nil, fmt.Errorf("%w: it is for a key that is not on P-256", ErrRequest)
	}
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: "gateway inspection", SerialNumber: gateway},
		NotBefore: now.Add(-Backdate), NotAfter: now.Add(IntermediateLifetime),
		IsCA: true, BasicConstraintsValid: true, MaxPathLen: 0, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if !covers(a.certificate, now) || a.certificate.NotAfter.Before(template.NotAfter) {
		return nil, fmt.Errorf("%w: it is good from %s to %s", ErrEnded, a.certificate.NotBefore.Format(time.RFC3339), a.certificate.NotAfter.Format(time.RFC3339))
	}
	made, err := sign(template, a.certificate, public, a.key)
	if err != nil {
		return nil, fmt.Errorf("sign intermediate: %w", err)
	}
	return made, nil
}
