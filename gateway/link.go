package gateway

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/internal/syncpb"
	"github.com/caracal-gateway/caracal/token"
)

const (
	maxBundleMessage = 256 << 20 // bytes
	retryPauseMin    = 250 * time.Millisecond
	retryPauseMax    = 15 * time.Second
	callTimeout      = 10 * time.Second
)

// errNotConnected is the state of a gateway whose control plane is away.
var errNotConnected = errors.New("the control plane is not connected")

// errEnrolment is a refusal that waiting does not mend: a wrong workspace, or a key that is revoked or no gateway key.
var errEnrolment = errors.New("the control plane refuses this gateway")

// link is the gateway's stream to its control plane. It enrols the process, applies what comes, acknowledges it, and
// connects again whenever the stream ends.
type link struct {
	url       *url.URL
	workspace string
	key       token.APIKey
	private   ed25519.PrivateKey
	instance  string
	version   string
	epoch     uint64
	interval  time.Duration // between the looks whether the control plane has something newer
	connect   *grpc.ClientConn
	client    syncpb.SyncClient
	state     *state
	log       *slog.Logger

	// enrolled is told what enrolment brought, apply gets each sealed bundle, anchor each time that the control plane
	// tells.
	enrolled func(*syncpb.EnrolResponse) error
	apply    func(context.Context, bundle.Sealed) error
	anchor   func(server time.Time, roundTrip time.Duration)

	mu      sync.Mutex
	gateway string                      // id of this process, empty until it is enrolled
	asked   map[uint64]question         // sync requests that wait for their answer
	request uint64                      // number of the newest sync request
	outbox  chan *syncpb.GatewayMessage // what is to be sent on the live stream; nil without one
}

// dial prepares the connection; nothing is sent yet. http is refused unless the host is a loopback address or plain
// text is asked for.
func dial(control *url.URL, caPEM []byte, allowPlain bool) (*grpc.ClientConn, error) {
	var transport credentials.TransportCredentials
	switch {
	case control.Scheme == "https":
		config, err := controlTLS(caPEM)
		if err != nil {
			return nil, err
		}
		transport = credentials.NewTLS(config)
	case control.Scheme == "http" && (allowPlain || isLoopback(control.Hostname())):
		transport = insecure.NewCredentials()
	case control.Scheme == "http":
		return nil, fmt.Errorf("%s: plain http carries the gateway key in the clear and is only for loopback addresses; use https", control)
	default:
		return nil, fmt.Errorf("%s: the URL of a control plane begins with https:// or http://", control)
	}
	port := control.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[control.Scheme]
	}
	return grpc.NewClient("passthrough:///"+net.JoinHostPort(control.Hostname(), port),
		grpc.WithTransportCredentials(transport),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxBundleMessage)),
	)
}

// controlTLS verifies the control plane by the given certificates, or by the host's roots when there are none.
func controlTLS(caPEM []byte) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(caPEM) > 0 {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(caPEM) {
			return nil, errors.New("the CA file for the control plane holds no certificate")
		}
	}
	return config, nil
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	address, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && address.IsLoopback()
}

// Run keeps the stream until ctx ends. It returns early only for a refusal that waiting does not mend, and only while
// fatal reports that there is nothing to go on with.
func (l *link) Run(ctx context.Context, fatal func() bool) error {
	pause := retryPauseMin
	for {
		started := time.Now()
		err := l.once(ctx)
		if ctx.Err() != nil {
			return nil
		}
		l.state.disconnected(err)
		if errors.Is(err, errEnrolment) && fatal() {
			return err
		}
		if time.Since(started) > retryPauseMax {
			pause = retryPauseMin
		}
		wait := pause/2 + rand.N(pause/2)
		l.log.Warn("enterprise_sync failed", "url", l.url.String(), "cause", plain(err), "next_try", wait.Round(time.Millisecond))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		pause = min(2*pause, retryPauseMax, max(l.interval, retryPauseMin))
	}
}

// plain is an error's text without the wrapping of gRPC.
func plain(err error) string {
	if s, ok := status.FromError(err); ok && s.Code() != codes.Unknown {
		return s.Message()
	}
	return fmt.Sprint(err)
}

func (l *link) authorised(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+l.key.Reveal())
}

