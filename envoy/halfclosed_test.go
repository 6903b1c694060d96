package envoy_test

import (
	"io"
	"net"
	"net/http"
	"net/netip"
	"testing"
)

// A client that has said all that it wants to say goes on being watched while it listens.
func TestATunnelThatItsClientHasHalfClosedEndsWithItsWatch(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	heard, more := make(chan struct{}), make(chan struct{})
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		connection, err := listener.Accept()
		if err != nil {
			return // the test is over
		}
		defer connection.Close()
		_, _ = io.Copy(io.Discard, connection)
		close(heard)
		for range more {
			if _, err := connection.Write([]byte("x")); err != nil {
				return
			}
		}
	}()
	target := opaque("private.test", netip.MustParseAddrPort(listener.Addr().String()).Port())
	r := startRig(t, setup{local: proxying, resources: withUpstreams(t, target)})
	r.permitTunnel(target.Route())
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	connection, err := transport.NewClientConn(t.Context(), "http", r.forward)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	out, in := io.Pipe()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodConnect, "http://private.test:443", out)
	if err != nil {
		t.Fatal(err)
	}
	response, err := connection.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Fatalf("the tunnel is answered with %d", response.StatusCode)
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	<-heard
	more <- struct{}{}
	if n, err := io.ReadFull(response.Body, make([]byte, 1)); err != nil {
		t.Fatalf("the upstream's side is closed with the client's: %d, %v", n, err)
	}
	if !r.watcher.watches(decisionID) {
		t.Error("the tunnel is not watched")
	}
	r.watcher.end(decisionID, errCut)
	if n, err := io.ReadFull(response.Body, make([]byte, 1)); err == nil {
		t.Errorf("%d bytes came after the end", n)
	}
	close(more)
	<-gone
}
