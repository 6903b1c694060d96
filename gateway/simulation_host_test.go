package gateway

import (
	"context"
	"crypto/ed25519"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	procv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/envoy"
	"github.com/caracal-gateway/caracal/extauthz"
	"github.com/caracal-gateway/caracal/internal/syncpb"
	"github.com/caracal-gateway/caracal/lease"
	"github.com/caracal-gateway/caracal/token"
)

// dice are random numbers that several goroutines take from one seed.
type dice struct {
	mu   sync.Mutex
	rand *rand.Rand
}

func newDice(seed, stream uint64) *dice { return &dice{rand: rand.New(rand.NewPCG(seed, stream))} }

// below is a duration below a bound.
func (d *dice) below(bound time.Duration) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return time.Duration(d.rand.Int64N(int64(bound)))
}

func (d *dice) pick(n int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rand.IntN(n)
}

// chance is true one time in n.
func (d *dice) chance(n int) bool { return d.pick(n) == 0 }

// host is where one gateway runs, process after process, with its Envoy and what it keeps on disk.
type host struct {
	id       string
	states   *states
	dice     *dice
	history  *history
	replicas []*controller
	lines    []*line // to each replica
	key      token.APIKey
	private  ed25519.PrivateKey
	lease    string // path of the kept lease
	rate     float64
	stepped  atomic.Int64 // of the wall clock
	kept     atomic.Uint64
	diskFull atomic.Bool
	changed  conduct

	process passage // held up while the process stands still
	envoy   line    // between Envoy and the process

	mu      sync.Mutex
	current *life
	cut     context.CancelFunc // ends the live streams of a process that stands still
	streams context.Context
}

// conduct is what a mutant of a gateway does otherwise.
type conduct struct {
	clocks func(lease.Reading) lease.Reading // by which leases are held against
	hold   func(*host, lease.Lease) lease.Lease
	early  bool // a state is acknowledged before it is enforced
}

// life is one process.
type life struct {
	service *extauthz.Service
	link    *link
	tenure  *tenure
	state   *state
	watches procv3.ExternalProcessorClient
	port    *port
	connect *grpc.ClientConn
	serving context.CancelFunc
	linked  context.CancelFunc
	served  chan struct{}
	left    chan struct{}

	mu    sync.Mutex
	lines []net.Conn
	dead  bool
}

// boot is what the host's clock since boot says. It runs as slowly as any may.
func (h *host) boot() time.Duration {
	return time.Hour + time.Duration(float64(elapsed())*h.rate)
}

func (h *host) wall() time.Time {
	return inception().Add(h.boot() - time.Hour + time.Duration(h.stepped.Load()))
}

func (h *host) read() lease.Reading {
	now := lease.Reading{Boot: h.boot(), Wall: h.wall()}
	if h.changed.clocks != nil {
		return h.changed.clocks(now)
	}
	return now
}

// alarm is a timer on the host's clock.
type alarm struct {
	host  *host
	mu    sync.Mutex
	timer *time.Timer
	rings chan struct{}
}

func (a *alarm) Set(d time.Duration) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.timer != nil {
		a.timer.Stop()
	}
	a.timer = time.AfterFunc(time.Duration(float64(d)/a.host.rate), func() {
		select {
		case a.rings <- struct{}{}:
		default:
		}
	})
	return nil
}

func (a *alarm) Rings() <-chan struct{} { return a.rings }

func (a *alarm) Close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.timer != nil {
		a.timer.Stop()
	}
}

// Record is where a decision that was taken may wait before it is answered.
func (h *host) Record(authority.Event) {
	if h.dice.chance(8) {
		elapse(h.dice.below(100 * time.Millisecond))
	}
}

// Outcome is for no one here.
func (h *host) Outcome(authority.DecisionID, authority.Outcome) {}

// route is where a decision that is judged may wait before it is taken.
func (h *host) route(string) bool {
	if h.dice.chance(8) {
		elapse(h.dice.below(300 * time.Millisecond))
	}
	h.process.wait(nil)
	return true
}

