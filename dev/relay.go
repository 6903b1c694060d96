package dev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// lookForCut is how often a relay looks whether it is to be cut.
const lookForCut = 100 * time.Millisecond

// relay is the line between one gateway and the control plane, which can be cut like a cable: what is sent goes nowhere,
// and nobody is told.
type relay struct {
	listener net.Listener
	to       string

	mu   sync.Mutex    // guards open
	open chan struct{} // closed while bytes pass
}

func newRelay(ctx context.Context, to string) (*relay, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", loopback(0))
	if err != nil {
		return nil, fmt.Errorf("start a relay: %w", err)
	}
	r := &relay{listener: listener, to: to, open: make(chan struct{})}
	close(r.open)
	return r, nil
}

func (r *relay) url() string { return "http://" + r.listener.Addr().String() }

// run carries connections until ctx ends. The line is cut as long as the file is there.
func (r *relay) run(ctx context.Context, file string) error {
	defer context.AfterFunc(ctx, func() { _ = r.listener.Close() })()
	go r.watch(ctx, file)
	for {
		from, err := r.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("relay to the control plane: %w", err)
		}
		go r.carry(ctx, from)
	}
}

func (r *relay) watch(ctx context.Context, file string) {
	tick := time.NewTicker(lookForCut)
	defer tick.Stop()
	for {
		_, err := os.Stat(file)
		r.cut(!errors.Is(err, fs.ErrNotExist))
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (r *relay) cut(off bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.open:
		if off {
			r.open = make(chan struct{})
		}
	default:
		if !off {
			close(r.open)
		}
	}
}

// passing is closed while bytes pass.
func (r *relay) passing() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.open
}

func (r *relay) carry(ctx context.Context, from net.Conn) {
	to, err := new(net.Dialer).DialContext(ctx, "tcp", r.to)
	if err != nil {
		_ = from.Close() // as whoever dialled would have seen it
		return
	}
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(running, func() { _, _ = from.Close(), to.Close() })()
	var ways sync.WaitGroup
	for _, way := range [][2]net.Conn{{from, to}, {to, from}} {
		ways.Go(func() {
			defer cancel()
			r.copy(running, way[0], way[1])
		})
	}
	ways.Wait()
}

// copy holds back what it has read as long as the line is cut.
func (r *relay) copy(ctx context.Context, from io.Reader, to io.Writer) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		select {
		case <-r.passing():
		case <-ctx.Done():
			return
		}
		if _, failed := to.Write(buffer[:n]); err != nil || failed != nil {
			return
		}
	}
}

// lines is where each line that can be cut has a directory, named by the number of its gateway.
func (c Config) lines() string { return filepath.Join(c.Project, ".caracal", "cut") }

// cutFile says that the line of a gateway is cut, by being there.
func (c Config) cutFile(gateway int) string {
	return filepath.Join(c.lines(), strconv.Itoa(gateway), "off")
}

// Cut cuts one of the gateways of a running `caracal dev --gateways` off from the control plane, or mends its line. What
// was on the way goes on then.
func Cut(c Config, gateway int, off bool) error {
	if _, err := os.Stat(c.environmentFile()); err != nil {
		return errors.New("no `caracal dev` runs here: start one with --gateways 3 in this directory")
	}
	if _, err := os.Stat(filepath.Dir(c.cutFile(gateway))); err != nil {
		lines, _ := os.ReadDir(c.lines())
		if len(lines) == 0 {
			return errors.New("the one gateway of this `caracal dev` cannot be cut off: start it with --gateways 3")
		}
		return fmt.Errorf("there is no gateway %d: this `caracal dev` runs %d of them", gateway, len(lines))
	}
	if !off {
		if err := os.Remove(c.cutFile(gateway)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("mend gateway %d: %w", gateway, err)
		}
		return nil
	}
	if err := os.WriteFile(c.cutFile(gateway), nil, 0o600); err != nil {
		return fmt.Errorf("cut gateway %d: %w", gateway, err)
	}
	return nil
}
