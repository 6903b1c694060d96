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

// run carries connections until ctx ends, and cuts the line as it is asked to.
func (r *relay) run(ctx context.Context, s cutSwitch) error {
	defer context.AfterFunc(ctx, func() { _ = r.listener.Close() })()
	go r.watch(ctx, s)
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

func (r *relay) watch(ctx context.Context, s cutSwitch) {
	tick := time.NewTicker(lookForCut)
	defer tick.Stop()
	for {
		off := there(s.asked())
		r.cut(off)
		_ = put(s.done(), off) // what is not told is waited for in vain, and said there
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

// lines is where each line that can be cut has its switch, named by the number of its gateway.
func (c Config) lines() string { return filepath.Join(c.Project, ".caracal", "cut") }

func (c Config) line(gateway int) cutSwitch {
	return cutSwitch(filepath.Join(c.lines(), strconv.Itoa(gateway)))
}

// cutSwitch is the directory in which a line is asked to be cut, and answers that it is, by files that are there.
type cutSwitch string

func (s cutSwitch) asked() string { return filepath.Join(string(s), "asked") }
func (s cutSwitch) done() string  { return filepath.Join(string(s), "done") }

func there(file string) bool {
	_, err := os.Stat(file)
	return !errors.Is(err, fs.ErrNotExist)
}

// put has a file be there or not.
func put(file string, there bool) error {
	if there {
		return os.WriteFile(file, nil, 0o600)
	}
	if err := os.Remove(file); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Cut cuts one of the gateways of a running `caracal dev --gateways` off from the control plane, or mends its line. It
// returns once that is so. What was on the way goes on when the line is mended.
func Cut(ctx context.Context, c Config, gateway int, off bool) error {
	if !there(c.environmentFile()) {
		return errors.New("no `caracal dev` runs here: start one with --gateways 3 in this directory")
	}
	line := c.line(gateway)
	if !there(string(line)) {
		lines, _ := os.ReadDir(c.lines())
		if len(lines) == 0 {
			return errors.New("the one gateway of this `caracal dev` cannot be cut off: start it with --gateways 3")
		}
		return fmt.Errorf("there is no gateway %d: this `caracal dev` runs %d of them", gateway, len(lines))
	}
	if err := put(line.asked(), off); err != nil {
		return fmt.Errorf("ask for gateway %d: %w", gateway, err)
	}
	ctx, cancel := context.WithTimeout(ctx, 50*lookForCut)
	defer cancel()
	tick := time.NewTicker(lookForCut / 5)
	defer tick.Stop()
	for there(line.done()) != off {
		select {
		case <-ctx.Done():
			return errors.New("`caracal dev` does not answer: does it still run?")
		case <-tick.C:
		}
	}
	return nil
}
