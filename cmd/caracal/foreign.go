package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/netip"

	"github.com/caracal-gateway/caracal/gateway"
)

// readForeign reads where somebody else's Envoy asks for decisions. Whoever may ask learns what agents may do, so that
// there is no such port without client certificates, wherever it is.
func readForeign(settings *values, c *gateway.Config) error {
	var given int
	read := map[string][]byte{}
	for _, flag := range []string{"extauthz-cert", "extauthz-key", "extauthz-client-ca"} {
		content, err := settings.file(flag)
		if err != nil {
			return err
		}
		if read[flag] = content; content != nil {
			given++
		}
	}
	address := settings.text("extauthz-listen")
	if address == "" && given == 0 {
		return nil
	}
	if address == "" || given != len(read) {
		return &usageError{"set all of CARACAL_EXTAUTHZ_LISTEN, CARACAL_EXTAUTHZ_CERT, CARACAL_EXTAUTHZ_KEY and CARACAL_EXTAUTHZ_CLIENT_CA, or none"}
	}
	foreign := gateway.Foreign{Clients: x509.NewCertPool()}
	var err error
	if foreign.Listen, err = netip.ParseAddrPort(address); err != nil {
		return &usageError{fmt.Sprintf("CARACAL_EXTAUTHZ_LISTEN %q is not of the form address:port with a literal address", address)}
	}
	if foreign.Certificate, err = tls.X509KeyPair(read["extauthz-cert"], read["extauthz-key"]); err != nil {
		return fmt.Errorf("reading CARACAL_EXTAUTHZ_CERT and CARACAL_EXTAUTHZ_KEY: %w", err)
	}
	if !foreign.Clients.AppendCertsFromPEM(read["extauthz-client-ca"]) {
		return &usageError{"CARACAL_EXTAUTHZ_CLIENT_CA holds no PEM certificate"}
	}
	c.Foreign = &foreign
	return nil
}
