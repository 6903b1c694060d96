package envoy

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
)

// secret refers to a secret that the gateway serves on the configuration stream.
func secret(name string) *tlsv3.SdsSecretConfig {
	return &tlsv3.SdsSecretConfig{Name: name, SdsConfig: ads()}
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
	own := &tlsv3.Secret{
		Name: SecretListener,
		Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{
			CertificateChain: inlineBytes(l.Certificate),
			PrivateKey:       inlineBytes(l.PrivateKey),
		}},
	}
	return []*tlsv3.Secret{own, roots}
}

func inlineBytes(data []byte) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: data}}
}

func inlineText(text string) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: text}}
}
