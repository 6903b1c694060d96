package gateway

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"
)

// passage lets something through or holds it up: one direction of a line, or a process that may be stopped.
type passage struct {
	mu     sync.Mutex
	closed int           // how many hold it up
	opened chan struct{} // closed when none does any more; nil while it is open
}

func (p *passage) hold() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed++; p.closed == 1 {
		p.opened = make(chan struct{})
	}
}

func (p *passage) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed--; p.closed == 0 {
		close(p.opened)
		p.opened = nil
	}
}

// wait returns when nothing holds it up, or false when done is closed before.
func (p *passage) wait(done <-chan struct{}) bool {
	for {
		p.mu.Lock()
		opened := p.opened
		p.mu.Unlock()
		if opened == nil {
			return true
		}
		select {
		case <-opened:
		case <-done:
			return false
		}
	}
}

// held reports whether it is held up now.
func (p *passage) held() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed > 0
}

// line is what connections between two parts run over: each direction delivers in order, after a delay, and not while it or
// one of its ends stands still. Nothing is lost on it but with the connection, as with TCP.
type line struct {
	up, down passage
	ends     []*passage
	delay    func() time.Duration
}

// connect makes a connection and gives both of its ends. It is cut when ctx ends.
func (l *line) connect(ctx context.Context) (near, far net.Conn) {
	near, inner := net.Pipe()
	outer, far := net.Pipe()
	ctx, cut := context.WithCancel(ctx)
	context.AfterFunc(ctx, func() { _, _ = inner.Close(), outer.Close() })
	go l.pump(ctx, cut, &l.up, inner, outer)
	go l.pump(ctx, cut, &l.down, outer, inner)
	return near, far
}

// pump delivers what is written to one end at the other.
func (l *line) pump(ctx context.Context, cut func(), way *passage, from, to net.Conn) {
	defer cut()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		elapse(l.delay())
		for _, p := range append([]*passage{way}, l.ends...) {
			if !p.wait(ctx.Done()) {
				return
			}
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// passes reports whether anything gets through at present.
func (l *line) passes() bool {
	for _, p := range append([]*passage{&l.up, &l.down}, l.ends...) {
		if p.held() {
			return false
		}
	}
	return true
}

// errAway is a port at which nobody listens, or that cannot be reached.
var errAway = errors.New("connection refused")

// port is a listener whose connections come from a line.
type port struct {
	coming chan net.Conn
	over   context.Context
	close  context.CancelFunc
}

func newPort(ctx context.Context) *port {
	over, end := context.WithCancel(ctx)
	return &port{coming: make(chan net.Conn), over: over, close: end}
}

// dial connects to the port by a line.
func (p *port) dial(ctx context.Context, l *line) (net.Conn, error) {
	if !l.passes() {
		return nil, errAway
	}
	near, far := l.connect(p.over)
	select {
	case p.coming <- far:
		return near, nil
	case <-p.over.Done():
		return nil, errAway
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *port) Accept() (net.Conn, error) {
	select {
	case c := <-p.coming:
		return c, nil
	case <-p.over.Done():
		return nil, net.ErrClosed
	}
}

func (p *port) Close() error {
	p.close()
	return nil
}

func (p *port) Addr() net.Addr { return &net.UnixAddr{Name: "simulated", Net: "unix"} }
