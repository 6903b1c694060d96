package gateway_test

import (
	"io"
	"net"
	"sync"
	"testing"
)

// relay is the network between a gateway and its control plane, for a test to break.
type relay struct {
	address string
	to      string

	mu    sync.Mutex
	down  bool // connections are refused
	deaf  bool // what the control plane answers is lost
	conns []net.Conn
}

func newRelay(t *testing.T, to string) *relay {
	t.Helper()
	listener := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	r := &relay{address: listener.Addr().String(), to: to}
	t.Cleanup(func() {
		_ = listener.Close()
		r.cut()
	})
	go func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return // the test is over
			}
			go r.carry(near)
		}
	}()
	return r
}

// set changes what the network does, from the next byte on.
func (r *relay) set(down, deaf bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down, r.deaf = down, deaf
}

// cut ends every connection, without a goodbye of either side.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		_ = c.Close()
	}
	r.conns = nil
}

func (r *relay) carry(near net.Conn) {
	defer near.Close()
	far, err := net.Dial("tcp", r.to)
	if err != nil {
		return
	}
	defer far.Close()
	r.mu.Lock()
	refused := r.down
	r.conns = append(r.conns, near, far)
	r.mu.Unlock()
	if refused {
		return
	}
	go func() {
		_, _ = io.Copy(far, near)
		_ = far.Close()
	}()
	_, _ = io.Copy(answers{r, near}, far)
}

// answers are what the control plane sends.
type answers struct {
	*relay
	to net.Conn
}

func (a answers) Write(p []byte) (int, error) {
	a.mu.Lock()
	deaf := a.deaf
	a.mu.Unlock()
	if deaf {
		return len(p), nil
	}
	return a.to.Write(p)
}
