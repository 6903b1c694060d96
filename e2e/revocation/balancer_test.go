package revocation_test

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// balancer is what operators put before their control planes: each connection goes to the next replica that is ready, and
// is closed when that replica is not ready any more, unless the balancer is one that leaves open connections alone.
type balancer struct {
	address string
	urls    []string

	mu    sync.Mutex // guards what follows
	lax   bool       // leaves open connections alone
	next  int
	ready []bool
	open  []map[net.Conn]bool
}

// newBalancer starts one.
func newBalancer(t *testing.T, urls []string) (*balancer, error) {
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	b := &balancer{address: listener.Addr().String(), urls: urls, ready: make([]bool, len(urls)), open: make([]map[net.Conn]bool, len(urls))}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() { cancel(); _ = listener.Close() })
	for i := range urls {
		b.ready[i], b.open[i] = true, map[net.Conn]bool{}
		go b.watch(ctx, i)
	}
	go func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			go b.carry(from)
		}
	}()
	return b, nil
}

// leaveAlone has connections that are open stay open.
func (b *balancer) leaveAlone() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lax = true
}

// watch asks a replica twice a second whether it is ready.
func (b *balancer) watch(ctx context.Context, replica int) {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		asking, cancel := context.WithTimeout(ctx, time.Second)
		b.note(replica, probe(asking, b.urls[replica]+"/ready") == nil)
		cancel()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (b *balancer) note(replica int, ready bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ready[replica] = ready
	if !ready && !b.lax {
		for c := range b.open[replica] {
			_ = c.Close()
		}
	}
}

// choose is the next replica that is ready; the next one when none is.
func (b *balancer) choose() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	for range b.urls {
		b.next++
		if b.ready[b.next%len(b.urls)] {
			break
		}
	}
	return b.next % len(b.urls)
}

func (b *balancer) carry(from net.Conn) {
	defer from.Close()
	replica := b.choose()
	to, err := net.DialTimeout("tcp", strings.TrimPrefix(b.urls[replica], "http://"), time.Second)
	if err != nil {
		return
	}
	defer to.Close()
	b.track(replica, from, true)
	defer b.track(replica, from, false)
	go func() { _, _ = io.Copy(to, from); _ = to.Close() }()
	_, _ = io.Copy(from, to)
}

func (b *balancer) track(replica int, c net.Conn, open bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if open {
		b.open[replica][c] = true
	} else {
		delete(b.open[replica], c)
	}
}
