package gateway

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/child"
	"github.com/caracal-gateway/caracal/envoy"
	"github.com/caracal-gateway/caracal/extauthz"
	"github.com/caracal-gateway/caracal/internal/syncpb"
	"github.com/caracal-gateway/caracal/token"
)

// Config is what one gateway process needs.
type Config struct {
	// Control is the URL of the control plane; http only to a loopback address unless AllowPlain.
	Control    *url.URL
	ControlCA  []byte // PEM certificates that the control plane must chain to; empty means the host's roots
	AllowPlain bool
	Key        token.APIKey
	Workspace  string        // slug, which has to be the key's own
	Interval   time.Duration // between the looks for a newer revision, beside what is pushed

	Listen                  netip.AddrPort
	ProxyListen             netip.AddrPort // of the proxy port; the zero value for none
	ProxyPlain              bool           // whether clients on other hosts may speak plain HTTP to the proxy port beside a certificate
	Certificate, PrivateKey []byte         // PEM, of both ports; empty means plain HTTP
	Roots                   []byte         // PEM certificates that public upstreams must chain to
	Resolvers               []netip.AddrPort
	Foreign                 *Foreign // where somebody else's Envoy asks for decisions; nil for nowhere

	// EachCaller is what one caller may have live at a time; the zero value is for a quarter of what all may.
	EachCaller extauthz.Room

	// StateDir keeps the last good bundle and the process's key; one process at a time.
	StateDir string
	// Credentials finds the secrets that destinations name.
	Credentials *extauthz.Credentials
	// EnvoyPath is the Envoy binary to run as a child. Empty means that the operator runs Envoy from the bootstrap
	// file that the gateway writes to its state directory.
	EnvoyPath string
	Instance  string // host name, for people
	Version   string
	Log       *slog.Logger
}

// portPatience is how long a port of the gateway may be taken when it starts.
const portPatience = 2 * time.Second

// gateway is one running process.
type gateway struct {
	Config
	bootstrap bootstrap
	fixed     envoy.Resources
	clock     *extauthz.Clock
	service   *extauthz.Service
	xds       *xds
	state     *state
	shipper   *shipper
	link      *link
	applier   *applier
	tenure    *tenure
	inspector *inspector
	mint      *mint
	reporter  *reporter
}

// Run runs the gateway until ctx ends, then drains and stops Envoy, ships what is left of the decision events, gives the
// lease up and leaves the control plane, in this order. It returns early for what cannot mend itself: a port that is taken, a state directory in use,
// a key that the control plane refuses while there is no kept bundle.
func Run(ctx context.Context, c Config) error {
	unlock, err := lockDirectory(c.StateDir)
	if err != nil {
		return err
	}
	defer unlock()
	foreign, err := c.Foreign.listen(ctx)
	if err != nil {
		return err
	}
	if foreign != nil {
		defer foreign.Close()
	}
	if c.EnvoyPath != "" { // an operator's Envoy may hold the port already
		if err := portsAreFree(ctx, c); err != nil {
			return err
		}
	}
	private, err := processKey(filepath.Join(c.StateDir, "process.key"))
	if err != nil {
		return err
	}
	sockets, removeSockets, err := openSockets(c.StateDir)
	if err != nil {
		return err
	}
	defer removeSockets()
	g, err := assemble(ctx, c, sockets, private)
	if err != nil {
		return err
	}
	defer g.link.connect.Close()
	c.Log.Info("the gateway starts", "gateway_port", c.Listen.String(), "proxy_port", c.proxyPort())
	g.state.Log()
	if err := g.applier.load(ctx); err != nil {
		return err
	}
	timeline, revision := g.state.enforced()
	if err := g.tenure.resume(timeline, revision); err != nil {
		c.Log.Warn("the kept lease is not used", "cause", err)
	}
	g.inspector.load()
	g.state.look()
	return g.run(ctx, sockets, foreign)
}