// start starts a process from what is on disk.
func (h *host) start(ctx context.Context) {
	log := slog.New(slog.DiscardHandler)
	serving, stopServing := context.WithCancel(ctx)
	linked, stopLinking := context.WithCancel(ctx)
	l := &life{port: newPort(ctx), serving: stopServing, linked: stopLinking, served: make(chan struct{}), left: make(chan struct{})}
	clock := extauthz.NewClock(h.boot, h.wall)
	l.service = extauthz.New(extauthz.Config{
		Clock: clock, Recorder: h, Routes: h.route, Read: h.read, Log: log,
		Alarm:       func() (extauthz.Alarm, error) { return &alarm{host: h, rings: make(chan struct{}, 1)}, nil },
		Credentials: extauthz.NewCredentials("", func(string) (string, bool) { return "s3cret", true }),
	})
	l.state = newState(time.Minute, clock.Now, func() verdict { return verdict{current: true, forwards: true} },
		func() bool { return l.service.Lease().Holds(h.read()) }, log)
	l.tenure = &tenure{hold: func(held lease.Lease) {
		if h.changed.hold != nil {
			held = h.changed.hold(h, held)
		}
		l.service.Hold(held)
	}, file: leaseFile{h.lease, h.private}, boot: "boot", read: h.read, log: log}
	if kept := h.kept.Load(); kept != 0 {
		l.service.Enforce(h.states.snapshots[kept], extauthz.Change{All: true})
		l.state.enforce(h.states.timeline, kept, 1)
		_ = l.tenure.resume(h.states.timeline, kept) // it says why not; the process then starts without
	}
	l.connect = h.dial(l, func(ctx context.Context) (net.Conn, error) {
		replica := h.dice.pick(len(h.replicas))
		return h.replicas[replica].port.dial(ctx, h.lines[replica])
	})
	toEnvoy := h.dial(l, func(ctx context.Context) (net.Conn, error) { return l.port.dial(ctx, &h.envoy) })
	l.watches = procv3.NewExternalProcessorClient(toEnvoy)
	l.link = h.newLink(l, clock, log)
	go func() {
		defer close(l.served)
		_ = l.service.Serve(serving, l.port) // a process that is killed ends with an error
	}()
	go func() {
		defer close(l.left)
		_ = l.link.Run(linked, func() bool { return false })
		_, _ = l.connect.Close(), toEnvoy.Close()
	}()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.current = l
	h.streams, h.cut = context.WithCancel(ctx)
}

func (h *host) newLink(l *life, clock *extauthz.Clock, log *slog.Logger) *link {
	return &link{
		url: &url.URL{Scheme: "http", Host: "control.test"}, key: h.key, private: h.private, interval: 15 * time.Second, gateway: h.id, connect: l.connect,
		client: syncpb.NewSyncClient(l.connect), state: l.state, log: log,
		begin: func() {},
		apply: func(ctx context.Context, m *syncpb.ControlMessage) (*syncpb.Acknowledged, *syncpb.Refused, error) {
			return h.apply(ctx, l, m)
		},
		overdue: never, unsaid: settled,
		position: func() (string, uint64, []byte) {
			timeline, revision := l.state.enforced()
			return timeline, revision, nil
		},
		issued: func() *timestamppb.Timestamp { return nil },
		anchor: clock.Anchor,
		report: func() *syncpb.Report { return &syncpb.Report{} },
		outbox: newOutbox(), questions: newQuestions(h.boot), renewals: newRenewals(15*time.Second, h.read), tenure: l.tenure,
	}
}

// dial makes a client whose connections break when the process is killed.
func (h *host) dial(l *life, connect func(context.Context) (net.Conn, error)) *grpc.ClientConn {
	c, err := grpc.NewClient("passthrough:///simulated", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			c, err := connect(ctx)
			if err != nil {
				return nil, err
			}
			l.mu.Lock()
			defer l.mu.Unlock()
			if l.dead {
				return nil, errAway
			}
			l.lines = append(l.lines, c)
			return c, nil
		}))
	if err != nil {
		panic(err) // the target is a constant
	}
	return c
}

// apply brings a revision into force, as the applier does with a bundle.
func (h *host) apply(ctx context.Context, l *life, m *syncpb.ControlMessage) (*syncpb.Acknowledged, *syncpb.Refused, error) {
	offered := m.GetBundle().GetRevision()
	_, enforced := l.state.enforced()
	if offered <= enforced || !h.process.wait(ctx.Done()) {
		return nil, nil, nil
	}
	kept := offered
	if h.diskFull.Load() {
		kept = 0 // what is older is taken away
	}
	h.kept.Store(kept)
	change := extauthz.Change{All: enforced == 0}
	if enforced != 0 {
		change = h.states.change(enforced, offered)
	}
	enforce := func() int { return l.service.Enforce(h.states.snapshots[offered], change) }
	var cut int
	if h.changed.early {
		go func() {
			elapse(time.Second)
			enforce()
		}()
	} else {
		cut = enforce()
	}
	l.state.enforce(h.states.timeline, offered, 1)
	return &syncpb.Acknowledged{Revision: offered, StreamsCut: uint64(cut)}, nil, nil
}

// stop ends the process in order, as inOrder does.
func (h *host) stop() {
	l := h.take()
	if l == nil {
		return
	}
	l.service.End(authority.ReasonNoDecision)
	l.serving()
	<-l.served
	l.linked()
	<-l.left
}

