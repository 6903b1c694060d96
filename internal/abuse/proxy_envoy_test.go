package abuse_test

import (
	"bufio"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// exchange is what a client sends to the proxy port as it is, and what comes of it.
type exchange struct {
	// sent is written at once; ${credentials} stands for the header lines by which the agent says who it is.
	sent string
	// answers are the statuses that come back, one for each message that is read as one.
	answers []int
	// reached are the paths that the upstream gets, in their order.
	reached []string
}

const plainly = "Host: plain.caracal.test\r\n"

func (f *front) credentials(caller string) string {
	return "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("-:"+f.names["token."+caller])) + "\r\n"
}

func (f *front) play(t *testing.T, connection net.Conn, x exchange) {
	t.Helper()
	f.upstream.Reset()
	sent := strings.NewReplacer(
		"${credentials}", f.credentials("agent"), "${nobody}", f.credentials("service"), "${proxy}", f.proxy.String(), "${proxy.port}", strconv.Itoa(int(f.proxy.Port())),
	).Replace(x.sent)
	if _, err := io.WriteString(connection, sent); err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReader(connection)
	var answers []int
	for len(answers) <= len(x.answers) {
		if len(answers) == len(x.answers) { // one more would be one too many
			_ = connection.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		}
		response, err := http.ReadResponse(reader, nil)
		if err != nil {
			break
		}
		answers = append(answers, response.StatusCode)
		if _, err := io.Copy(io.Discard, response.Body); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		_ = response.Body.Close()
	}
	if diff := cmp.Diff(x.answers, answers); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
	var reached []string
	for _, r := range slices.DeleteFunc(f.upstream.Requests(), brokenOff) {
		reached = append(reached, r.Path)
		for name := range r.Header {
			if strings.HasPrefix(name, "Proxy-") || strings.HasPrefix(name, "X-Caracal-") {
				t.Errorf("the upstream gets %s", name)
			}
		}
	}
	if diff := cmp.Diff(x.reached, reached); diff != "" {
		t.Errorf("the upstream gets (-want +got):\n%s", diff)
	}
}

func (f *front) dialProxy(t *testing.T) net.Conn {
	t.Helper()
	connection, err := net.Dial("tcp", f.proxy.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	if err := connection.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return connection
}

// tunnelTo opens a tunnel and gives the connection behind it.
func (f *front) tunnelTo(t *testing.T, authority, caller string) net.Conn {
	t.Helper()
	connection := f.dialProxy(t)
	if _, err := io.WriteString(connection, "CONNECT "+authority+" HTTP/1.1\r\nHost: "+authority+"\r\n"+f.credentials(caller)+"\r\n"); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(connection), &http.Request{Method: http.MethodConnect})
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close() // does nothing to a connection that is a tunnel
	if response.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(response.Body) // what came is told
		t.Fatalf("the tunnel is answered with %d %s", response.StatusCode, body)
	}
	return connection
}

