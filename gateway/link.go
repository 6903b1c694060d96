package gateway

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/internal/syncpb"
	"github.com/caracal-gateway/caracal/token"
)

const (
	callTimeout = 10 * time.Second
	// answerTimeout leaves room for a large bundle on a slow line.
	answerTimeout = 2 * time.Minute
	// farewellTime is how long the control plane may take to note that the gateway leaves: a revocation would wait for the
	// whole lease of one that has left without a word.
	farewellTime = 3 * time.Second
	// waitingMessages is how many messages wait while the one before them is applied. Answers to renewals overtake them.
	waitingMessages = 64
)

// ErrRefused is a refusal that waiting does not mend: a wrong workspace, a key that is revoked, has expired or is no gateway
// key, or a gateway that is revoked.
var ErrRefused = errors.New("the control plane refuses this gateway")

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

	// enrolled is told what enrolment brought; begin that a stream does. apply gets each message that carries state and says
	// what to tell of it; overdue says what could not be acknowledged then, and unsaid that there is such; position is what is enforced, issued when that was sealed, and beyond what it takes away. anchor gets
	// each time that the control plane tells, and report says how the gateway is.
	enrolled func(*syncpb.EnrolResponse) error
	begin    func()
	apply    func(context.Context, *syncpb.ControlMessage) (*syncpb.Acknowledged, *syncpb.Refused, error)
	overdue  func() *syncpb.Acknowledged
	unsaid   func() bool
	position func() (timeline string, revision uint64, digest []byte)
	issued   func() *timestamppb.Timestamp
	beyond   func() ([]*syncpb.BeyondReport, error)
	anchor   func(server time.Time, roundTrip time.Duration)
	report   func() *syncpb.Report

	outbox    *outbox
	questions *questions
	renewals  *renewals
	tenure    *tenure

	mu      sync.Mutex
	gateway string // id of this process, empty until it is enrolled
}

