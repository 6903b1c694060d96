package abuse_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/extauthz"
	"github.com/caracal-gateway/caracal/gateway"
	"github.com/caracal-gateway/caracal/inspection"
	"github.com/caracal-gateway/caracal/internal/echo"
	"github.com/caracal-gateway/caracal/internal/nameserver"
	"github.com/caracal-gateway/caracal/internal/world"
	"github.com/caracal-gateway/caracal/provision"
	"github.com/caracal-gateway/caracal/token"
)

const patience = 30 * time.Second

// front is a gateway with its real Envoy in front of an echo upstream. What it enforces is the stage's world as it was
// when the gateway started.
type front struct {
	*stage
	listen netip.AddrPort
	proxy  netip.AddrPort
	// inspection is the CA that clients trust whose TLS the gateway ends.
	inspection inspection.Authority
	upstream   *echo.Recorder
	trapped    *atomic.Int64 // connections that no request must lead to
}

// newFront starts one; edits change what the gateway is made from.
func newFront(t *testing.T, edits ...func(*gateway.Config)) *front {
	t.Helper()
	f := &front{stage: newStage(t, time.Now()), listen: freePort(t), proxy: freePort(t), upstream: &echo.Recorder{}, trapped: &atomic.Int64{}}
	var err error
	if f.inspection, err = inspection.NewAuthority("abuse", string(f.State.Workspace.ID), time.Now()); err != nil {
		t.Fatal(err)
	}
	trap := f.setTrap(t)
	f.names["port.trap"], f.names["port.gateway"] = strconv.Itoa(int(trap.Port())), strconv.Itoa(int(f.listen.Port()))
	ca := f.serveUpstream(t)
	f.servePlainUpstream(t)
	f.buildEnvoy(t)
	f.start(t, ca, edits...)
	return f
}

// setTrap listens where the cases that aim at this machine aim.
func (f *front) setTrap(t *testing.T) netip.AddrPort {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return // the test is over
			}
			f.trapped.Add(1)
			_ = connection.Close()
		}
	}()
	return netip.MustParseAddrPort(listener.Addr().String())
}

// serveUpstream serves the echo upstream, makes the world's destination lead to it and returns its CA.
func (f *front) serveUpstream(t *testing.T) []byte {
	t.Helper()
	ca, err := echo.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := ca.Leaf(world.EchoHost)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- echo.Serve(ctx, listener, certificate, echo.Handler(f.upstream)) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	for i := range f.State.Destinations {
		if d := &f.State.Destinations[i]; d.Host == world.EchoHost {
			d.ConnectTo, d.CA = listener.Addr().String(), string(ca.PEM())
		}
	}
	return ca.PEM()
}

// servePlainUpstream serves the same in plain text.
func (f *front) servePlainUpstream(t *testing.T) {
	t.Helper()
	server := httptest.NewServer(echo.Handler(f.upstream))
	t.Cleanup(server.Close)
	for i := range f.State.Destinations {
		if d := &f.State.Destinations[i]; d.Host == world.PlainHost {
			d.ConnectTo = server.Listener.Addr().String()
		}
	}
}

// buildEnvoy builds the catalog's part of Envoy's configuration, as the control plane does.
func (f *front) buildEnvoy(t *testing.T) {
	t.Helper()
	var err error
	if f.State.Envoy, err = bundle.EnvoyConfiguration(f.State.Destinations); err != nil {
		t.Fatal(err)
	}
}

// start runs the gateway until the test ends, and waits until it carries requests.
func (f *front) start(t *testing.T, roots []byte, edits ...func(*gateway.Config)) {
	t.Helper()
	key, err := token.NewAPIKey(authority.KeyGateway, f.Root.Fingerprint())
	if err != nil {
		t.Fatal(err)
	}
	cache, err := provision.CacheDir(os.Getenv, os.Getuid())
	if err != nil {
		t.Fatal(err)
	}
	binary, err := provision.Envoy(t.Context(), provision.Config{Getenv: os.Getenv, CacheDir: cache})
	if err != nil {
		t.Fatal(err)
	}
	state := t.TempDir()
	log, err := os.Create(filepath.Join(state, "log"))
	if err != nil {
		t.Fatal(err)
	}
	config := gateway.Config{
		Control: &url.URL{Scheme: "http", Host: f.serveControl(t)}, Key: key, Workspace: f.State.Workspace.Slug, Interval: time.Minute,
		Listen: f.listen, ProxyListen: f.proxy, Roots: roots, Resolvers: []netip.AddrPort{nameserver.Start(t, resolutions())}, StateDir: state,
		EnvoyPath: binary, Instance: "abuse", Version: "test", Log: slog.New(slog.NewTextHandler(log, nil)),
		Credentials: extauthz.NewCredentials("", func(string) (string, bool) { return "", false }),
	}
	for _, edit := range edits {
		edit(&config)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- gateway.Run(ctx, config) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		_ = log.Close()
		if text, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("log of the gateway:\n%s", text)
		}
	})
	f.awaitRequest(t)
}

// awaitRequest sends an ordinary request until it passes.
func (f *front) awaitRequest(t *testing.T) {
	t.Helper()
	deadline, last := time.Now().Add(patience), ""
	for time.Now().Before(deadline) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+f.listen.String()+"/api/proxy", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+f.names["token.agent"])
		request.Header.Set("X-Caracal-Mandate", f.names["mandate.own"])
		request.Header.Set("X-Caracal-Target-URL", fmt.Sprintf("https://%s:%d/", world.EchoHost, world.EchoPort))
		if response, err := http.DefaultClient.Do(request); err != nil {
			last = err.Error()
		} else {
			body, _ := io.ReadAll(response.Body) // what came is told if it was not what was wanted
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return
			}
			last = response.Status + " " + string(body)
		}
		select {
		case <-t.Context().Done():
			t.Fatal("the test is over")
		case <-time.After(50 * time.Millisecond):
		}
	}
	t.Fatalf("the gateway does not carry requests: %s", last)
}

func freePort(t *testing.T) netip.AddrPort {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return netip.MustParseAddrPort(listener.Addr().String())
}

// resolutions are the names that lead to where no request may.
func resolutions() map[string][]string {
	return map[string][]string{
		"loopback.test": {"127.0.0.1"}, "loopback-any.test": {"127.8.8.8"}, "loopback6.test": {"::1"}, "unspecified.test": {"0.0.0.0"},
		"ten.test": {"10.0.0.1"}, "private172.test": {"172.16.0.1"}, "private192.test": {"192.168.0.1"}, "shared.test": {"100.64.0.1"},
		"link.test": {"169.254.1.1"}, "link6.test": {"fe80::1"}, "unique6.test": {"fc00::1"},
		"metadata.test": {"169.254.169.254"}, "metadata6.test": {"fd00:ec2::254"}, "platform.test": {"168.63.129.16"},
		"mapped.test": {"::ffff:127.0.0.1"}, "nat64.test": {"64:ff9b::7f00:1"}, "nat64local.test": {"64:ff9b:1::7f00:1"}, "sixtofour.test": {"2002:7f00:1::1"},
		"multicast.test": {"224.0.0.1"}, "broadcast.test": {"255.255.255.255"}, "several.test": {"127.0.0.1", "10.0.0.1", "::1"},
	}
}
