package envoy

import (
	"regexp"
	"slices"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/durationpb"
)

// secret refers to a secret that the gateway serves on the configuration stream.
func secret(name string) *tlsv3.SdsSecretConfig {
	return &tlsv3.SdsSecretConfig{Name: name, SdsConfig: ads()}
}

// clientCertificatePrefix starts the names of the secrets that are client certificates.
const clientCertificatePrefix = "client-certificate/"

// clientCertificateName is the form of what [Upstream.ClientCertificate] says.
var clientCertificateName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// awaited refers to a secret that the gateway may not have. Whatever needs it fails until it comes, and nothing else
// waits for it.
func awaited(name string) *tlsv3.SdsSecretConfig {
	config := secret(name)
	config.SdsConfig.InitialFetchTimeout = durationpb.New(awaitTimeout)
	return config
}

// awaitTimeout is how long what needs a secret is not there while that has not come; then it is there and fails.
const awaitTimeout = time.Second

// ClientCertificate builds the secret with the certificate chain and private key, in PEM, that go to upstreams which name
// them.
func ClientCertificate(name string, chain, key []byte) *tlsv3.Secret {
	return certificate(clientCertificatePrefix+name, chain, key)
}

// ClientCertificates lists the certificates that the clusters of a configuration name, each once, in order.
func ClientCertificates(r Resources) []string {
	var names []string
	for _, c := range r.Clusters {
		if u, err := upstreamOf(c); err == nil && u.ClientCertificate != "" {
			names = append(names, u.ClientCertificate)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// ClientCertificateOf is the name of the client certificate that a secret is.
func ClientCertificateOf(secret string) (name string, is bool) {
	return strings.CutPrefix(secret, clientCertificatePrefix)
}

func certificate(name string, chain, key []byte) *tlsv3.Secret {
	return &tlsv3.Secret{Name: name, Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{
		CertificateChain: inlineBytes(chain),
		PrivateKey:       inlineBytes(key),
	}}}
}

func secrets(l Local) []*tlsv3.Secret {
	roots := &tlsv3.Secret{
		Name: SecretPublicRoots,
		Type: &tlsv3.Secret_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{
			TrustedCa: inlineBytes(l.Roots),
		}},
	}
	if !l.servesTLS() {
		return []*tlsv3.Secret{roots}
	}
	return []*tlsv3.Secret{certificate(SecretListener, l.Certificate, l.PrivateKey), roots}
}

func inlineBytes(data []byte) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: data}}
}

func inlineText(text string) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: text}}
}
