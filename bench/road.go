package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// patience is how long a tunnel may take to open.
const patience = 30 * time.Second

// mostAgain is how often tunnels may be asked for again, all together.
const mostAgain = 1000

// road is a way to an upstream that clients of a proxy take.
type road struct {
	name  string
	base  int // which road it is compared with, by its number
	with  processes
	open  func() (ride, error)
	whole bool          // what is measured is the opening, and what it opens is closed again
	again *atomic.Int64 // how often an answer was that there is no time
}

// ride is one connection on a road, which takes one request after the other.
type ride interface {
	request() error
	Close() error
}

// processes are those that work for a road.
type processes struct {
	envoy   int
	service int // 0 for none
}

func (p processes) used() (times [2]time.Duration, err error) {
	if times[0], err = cpuOf(p.envoy); err == nil && p.service != 0 {
		times[1], err = cpuOf(p.service)
	}
	return times, err
}

// wire takes requests of HTTP/1.1, each the same.
type wire struct {
	net.Conn
	in  *bufio.Reader
	ask []byte
}

func newWire(c net.Conn, ask string) *wire { return &wire{c, bufio.NewReader(c), []byte(ask)} }

func (w *wire) request() error {
	_, err := w.fetch(w.ask)
	return err
}

// fetch sends a request, reads the answer and gives the size of its body.
func (w *wire) fetch(ask []byte) (int64, error) {
	if _, err := w.Write(ask); err != nil {
		return 0, err
	}
	response, err := http.ReadResponse(w.in, nil)
	if err != nil {
		return 0, err
	}
	return answered(response)
}

// errBusy is that of an answer which says that whoever decides has no time: it may be asked again.
var errBusy = errors.New("service unavailable")

// answered reads an answer to its end. One other than 200 is an error.
func answered(response *http.Response) (int64, error) {
	if response.StatusCode != http.StatusOK {
		text, err := io.ReadAll(io.LimitReader(response.Body, 2000))
		err = errors.Join(fmt.Errorf("the answer is %s: %s", response.Status, text), err, response.Body.Close())
		if response.StatusCode == http.StatusServiceUnavailable {
			err = fmt.Errorf("%w: %w", errBusy, err)
		}
		return 0, err
	}
	size, err := io.Copy(io.Discard, response.Body)
	return size, errors.Join(err, response.Body.Close())
}

func dial(address string) (net.Conn, error) {
	return (&net.Dialer{Timeout: 10 * time.Second}).Dial("tcp", address)
}

// dialWire is a connection without a tunnel.
func dialWire(address, ask string) func() (ride, error) {
	return func() (ride, error) {
		c, err := dial(address)
		if err != nil {
			return nil, err
		}
		return newWire(c, ask), nil
	}
}

// tunnel asks a proxy for a connection to port 443 of a host.
type tunnel struct {
	proxy       string
	credentials string // a header's line, or nothing
	roots       *x509.CertPool
}

func (t tunnel) open(host string) (net.Conn, error) {
	c, err := dial(t.proxy)
	if err != nil {
		return nil, err
	}
	err = errors.Join(c.SetDeadline(time.Now().Add(patience)), t.connect(c, host), c.SetDeadline(time.Time{}))
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (t tunnel) connect(c net.Conn, host string) error {
	if _, err := fmt.Fprintf(c, "CONNECT %s:443 HTTP/1.1\r\nHost: %[1]s:443\r\n%s\r\n", host, t.credentials); err != nil {
		return err
	}
	// Nothing follows the head before the client speaks, so that the reader holds nothing back.
	response, err := http.ReadResponse(bufio.NewReaderSize(c, 1), &http.Request{Method: http.MethodConnect})
	if err != nil {
		return fmt.Errorf("open a tunnel: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		_, err := answered(response)
		return fmt.Errorf("open a tunnel to %s: %w", host, err)
	}
	return nil
}

// insist opens a tunnel however often it is told to ask again, and counts that.
func (t tunnel) insist(host string, again *atomic.Int64) (net.Conn, error) {
	for {
		c, err := t.open(host)
		if !errors.Is(err, errBusy) || again.Add(1) > mostAgain {
			return c, err
		}
	}
}

// secure is TLS within a tunnel.
func (t tunnel) secure(host string, protocols ...string) (*tls.Conn, error) {
	c, err := t.open(host)
	if err != nil {
		return nil, err
	}
	inside := tls.Client(c, &tls.Config{ServerName: host, RootCAs: t.roots, NextProtos: protocols})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := inside.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("TLS to %s: %w", host, err), c.Close())
	}
	return inside, nil
}