// kill ends the process at once: nothing that it would do at its end reaches anybody.
func (h *host) kill() {
	l := h.take()
	if l == nil {
		return
	}
	l.mu.Lock()
	l.dead = true
	for _, c := range l.lines {
		_ = c.Close()
	}
	l.mu.Unlock()
	kept, err := os.ReadFile(h.lease)
	l.serving()
	l.linked()
	<-l.served
	<-l.left
	if err == nil {
		_ = os.WriteFile(h.lease, kept, 0o600)
	}
}

// take takes the process away from its Envoy, whose streams break.
func (h *host) take() *life {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.current
	h.current = nil
	if l != nil {
		h.cut()
	}
	return l
}

// freeze stops the process for a while. Envoy goes on, and ends its streams when it notices.
func (h *host) freeze(d time.Duration) {
	h.process.hold()
	h.mu.Lock()
	cut := h.cut
	h.mu.Unlock()
	if cut != nil && d >= envoy.FreezeTimeout {
		elapse(envoy.FreezeTimeout)
		d -= envoy.FreezeTimeout
		h.mu.Lock()
		cut()
		h.streams, h.cut = context.WithCancel(context.WithoutCancel(h.streams))
		h.mu.Unlock()
	}
	elapse(d)
	h.process.release()
}

// request is what Envoy does with one.
func (h *host) request(mandate int, short bool) {
	h.mu.Lock()
	l, streams := h.current, h.streams
	h.mu.Unlock()
	if l == nil {
		return
	}
	waits, cancel := context.WithTimeout(context.Background(), envoy.CheckTimeout)
	defer cancel()
	check := h.states.watched[mandate]
	if short {
		check = h.states.short[mandate]
	}
	if !h.process.wait(waits.Done()) {
		return
	}
	answer, err := l.service.Check(context.Background(), check)
	if err != nil || !h.process.wait(waits.Done()) || waits.Err() != nil || streams.Err() != nil || answer.GetOkResponse() == nil {
		return
	}
	if short {
		begin := time.Now()
		elapse(h.dice.below(shortTime))
		h.history.used(mandate, begin, time.Now())
		return
	}
	h.watched(streams, l, mandate, answer.GetDynamicMetadata())
}

// permits reports whether a short request by a mandate passes soon: on a slow line a lease may be over for a moment.
func (h *host) permits(mandate int) bool {
	h.mu.Lock()
	l := h.current
	h.mu.Unlock()
	for range 10 {
		answer, err := l.service.Check(context.Background(), h.states.short[mandate])
		if err == nil && answer.GetOkResponse() != nil {
			return true
		}
		elapse(time.Second)
	}
	return false
}

// watched is a live stream: it carries bytes from when the watch lets it go on until it is ended.
func (h *host) watched(ctx context.Context, l *life, mandate int, metadata *structpb.Struct) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := l.watches.Process(ctx)
	if err != nil {
		return
	}
	late := time.AfterFunc(envoy.CheckTimeout, cancel)
	err = stream.Send(&procv3.ProcessingRequest{
		Request:         &procv3.ProcessingRequest_RequestHeaders{RequestHeaders: &procv3.HttpHeaders{}},
		MetadataContext: &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{envoy.MetadataNamespace: metadata}},
	})
	if err != nil {
		return
	}
	told, err := stream.Recv()
	if err != nil || told.GetRequestHeaders() == nil || !late.Stop() {
		return
	}
	begin := time.Now()
	client := time.AfterFunc(time.Second+h.dice.below(20*time.Second), cancel)
	defer client.Stop()
	_, _ = stream.Recv() // whatever comes ends the request
	h.history.used(mandate, begin, time.Now())
}

func newHost(id, dir string, s *states, d *dice, hist *history, replicas []*controller) *host {
	key, err := token.NewAPIKey(authority.KeyGateway, token.NewRoot().Fingerprint())
	if err != nil {
		panic(err) // there is randomness
	}
	h := &host{
		id: id, states: s, dice: d, history: hist, replicas: replicas, key: key, lease: filepath.Join(dir, id),
		private: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)), rate: 1 - float64(d.below(100))/1000,
	}
	_ = os.Remove(h.lease) // another simulation's
	h.envoy = line{ends: []*passage{&h.process}, delay: func() time.Duration { return 0 }}
	for _, c := range replicas {
		h.lines = append(h.lines, &line{ends: []*passage{&h.process, &c.process}, delay: func() time.Duration {
			if d.chance(20) {
				return d.below(2 * time.Second)
			}
			return d.below(50 * time.Millisecond)
		}})
	}
	return h
}
