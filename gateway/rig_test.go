package gateway_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/extauthz"
	"github.com/caracal-gateway/caracal/gateway"
	"github.com/caracal-gateway/caracal/internal/echo"
	"github.com/caracal-gateway/caracal/internal/syncpb"
	"github.com/caracal-gateway/caracal/internal/world"
	"github.com/caracal-gateway/caracal/provision"
	"github.com/caracal-gateway/caracal/token"
)

const patience = 20 * time.Second

// rig is a gateway with its real Envoy, an echo upstream, and a control plane whose every word the test chooses.
type rig struct {
	t        *testing.T
	world    *world.World
	control  *control
	upstream *echo.Recorder
	stateDir string
	listen   netip.AddrPort
	// proxyListen is the proxy port; the zero value for none.
	proxyListen netip.AddrPort
	key         token.APIKey
	slug        string // that the gateway is configured with
	log         *lines
	envoy       string // program to run as Envoy; empty means the pinned one
}

func newRig(t *testing.T) *rig {
	t.Helper()
	w := world.New(t, time.Now())
	key, err := token.NewAPIKey(authority.KeyGateway, w.Root.Fingerprint())
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, world: w, upstream: &echo.Recorder{}, stateDir: t.TempDir(), listen: freePort(t), key: key, slug: w.State.Workspace.Slug, log: &lines{}}
	r.startUpstream()
	sealed := w.Seal()
	r.control = startControl(t, key, func() bundle.Sealed { return sealed }, w)
	return r
}

// startUpstream serves the echo upstream and makes the world's echo destination lead to it.
func (r *rig) startUpstream() {
	ca, err := echo.NewCA()
	if err != nil {
		r.t.Fatal(err)
	}
	certificate, err := ca.Leaf(world.EchoHost)
	if err != nil {
		r.t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- echo.Serve(ctx, listener, certificate, echo.Handler(r.upstream)) }()
	r.t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			r.t.Error(err)
		}
	})
	for i := range r.world.State.Destinations {
		d := &r.world.State.Destinations[i]
		if d.Host == world.EchoHost {
			d.ConnectTo, d.CA = listener.Addr().String(), string(ca.PEM())
		}
	}
	r.buildEnvoy()
}

// buildEnvoy builds the catalog's part of Envoy's configuration, as the control plane does.
func (r *rig) buildEnvoy() {
	r.t.Helper()
	var err error
	if r.world.State.Envoy, err = bundle.EnvoyConfiguration(r.world.State.Destinations); err != nil {
		r.t.Fatal(err)
	}
}

// running is a gateway that was started.
type running struct {
	cancel context.CancelFunc
	ended  chan struct{}
	err    error // of Run, once ended is closed
}

// stop ends the gateway in order and gives what Run returned.
func (g *running) stop() error {
	g.cancel()
	<-g.ended
	return g.err
}

// wait gives what Run returned by itself.
func (g *running) wait(t *testing.T) error {
	t.Helper()
	select {
	case <-g.ended:
		return g.err
	case <-time.After(patience):
		t.Fatal("the gateway runs on")
		return nil
	}
}

func (r *rig) start() *running {
	r.t.Helper()
	control, err := url.Parse(r.control.url())
	if err != nil {
		r.t.Fatal(err)
	}
	if r.envoy == "" {
		r.envoy = envoyBinary(r.t)
	}
	ctx, cancel := context.WithCancel(context.Background())
	g := &running{cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(g.ended)
		g.err = gateway.Run(ctx, gateway.Config{
			Control: control, Key: r.key, Workspace: r.slug, Interval: time.Second,
			Listen: r.listen, ProxyListen: r.proxyListen, Roots: r.anyRoots(), StateDir: r.stateDir, EnvoyPath: r.envoy, Instance: "test", Version: "test",
			Credentials: extauthz.NewCredentials("", func(string) (string, bool) { return "", false }),
			Log:         slog.New(slog.NewTextHandler(r.log, nil)),
		})
	}()
	r.t.Cleanup(func() {
		_ = g.stop()
		if r.t.Failed() {
			r.t.Logf("log of the gateway:\n%s", r.log)
		}
	})
	return g
}

// anyRoots are certificates for public upstreams, which these tests do not reach.
func (r *rig) anyRoots() []byte {
	for _, d := range r.world.State.Destinations {
		if d.CA != "" {
			return []byte(d.CA)
		}
	}
	return nil
}

func cacheDir(t *testing.T) string {
	t.Helper()
	dir, err := provision.CacheDir(os.Getenv, os.Getuid())
	if err != nil {
		t.Fatal(err)
	}
	return dir
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

// answer is what a client of the gateway gets.
type answer struct {
	status int
	header http.Header
	body   string
}

// member reads one member of a JSON body.
func (a answer) member(name string) string {
	var object map[string]any
	if json.Unmarshal([]byte(a.body), &object) != nil {
		return ""
	}
	value, _ := object[name].(string)
	return value
}

func (r *rig) send(request *http.Request) (answer, error) {
	return send(&http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}, request)
}