func TestTheProxyPortReadsMessagesInOneWay(t *testing.T) {
	f := newFront(t)
	const get = "GET http://plain.caracal.test/a HTTP/1.1\r\n" + plainly
	for name, x := range map[string]exchange{
		"an absolute form":                            {get + "${credentials}\r\n", []int{200}, []string{"/a"}},
		"an absolute form in HTTP/1.0":                {"GET http://plain.caracal.test/a HTTP/1.0\r\n${credentials}\r\n", []int{200}, []string{"/a"}},
		"nobody's":                                    {get + "\r\n", []int{407}, nil},
		"an absolute form below TLS":                  {"GET https://plain.caracal.test/a HTTP/1.1\r\n" + plainly + "${credentials}\r\n", []int{400}, nil},
		"another host in Host":                        {"GET http://plain.caracal.test/a HTTP/1.1\r\nHost: evil.test\r\n${credentials}\r\n", []int{200}, []string{"/a"}},
		"another host in the URL":                     {"GET http://evil.test/a HTTP/1.1\r\n" + plainly + "${nobody}\r\n", []int{403}, nil},
		"two hosts":                                   {get + "Host: evil.test\r\n${credentials}\r\n", []int{200}, []string{"/a"}},
		"a query right behind the host":               {"GET http://plain.caracal.test?q=1 HTTP/1.1\r\n" + plainly + "${credentials}\r\n", []int{400}, nil},
		"somebody before the host":                    {"GET http://evil.test@plain.caracal.test/a HTTP/1.1\r\n" + plainly + "${credentials}\r\n", []int{200}, []string{"/a"}},
		"the proxy taken for a server":                {"GET /a HTTP/1.1\r\nHost: ${proxy}\r\n${credentials}\r\n", []int{403}, nil},
		"an address":                                  {"GET http://127.0.0.1/a HTTP/1.1\r\nHost: 127.0.0.1\r\n${credentials}\r\n", []int{400}, nil},
		"another scheme":                              {"GET ftp://plain.caracal.test/a HTTP/1.1\r\n" + plainly + "${credentials}\r\n", []int{400}, nil},
		"a length and chunks":                         {"POST http://plain.caracal.test/a HTTP/1.1\r\n" + plainly + "${credentials}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /b HTTP/1.1\r\n\r\n", []int{400}, nil},
		"a second request behind a permitted one":     {get + "${credentials}\r\n" + get + "\r\n", []int{200, 407}, []string{"/a"}},
		"a second request behind a body":              {"POST http://plain.caracal.test/a HTTP/1.1\r\n" + plainly + "${credentials}Content-Length: 4\r\n\r\nbody" + get + "\r\n", []int{200, 407}, []string{"/a"}},
		"a second request for another host":           {get + "${credentials}\r\nGET http://evil.test/a HTTP/1.1\r\nHost: evil.test\r\n${nobody}\r\n", []int{200, 403}, []string{"/a"}},
		"a second request of somebody else":           {get + "${credentials}\r\nGET http://plain.caracal.test/a HTTP/1.1\r\n" + plainly + "${nobody}\r\n", []int{200, 403}, []string{"/a"}},
		"credentials twice":                           {get + "${credentials}${nobody}\r\n", []int{400}, nil},
		"credentials that the connection is to lose":  {get + "${credentials}Connection: proxy-authorization\r\n\r\n", []int{407}, nil},
		"a mandate that the connection is to lose":    {get + "${credentials}X-Caracal-Mandate: mdt_x\r\nConnection: x-caracal-mandate\r\n\r\n", []int{200}, []string{"/a"}},
		"an upgrade to h2c, which there is none to":   {get + "${credentials}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n", []int{200}, []string{"/a"}},
		"a tunnel with data that does not wait":       {"CONNECT plain.caracal.test:80 HTTP/1.1\r\nHost: plain.caracal.test:80\r\n${credentials}\r\nGET /a HTTP/1.1\r\n" + plainly + "\r\n", []int{400}, nil},
		"a tunnel with a body":                        {"CONNECT plain.caracal.test:80 HTTP/1.1\r\nHost: plain.caracal.test:80\r\n${credentials}Content-Length: 4\r\n\r\nbody", []int{400}, nil},
		"a tunnel with chunks":                        {"CONNECT plain.caracal.test:80 HTTP/1.1\r\nHost: plain.caracal.test:80\r\n${credentials}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", []int{400}, nil},
		"a tunnel without a port":                     {"CONNECT plain.caracal.test HTTP/1.1\r\nHost: plain.caracal.test\r\n${credentials}\r\n", []int{400}, nil},
		"a tunnel to an address":                      {"CONNECT 127.0.0.1:80 HTTP/1.1\r\nHost: 127.0.0.1:80\r\n${credentials}\r\n", []int{400}, nil},
		"a tunnel to a URL":                           {"CONNECT http://plain.caracal.test:80/ HTTP/1.1\r\n" + plainly + "${credentials}\r\n", []int{400}, nil},
		"a tunnel to mail":                            {"CONNECT plain.caracal.test:25 HTTP/1.1\r\nHost: plain.caracal.test:25\r\n${credentials}\r\n", []int{403}, nil},
		"a tunnel to another host than in Host":       {"CONNECT evil.test:443 HTTP/1.1\r\n" + plainly + "${nobody}\r\n", []int{403}, nil},
		"a tunnel of nobody":                          {"CONNECT plain.caracal.test:80 HTTP/1.1\r\nHost: plain.caracal.test:80\r\n\r\n", []int{407}, nil},
		"a tunnel back to the proxy":                  {"CONNECT localhost:${proxy.port} HTTP/1.1\r\nHost: localhost\r\n${credentials}\r\n", []int{403}, nil},
		"a request behind a tunnel that is refused":   {"CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test:443\r\n${nobody}\r\n" + get + "${credentials}\r\n", []int{403}, nil},
		"a request line that is none":                 {"\x16\x03\x01\x00\x05\x01\x00\r\n\r\n", []int{400}, nil},
		"the gateway's own paths at the proxy's port": {"GET /health HTTP/1.1\r\nHost: ${proxy}\r\n\r\n", []int{407}, nil},
	} {
		t.Run(name, func(t *testing.T) { f.play(t, f.dialProxy(t), x) })
	}
	if n := f.trapped.Load(); n != 0 {
		t.Errorf("%d connections were made to this machine", n)
	}
}