// once enrols if needed and lives through one stream.
func (l *link) once(ctx context.Context) error {
	ctx, cancel := context.WithCancel(l.authorised(ctx))
	defer cancel()
	if err := l.enrol(ctx); err != nil {
		return err
	}
	// The stream outlives ctx for the moment that it takes to say goodbye: a gateway that leaves in order is not
	// waited for by a revocation.
	streaming, hangUp := context.WithCancel(context.WithoutCancel(ctx))
	defer hangUp()
	stream, err := l.client.Stream(streaming)
	if err != nil {
		return fmt.Errorf("open stream: %w", err)
	}
	if err := l.hello(stream); err != nil {
		return err
	}
	l.state.connected()
	outbox := make(chan *syncpb.GatewayMessage, 64)
	l.attach(outbox)
	defer l.attach(nil)
	l.Tell(l.ask(nil)) // its answer says that what is enforced is the newest

	sent := make(chan error, 1)
	go func() {
		err := l.send(ctx, stream, outbox)
		if err != nil {
			hangUp()
		} else {
			stop := time.AfterFunc(time.Second, hangUp)
			defer stop.Stop()
		}
		sent <- err
	}()
	err = l.receive(ctx, stream)
	cancel()
	if failed := <-sent; failed != nil {
		return failed
	}
	return err
}

func (l *link) enrol(ctx context.Context) error {
	if l.id() != "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	sent := time.Now()
	answer, err := l.client.Enrol(ctx, &syncpb.EnrolRequest{
		Workspace: l.workspace,
		PublicKey: l.private.Public().(ed25519.PublicKey),
		Proof:     bundle.EnrolProof(l.private, l.key),
		Instance:  l.instance,
		Version:   l.version,
		Formats:   []uint32{bundle.Format},
	})
	switch status.Code(err) {
	case codes.OK:
	case codes.Unauthenticated, codes.PermissionDenied:
		return fmt.Errorf("%w: %s", errEnrolment, status.Convert(err).Message())
	default:
		return fmt.Errorf("enrol: %w", err)
	}
	l.anchor(answer.GetTime().AsTime(), time.Since(sent))
	if err := l.enrolled(answer); err != nil {
		return fmt.Errorf("%w: %w", errEnrolment, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gateway = answer.GetGatewayId()
	return nil
}

func (l *link) id() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.gateway
}

// hello answers the control plane's challenge.
func (l *link) hello(stream syncpb.Sync_StreamClient) error {
	first, err := stream.Recv()
	if err != nil {
		return fmt.Errorf("open stream: %w", l.reconsider(err))
	}
	nonce := first.GetChallenge().GetNonce()
	if len(nonce) < 16 {
		return errors.New("open stream: the control plane sent no challenge")
	}
	timeline, revision := l.state.enforced()
	return stream.Send(&syncpb.GatewayMessage{Message: &syncpb.GatewayMessage_Hello{Hello: &syncpb.Hello{
		GatewayId: l.id(), Proof: bundle.StreamProof(l.private, nonce), Timeline: timeline, Revision: revision, Epoch: l.epoch,
	}}})
}

// reconsider makes the process enrol again when the control plane does not know it, such as after its database was
// set up anew.
func (l *link) reconsider(err error) error {
	switch status.Code(err) {
	case codes.NotFound:
		l.mu.Lock()
		l.gateway = ""
		l.mu.Unlock()
	case codes.Unauthenticated, codes.PermissionDenied:
		return fmt.Errorf("%w: %s", errEnrolment, status.Convert(err).Message())
	}
	return err
}

// send is the stream's only sender. It asks for the newest revision each interval, and closes its side when ctx ends.
func (l *link) send(ctx context.Context, stream syncpb.Sync_StreamClient, outbox <-chan *syncpb.GatewayMessage) error {
	tick := time.NewTicker(l.interval)
	defer tick.Stop()
	for {
		var m *syncpb.GatewayMessage
		select {
		case <-ctx.Done():
			return stream.CloseSend()
		case <-tick.C:
			m = l.ask(nil)
		case m = <-outbox:
		}
		if err := stream.Send(m); err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("send: %w", err)
		}
	}
}

