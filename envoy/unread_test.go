package envoy_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/caracal-gateway/caracal/envoy"
)

// A client learns why it is denied, however much of its request is still to come.
func TestADenialReachesAClientThatIsStillSending(t *testing.T) {
	r := startRig(t, setup{local: proxying, resources: withUpstreams(t)})
	r.authz.answer(func(q *authv3.CheckRequest) *authv3.CheckResponse {
		asked := q.GetAttributes().GetRequest().GetHttp()
		if asked.GetMethod() == http.MethodConnect && asked.GetHost() != "denied.test:443" {
			return permitBound(envoy.RouteInside, envoy.BoundWatched, nil)
		}
		return deny(http.StatusForbidden, denial)
	})
	const upload = " HTTP/1.1\r\nHost: api.test\r\nContent-Length: 1000000000\r\n\r\n"
	for name, c := range map[string]struct {
		connection func(t *testing.T) net.Conn
		head       string
	}{
		"to the gateway port": {func(t *testing.T) net.Conn { return dial(t, r.address) }, "POST /api/proxy" + upload},
		"to the proxy port":   {func(t *testing.T) net.Conn { return dial(t, r.forward) }, "POST http://api.test/" + upload},
		"in place of a tunnel": {
			func(t *testing.T) net.Conn { return dial(t, r.forward) }, connectTo("denied.test:443"),
		},
		"inside of a tunnel": {
			func(*testing.T) net.Conn { return r.tunnel(connectTo("api.test:80")) }, "POST /" + upload,
		},
		"inside of TLS in a tunnel": {
			func(t *testing.T) net.Conn {
				roots := x509.NewCertPool()
				roots.AppendCertsFromPEM(authority(t).pem)
				return tls.Client(r.tunnel(connectTo("api.test:443")), &tls.Config{RootCAs: roots, ServerName: "api.test"})
			}, "POST /" + upload,
		},
	} {
		t.Run(name, func(t *testing.T) {
			for i := range 40 {
				if err := denied(c.connection(t), c.head); err != nil {
					t.Fatalf("at attempt %d: %v", i+1, err)
				}
			}
		})
	}
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	connection, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return connection
}

// denied sends a request and a body without end, and says what came in place of the denial.
func denied(connection net.Conn, head string) error {
	if err := connection.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, err := fmt.Fprint(connection, head)
		for part := make([]byte, 16<<10); err == nil; {
			_, err = connection.Write(part)
		}
	}()
	defer func() {
		_ = connection.Close()
		<-sent
	}()
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	if err != nil {
		return fmt.Errorf("no answer: %w", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("after %q: %w", body, err)
	}
	if response.StatusCode != http.StatusForbidden || string(body) != denial {
		return fmt.Errorf("status %d, body %q", response.StatusCode, body)
	}
	return nil
}
