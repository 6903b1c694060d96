package abuse_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/extauthz"
	"github.com/caracal-gateway/caracal/gateway"
)

// ask sends a request on a connection that ends up inside of a tunnel, and gives the status of its answer.
func ask(t *testing.T, connection net.Conn, method string) int {
	t.Helper()
	if _, err := fmt.Fprintf(connection, "%s /a HTTP/1.1\r\nHost: %s\r\nContent-Length: 0\r\n\r\n", method, echoAuthority); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		t.Fatal(err)
	}
	return response.StatusCode
}

// connected asks for a tunnel and gives the status and the reason that the answer has.
func (f *front) connected(t *testing.T, caller string) (int, string) {
	t.Helper()
	connection := f.dialProxy(t)
	defer connection.Close()
	if _, err := fmt.Fprintf(connection, "CONNECT %s HTTP/1.1\r\nHost: %[1]s\r\n%s\r\n", echoAuthority, f.credentials(caller)); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(connection), &http.Request{Method: http.MethodConnect})
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusOK {
		return response.StatusCode, ""
	}
	var denied struct {
		Error string `json:"error"`
	}
	if err := json.NewDecoder(response.Body).Decode(&denied); err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, denied.Error
}

// TestACallerThatHasItsShareOfTunnelsHarmsNobody opens as many as one caller may have. It gets no more, keeps those it has,
// and may again once one is closed; another opens its own meanwhile.
func TestACallerThatHasItsShareOfTunnelsHarmsNobody(t *testing.T) {
	const share = 3
	f := newFront(t, func(c *gateway.Config) {
		c.EachCaller = extauthz.Room{Requests: 2 * share, Tunnels: share, Bytes: 1 << 20}
	})
	var open []net.Conn
	for range share {
		open = append(open, f.secure(t, echoAuthority, "echo.caracal.test", "agent"))
	}
	for range 2 {
		if status, reason := f.connected(t, "agent"); status != http.StatusTooManyRequests || reason != "live_limit_reached" {
			t.Errorf("one more is answered %d %s", status, reason)
		}
	}
	if status := ask(t, open[0], http.MethodDelete); status != http.StatusOK {
		t.Errorf("inside of one that it has: %d", status)
	}
	if status := ask(t, f.secure(t, echoAuthority, "echo.caracal.test", "reader"), http.MethodGet); status != http.StatusOK {
		t.Errorf("inside of another caller's: %d", status)
	}
	f.awaitRequest(t) // what is no tunnel has room still
	if err := open[1].Close(); err != nil {
		t.Fatal(err)
	}
	deadline := time.After(patience)
	for {
		status, reason := f.connected(t, "agent")
		if status == http.StatusOK {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("once it has closed one: %d %s", status, reason)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
