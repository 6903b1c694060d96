package inspection_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/caracal-gateway/caracal/inspection"
)

const workspace = "wsp_b5hcwt4kcwwm2uk5ugqdmzu33q"

var at = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func must[T any](value T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func newAuthority(t testing.TB) inspection.Authority {
	t.Helper()
	return must(inspection.NewAuthority("my team", workspace, at))(t)
}

func newIssuer(t testing.TB, root inspection.Authority) *inspection.Issuer {
	t.Helper()
	request := must(inspection.NewRequest())(t)
	made := must(root.Certify(request.DER(), "gtw_1", at))(t)
	return must(request.Accept(made.Raw, root.Certificate(), at))(t)
}

// chain is the certificates of a PEM text.
func chain(t testing.TB, text []byte) []*x509.Certificate {
	t.Helper()
	var all []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		all = append(all, must(x509.ParseCertificate(block.Bytes))(t))
	}
	return all
}

// verify holds a leaf's chain against the root as a client does.
func verify(t testing.TB, root inspection.Authority, leaf inspection.Leaf, name string, now time.Time) error {
	t.Helper()
	sent := chain(t, leaf.Chain)
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(must(x509.ParseCertificate(root.Certificate()))(t))
	between.AddCert(sent[1])
	_, err := sent[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, DNSName: name, CurrentTime: now})
	return err
}

func TestALeafIsBelievedByWhoTrustsTheRoot(t *testing.T) {
	root := newAuthority(t)
	issuer := newIssuer(t, root)
	for _, name := range []string{"api.test", strings.Repeat("a.", 100) + "test"} {
		leaf := must(issuer.Issue(name, at))(t)
		if err := verify(t, root, leaf, name, at); err != nil {
			t.Error(err)
		}
		if err := verify(t, root, leaf, name, at.Add(-inspection.Backdate)); err != nil {
			t.Errorf("by a clock that is behind: %v", err)
		}
		if err := verify(t, root, leaf, "www."+name, at); err == nil {
			t.Error("it is believed for another name")
		}
		if err := verify(t, newAuthority(t), leaf, name, at); err == nil {
			t.Error("it is believed under another root of the same name")
		}
		if err := verify(t, root, leaf, name, at.Add(inspection.LeafLifetime)); err == nil {
			t.Error("it is believed after its end")
		}
	}
}

func TestCertificatesSayWhatTheyMayDo(t *testing.T) {
	root := newAuthority(t)
	issuer := newIssuer(t, root)
	leaf := must(issuer.Issue("api.test", at))(t)
	top, sent := must(x509.ParseCertificate(root.Certificate()))(t), chain(t, leaf.Chain)
	between := sent[1]
	switch {
	case top.Subject.CommonName != "my team inspection CA", top.Subject.SerialNumber != workspace, top.MaxPathLen != 1, top.KeyUsage != x509.KeyUsageCertSign:
		t.Errorf("the root is %v, path length %d, usage %b", top.Subject, top.MaxPathLen, top.KeyUsage)
	case !between.IsCA, !between.MaxPathLenZero, between.MaxPathLen != 0, between.KeyUsage != x509.KeyUsageCertSign, len(between.ExtKeyUsage) != 1, between.ExtKeyUsage[0] != x509.ExtKeyUsageServerAuth:
		t.Errorf("the intermediate is an authority: %t, path length %d, usage %b, for %v", between.IsCA, between.MaxPathLen, between.KeyUsage, between.ExtKeyUsage)
	case sent[0].IsCA, sent[0].KeyUsage != x509.KeyUsageDigitalSignature, len(sent[0].ExtKeyUsage) != 1, sent[0].ExtKeyUsage[0] != x509.ExtKeyUsageServerAuth:
		t.Errorf("the leaf is an authority: %t, usage %b, for %v", sent[0].IsCA, sent[0].KeyUsage, sent[0].ExtKeyUsage)
	}
	if life := between.NotAfter.Sub(at); life != inspection.IntermediateLifetime {
		t.Errorf("the intermediate is good for %s", life)
	}
	if bytes.Contains(leaf.Chain, inspection.PEM(root.Certificate())) || len(sent) != 2 {
		t.Errorf("%d certificates are sent", len(sent))
	}
	other := must(issuer.Issue("other.test", at))(t)
	if !bytes.Equal(other.Key, leaf.Key) || other.Serial == leaf.Serial {
		t.Error("leaves have keys of their own, or one serial number")
	}
}

