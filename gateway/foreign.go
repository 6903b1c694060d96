package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
)

// Foreign is where somebody else's Envoy asks for decisions.
type Foreign struct {
	Listen      netip.AddrPort
	Certificate tls.Certificate
	// Clients vouch for the Envoys that may ask.
	Clients *x509.CertPool
}

// listen opens the port, and says which setting to change when something else has it.
func (f *Foreign) listen(ctx context.Context) (net.Listener, error) {
	if f == nil {
		return nil, nil
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", f.Listen.String())
	if err != nil {
		return nil, fmt.Errorf("listen for the checks of another's Envoy (%w): choose another address with CARACAL_EXTAUTHZ_LISTEN", err)
	}
	return listener, nil
}

// foreign are the parts that answer somebody else's Envoy; none where nobody's may ask.
func (g *gateway) foreign(listener net.Listener) []part {
	if listener == nil {
		return nil
	}
	g.Log.Info("another's Envoy may ask for decisions", "address", listener.Addr().String())
	return []part{func(ctx context.Context) error {
		return g.service.ServeForeign(ctx, listener, g.Foreign.Certificate, g.Foreign.Clients)
	}}
}
