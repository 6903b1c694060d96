package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/caracal-gateway/caracal/bundle"
)

const maxMessage = bundle.MaxDelta + 64<<10 // bytes

// dial prepares the connection; nothing is sent yet. http is refused unless the host is a loopback address or plain
// text is asked for.
func dial(control *url.URL, caPEM []byte, allowPlain bool) (*grpc.ClientConn, error) {
	var transport credentials.TransportCredentials
	switch {
	case control.Scheme == "https":
		config, err := controlTLS(caPEM)
		if err != nil {
			return nil, err
		}
		transport = credentials.NewTLS(config)
	case control.Scheme == "http" && (allowPlain || isLoopback(control.Hostname())):
		transport = insecure.NewCredentials()
	case control.Scheme == "http":
		return nil, fmt.Errorf("%s: plain http carries the gateway key in the clear and is only for loopback addresses; use https, or CARACAL_ALLOW_PLAIN=true in a closed network", control)
	default:
		return nil, fmt.Errorf("%s: the URL of a control plane begins with https:// or http://", control)
	}
	port := control.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[control.Scheme]
	}
	return grpc.NewClient("passthrough:///"+net.JoinHostPort(control.Hostname(), port),
		grpc.WithTransportCredentials(transport),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		// How long to wait before the next try is for the link to say, not for the connection.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: retryPauseMin, Multiplier: 1.6, Jitter: 0.2, MaxDelay: retryPauseMax / 3},
			MinConnectTimeout: 5 * time.Second,
		}),
	)
}

// controlTLS verifies the control plane by the given certificates, or by the host's roots when there are none.
func controlTLS(caPEM []byte) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(caPEM) > 0 {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(caPEM) {
			return nil, errors.New("the CA file for the control plane holds no certificate")
		}
	}
	return config, nil
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	address, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && address.IsLoopback()
}