func send(client *http.Client, request *http.Request) (answer, error) {
	response, err := client.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, response.Header, string(body)}, err
}

func (r *rig) get(path string) (answer, error) {
	request, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, "http://"+r.listen.String()+path, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return r.send(request)
}

// request is a call to the echo upstream through the gateway by the world's agent, under its mandate.
func (r *rig) request(path string) *http.Request {
	request, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, "http://"+r.listen.String()+"/api/proxy", strings.NewReader(`{"model":"gpt-4"}`))
	if err != nil {
		r.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+r.world.Token(r.world.Agent.ID))
	request.Header.Set("X-Caracal-Mandate", string(r.world.Mandate.ID))
	request.Header.Set("X-Caracal-Target-URL", fmt.Sprintf("https://%s:%d%s", world.EchoHost, world.EchoPort, path))
	return request
}

func (r *rig) proxy(path string) (answer, error) { return r.send(r.request(path)) }

// until repeats a call until its answer is as wanted.
func (r *rig) until(what string, call func() (answer, error), wanted func(answer) bool) answer {
	r.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		got, err := call()
		if err == nil && wanted(got) {
			return got
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("%s: got %d %s, error %v", what, got.status, got.body, err)
		}
		pause(r.t)
	}
}

func (r *rig) health(wanted func(answer) bool, what string) answer {
	r.t.Helper()
	return r.until(what, func() (answer, error) { return r.get("/health") }, wanted)
}

func pause(t *testing.T) {
	t.Helper()
	select {
	case <-t.Context().Done():
		t.Fatal("the test is over")
	case <-time.After(20 * time.Millisecond):
	}
}

// lines is a log that tests read while it is written.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// control is a control plane that sends whatever the test wants, on a stream that is real.
type control struct {
	syncpb.UnimplementedSyncServer
	t     *testing.T
	key   token.APIKey
	world *world.World

	mu       sync.Mutex
	address  string
	server   *grpc.Server
	bundle   func() bundle.Sealed
	wake     chan struct{} // closed and replaced when there is something new to send
	refusals []*syncpb.Refused
	acked    uint64
	left     int
	enrolled map[string]ed25519.PublicKey
	batches  []*syncpb.RecordRequest
	failing  int // how many of the next batches are stored, but answered with an error
	// instead, if set, speaks on the streams in place of a good control plane; onLeave hears of each goodbye.
	instead func(syncpb.Sync_StreamServer) error
	onLeave func()
	lessor  lessor
}

func startControl(t *testing.T, key token.APIKey, sealed func() bundle.Sealed, w *world.World) *control {
	t.Helper()
	c := &control{
		t: t, key: key, world: w, bundle: sealed, wake: make(chan struct{}), enrolled: map[string]ed25519.PublicKey{},
		lessor: lessor{term: time.Minute},
	}
	c.address = freePort(t).String()
	c.up()
	t.Cleanup(c.down)
	return c
}

func (c *control) url() string { return "http://" + c.address }

func (c *control) up() {
	listener, err := net.Listen("tcp", c.address)
	if err != nil {
		c.t.Fatal(err)
	}
	c.server = grpc.NewServer()
	syncpb.RegisterSyncServer(c.server, c)
	go func() { _ = c.server.Serve(listener) }()
}

func (c *control) down() { c.server.Stop() }

// push sends another bundle to whoever is connected.
func (c *control) push(sealed bundle.Sealed) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bundle = func() bundle.Sealed { return sealed }
	close(c.wake)
	c.wake = make(chan struct{})
}

func (c *control) revision() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bundle().Revision()
}

func (c *control) lastRefusal() *syncpb.Refused {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.refusals) == 0 {
		return nil
	}
	return c.refusals[len(c.refusals)-1]
}

func (c *control) acknowledged() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.acked
}

func (c *control) authenticate(ctx context.Context) error {
	if values := metadata.ValueFromIncomingContext(ctx, "authorization"); len(values) != 1 || values[0] != "Bearer "+c.key.Reveal() {
		return status.Error(codes.Unauthenticated, "the credential is not valid here, or no longer")
	}
	return nil
}

func (c *control) Enrol(ctx context.Context, r *syncpb.EnrolRequest) (*syncpb.EnrolResponse, error) {
	if err := c.authenticate(ctx); err != nil {
		return nil, err
	}
	if err := bundle.VerifyEnrolProof(r.GetPublicKey(), c.key, r.GetProof()); err != nil {
		return nil, status.Error(codes.Unauthenticated, err.Error())
	}
	if r.GetWorkspace() != c.world.State.Workspace.Slug {
		return nil, status.Error(codes.PermissionDenied, "the gateway key belongs to another workspace")
	}
	keys, err := token.SealKeySet(c.world.Root, c.world.KeySet())
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	id := string(authority.NewID[authority.GatewayID]())
	for known, process := range c.enrolled {
		if process.Equal(ed25519.PublicKey(r.GetPublicKey())) {
			id = known
		}
	}
	c.enrolled[id] = r.GetPublicKey()
	return &syncpb.EnrolResponse{GatewayId: id, WorkspaceId: string(c.world.State.Workspace.ID), KeySet: keys, Time: timestamppb.Now()}, nil
}