// Run keeps the stream until ctx ends, and then gives the lease up. It returns early only for a refusal that waiting does
// not mend, and only while fatal reports that there is nothing to go on with.
func (l *link) Run(ctx context.Context, fatal func() bool) error {
	defer l.tenure.leave()
	var again retries
	for refused := false; ; {
		started, before := time.Now(), refused
		err := l.once(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the stream ended because the gateway does
		}
		l.state.disconnected(err)
		if refused = errors.Is(err, ErrRefused); refused && fatal() {
			return err
		}
		wait := again.next(time.Since(started), l.renewals.every(), refused)
		l.state.retry(wait)
		l.complain(err, wait, refused, before)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// complain logs why the stream is over and when it is tried again: of a gateway that stays refused, once.
func (l *link) complain(err error, wait time.Duration, refused, before bool) {
	about := []any{"url", l.url.String(), "cause", plain(err), "next_try", wait.Round(time.Millisecond)}
	switch {
	case !refused:
		l.log.Warn("enterprise_sync failed", about...)
	case !before:
		l.log.Error("enterprise_sync refused", about...)
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
	l.begin()
	l.questions.begin()
	defer l.questions.end()

	arrived, over := make(chan *syncpb.ControlMessage, waitingMessages), make(chan struct{})
	var parts errgroup.Group
	run := func(part func() error) {
		parts.Go(func() error {
			err := part()
			if err != nil {
				hangUp()
			}
			return err
		})
	}
	run(func() error { return l.send(ctx, over, stream) })
	run(func() error { return l.follow(ctx, arrived) })
	err = l.receive(stream, arrived)
	close(over)
	close(arrived)
	hangUp()
	if failed := parts.Wait(); failed != nil {
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
	if refusal := refusalOf(err); refusal != nil {
		return refusal
	}
	if err != nil {
		return fmt.Errorf("enrol: %w", err)
	}
	l.observe(answer.GetTime(), l.questions.elapsed()-sent)
	if err := l.enrolled(answer); err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	l.tenure.belongs(answer.GetGatewayId())
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
	timeline, revision, digest := l.position()
	if l.unsaid() {
		l.renewals.begin(0) // a renewal would acknowledge it
	} else {
		l.renewals.begin(revision)
	}
	return stream.Send(&syncpb.GatewayMessage{Message: &syncpb.GatewayMessage_Hello{Hello: &syncpb.Hello{
		GatewayId: l.id(), Proof: bundle.StreamProof(l.private, nonce), Timeline: timeline, Revision: revision, Epoch: l.epoch,
		Digest: digest, Version: l.version, Formats: []uint32{bundle.Format}, Issued: l.issued(), Instance: l.instance,
	}}})
}

// reconsider makes the process enrol again when the control plane does not know it, such as after its database was
// set up anew.
func (l *link) reconsider(err error) error {
	if status.Code(err) == codes.NotFound {
		l.tenure.belongs("") // a gateway that was declared dead is not waited for
		l.mu.Lock()
		l.gateway = ""
		l.mu.Unlock()
	}
	if refusal := refusalOf(err); refusal != nil {
		return refusal
	}
	return err
}

// refusalOf is what the control plane says that waiting does not mend, and what does; nil for anything else.
func refusalOf(err error) error {
	switch told := status.Convert(err); told.Code() {
	case codes.PermissionDenied:
		return fmt.Errorf("%w: %s", ErrRefused, told.Message())
	case codes.Unauthenticated:
		return fmt.Errorf("%w: %s: start it with a gateway key that is good", ErrRefused, told.Message())
	default:
		return nil
	}
}

// send is the stream's only sender, until the stream is over or, with a farewell, ctx ends. It asks for the newest revision
// at once and each interval, and renews the lease whenever that is due.
func (l *link) send(ctx context.Context, over <-chan struct{}, stream syncpb.Sync_StreamClient) error {
	look := time.NewTicker(l.interval)
	defer look.Stop()
	if err := l.look(); err != nil {
		return err
	}
	for {
		if err := l.renew(); err != nil {
			return err
		}
		if err := l.empty(stream); err != nil {
			return err
		}
		select {
		case <-over:
			return nil
		case <-ctx.Done():
			return l.farewell(over, stream)
		case <-look.C:
			if err := l.look(); err != nil {
				return err
			}
		case <-l.outbox.ready:
		case <-time.After(l.renewals.rest()):
		}
	}
}

// renew asks for the lease to be granted anew, if that is due. The error is a control plane's that does not answer.
func (l *link) renew() error {
	if err := l.renewals.overdue(); err != nil {
		return err
	}
	if late := l.overdue(); late != nil {
		l.acknowledge(late)
	}
	if id, revision, due := l.renewals.next(); due {
		l.outbox.renew(&syncpb.Renewal{Id: id, Revision: revision, Report: l.report(), Lease: l.tenure.lowest()})
		l.state.retry(l.renewals.every())
	}
	return nil
}

// farewell gives the lease up and says so. Renewals that are on their way are waited for first: what they bring would
// otherwise be granted after the surrender, and waited for by revocations.
func (l *link) farewell(over <-chan struct{}, stream syncpb.Sync_StreamClient) error {
	l.tenure.leave()
	patience := time.After(farewellTime / 2)
	for waiting := true; waiting && !l.renewals.settled(); {
		select {
		case <-over:
			return nil
		case <-patience:
			waiting = false
		case <-l.outbox.ready:
		}
	}
	l.outbox.reset()
	if number := l.tenure.leave(); number != 0 {
		surrender := &syncpb.GatewayMessage{Message: &syncpb.GatewayMessage_Surrender{Surrender: &syncpb.Surrender{Lease: number}}}
		if err := stream.Send(surrender); err != nil {
			return nil //nolint:nilerr // the stream is over; the lease is waited for
		}
	}
	return stream.CloseSend()
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

// receive is the stream's only receiver. Answers to renewals are taken at once: they must not wait for a large bundle to be
// applied. All else is taken in its order.
func (l *link) receive(stream syncpb.Sync_StreamClient, arrived chan<- *syncpb.ControlMessage) error {
	for {
		m, err := stream.Recv()
		if err != nil {
			return l.reconsider(err)
		}
		l.state.connected()
		switch message := m.GetMessage().(type) {
		case *syncpb.ControlMessage_Grant:
			l.granted(message.Grant)
		case *syncpb.ControlMessage_Withheld:
			l.renewals.withheld(message.Withheld)
			l.state.withheld(message.Withheld.GetMessage())
			l.outbox.signal()
		default:
			arrived <- m
		}
	}
}

// granted holds the lease that a grant gives. A grant that is not as it should be changes nothing: the lease that is held
// goes on to its end.
func (l *link) granted(g *syncpb.Grant) {
	granted, revision, err := l.renewals.granted(g)
	if err != nil {
		l.log.Error("a grant is not taken", "cause", err)
		return
	}
	timeline, _ := l.state.enforced()
	l.tenure.take(granted, terms{l.id(), timeline, revision})
	l.state.leased()
	l.outbox.signal()
}

// follow takes what changes the state, in its order. It goes on reading after an error until the stream is over, so that
// nobody waits for it.
func (l *link) follow(ctx context.Context, arrived <-chan *syncpb.ControlMessage) error {
	for m := range arrived {
		if err := l.take(ctx, m); err != nil {
			for range arrived { //nolint:revive // it is to be emptied
			}
			return err
		}
	}
	return nil
}

// take applies what a message brings and says so, or says why not. Where a busy host was too slow for a bundle, the error
// ends the stream, and the control plane sends it again on the next.
func (l *link) take(ctx context.Context, m *syncpb.ControlMessage) error {
	if current := m.GetCurrent(); current != nil {
		l.state.synced(current.GetRevision())
		if roundTrip, known := l.questions.roundTrip(current.GetId()); known {
			l.observe(m.GetTime(), roundTrip)
		}
		l.questions.answer(current.GetId())
		return nil
	}
	if question := m.GetBeyond(); question != nil {
		return l.tellBeyond(question)
	}
	acknowledged, refused, err := l.apply(ctx, m)
	if ctx.Err() != nil {
		return nil //nolint:nilerr // the gateway leaves, and enforces nothing more
	}
	if refused != nil {
		l.outbox.refuse(refused)
	}
	if acknowledged != nil {
		l.state.synced(acknowledged.GetRevision()) // the control plane pushes what is newest
		l.acknowledge(acknowledged)
	}
	return err
}

// acknowledge tells what is enforced, now and with each renewal.
func (l *link) acknowledge(a *syncpb.Acknowledged) {
	l.renewals.enforced(a.GetRevision())
	l.outbox.acknowledge(a)
}

// tellBeyond answers a control plane whose database does not have what is enforced here. Nothing is given up for that.
func (l *link) tellBeyond(question *syncpb.Beyond) error {
	parts, err := l.beyond()
	if err != nil {
		return err
	}
	l.log.Error("the control plane's database was restored, or is behind what is enforced here; it is told what is revoked",
		"database_revision", question.GetRevision(), "revision", parts[0].GetRevision(), "timeline", parts[0].GetTimeline())
	l.outbox.tellBeyond(parts)
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