// assemble makes the parts and ties them together; nothing runs yet.
func assemble(ctx context.Context, c Config, at sockets, private ed25519.PrivateKey) (*gateway, error) {
	epoch := uint64(time.Now().UnixNano()) // rises from process to process on one host
	g := &gateway{
		Config:  c,
		clock:   extauthz.NewClock(extauthz.BootTime, time.Now),
		shipper: newShipper(epoch, c.Log),
	}
	host := envoy.Local{
		NodeID: c.Instance, AuthzSocket: at.authz.path, XDSSocket: at.xds.path, SelfSocket: at.self.path, AdminSocket: at.admin,
		Listen: c.Listen, Forward: c.ProxyListen, ForwardPlain: c.ProxyPlain,
		Certificate: c.Certificate, PrivateKey: c.PrivateKey, Roots: c.Roots, Resolvers: c.Resolvers,
	}
	if host.NodeID == "" {
		host.NodeID = "gateway"
	}
	g.fixed = envoy.Fixed(host)
	var err error
	if g.bootstrap, err = writeBootstrap(c.StateDir, envoy.Bootstrap(host)); err != nil {
		return nil, err
	}
	certificates := &clientCertificates{read: c.Credentials.ClientCertificate, now: time.Now, log: c.Log}
	if g.xds, err = newXDS(context.WithoutCancel(ctx), host.NodeID, envoy.Merge(g.fixed, envoy.BuiltIn()), certificates, g.reportEnvoy, c.Log); err != nil {
		return nil, err
	}
	read := extauthz.ReadClocks
	g.state = newState(c.Interval, g.clock.Now, g.xds.Verdict, func() bool { return g.service.Lease().Holds(read()) }, c.Log)
	g.state.skew = g.clock.Skew
	g.inspector = newInspector(c.StateDir, g.clock.Now, func(ctx context.Context, request []byte) (*syncpb.CertifyResponse, error) {
		return g.link.Certify(ctx, request)
	}, c.Log)
	if c.ProxyListen.IsValid() {
		g.state.proxyPort, g.state.uninspected = c.ProxyListen.Port(), g.inspector.Unavailable
	}
	g.service = extauthz.New(extauthz.Config{
		Clock: g.clock, Recorder: g.shipper, Credentials: c.Credentials, Routes: g.xds.Accepted, Certificates: g.xds.Shows,
		Inspects: func() bool { return g.inspector.Unavailable() == "" },
		Read:     read, Listeners: c.ports(), EachCaller: c.EachCaller, Log: c.Log,
	})
	g.applier = &applier{
		workspace: c.Workspace, stateDir: c.StateDir, fixed: g.fixed, bootstrap: g.bootstrap,
		service: g.service, xds: g.xds, state: g.state,
		keeper: newKeeper(c.StateDir, c.Log), trust: bundle.Trust{Root: c.Key.Root}, log: c.Log,
	}
	boot, err := bootID()
	if err != nil {
		c.Log.Error("no lease is kept for the next start", "cause", err)
	}
	g.tenure = &tenure{
		hold: g.service.Hold, file: leaseFile{filepath.Join(c.StateDir, "lease"), private}, boot: boot, read: read, log: c.Log,
	}
	g.applier.bar, g.applier.succeeded = g.tenure.bar, g.tenure.succeeded
	g.mint = newMint(g.inspector.Issue, g.service.Tunnellers, g.clock.Now, extauthz.BootTime, c.Log)
	g.xds.mint = g.mint
	g.reporter = &reporter{address: c.Listen.String(), service: g.service, xds: g.xds, shipper: g.shipper, elapsed: extauthz.BootTime}
	connect, err := dial(c.Control, c.ControlCA, c.AllowPlain)
	if err != nil {
		return nil, err
	}
	g.link = &link{
		url: c.Control, workspace: c.Workspace, key: c.Key, private: private, instance: c.Instance, version: c.Version,
		epoch: epoch, interval: c.Interval, connect: connect, client: syncpb.NewSyncClient(connect), state: g.state, log: c.Log,
		enrolled: g.enrolled, begin: g.begin, apply: g.applier.take, overdue: g.applier.overdue,
		unsaid: g.applier.unsaid.Load, position: g.applier.position,
		issued: g.applier.issued, beyond: g.applier.beyond,
		anchor: g.clock.Anchor, report: g.reporter.report,
		outbox: newOutbox(), questions: newQuestions(extauthz.BootTime), renewals: newRenewals(c.Interval, read), tenure: g.tenure,
	}
	return g, nil
}