func TestALeafNeverOutlivesItsIntermediate(t *testing.T) {
	root := newAuthority(t)
	issuer := newIssuer(t, root)
	end := issuer.Intermediate().NotAfter
	late := must(issuer.Issue("api.test", end.Add(-time.Hour)))(t)
	if !late.NotAfter.Equal(end) {
		t.Errorf("the leaf ends at %s, the intermediate at %s", late.NotAfter, end)
	}
	if _, err := issuer.Issue("api.test", end); !errors.Is(err, inspection.ErrOver) {
		t.Errorf("after the end of the intermediate: %v", err)
	}
	if _, err := issuer.Issue("api.test", at.Add(-time.Hour)); !errors.Is(err, inspection.ErrOver) {
		t.Errorf("before its beginning: %v", err)
	}
}

func TestOnlyHostsGetALeaf(t *testing.T) {
	issuer := newIssuer(t, newAuthority(t))
	for _, name := range []string{
		"", ".", "API.test", "a_b.test", "*.test", "10.0.0.1", "::1", "[::1]", "a.test.", "a..test", "a.test:443", "a.test/b", "127.1", "0x7f.1", "2130706433",
		"a\x00.test", "-a.test", "ä.test", strings.Repeat("a", 64) + ".test", strings.Repeat("a.", 126) + "test",
	} {
		if _, err := issuer.Issue(name, at); !errors.Is(err, inspection.ErrName) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestAnAuthorityCertifiesOnlyGoodRequests(t *testing.T) {
	root := newAuthority(t)
	good := must(inspection.NewRequest())(t).DER()
	forged := bytes.Clone(good)
	forged[len(forged)-1] ^= 1
	request := func(key any) []byte {
		return must(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key))(t)
	}
	for sentence, der := range map[string][]byte{
		"nothing":                   nil,
		"something else":            []byte("request"),
		"one signed by another key": forged,
		"one for an RSA key":        request(must(rsa.GenerateKey(rand.Reader, 2048))(t)),
		"one for a P-384 key":       request(must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))(t)),
	} {
		if _, err := root.Certify(der, "gtw_1", at); !errors.Is(err, inspection.ErrRequest) {
			t.Errorf("%s: %v", sentence, err)
		}
	}
	for _, when := range []time.Time{root.NotAfter(), root.NotAfter().Add(-inspection.IntermediateLifetime + time.Second), root.NotBefore().Add(-time.Second)} {
		if _, err := root.Certify(good, "gtw_1", when); !errors.Is(err, inspection.ErrEnded) {
			t.Errorf("at %s: %v", when, err)
		}
	}
}

func TestARequestAcceptsOnlyWhatItCanIssueUnder(t *testing.T) {
	root := newAuthority(t)
	request := must(inspection.NewRequest())(t)
	made := must(root.Certify(request.DER(), "gtw_1", at))(t)
	another := must(root.Certify(must(inspection.NewRequest())(t).DER(), "gtw_1", at))(t)
	for sentence, c := range map[string]struct {
		certificate, root []byte
		now               time.Time
	}{
		"of another key":        {another.Raw, root.Certificate(), at},
		"under another root":    {made.Raw, newAuthority(t).Certificate(), at},
		"that is over":          {made.Raw, root.Certificate(), made.NotAfter.Add(time.Second)},
		"that is its own root":  {made.Raw, made.Raw, at},
		"that is the root":      {root.Certificate(), root.Certificate(), at},
		"that is none":          {[]byte("x"), root.Certificate(), at},
		"whose root is missing": {made.Raw, nil, at},
	} {
		if _, err := request.Accept(c.certificate, c.root, c.now); !errors.Is(err, inspection.ErrChain) {
			t.Errorf("a certificate %s: %v", sentence, err)
		}
	}
}

