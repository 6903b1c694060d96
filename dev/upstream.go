package dev

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/caracal-gateway/caracal/internal/echo"
)

// upstreamFiles are the echo upstream's certificate and the CA that it chains to. They are kept, so that a destination
// that names the CA stays true over restarts.
type upstreamFiles struct {
	caFile      string
	ca          []byte // PEM
	certificate tls.Certificate
}

// keepUpstream reads the upstream's certificate, or makes one where there is none or where it ends soon.
func keepUpstream(state string) (upstreamFiles, error) {
	files := upstreamFiles{caFile: filepath.Join(state, "upstream-ca.pem")}
	certificateFile, keyFile := filepath.Join(state, "upstream.pem"), filepath.Join(state, "upstream.key")
	certificate, err := tls.LoadX509KeyPair(certificateFile, keyFile)
	if err == nil && certificate.Leaf != nil && time.Until(certificate.Leaf.NotAfter) > 24*time.Hour {
		if files.ca, err = os.ReadFile(files.caFile); err == nil {
			files.certificate = certificate
			return files, nil
		}
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return files, fmt.Errorf("read the upstream's certificate: %w", err)
	}
	ca, err := echo.NewCA()
	if err != nil {
		return files, fmt.Errorf("make the upstream's CA: %w", err)
	}
	if files.certificate, err = ca.Leaf(UpstreamHost); err != nil {
		return files, fmt.Errorf("make the upstream's certificate: %w", err)
	}
	files.ca = ca.PEM()
	key, err := x509.MarshalPKCS8PrivateKey(files.certificate.PrivateKey)
	if err != nil {
		return files, fmt.Errorf("keep the upstream's key: %w", err)
	}
	var chain []byte
	for _, der := range files.certificate.Certificate {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return files, errors.Join(
		os.WriteFile(files.caFile, files.ca, 0o644),
		os.WriteFile(certificateFile, chain, 0o600),
		os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), 0o600),
	)
}
