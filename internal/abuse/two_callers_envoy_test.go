package abuse_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// h2Tunnel opens a tunnel on an HTTP/2 connection to the proxy port and gives what asks through it.
func (f *front) h2Tunnel(t *testing.T, connection *http.ClientConn, authority, caller string) (ask func(string) int, leave func()) {
	t.Helper()
	out, in := io.Pipe()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodConnect, "http://"+authority, out)
	if err != nil {
		t.Fatal(err)
	}
	request.Host = authority
	name, value, _ := strings.Cut(strings.TrimSpace(f.credentials(caller)), ": ")
	request.Header.Set(name, value)
	response, err := connection.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	if response.StatusCode != http.StatusOK {
		t.Fatalf("the tunnel of %s is answered with %d", caller, response.StatusCode)
	}
	reader := bufio.NewReader(response.Body)
	ask = func(method string) int {
		fmt.Fprintf(in, "%s /a HTTP/1.1\r\nHost: plain.caracal.test\r\nContent-Length: 0\r\n\r\n", method)
		answer, err := http.ReadResponse(reader, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		if _, err := io.Copy(io.Discard, answer.Body); err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode
	}
	return ask, func() { _ = in.Close(); _ = response.Body.Close() }
}

// TestTunnelsOnOneConnectionKeepTheirCallers opens tunnels of two callers on one HTTP/2 connection.
func TestTunnelsOnOneConnectionKeepTheirCallers(t *testing.T) {
	f := newFront(t)
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	connection, err := transport.NewClientConn(t.Context(), "http", f.proxy.String())
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	const to = "plain.caracal.test:80"
	agent, leave := f.h2Tunnel(t, connection, to, "agent")
	reader, _ := f.h2Tunnel(t, connection, to, "reader")
	for range 3 {
		if got := agent("DELETE"); got != 200 {
			t.Errorf("the agent: %d", got)
		}
		if got := reader("DELETE"); got != 403 {
			t.Errorf("the reader: %d", got)
		}
	}
	leave()
	again, _ := f.h2Tunnel(t, connection, to, "reader")
	if got := again("DELETE"); got != 403 {
		t.Errorf("the reader on the connection that the agent has left: %d", got)
	}
	agent, _ = f.h2Tunnel(t, connection, to, "agent")
	if got := agent("DELETE"); got != 200 {
		t.Errorf("the agent again: %d", got)
	}
}