func TestWhatIsKeptIsReadAgain(t *testing.T) {
	root := newAuthority(t)
	again := must(inspection.ParseAuthority(root.Certificate(), must(root.Key())(t)))(t)
	issuer := newIssuer(t, again)
	text := must(issuer.Encode())(t)
	// split tells the key from the certificates.
	split := func(text []byte) (key, certificates []byte) {
		i := bytes.Index(text, []byte("-----BEGIN CERTIFICATE"))
		return text[:i:i], text[i:]
	}
	_, certificates := split(text)
	otherKey, _ := split(must(newIssuer(t, root).Encode())(t))
	read := must(inspection.ParseIssuer(text, at))(t)
	if err := verify(t, root, must(read.Issue("api.test", at))(t), "api.test", at); err != nil {
		t.Error(err)
	}
	if read.Workspace() != workspace {
		t.Errorf("it is of %q", read.Workspace())
	}
	for sentence, text := range map[string][]byte{
		"nothing":     nil,
		"a part":      text[:len(text)/2],
		"no key":      certificates,
		"another key": append(otherKey, certificates...),
	} {
		if _, err := inspection.ParseIssuer(text, at); !errors.Is(err, inspection.ErrChain) {
			t.Errorf("%s: %v", sentence, err)
		}
	}
	if _, err := inspection.ParseAuthority(newAuthority(t).Certificate(), must(root.Key())(t)); err == nil {
		t.Error("a root is read with another's key")
	}
}

func TestARootsNameFitsACertificate(t *testing.T) {
	for _, name := range []string{"", strings.Repeat("n", 200), strings.Repeat("ä", 100)} {
		root := must(inspection.NewAuthority(name, workspace, at))(t)
		got := must(x509.ParseCertificate(root.Certificate()))(t).Subject.CommonName
		if len(got) > 64 || !utf8.ValidString(got) || !strings.HasSuffix(got, " inspection CA") {
			t.Errorf("%q became %q", name, got)
		}
	}
}

// connect shakes hands as the strictest client of OpenSSL does.
const connect = `
import socket, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[1])
context.verify_flags |= ssl.VERIFY_X509_STRICT
with socket.create_connection(("127.0.0.1", int(sys.argv[2]))) as plain, context.wrap_socket(plain, server_hostname=sys.argv[3]):
    pass
`

func TestOpenSSLBelievesALeafWhereItIsStrict(t *testing.T) {
	root := must(inspection.NewAuthority("my team", workspace, time.Now()))(t)
	request := must(inspection.NewRequest())(t)
	made := must(root.Certify(request.DER(), "gtw_1", time.Now()))(t)
	issuer := must(request.Accept(made.Raw, root.Certificate(), time.Now()))(t)
	trusted := filepath.Join(t.TempDir(), "root.pem")
	if err := os.WriteFile(trusted, inspection.PEM(root.Certificate()), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"api.test", strings.Repeat("a.", 40) + "test"} {
		leaf := must(issuer.Issue(name, time.Now()))(t)
		served := must(tls.X509KeyPair(leaf.Chain, leaf.Key))(t)
		listener := must(tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{served}}))(t)
		ended := make(chan error, 1)
		go func() {
			connection, err := listener.Accept()
			if err == nil {
				err = connection.(*tls.Conn).Handshake()
			}
			ended <- err
		}()
		port := strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
		if out, err := exec.CommandContext(t.Context(), "python3", "-c", connect, trusted, port, name).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", name, err, out)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := listener.Close(); err != nil {
			t.Error(err)
		}
	}
}

func BenchmarkIssue(b *testing.B) {
	issuer := newIssuer(b, newAuthority(b))
	for b.Loop() {
		if _, err := issuer.Issue("api.test", at); err != nil {
			b.Fatal(err)
		}
	}
}
