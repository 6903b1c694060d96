package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/provision"
)

// path is a way through an Envoy: which port, what is sent there, and which processes work for it.
type path struct {
	name    string
	address string
	request []byte
	envoy   int // process
	service int // process; 0 for none
}

// throughEnvoy compares requests through the real Envoy, with one worker: on its own, with services that are asked about each, and
// with a whole gateway.
func throughEnvoy(ctx context.Context, out io.Writer, arguments []string) error {
	flags := flag.NewFlagSet("envoy", flag.ContinueOnError)
	caracal := flags.String("caracal", "bin/caracal", "the program")
	opa := flags.String("opa", "", "OPA with its plugin for Envoy, built from bench/opa; without it the peer is left out")
	policy := flags.String("policy", "bench/opa/policy.rego", "the policy that OPA judges by")
	rounds := flags.Int("rounds", 3, "how often each way is measured")
	lasting := flags.Duration("for", 3*time.Second, "how long one measurement lasts")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	s, err := openSite(ctx, *caracal)
	if err != nil {
		return err
	}
	defer s.close()
	w := &ways{site: s}
	defer w.close()
	if err := w.open(ctx, *caracal, contenders(*opa, *policy)); err != nil {
		return s.explain(err)
	}
	for _, connections := range []int{1, 16, 64} {
		if err := w.compare(ctx, out, connections, *rounds, *lasting); err != nil {
			return err
		}
	}
	return nil
}

// ways are the paths that are compared, and what runs for them.
type ways struct {
	site     *site
	binary   string // of Envoy
	upstream *httptest.Server
	all      []path
	closers  []func()
}

func (w *ways) close() {
	for _, end := range slices.Backward(w.closers) {
		end()
	}
}

func (w *ways) open(ctx context.Context, caracal string, services []contender) error {
	if err := w.provide(ctx); err != nil {
		return err
	}
	w.upstream = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
	w.closers = append(w.closers, w.upstream.Close)
	scene := newScenario(time.Now())
	if err := scene.write(w.site.dir); err != nil {
		return err
	}
	if err := w.addStatic(ctx, "Envoy alone", scene, nil); err != nil {
		return err
	}
	for _, c := range services {
		if c.name == "Caracal" {
			continue // it is there as a whole gateway
		}
		if err := w.addStatic(ctx, c.name, scene, &c); err != nil {
			return err
		}
	}
	return w.addGateway(ctx, caracal)
}

// provide finds the binary of Envoy.
func (w *ways) provide(ctx context.Context) error {
	cache, err := provision.CacheDir(os.Getenv, os.Getuid())
	if err != nil {
		return err
	}
	w.binary, err = provision.Envoy(ctx, provision.Config{Getenv: os.Getenv, CacheDir: cache, Progress: os.Stderr})
	return err
}

// addStatic adds an Envoy that asks a service about each request, or nobody.
func (w *ways) addStatic(ctx context.Context, name string, scene *scenario, c *contender) error {
	listen, err := freeAddress(ctx)
	if err != nil {
		return err
	}
	p := path{name: name, address: listen, request: scene.requests[2].encoded()} // a GET that is allowed
	filter, cluster := "", ""
	if c != nil {
		socket := w.site.file(c.name + "-envoy.sock")
		running, err := c.start(ctx, w.site.dir, socket)
		if err != nil {
			return err
		}
		w.closers = append(w.closers, running.stop)
		p.service = running.process.Process.Pid
		filter, cluster = fmt.Sprintf(authzFilter, c.raw), fmt.Sprintf(authzCluster, socket)
	}
	config := w.site.file(name + ".yaml")
	text := fmt.Sprintf(staticConfig, portOf(listen), filter, portOf(w.upstream.Listener.Addr().String()), cluster)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return err
	}
	if p.envoy, err = w.startEnvoy(ctx, config); err != nil {
		return err
	}
	return w.add(ctx, p)
}

// addGateway adds the ways of a gateway: to a destination whose requests end by themselves, and to one whose requests are
// watched.
func (w *ways) addGateway(ctx context.Context, caracal string) error {
	upstream := netip.MustParseAddrPort(w.upstream.Listener.Addr().String())
	for name, longest := range map[string]int64{"short": 2, "watched": 0} {
		if _, err := w.site.owner.CreateDestination(ctx, authority.Destination{
			Name: name, Host: name + ".bench.test", Ports: []uint16{upstream.Port()}, TLS: authority.TLSNone, ConnectTo: upstream.String(),
			Addresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, EncodedSlash: authority.EncodedSlashRefuse, MaxDurationSeconds: longest,
			Rules: []authority.Rule{{Path: "/**", Methods: map[string]authority.Action{"GET": authority.Read}, Resource: "api:tools/search"}},
		}); err != nil {
			return err
		}
	}
	listen, err := freeAddress(ctx)
	if err != nil {
		return err
	}
	g, err := w.site.startGateway(ctx, caracal, "gateway", listen)
	if err != nil {
		return err
	}
	w.closers = append(w.closers, g.stop)
	config := filepath.Join(g.dir, "envoy.json")
	if err := awaitFile(ctx, config); err != nil {
		return err
	}
	running, err := w.startEnvoy(ctx, config)
	if err != nil {
		return err
	}
	own, err := w.site.call(ctx)
	if err != nil {
		return err
	}
	for _, name := range []string{"short", "watched"} {
		own.URL = fmt.Sprintf("http://%s.bench.test:%d/tool/item", name, upstream.Port())
		p := path{name: "Caracal, " + name, address: listen, request: own.encoded(), envoy: running, service: g.command.Process.Pid}
		if err := w.add(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

func (w *ways) startEnvoy(ctx context.Context, config string) (int, error) {
	log, err := os.Create(config + ".log")
	if err != nil {
		return 0, err
	}
	defer log.Close()
	command := exec.CommandContext(ctx, w.binary, "--config-path", config, "--concurrency", "1", "--disable-hot-restart", "--log-level", "error")
	command.Stdout, command.Stderr = log, log
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := command.Start(); err != nil {
		return 0, fmt.Errorf("start Envoy: %w", err)
	}
	w.closers = append(w.closers, func() {
		_ = command.Process.Kill()
		_ = command.Wait() // it was killed
	})
	return command.Process.Pid, nil
}

// add waits until a way leads to the upstream.
func (w *ways) add(ctx context.Context, p path) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		_, err := p.drive(1, func(done int) bool { return done < 1 })
		if err == nil {
			w.all = append(w.all, p)
			return nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%s does not get ready: %w", p.name, err)
		}
	}
}

func awaitFile(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		if _, err := os.Stat(name); err == nil {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", name, ctx.Err())
		}
	}
}