// receive is the stream's only receiver.
func (l *link) receive(ctx context.Context, stream syncpb.Sync_StreamClient) error {
	for {
		m, err := stream.Recv()
		if err != nil {
			return l.reconsider(err)
		}
		switch message := m.GetMessage().(type) {
		case *syncpb.ControlMessage_Bundle:
			l.take(ctx, message.Bundle)
		case *syncpb.ControlMessage_Current:
			l.state.synced()
			l.answer(message.Current, m.GetTime().AsTime())
		}
	}
}

// take applies a bundle and says so, or says why not.
func (l *link) take(ctx context.Context, b *syncpb.Bundle) {
	err := l.apply(ctx, b.GetSealed())
	if err != nil {
		code := string(bundle.CodeOf(err))
		l.state.refused(b.GetRevision(), err)
		l.log.Error("bundle refused, the last good one stays", "revision", b.GetRevision(), "code", code, "cause", err)
		l.Tell(&syncpb.GatewayMessage{Message: &syncpb.GatewayMessage_Refused{Refused: &syncpb.Refused{Revision: b.GetRevision(), Code: code, Message: err.Error()}}})
		return
	}
	l.state.synced()
	sealed := bundle.Sealed(b.GetSealed())
	l.Tell(&syncpb.GatewayMessage{Message: &syncpb.GatewayMessage_Acknowledged{Acknowledged: &syncpb.Acknowledged{Revision: sealed.Revision(), Digest: sealed.Digest()}}})
}

func (l *link) attach(outbox chan *syncpb.GatewayMessage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.outbox = outbox
	if outbox == nil {
		for id, q := range l.asked {
			if q.waiting != nil {
				close(q.waiting)
			}
			delete(l.asked, id)
		}
	}
}

// Tell queues a message for the live stream. Without one, or when the stream does not keep up, it is dropped: what is
// told is told again after the next connect.
func (l *link) Tell(m *syncpb.GatewayMessage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.outbox == nil {
		return
	}
	select {
	case l.outbox <- m:
	default:
		l.log.Warn("the stream does not keep up; a message was dropped", "message", fmt.Sprintf("%T", m.GetMessage()))
	}
}

// question is a sync request that waits for its answer.
type question struct {
	at      time.Time
	waiting chan<- struct{} // closed by the answer, or with the stream; nil when nobody waits
}

// ask makes a sync request; waiting, if any, is sent to when it is answered.
func (l *link) ask(waiting chan<- struct{}) *syncpb.GatewayMessage {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.request++
	l.asked[l.request] = question{time.Now(), waiting}
	return &syncpb.GatewayMessage{Message: &syncpb.GatewayMessage_Sync{Sync: &syncpb.SyncRequest{Id: l.request}}}
}

// answer wakes all who asked up to this request: the control plane answers the newest. The time between the question and
// the answer bounds how old the control plane's time in it is.
func (l *link) answer(c *syncpb.Current, server time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if q, known := l.asked[c.GetId()]; known {
		l.anchor(server, time.Since(q.at))
	}
	for id, q := range l.asked {
		if id > c.GetId() {
			continue
		}
		if q.waiting != nil {
			q.waiting <- struct{}{}
			close(q.waiting)
		}
		delete(l.asked, id)
	}
}

// Sync asks the control plane for the newest revision and returns once it was applied or refused.
func (l *link) Sync(ctx context.Context) error {
	if !l.live() {
		return errNotConnected
	}
	waiting := make(chan struct{}, 1)
	l.Tell(l.ask(waiting))
	select {
	case <-ctx.Done():
		return ctx.Err()
	case _, answered := <-waiting:
		if !answered {
			return errNotConnected
		}
		return nil
	}
}

func (l *link) live() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.outbox != nil
}

// Record stores one batch of events; it is for the shipper.
func (l *link) Record(ctx context.Context, r *syncpb.RecordRequest) error {
	id := l.id()
	if id == "" {
		return errors.New("not enrolled yet")
	}
	r.GatewayId = id
	r.Proof = bundle.RecordProof(l.private, bundle.Batch{
		Gateway: authority.GatewayID(id), Epoch: r.GetEpoch(), First: r.GetFirst(), Last: r.GetLast(), Events: r.GetEvents(), Outcomes: r.GetOutcomes(),
	})
	_, err := l.client.Record(l.authorised(ctx), r)
	if status.Code(err) == codes.InvalidArgument {
		return fmt.Errorf("%w: %s", errNotStorable, status.Convert(err).Message())
	}
	return err
}