// enrolled takes over what enrolment brought.
func (g *gateway) enrolled(answer *syncpb.EnrolResponse) error {
	if err := g.applier.enrolled(answer); err != nil {
		return err
	}
	g.inspector.belongs(answer.GetWorkspaceId())
	return nil
}

// begin is for each stream to the control plane, which may be another than the last.
func (g *gateway) begin() {
	g.applier.begin()
	g.inspector.wake()
}

// run runs all parts until ctx ends or one of them fails. They end in this order: Envoy finishes and takes requests no
// more; an Envoy that is not ours to stop is given decisions no more; the record of the last ones is shipped; and only then
// the gateway gives up its lease and leaves the control plane, after which no revocation waits for it.
func (g *gateway) run(ctx context.Context, at sockets, foreign net.Listener) error {
	transport, err := controlTransport(g.ControlCA)
	if err != nil {
		return err
	}
	endpoints := newLocal(g.Control, transport, g.state, g.service, g.link.Sync, g.Log)
	return inOrder(ctx,
		[]part{g.envoy(at.admin)},
		append(g.foreign(foreign), func(ctx context.Context) error { return g.service.Serve(ctx, at.authz.listener) }),
		[]part{func(ctx context.Context) error { return g.shipper.Run(ctx, g.link.Record) }},
		[]part{
			g.tell, g.watchLease, g.inspect, g.rereadCertificates,
			func(ctx context.Context) error {
				return g.link.Run(ctx, func() bool { _, revision := g.state.enforced(); return revision == 0 })
			},
		},
		[]part{
			g.mint.Run,
			func(ctx context.Context) error { return g.xds.Run(ctx, at.xds.listener) },
			func(ctx context.Context) error { return endpoints.Run(ctx, at.self.listener) },
		},
	)
}

// envoy keeps the gateway's Envoy running and drains it before it stops it, or leaves that to the operator. An operator's
// Envoy goes on when the gateway ends, so that it is not told to close its ports: it refuses what nobody decides.
func (g *gateway) envoy(adminSocket string) part {
	end := func() { g.service.End(authority.ReasonNoDecision) }
	if g.EnvoyPath == "" {
		g.Log.Info("no Envoy is started here; start it with the bootstrap file", "bootstrap", g.bootstrap.path)
		return func(ctx context.Context) error {
			<-ctx.Done()
			end()
			return nil
		}
	}
	program := child.Program{
		Name: "envoy", Path: g.EnvoyPath, Arguments: g.bootstrap.arguments(), Grace: drainTime, Log: g.Log,
		Environment: []string{}, // ours holds the gateway's key and destinations' secrets
		Line:        func(line string) { g.Log.Info("envoy", "line", line) },
	}
	return func(ctx context.Context) error {
		running, stop := context.WithCancel(context.WithoutCancel(ctx))
		defer stop()
		defer context.AfterFunc(ctx, func() {
			newAdmin(adminSocket, g.Log).drain(end)
			stop()
		})()
		return program.Run(running)
	}
}

// part runs until its context ends.
type part func(context.Context) error

// inOrder runs the parts of all stages together until ctx ends or one of them fails. Then it ends the stages, the first
// one first, each once the one before is over.
func inOrder(ctx context.Context, stages ...[]part) error {
	running, stop := context.WithCancel(ctx)
	defer stop()
	ends := make([]func() error, len(stages))
	for i, stage := range stages {
		own, end := context.WithCancel(context.WithoutCancel(ctx))
		defer end()
		var group errgroup.Group
		for _, run := range stage {
			group.Go(func() error {
				defer stop()
				return run(own)
			})
		}
		ends[i] = func() error {
			end()
			return group.Wait()
		}
	}
	<-running.Done()
	var failed error
	for _, end := range ends {
		failed = errors.Join(failed, end())
	}
	return failed
}