func TestATunnelReadsMessagesInOneWay(t *testing.T) {
	f := newFront(t)
	const get = "GET /a HTTP/1.1\r\n" + plainly
	for name, x := range map[string]exchange{
		"a request":                                 {get + "\r\n", []int{200}, []string{"/a"}},
		"two requests":                              {get + "\r\nGET /b HTTP/1.1\r\n" + plainly + "\r\n", []int{200, 200}, []string{"/a", "/b"}},
		"another host":                              {"GET /a HTTP/1.1\r\nHost: evil.test\r\n\r\n", []int{421}, nil},
		"another host behind a permitted":           {get + "\r\nGET /b HTTP/1.1\r\nHost: evil.test\r\n\r\n", []int{200, 421}, []string{"/a"}},
		"another host in absolute form":             {"GET http://evil.test/a HTTP/1.1\r\n" + plainly + "\r\n", []int{421}, nil},
		"another port":                              {"GET /a HTTP/1.1\r\nHost: plain.caracal.test:443\r\n\r\n", []int{421}, nil},
		"a tunnel":                                  {"CONNECT plain.caracal.test:80 HTTP/1.1\r\nHost: plain.caracal.test:80\r\n${credentials}\r\n", []int{403}, nil},
		"a length and chunks":                       {"POST /a HTTP/1.1\r\n" + plainly + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /b HTTP/1.1\r\n\r\n", []int{400}, nil},
		"a second request behind a body":            {"POST /a HTTP/1.1\r\n" + plainly + "Content-Length: 4\r\n\r\nbodyGET /b HTTP/1.1\r\nHost: evil.test\r\n\r\n", []int{200, 421}, []string{"/a"}},
		"somebody else's credentials":               {"DELETE /a HTTP/1.1\r\n" + plainly + "${nobody}\r\n", []int{200}, []string{"/a"}},
		"a mandate of somebody else":                {get + "X-Caracal-Mandate: " + f.names["mandate.delegated"] + "\r\n\r\n", []int{403}, nil},
		"the id of another tunnel's decision":       {get + "X-Caracal-Outer: dec_aaaaaaaaaaaaaaaaaaaaaaaaaa\r\nX-Caracal-Mode: gateway\r\n\r\n", []int{200}, []string{"/a"}},
		"the gateway's own paths":                   {"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n", []int{421}, nil},
		"an upgrade to h2c, which there is none to": {get + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n", []int{200}, []string{"/a"}},
		"no HTTP":                                   {"SSH-2.0-OpenSSH_9.6\r\n\r\n", []int{400}, nil},
	} {
		t.Run(name, func(t *testing.T) { f.play(t, f.tunnelTo(t, "plain.caracal.test:80", "agent"), x) })
	}
	t.Run("and is no way around what its opener may do", func(t *testing.T) {
		f.play(t, f.tunnelTo(t, "plain.caracal.test:80", "reader"), exchange{"DELETE /a HTTP/1.1\r\n" + plainly + "${credentials}\r\n", []int{403}, nil})
	})
}

// A challenge in two lines is what clients of either scheme find theirs in.
func TestTheProxyPortAsksForCredentialsInTwoLines(t *testing.T) {
	f := newFront(t)
	connection := f.dialProxy(t)
	if _, err := io.WriteString(connection, "CONNECT plain.caracal.test:80 HTTP/1.1\r\nHost: plain.caracal.test:80\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if diff := cmp.Diff([]string{`Basic realm="caracal"`, `Bearer realm="caracal"`}, response.Header.Values("Proxy-Authenticate")); diff != "" || response.StatusCode != http.StatusProxyAuthRequired {
		t.Errorf("%d (-want +got):\n%s", response.StatusCode, diff)
	}
}
