package extauthz

import (
	"crypto/tls"
	"errors"
	"fmt"
	"time"
)

// ClientCertificate is what a gateway shows to upstreams whose destinations name it.
type ClientCertificate struct {
	Chain, PrivateKey []byte // PEM
	NotAfter          time.Time
}

// ClientCertificate reads the named certificate: the files NAME.crt and NAME.key of the directory, in PEM, which belong to
// each other. Errors never hold any of the key.
func (c *Credentials) ClientCertificate(name string) (ClientCertificate, error) {
	if !isSecretName(name) {
		return ClientCertificate{}, fmt.Errorf("client certificate %q: not a name", name)
	}
	var read [2]string
	for i, extension := range []string{".crt", ".key"} {
		var err error
		if read[i], err = c.file(name + extension); err != nil {
			return ClientCertificate{}, fmt.Errorf("client certificate %q: file %s%s: %w", name, name, extension, err)
		}
	}
	found := ClientCertificate{Chain: []byte(read[0]), PrivateKey: []byte(read[1])}
	pair, err := tls.X509KeyPair(found.Chain, found.PrivateKey)
	if err != nil {
		return ClientCertificate{}, fmt.Errorf("client certificate %q: %w", name, err)
	}
	if pair.Leaf == nil {
		return ClientCertificate{}, errors.New("client certificate: not parsed")
	}
	found.NotAfter = pair.Leaf.NotAfter
	return found, nil
}