// inspect keeps the certificate good that TLS is seen inside by, if there is a port where that happens.
func (g *gateway) inspect(ctx context.Context) error {
	if !g.ProxyListen.IsValid() {
		<-ctx.Done()
		return nil
	}
	return g.inspector.Run(ctx)
}

// tell logs the state each interval.
func (g *gateway) tell(ctx context.Context) error {
	tick := time.NewTicker(g.Interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			g.state.Log()
		}
	}
}

// rereadCertificates has Envoy show the client certificates that are on disk.
func (g *gateway) rereadCertificates(ctx context.Context) error {
	tick := time.NewTicker(rereadEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := g.xds.Reread(context.WithoutCancel(ctx)); err != nil {
				g.Log.Error("changed client certificates are not served", "cause", err)
			}
		}
	}
}

// watchLease logs when the lease lapses, and when it is back, as soon as it is so by either clock.
func (g *gateway) watchLease(ctx context.Context) error {
	for {
		wait := lookEvery
		if left := g.service.Lease().End.Boot - extauthz.BootTime(); left > 0 {
			wait = min(wait, left)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
			g.state.look()
		}
	}
}

// reportEnvoy tells the control plane and the log what Envoy made of its configuration.
func (g *gateway) reportEnvoy(refusal string) {
	_, revision := g.state.enforced()
	g.link.outbox.tellEnvoy(&syncpb.EnvoyStatus{Accepted: refusal == "", Revision: revision, Message: refusal})
	g.state.envoyAnswered()
}

// proxyPort is the proxy port in words.
func (c Config) proxyPort() string {
	if !c.ProxyListen.IsValid() {
		return "off"
	}
	return c.ProxyListen.String()
}

// ports are those that the gateway and its Envoy listen on.
func (c Config) ports() []netip.AddrPort {
	all := []netip.AddrPort{c.Listen}
	if c.ProxyListen.IsValid() {
		all = append(all, c.ProxyListen)
	}
	if c.Foreign != nil {
		all = append(all, c.Foreign.Listen)
	}
	return all
}

func portsAreFree(ctx context.Context, c Config) error {
	if err := portIsFree(ctx, c.Listen, "gateway", "choose another with CARACAL_LISTEN"); err != nil || !c.ProxyListen.IsValid() {
		return err
	}
	return portIsFree(ctx, c.ProxyListen, "proxy", "choose another with CARACAL_PROXY_LISTEN, or \"off\"")
}

// portIsFree says which setting to change when something else listens already; Envoy would only say that it cannot
// bind. The Envoy of a gateway that was killed a moment ago may take another to end.
func portIsFree(ctx context.Context, address netip.AddrPort, name, remedy string) error {
	ctx, cancel := context.WithTimeout(ctx, portPatience)
	defer cancel()
	for {
		listener, err := (&net.ListenConfig{}).Listen(context.WithoutCancel(ctx), "tcp", address.String())
		if err == nil {
			return listener.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the %s port %s cannot be used (%w): stop what listens there, or %s", name, strconv.Itoa(int(address.Port())), err, remedy)
		case <-time.After(drainPoll):
		}
	}
}

// controlTransport carries the agents' API to the control plane.
func controlTransport(caPEM []byte) (http.RoundTripper, error) {
	config, err := controlTLS(caPEM)
	if err != nil {
		return nil, err
	}
	return &http.Transport{
		DialContext:           (&net.Dialer{Timeout: 3 * time.Second}).DialContext,
		TLSClientConfig:       config,
		ForceAttemptHTTP2:     true,
		TLSHandshakeTimeout:   5 * time.Second,
		ResponseHeaderTimeout: 150 * time.Second, // a revocation may wait 120 s for the other gateways
		IdleConnTimeout:       90 * time.Second,
		MaxIdleConnsPerHost:   32,
	}, nil
}
