package clients_test

import (
	"bufio"
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/authority"
)

// endless are clients that go on until somebody ends them. Each prints a line for whatever comes.
var endless = map[string]string{
	"server-sent events over HTTP/1.1": `curl -sSN --http1.1 https://web.open.test/events`,
	"server-sent events over HTTP/2":   `curl -sSN --http2 https://web.open.test/events`,
	"WebSocket":                        `python "$CLIENTS/python/with_websockets.py" open forever`,
	"gRPC server streaming":            `python "$CLIENTS/python/with_grpc.py" open 0`,
	"a download":                       `curl -sSN --limit-rate 2M https://web.open.test/download/104857600 | fold -w 4096`,
}

func TestARevocationEndsWhatClientsHaveOpen(t *testing.T) {
	s := newSite(t)
	for name, script := range endless {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := s.newAgent(t, name)
			open := a.open(t, script)
			open.await(t, 5)
			receipt, err := s.owner.RevokeMandate(t.Context(), a.mandate, patience)
			if err != nil {
				t.Fatal(err)
			}
			if receipt.State != authority.ReceiptEnforced {
				t.Fatalf("the receipt says %s", receipt.State)
			}
			select {
			case <-open.ended:
			case <-time.After(patience):
				t.Fatal("the client goes on")
			}
			if open.err == nil {
				t.Error("the client ends as if all had come")
			}
			t.Logf("it ends with %v, and says last\n%s", open.err, open.errors.String())
		})
	}
}

// opened is a client that runs.
type opened struct {
	lines  chan struct{} // a value for each line that it printed
	ended  chan struct{}
	err    error         // how it ended
	errors *bytes.Buffer // what it wrote beside, whole once it has ended
}

func (a agent) open(t *testing.T, script string) *opened {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	c := a.command(ctx, t, script)
	c.WaitDelay = time.Second
	o := &opened{lines: make(chan struct{}), ended: make(chan struct{}), errors: &bytes.Buffer{}}
	c.Stderr = o.errors
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(o.ended)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if strings.TrimSpace(lines.Text()) == "" {
				continue
			}
			select {
			case o.lines <- struct{}{}:
			default: // nobody waits for it
			}
		}
		o.err = c.Wait()
	}()
	t.Cleanup(func() {
		cancel()
		<-o.ended
	})
	return o
}

// await waits until the client has printed some lines more.
func (o *opened) await(t *testing.T, lines int) {
	t.Helper()
	for range lines {
		select {
		case <-o.lines:
		case <-o.ended:
			t.Fatalf("the client ended: %v\n%s", o.err, o.errors.String())
		case <-time.After(patience):
			t.Fatal("nothing comes")
		}
	}
}
