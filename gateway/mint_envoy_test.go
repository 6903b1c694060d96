package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/child"
	"github.com/caracal-gateway/caracal/envoy"
	"github.com/caracal-gateway/caracal/extauthz"
	"github.com/caracal-gateway/caracal/inspection"
	"github.com/caracal-gateway/caracal/provision"
)

// minting is a real Envoy whose listener for what comes inside of tunnels is at a port of its own, so that TLS reaches it
// without a tunnel, and the mint that it asks.
type minting struct {
	t        *testing.T
	mint     *mint
	root     inspection.Authority
	port     netip.AddrPort
	dir      string
	admin    admin
	stop     func() // of the mint and its socket
	stopping func() // of Envoy

	mu      sync.Mutex
	issuer  *inspection.Issuer
	now     time.Duration // by which the clock of the mint is ahead
	tunnels map[string][]authority.PrincipalID
}

func newMinting(t *testing.T, tunnels ...string) *minting {
	t.Helper()
	m := &minting{t: t, dir: t.TempDir(), tunnels: map[string][]authority.PrincipalID{}}
	var err error
	if m.root, err = inspection.NewAuthority("test", "wsp_test", time.Now()); err != nil {
		t.Fatal(err)
	}
	m.certify(time.Now())
	m.open(tunnels...)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m.port = netip.MustParseAddrPort(listener.Addr().String())
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	m.serve()
	m.startEnvoy()
	return m
}

// certify gives the mint an intermediate of an instant.
func (m *minting) certify(at time.Time) {
	m.t.Helper()
	request, err := inspection.NewRequest()
	if err != nil {
		m.t.Fatal(err)
	}
	made, err := m.root.Certify(request.DER(), "gtw_test", at)
	if err != nil {
		m.t.Fatal(err)
	}
	issuer, err := request.Accept(made.Raw, m.root.Certificate(), at)
	if err != nil {
		m.t.Fatal(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.issuer = issuer
}

// open opens tunnels of somebody's.
func (m *minting) open(names ...string) { m.openBy("somebody", names...) }

func (m *minting) openBy(who authority.PrincipalID, names ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range names {
		m.tunnels[name] = []authority.PrincipalID{who}
	}
}

func (m *minting) close(names ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range names {
		delete(m.tunnels, name)
	}
}

// advance puts the mint's clocks forward.
func (m *minting) advance(by time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now += by
}

func (m *minting) time() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return time.Now().Add(m.now)
}

func (m *minting) local() envoy.Local {
	socket := func(name string) string { return filepath.Join(m.dir, name) }
	return envoy.Local{
		NodeID: "test", AuthzSocket: socket("authz.sock"), XDSSocket: socket("xds.sock"), SelfSocket: socket("self.sock"), AdminSocket: socket("admin.sock"),
		Listen: netip.MustParseAddrPort("127.0.0.1:0"), Forward: netip.MustParseAddrPort("127.0.0.1:0"), Roots: inspection.PEM(m.root.Certificate()),
	}
}

// serve starts a mint behind Envoy's socket, as another gateway process would.
func (m *minting) serve() {
	m.t.Helper()
	issue := func(name string) (inspection.Leaf, error) {
		m.mu.Lock()
		issuer := m.issuer
		m.mu.Unlock()
		if issuer == nil {
			return inspection.Leaf{}, errNotCertified
		}
		return issuer.Issue(name, m.time())
	}
	tunnellers := func(host string) []authority.PrincipalID {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.tunnels[host]
	}
	elapsed := func() time.Duration {
		m.mu.Lock()
		defer m.mu.Unlock()
		return extauthz.BootTime() + m.now
	}
	log := slog.New(slog.DiscardHandler)
	m.mint = newMint(issue, tunnellers, m.time, elapsed, log)
	x, err := newXDS(context.Background(), "test", envoy.Merge(m.exposed(), envoy.BuiltIn()), &clientCertificates{log: log}, func(refusal string) {
		if refusal != "" {
			m.t.Errorf("Envoy refuses: %s", refusal)
		}
	}, log)
	if err != nil {
		m.t.Fatal(err)
	}
	x.mint = m.mint
	path := m.local().XDSSocket
	_ = os.Remove(path)
	listener, err := net.Listen("unix", path)
	if err != nil {
		m.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- x.Run(ctx, listener) }()
	m.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			m.t.Error(err)
		}
	})
	m.t.Cleanup(func() { m.stop() })
}

// exposed is the configuration with the inner listener at a port.
func (m *minting) exposed() envoy.Resources {
	fixed := envoy.Fixed(m.local())
	for _, l := range fixed.Listeners {
		if l.GetName() == envoy.ListenerInside {
			l.ListenerSpecifier = nil
			l.Address = &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
				Address: m.port.Addr().String(), PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(m.port.Port())},
			}}}
		}
	}
	return fixed
}

func (m *minting) startEnvoy() {
	m.t.Helper()
	cache, err := provision.CacheDir(os.Getenv, os.Getuid())
	if err != nil {
		m.t.Fatal(err)
	}
	binary, err := provision.Envoy(m.t.Context(), provision.Config{Getenv: os.Getenv, CacheDir: cache})
	if err != nil {
		m.t.Fatal(err)
	}
	start, err := writeBootstrap(m.dir, envoy.Bootstrap(m.local()))
	if err != nil {
		m.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	program := child.Program{Name: "envoy", Path: binary, Arguments: start.arguments(), Grace: time.Second, Environment: []string{}, Log: slog.New(slog.DiscardHandler)}
	program.Line = func(string) {}
	go func() { ended <- program.Run(ctx) }()
	m.stopping = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			m.t.Error(err)
		}
	})
	m.t.Cleanup(func() { m.stopping() })
	m.admin = newAdmin(m.local().AdminSocket, slog.New(slog.DiscardHandler))
	within(m.t, "Envoy listens", func() bool {
		connection, err := net.Dial("tcp", m.port.String())
		return err == nil && connection.Close() == nil
	})
}

// shake shakes hands for a name and gives what the client then knows.
func (m *minting) shake(name string, protocols ...string) (tls.ConnectionState, error) {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(inspection.PEM(m.root.Certificate()))
	connection, err := net.DialTimeout("tcp", m.port.String(), 10*time.Second)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer connection.Close()
	client := tls.Client(connection, &tls.Config{
		// The name that is asked for is verified below: it need not be one that Go would send.
		InsecureSkipVerify: true, ServerName: name, NextProtos: protocols,
		VerifyConnection: func(state tls.ConnectionState) error {
			between := x509.NewCertPool()
			for _, c := range state.PeerCertificates[1:] {
				between.AddCert(c)
			}
			_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, DNSName: name, CurrentTime: m.time()})
			return err
		},
	})
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	if err := client.HandshakeContext(ctx); err != nil {
		return tls.ConnectionState{}, err
	}
	return client.ConnectionState(), nil
}

// serial is that of the certificate that a name is served by.
func (m *minting) serial(name string) string {
	m.t.Helper()
	state, err := m.shake(name)
	if err != nil {
		m.t.Fatalf("%s: %v", name, err)
	}
	return state.PeerCertificates[0].SerialNumber.Text(16)
}

// held is how many names have a certificate.
func (m *minting) held() int {
	m.mint.mu.Lock()
	defer m.mint.mu.Unlock()
	return len(m.mint.names)
}

func within(t *testing.T, what string, reached func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for !reached() {
		select {
		case <-deadline:
			t.Fatal("never: " + what)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
