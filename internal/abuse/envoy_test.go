package abuse_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/internal/abuse"
	"github.com/caracal-gateway/caracal/internal/echo"
)

// TestTheGatewayStandsEveryCase sends the bytes of each case as they are, and holds what the upstream saw against it.
func TestTheGatewayStandsEveryCase(t *testing.T) {
	f := newFront(t)
	for _, c := range cases(t, abuse.AtEnvoy) {
		t.Run(c.ID, func(t *testing.T) {
			f.upstream.Reset()
			message := f.message(t, c)
			send := f.send
			if c.Request.Protocol == "h2" {
				send = f.send2
			}
			wantAnswer(t, c, abuse.AtEnvoy, send(t, message, c.AnswerAt(abuse.AtEnvoy).Closed))
			seen := slices.DeleteFunc(f.upstream.Requests(), brokenOff)
			if c.Upstream == nil {
				if len(seen) != 0 {
					t.Errorf("%s: the upstream got %+v, want nothing", c.Title, seen)
				}
				return
			}
			if len(seen) != 1 {
				t.Fatalf("%s: the upstream got %d requests, want 1: %+v", c.Title, len(seen), seen)
			}
			wantUpstream(t, c, arrivedAt(seen[0]))
			if c.Answer.Status == http.StatusSwitchingProtocols {
				return // what follows is no body
			}
			body := message.Body
			if c.Upstream.Body != nil {
				body = *c.Upstream.Body
			}
			if digest := sha256.Sum256([]byte(body)); seen[0].BodySHA256 != hex.EncodeToString(digest[:]) {
				t.Errorf("%s: the upstream got another body", c.Title)
			}
		})
	}
	if n := f.trapped.Load(); n != 0 {
		t.Errorf("%d connections were made to this machine", n)
	}
	f.awaitRequest(t) // whatever was sent, ordinary requests still pass
}

// brokenOff tells what a case whose body does not end as announced may leave behind. Envoy forwards what was permitted
// before it has seen the whole body, and resets the stream on both sides once the framing turns out to be false, perhaps
// only while the next case runs. Those cases have a path of their own; what must not arrive there is a whole request.
func brokenOff(r echo.Request) bool {
	return r.Path == "/broken-off" && r.BodySHA256 == ""
}

func arrivedAt(r echo.Request) arrived {
	a := arrived{method: r.Method, host: r.Host, path: r.Path, headers: map[string][]string{}}
	for _, list := range []http.Header{r.Header, r.Trailer} {
		for name, values := range list {
			if values == nil {
				continue // a trailer that was announced and did not come
			}
			a.headers[strings.ToLower(name)] = append(a.headers[strings.ToLower(name)], values...)
		}
	}
	return a
}

// send writes a message to the gateway port and reads one answer, and on request the end of the connection.
func (f *front) send(t *testing.T, m abuse.Message, untilClosed bool) reply {
	t.Helper()
	return sendOn(t, f.connect(t), m, untilClosed)
}

// sendOn does the same on a connection.
func sendOn(t *testing.T, connection net.Conn, m abuse.Message, untilClosed bool) reply {
	t.Helper()
	if _, err := connection.Write(m.Wire()); err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReader(connection)
	response, err := http.ReadResponse(reader, &http.Request{Method: m.Method})
	if err != nil {
		t.Fatalf("read answer: %v", err)
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusSwitchingProtocols {
		return reply{status: response.StatusCode}
	}
	body, err := io.ReadAll(response.Body)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("read answer: %v", err)
	}
	r := told(t, response.StatusCode, response.Header, body)
	if untilClosed {
		rest, err := io.ReadAll(reader)
		r.closed = len(rest) == 0 && !errors.Is(err, os.ErrDeadlineExceeded)
	}
	return r
}

func (f *front) connect(t *testing.T) net.Conn {
	t.Helper()
	connection, err := net.Dial("tcp", f.listen.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	if err := connection.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return connection
}

// told reads an answer; an error has the contract's JSON, whoever wrote it.
func told(t *testing.T, status int, header http.Header, body []byte) reply {
	t.Helper()
	r := reply{status: status}
	if text := header.Get("Grpc-Status"); text != "" {
		var err error
		if r.grpc, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	if status < http.StatusBadRequest {
		return r
	}
	var form struct {
		reply
		Message    *string          `json:"message"`
		DecisionID *json.RawMessage `json:"decision_id"`
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	if err := decoder.Decode(&form); err != nil || form.Message == nil || !bytes.Contains(body, []byte(`"decision_id":`)) {
		t.Errorf("the answer %d %q is not a denial of the contract (%v)", status, body, err)
	}
	if got := header.Get("Content-Type"); got != "application/json" {
		t.Errorf("the denial has the content type %q", got)
	}
	r.Error, r.Code = form.Error, form.Code
	return r
}