func (c *control) Stream(stream syncpb.Sync_StreamServer) error {
	if err := c.authenticate(stream.Context()); err != nil {
		return err
	}
	c.mu.Lock()
	instead := c.instead
	c.mu.Unlock()
	if instead != nil {
		return instead(stream)
	}
	if err := c.greet(stream); err != nil {
		return err
	}
	asked := make(chan *syncpb.ControlMessage, 16)
	ended := make(chan struct{})
	go c.listen(stream, asked, ended)
	for {
		c.mu.Lock()
		sealed, wake := c.bundle(), c.wake
		c.mu.Unlock()
		for _, piece := range pieces(sealed) {
			piece.Time = timestamppb.Now()
			if err := stream.Send(piece); err != nil {
				return err
			}
		}
		if over := c.rest(stream, asked, wake, ended); over {
			return nil
		}
	}
}

// pieces are the messages that a snapshot is sent as.
func pieces(sealed bundle.Sealed) []*syncpb.ControlMessage {
	const size = 4000
	var messages []*syncpb.ControlMessage
	for offset := 0; offset < len(sealed); offset += size {
		messages = append(messages, &syncpb.ControlMessage{Message: &syncpb.ControlMessage_Bundle{Bundle: &syncpb.Bundle{
			Revision: sealed.Revision(), Sealed: sealed[offset:min(offset+size, len(sealed))],
			Offset: uint64(offset), Size: uint64(len(sealed)),
		}}})
	}
	return messages
}

// greet challenges a gateway and takes its hello.
func (c *control) greet(stream syncpb.Sync_StreamServer) error {
	nonce := make([]byte, 32)
	rand.Read(nonce)
	if err := stream.Send(&syncpb.ControlMessage{Time: timestamppb.Now(), Message: &syncpb.ControlMessage_Challenge{Challenge: &syncpb.Challenge{Nonce: nonce}}}); err != nil {
		return err
	}
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	c.mu.Lock()
	process := c.enrolled[first.GetHello().GetGatewayId()]
	c.mu.Unlock()
	if err := bundle.VerifyStreamProof(process, nonce, first.GetHello().GetProof()); err != nil {
		return status.Error(codes.Unauthenticated, err.Error())
	}
	return nil
}

func (c *control) speak(instead func(syncpb.Sync_StreamServer) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.instead = instead
}

// rest sends answers until there is another bundle to send, or the stream is over.
func (c *control) rest(stream syncpb.Sync_StreamServer, answers <-chan *syncpb.ControlMessage, wake, ended <-chan struct{}) (over bool) {
	for {
		select {
		case <-ended:
			return true
		case <-wake:
			return false
		case answer := <-answers:
			answer.Time = timestamppb.Now()
			_ = stream.Send(answer)
		}
	}
}

func (c *control) listen(stream syncpb.Sync_StreamServer, answers chan<- *syncpb.ControlMessage, ended chan<- struct{}) {
	defer close(ended)
	for {
		m, err := stream.Recv()
		c.mu.Lock()
		if errors.Is(err, io.EOF) {
			c.left++
			if c.onLeave != nil {
				c.onLeave()
			}
		}
		if a := m.GetAcknowledged(); a != nil {
			c.acked = a.GetRevision()
		}
		if r := m.GetRefused(); r != nil {
			c.refusals = append(c.refusals, r)
		}
		c.mu.Unlock()
		if err != nil {
			return
		}
		if s := m.GetSync(); s != nil {
			answers <- &syncpb.ControlMessage{Message: &syncpb.ControlMessage_Current{Current: &syncpb.Current{Id: s.GetId(), Revision: c.revision()}}}
		}
		for _, answer := range c.lessor.hear(m) {
			answers <- answer
		}
	}
}

func (c *control) Record(ctx context.Context, r *syncpb.RecordRequest) (*syncpb.RecordResponse, error) {
	if err := c.authenticate(ctx); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	signed := bundle.Batch{Gateway: authority.GatewayID(r.GetGatewayId()), Epoch: r.GetEpoch(), First: r.GetFirst(), Last: r.GetLast(), Events: r.GetEvents(), Outcomes: r.GetOutcomes()}
	if err := bundle.VerifyRecordProof(c.enrolled[r.GetGatewayId()], signed, r.GetProof()); err != nil {
		return nil, status.Error(codes.Unauthenticated, err.Error())
	}
	c.batches = append(c.batches, r)
	if c.failing > 0 {
		c.failing--
		return nil, status.Error(codes.Unavailable, "the answer was lost")
	}
	return &syncpb.RecordResponse{Last: r.GetLast()}, nil
}
