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
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/internal/syncpb"
	"github.com/caracal-gateway/caracal/rego"
	"github.com/caracal-gateway/caracal/token"
)

const (
	maxMessage    = bundle.MaxSealed + 64<<10 // bytes
	retryPauseMin = 250 * time.Millisecond
	retryPauseMax = 3 * time.Second
	callTimeout   = 10 * time.Second
	// answerTimeout leaves room for a large bundle on a slow line.
	answerTimeout = 2 * time.Minute
	// farewellTime is how long the control plane may take to note that the gateway leaves.
	farewellTime = time.Second
)

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

	outbox    *outbox
	questions *questions

	mu      sync.Mutex
	gateway string // id of this process, empty until it is enrolled
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
		return nil, fmt.Errorf("%s: plain http carries the gateway key in the clear and is only for loopback addresses; use https, or CARACAL_ALLOW_PLAIN=true in a closed network", control)
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
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		// How long to wait before the next try is for the link to say, not for the connection.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: retryPauseMin, Multiplier: 1.6, Jitter: 0.2, MaxDelay: retryPauseMax / 3},
			MinConnectTimeout: 5 * time.Second,
		}),
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
			return nil //nolint:nilerr // the stream ended because the gateway does
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
	text := err.Error()
	var call interface {
		error
		GRPCStatus() *status.Status
	}
	if errors.As(err, &call) {
		text = strings.Replace(text, call.Error(), call.GRPCStatus().Message(), 1)
	}
	return text
}

func (l *link) authorised(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+l.key.Reveal())
}

// once enrols if needed and lives through one stream.
func (l *link) once(ctx context.Context) error {
	if err := l.enrol(ctx); err != nil {
		return err
	}
	// The stream outlives ctx for the moment that it takes to say goodbye: a gateway that leaves in order is not
	// waited for by a revocation. A control plane that does not answer the goodbye is not waited for either.
	streaming, hangUp := context.WithCancel(l.authorised(context.WithoutCancel(ctx)))
	defer hangUp()
	stream, err := l.open(ctx, streaming, hangUp)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(farewellTime, hangUp) })
	defer stop()
	l.outbox.reset()
	l.questions.begin()
	defer l.questions.end()

	sending, finish := context.WithCancel(ctx)
	defer finish()
	sent := make(chan error, 1)
	go func() {
		err := l.send(sending, stream)
		if err != nil {
			hangUp()
		}
		sent <- err
	}()
	err = l.receive(ctx, stream)
	finish()
	hangUp()
	if failed := <-sent; failed != nil {
		return failed
	}
	return err
}

// open opens a stream up to the hello, for as long as a call may take.
func (l *link) open(ctx, streaming context.Context, hangUp func()) (syncpb.Sync_StreamClient, error) {
	opening, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	stop := context.AfterFunc(opening, hangUp)
	stream, err := l.client.Stream(streaming)
	if err == nil {
		err = l.hello(stream)
	}
	if !stop() {
		return nil, fmt.Errorf("open stream: the control plane did not answer within %s", callTimeout)
	}
	if err != nil {
		return nil, fmt.Errorf("open stream: %w", l.reconsider(err))
	}
	return stream, nil
}

func (l *link) enrol(ctx context.Context) error {
	if l.id() != "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(l.authorised(ctx), callTimeout)
	defer cancel()
	sent := l.questions.elapsed()
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
	l.observe(answer.GetTime(), l.questions.elapsed()-sent)
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

// observe takes note of the control plane's time. What it did not tell, or not in answer to a question, says nothing
// about the present.
func (l *link) observe(told *timestamppb.Timestamp, roundTrip time.Duration) {
	if told.IsValid() {
		l.anchor(told.AsTime(), roundTrip)
	}
}

// hello answers the control plane's challenge.
func (l *link) hello(stream syncpb.Sync_StreamClient) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	nonce := first.GetChallenge().GetNonce()
	if len(nonce) < 16 {
		return errors.New("the control plane sent no challenge")
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
		return err
	case codes.Unauthenticated, codes.PermissionDenied:
		return fmt.Errorf("%w: %s", errEnrolment, status.Convert(err).Message())
	default:
		return err
	}
}

// send is the stream's only sender. It asks for the newest revision at once and each interval, and closes its side when
// ctx ends.
func (l *link) send(ctx context.Context, stream syncpb.Sync_StreamClient) error {
	look := time.NewTicker(l.interval)
	defer look.Stop()
	for {
		if err := l.look(); err != nil {
			return err
		}
		for pending := true; pending; {
			select {
			case <-ctx.Done():
				return stream.CloseSend()
			case <-look.C:
				pending = false
			case <-l.outbox.ready:
				if err := l.empty(stream); err != nil {
					return err
				}
			}
		}
	}
}

// look asks for the newest revision unless a question waits already. A control plane that leaves one unanswered for too
// long is taken to be gone, whatever its connection says.
func (l *link) look() error {
	longest, some := l.questions.longest()
	if longest > answerTimeout {
		return fmt.Errorf("the control plane has not answered for %s", longest.Round(time.Second))
	}
	if !some {
		id, _ := l.questions.ask()
		l.outbox.ask(id)
	}
	return nil
}

// empty sends all that waits.
func (l *link) empty(stream syncpb.Sync_StreamClient) error {
	for m := l.outbox.take(); m != nil; m = l.outbox.take() {
		if err := stream.Send(m); errors.Is(err, io.EOF) {
			return nil // the stream is over; receiving says why
		} else if err != nil {
			return fmt.Errorf("send: %w", err)
		}
	}
	return nil
}

// receive is the stream's only receiver.
func (l *link) receive(ctx context.Context, stream syncpb.Sync_StreamClient) error {
	for {
		m, err := stream.Recv()
		if err != nil {
			return l.reconsider(err)
		}
		l.state.connected()
		switch message := m.GetMessage().(type) {
		case *syncpb.ControlMessage_Bundle:
			if err := l.take(ctx, message.Bundle); err != nil {
				return err
			}
		case *syncpb.ControlMessage_Current:
			l.state.synced(message.Current.GetRevision())
			if roundTrip, known := l.questions.roundTrip(message.Current.GetId()); known {
				l.observe(m.GetTime(), roundTrip)
			}
			l.questions.answer(message.Current.GetId())
		}
	}
}

// take applies a bundle and says so, or says why not. One that a busy host was too slow for is not at fault: the error
// ends the stream, and the control plane sends it again on the next.
func (l *link) take(ctx context.Context, b *syncpb.Bundle) error {
	sealed := bundle.Sealed(b.GetSealed())
	err := l.apply(ctx, sealed)
	if ctx.Err() != nil {
		return nil //nolint:nilerr // the gateway leaves, and enforces nothing more
	}
	if err != nil {
		code := string(bundle.CodeOf(err))
		l.state.refused(b.GetRevision(), err)
		l.log.Error("bundle refused, the last good one stays", "revision", b.GetRevision(), "code", code, "cause", err)
		l.outbox.refuse(&syncpb.Refused{Revision: b.GetRevision(), Code: code, Message: err.Error()})
		if errors.Is(err, rego.ErrTimeout) {
			return fmt.Errorf("apply bundle %d: %w", b.GetRevision(), err)
		}
		return nil
	}
	l.state.synced(sealed.Revision()) // the control plane pushes what is newest
	l.outbox.acknowledge(&syncpb.Acknowledged{Revision: sealed.Revision(), Digest: sealed.Digest()})
	return nil
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
	return l.reconsider(err)
}