// encoded is the call as a client sends it.
func (c call) encoded() []byte {
	var text strings.Builder
	fmt.Fprintf(&text, "%s /api/proxy HTTP/1.1\r\nhost: localhost:8443\r\n", c.Method)
	for _, h := range c.headers() {
		if !strings.HasPrefix(h[0], ":") && !strings.HasPrefix(h[0], "x-forwarded-") && h[0] != "x-request-id" {
			fmt.Fprintf(&text, "%s: %s\r\n", h[0], h[1])
		}
	}
	return []byte(text.String() + "\r\n")
}

// through is what a load through a way found.
type through struct {
	measured               // cpu is the service's
	envoy    time.Duration // processor time of Envoy
}

// drive sends requests over so many connections, on each one after the other while more says so, and gives how long each
// took. An answer other than 200 is an error.
func (p path) drive(connections int, more func(done int) bool) ([]time.Duration, error) {
	var (
		group  sync.WaitGroup
		mu     sync.Mutex // guards all and failed
		all    []time.Duration
		failed error
	)
	for range connections {
		group.Go(func() {
			own, err := p.driveOne(more)
			mu.Lock()
			defer mu.Unlock()
			all, failed = append(all, own...), errors.Join(failed, err)
		})
	}
	group.Wait()
	return all, failed
}

func (p path) driveOne(more func(done int) bool) (own []time.Duration, err error) {
	connection, err := (&net.Dialer{Timeout: time.Second}).Dial("tcp", p.address)
	if err != nil {
		return nil, err
	}
	defer connection.Close()
	in := bufio.NewReader(connection)
	for more(len(own)) {
		began := time.Now()
		if _, err := connection.Write(p.request); err != nil {
			return own, err
		}
		response, err := http.ReadResponse(in, nil)
		if err != nil {
			return own, err
		}
		body, err := io.ReadAll(response.Body)
		err = errors.Join(err, response.Body.Close())
		if err == nil && response.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s answers %s: %s", p.name, response.Status, body)
		}
		if err != nil {
			return own, err
		}
		own = append(own, time.Since(began))
	}
	return own, nil
}

// measure loads a way for a while, after a third of that to warm up.
func (p path) measure(connections int, lasting time.Duration) (through, error) {
	var t through
	warm := time.Now().Add(lasting / 3)
	if _, err := p.drive(connections, func(int) bool { return time.Now().Before(warm) }); err != nil {
		return t, err
	}
	before, err := p.processors()
	if err != nil {
		return t, err
	}
	began := time.Now()
	t.latencies, err = p.drive(connections, func(int) bool { return time.Since(began) < lasting })
	t.took, t.decisions = time.Since(began), len(t.latencies)
	if err != nil {
		return t, err
	}
	after, err := p.processors()
	t.envoy, t.cpu = after[0]-before[0], after[1]-before[1]
	slices.Sort(t.latencies)
	return t, err
}

// processors are the processor times of Envoy and of the service.
func (p path) processors() (times [2]time.Duration, err error) {
	if times[0], err = cpuOf(p.envoy); err == nil && p.service != 0 {
		times[1], err = cpuOf(p.service)
	}
	return times, err
}

// compare loads each way in turn and prints the medians of the rounds.
func (w *ways) compare(ctx context.Context, out io.Writer, connections, rounds int, lasting time.Duration) error {
	found := make([][]through, len(w.all))
	for range rounds {
		for i, p := range w.all {
			t, err := p.measure(connections, lasting)
			if err := errors.Join(err, ctx.Err()); err != nil {
				return err
			}
			found[i] = append(found[i], t)
		}
	}
	fmt.Fprintf(out, "\n%d connections, medians of %d rounds of %s\n\n", connections, rounds, lasting)
	fmt.Fprintln(out, "| way | requests/s | against Envoy alone | p50 | p99 | CPU a request: Envoy | service |\n|---|---|---|---|---|---|---|")
	rate := func(t through) float64 { return t.rate() }
	base := middle(found[0], rate)
	for i, p := range w.all {
		quantile := func(q float64) time.Duration {
			return time.Duration(middle(found[i], func(t through) float64 { return float64(t.quantile(q)) })).Round(10 * time.Microsecond)
		}
		each := func(of func(through) time.Duration) time.Duration {
			return time.Duration(middle(found[i], func(t through) float64 { return float64(of(t)) / float64(t.decisions) })).Round(time.Microsecond)
		}
		fmt.Fprintf(out, "| %s | %.0f | %.2f | %s | %s | %s | %s |\n", p.name, middle(found[i], rate), middle(found[i], rate)/base, quantile(0.50), quantile(0.99),
			each(func(t through) time.Duration { return t.envoy }), each(func(t through) time.Duration { return t.cpu }))
	}
	return nil
}