func ofHost(host string) string { return "GET /item HTTP/1.1\r\nHost: " + host + "\r\n\r\n" }

// kept is a tunnel with TLS in it that takes many requests.
func (t tunnel) kept(host string) func() (ride, error) {
	return func() (ride, error) {
		c, err := t.secure(host)
		if err != nil {
			return nil, err
		}
		return newWire(c, ofHost(host)), nil
	}
}

// multiplexed takes requests of HTTP/2.
type multiplexed struct {
	transport *http.Transport
	url       string
}

func (m multiplexed) request() error {
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, m.url, nil)
	if err != nil {
		return err
	}
	response, err := m.transport.RoundTrip(request)
	if err != nil {
		return err
	}
	if response.ProtoMajor != 2 {
		return errors.Join(fmt.Errorf("the answer is %s", response.Proto), response.Body.Close())
	}
	_, err = answered(response)
	return err
}

func (m multiplexed) Close() error {
	m.transport.CloseIdleConnections()
	return nil
}

func (t tunnel) keptHTTP2(host string) func() (ride, error) {
	return func() (ride, error) {
		return multiplexed{url: "https://" + host + "/item", transport: &http.Transport{
			ForceAttemptHTTP2: true,
			DialTLSContext:    func(context.Context, string, string) (net.Conn, error) { return t.secure(host, "h2") },
		}}, nil
	}
}

// bare is a tunnel without anything in it.
type bare struct{ net.Conn }

func (bare) request() error { return nil }

func (t tunnel) emptied(host string) func() (ride, error) {
	return func() (ride, error) {
		c, err := t.open(host)
		if err != nil {
			return nil, err
		}
		return bare{c}, nil
	}
}

// travelled is what a load on a road found.
type travelled struct {
	measured               // cpu is the service's
	envoy    time.Duration // processor time of Envoy
}

// travel loads a road over so many connections for a while, after a third of that to warm up.
func (r road) travel(connections int, lasting time.Duration) (t travelled, err error) {
	var (
		group  sync.WaitGroup
		mu     sync.Mutex // guards t and failed
		failed error
		warm   sync.WaitGroup
		begin  = make(chan struct{})
	)
	for range connections {
		warm.Add(1)
		group.Go(func() {
			err := r.alone(lasting/3, func([]time.Duration) {}, warm.Done)
			<-begin
			if err == nil {
				err = r.alone(lasting, func(all []time.Duration) {
					mu.Lock()
					defer mu.Unlock()
					t.latencies = append(t.latencies, all...)
				}, func() {})
			}
			mu.Lock()
			defer mu.Unlock()
			failed = errors.Join(failed, err)
		})
	}
	warm.Wait()
	before, err := r.with.used()
	began := time.Now()
	close(begin)
	group.Wait()
	t.took, t.decisions = time.Since(began), len(t.latencies)
	after, again := r.with.used()
	t.envoy, t.cpu = after[0]-before[0], after[1]-before[1]
	slices.Sort(t.latencies)
	if err := errors.Join(err, again, failed); err != nil {
		return t, fmt.Errorf("%s: %w", r.name, err)
	}
	return t, nil
}

// alone makes requests on one connection for a while, one after the other, or opens it again and again.
func (r road) alone(lasting time.Duration, found func([]time.Duration), over func()) error {
	defer over()
	var all []time.Duration
	defer func() { found(all) }()
	end := time.Now().Add(lasting)
	if r.whole {
		for time.Now().Before(end) {
			began := time.Now()
			one, err := r.open()
			if errors.Is(err, errBusy) {
				r.again.Add(1)
				continue
			}
			if err != nil {
				return err
			}
			all = append(all, time.Since(began))
			if err := one.Close(); err != nil {
				return err
			}
		}
		return nil
	}
	for time.Now().Before(end) {
		own, err := r.stay(end)
		all = append(all, own...)
		if err == nil {
			continue
		}
		if !errors.Is(err, errBusy) {
			return err
		}
		r.again.Add(1)
	}
	return nil
}

// stay makes requests on one connection until an instant, one after the other, or until one is not answered as it should be.
func (r road) stay(end time.Time) (all []time.Duration, err error) {
	one, err := r.open()
	if err != nil {
		return nil, err
	}
	defer one.Close()
	if err := one.request(); err != nil { // how long the first takes is no figure: it opens what it needs
		return nil, err
	}
	for time.Now().Before(end) {
		began := time.Now()
		if err := one.request(); err != nil {
			return all, err
		}
		all = append(all, time.Since(began))
	}
	return all, nil
}
