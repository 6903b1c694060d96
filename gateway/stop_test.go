package gateway_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// dial opens a connection to the gateway port and closes it.
func (r *rig) dial() error {
	connection, err := net.DialTimeout("tcp", r.listen.String(), time.Second)
	if err == nil {
		_ = connection.Close()
	}
	return err
}

// stream is a response that goes on for longer than any test.
func (r *rig) stream() io.Reader {
	r.t.Helper()
	response, err := http.DefaultClient.Do(r.request("/stream?n=1000&ms=100"))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = response.Body.Close() })
	if response.StatusCode != http.StatusOK {
		r.t.Fatalf("a stream is answered %d", response.StatusCode)
	}
	return response.Body
}

// seen waits until the upstream has got a request.
func (r *rig) seen(path string) {
	r.t.Helper()
	eventually(r.t, "the upstream has "+path, func() bool {
		for _, request := range r.upstream.Requests() {
			if strings.HasPrefix(request.Path, path) {
				return true
			}
		}
		return false
	})
}

func TestAGatewayThatStopsFinishesWhatIsUnderWayAndTakesNothingNew(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	running := r.start()
	r.until("proxied call", r.call, isOK)
	// A connection that its client keeps would be taken to be free again.
	kept := &http.Client{Timeout: patience, Transport: &http.Transport{}}
	if got, err := send(kept, r.request("/")); err != nil || !isOK(got) {
		t.Fatalf("a call on a connection that is kept is answered %d %s (%v)", got.status, got.body, err)
	}
	type result struct {
		status int
		last   bool // of its connection
		err    error
	}
	underWay := make(chan result, 1)
	go func() {
		response, err := kept.Do(r.request("/slow?ms=1500"))
		if err != nil {
			underWay <- result{err: err}
			return
		}
		defer response.Body.Close()
		_, err = io.Copy(io.Discard, response.Body)
		underWay <- result{response.StatusCode, response.Close, err}
	}()
	r.seen("/slow")
	running.cancel()
	eventually(t, "no connections are taken", func() bool { return r.dial() != nil })
	select {
	case early := <-underWay:
		t.Fatalf("the request ended before: %+v", early)
	default:
	}
	if got, want := <-underWay, (result{status: http.StatusOK, last: true}); got != want {
		t.Errorf("the request that was under way ends with %+v, want %+v", got, want)
	}
	if err := running.wait(t); err != nil {
		t.Errorf("stopping: %v", err)
	}
	if len(r.control.lessor.surrenders()) != 1 {
		t.Error("the lease was not surrendered")
	}
}

func TestLiveStreamsEndAndAreNotTakenForCompleteWhenAGatewayStops(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.spawn()
	r.until("proxied call", r.call, isOK)
	stream := r.stream()
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, stream)
		ended <- err
	}()
	r.seen("/stream")
	p.end(syscall.SIGTERM)
	if err := <-ended; err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("the stream ended with %v, as if nothing were missing", err)
	}
	if len(r.control.lessor.surrenders()) != 1 {
		t.Errorf("the lease was not surrendered: %v", r.control.lessor.surrenders())
	}
}

func TestALeaseThatEndsEndsTheLiveStreams(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.control.lessor.offer(3 * time.Second)
	r.start()
	r.until("proxied call", r.call, isOK)
	stream := r.stream()
	r.control.lessor.answer(never)
	if _, err := io.Copy(io.Discard, stream); err == nil {
		t.Error("the stream came to its own end")
	}
	r.until("the lease is over", r.call, isDenied("lease_expired"))
}
