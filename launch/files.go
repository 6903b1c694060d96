package launch

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"software.sslmate.com/src/go-pkcs12"
)

// storePassword protects nothing: Java wants one, and this is the one that everybody's trust stores have.
const storePassword = "changeit"

// Files are what clients read beside their variables, in a directory of their own that nobody else can look into.
type Files struct {
	Directory string
	Roots     string // PEM: the host's roots, and those of the gateways
	Store     string // the same as a trust store of Java's
	Wget      string // settings of wget's, after those that there were
	Java      string // arguments of the Java launcher, with the credential
}

// Remove takes the files away.
func (f Files) Remove() error { return os.RemoveAll(f.Directory) }

// Write makes the files for a program whose environment would be there: its own roots stay. ca holds the roots that the
// gateway's certificates chain to, in PEM. The proxy and what it is shown must be known.
func (s *Surroundings) Write(there []string, ca []byte) (err error) {
	roots, err := hostRoots(valueOf(there, "SSL_CERT_FILE"))
	if err != nil {
		return err
	}
	directory, err := os.MkdirTemp("", "caracal-run-")
	if err != nil {
		return fmt.Errorf("make a directory for the program's certificates: %w", err)
	}
	s.Files = Files{
		Directory: directory, Roots: filepath.Join(directory, "roots.pem"), Store: filepath.Join(directory, "roots.p12"),
		Wget: filepath.Join(directory, "wgetrc"), Java: filepath.Join(directory, "java.options"),
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Files.Remove())
		}
	}()
	all := bytes.Join([][]byte{bytes.TrimSpace(ca), bytes.TrimSpace(roots), nil}, []byte("\n"))
	store, err := trustStore(all)
	if err != nil {
		return err
	}
	for path, content := range map[string][]byte{
		s.Files.Roots: all, s.Files.Store: store, s.Files.Wget: s.wget(there), s.Files.Java: s.launcher(),
	} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return fmt.Errorf("write what the program believes: %w", err)
		}
	}
	return nil
}

// hostRoots are the roots that programs on this host believe; chosen is the file that replaces them for this one.
func hostRoots(chosen string) ([]byte, error) {
	if chosen != "" {
		roots, err := os.ReadFile(chosen)
		if err != nil {
			return nil, fmt.Errorf("read the roots of SSL_CERT_FILE: %w", err)
		}
		return roots, nil
	}
	for _, path := range []string{
		"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
		"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/cert.pem",
	} {
		roots, err := os.ReadFile(path)
		if err == nil {
			return roots, nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("read the host's roots: %w", err)
		}
	}
	return nil, errors.New("the host's roots are in none of the usual files: name theirs by SSL_CERT_FILE")
}

// trustStore makes a trust store of Java's of certificates in PEM. What is no certificate that Go reads is left out.
func trustStore(roots []byte) ([]byte, error) {
	var entries []pkcs12.TrustStoreEntry
	for {
		var block *pem.Block
		if block, roots = pem.Decode(roots); block == nil {
			break
		}
		if certificate, err := x509.ParseCertificate(block.Bytes); err == nil && block.Type == "CERTIFICATE" {
			entries = append(entries, pkcs12.TrustStoreEntry{Cert: certificate, FriendlyName: fmt.Sprintf("root %d", len(entries)+1)})
		}
	}
	if len(entries) == 0 {
		return nil, errors.New("make the trust store: there is no certificate in it")
	}
	store, err := pkcs12.Modern.EncodeTrustStoreEntries(entries, storePassword)
	if err != nil {
		return nil, fmt.Errorf("make the trust store: %w", err)
	}
	return store, nil
}

// wget are the settings of the program's user, and after them what wget does not take from variables.
func (s *Surroundings) wget(there []string) []byte {
	path := valueOf(there, "WGETRC")
	if path == "" {
		path = filepath.Join(valueOf(there, "HOME"), ".wgetrc")
	}
	own, err := os.ReadFile(path)
	if err != nil {
		own = nil // wget would do without it as well
	}
	var b bytes.Buffer
	b.Write(own)
	fmt.Fprintf(&b, "\nca_certificate = %s\nuse_proxy = on\n", s.Files.Roots)
	for _, name := range []string{"http_proxy", "https_proxy", "ftp_proxy"} {
		fmt.Fprintf(&b, "%s = %s\n", name, s.URL())
	}
	fmt.Fprintf(&b, "no_proxy = %s\n", s.Ungoverned)
	return b.Bytes()
}

// launcher are the properties by which Java programs learn what to show the proxy, those that look for them.
func (s *Surroundings) launcher() []byte {
	var b strings.Builder
	for _, scheme := range []string{"http", "https"} {
		fmt.Fprintf(&b, "-D%s.proxyUser=%s\n-D%s.proxyPassword=%s\n", scheme, s.Mandate, scheme, s.Token)
	}
	return []byte(b.String())
}
