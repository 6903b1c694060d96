package sync

import (
	"context"
	cryptorand "crypto/rand"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/controlplane"
	"github.com/caracal-gateway/caracal/internal/syncpb"
)

// helloTimeout bounds how long a stream may stay without its first message.
const helloTimeout = 10 * time.Second

// stopSpread is the time over which streams end when the process stops.
const stopSpread = 4 * time.Second

// errStops ends a stream of a process that stops.
var errStops = status.Error(codes.Unavailable, "the control plane stops: connect again")

// errLeft ends a stream that the gateway closed on purpose.
var errLeft = errors.New("the gateway left")

// Stream serves one gateway process for as long as it stays.
func (s *server) Stream(stream syncpb.Sync_StreamServer) error {
	caller, _, err := s.authenticate(stream.Context(), s.opening)
	if err != nil {
		return err
	}
	hello, err := s.challenge(stream)
	if err != nil {
		return err
	}
	gateway, err := s.find(stream.Context(), s.opening, caller, hello.hello.GetGatewayId())
	if err != nil {
		return err
	}
	if bundle.VerifyStreamProof(gateway.PublicKey, hello.nonce, hello.hello.GetProof()) != nil {
		return status.Error(codes.Unauthenticated, "the proof is not by the gateway's enrolled key")
	}
	if err := s.allow(gateway.ID, costOfStream); err != nil {
		return err
	}
	heard, err := s.settle(stream, caller, gateway.ID, hello.hello)
	if err != nil {
		return err
	}
	presence, err := s.service.ConnectGateway(stream.Context(), caller, gateway.ID, hello.hello.GetInstance(),
		controlplane.Program{Version: hello.hello.GetVersion(), Formats: hello.hello.GetFormats()})
	if err != nil {
		return s.answer("connect gateway", err)
	}
	defer presence.Leave()
	feed, err := s.service.Follow(stream.Context(), caller, claim(hello.hello).Position)
	if err != nil {
		return s.answer("follow workspace", err)
	}
	defer feed.Close()
	c := &connection{
		server: s, stream: stream, caller: caller, gateway: gateway.ID, presence: presence, feed: feed,
		asked: make(chan uint64, 1), replies: make(chan reply), renewals: make(chan *syncpb.Renewal, 1),
		heard: heard, position: claim(hello.hello).Position,
	}
	c.vouched.Store(acknowledged(gateway, c.position))
	s.log.Info("gateway connected", "gateway", gateway.ID, "workspace", caller.Slug(), "revision", hello.hello.GetRevision())

	err = c.serve()
	left := errors.Is(err, errLeft)
	s.log.Info("gateway disconnected", "gateway", gateway.ID, "workspace", caller.Slug(), "left", left, "cause", err)
	if left {
		return nil
	}
	return err
}

// greeting is a hello and the challenge that it answers.
type greeting struct {
	nonce []byte
	hello *syncpb.Hello
}

func (s *server) challenge(stream syncpb.Sync_StreamServer) (greeting, error) {
	nonce := make([]byte, 32)
	cryptorand.Read(nonce)
	first := &syncpb.ControlMessage{Time: timestamppb.New(s.now()), Message: &syncpb.ControlMessage_Challenge{Challenge: &syncpb.Challenge{Nonce: nonce}}}
	if err := stream.Send(first); err != nil {
		return greeting{}, err
	}
	type received struct {
		message *syncpb.GatewayMessage
		err     error
	}
	answer := make(chan received, 1)
	go func() { // ends with the stream at the latest
		m, err := stream.Recv()
		answer <- received{m, err}
	}()
	select {
	case <-time.After(helloTimeout):
		return greeting{}, status.Error(codes.DeadlineExceeded, "no hello")
	case r := <-answer:
		if r.err != nil {
			return greeting{}, r.err
		}
		if r.message.GetHello() == nil {
			return greeting{}, status.Error(codes.InvalidArgument, "the first message has to be a hello")
		}
		if err := sizeable(r.message); err != nil {
			return greeting{}, err
		}
		return greeting{nonce, r.message.GetHello()}, nil
	}
}

// connection is one gateway process's stream. push is its only sender, listen its only receiver.
type connection struct {
	server  *server
	stream  syncpb.Sync_StreamServer
	caller  controlplane.Caller
	gateway authority.GatewayID
	feed    *controlplane.Feed
	asked   chan uint64 // the newest SyncRequest that is not answered
	replies chan reply  // from listen to push

	presence controlplane.Presence
	renewals chan *syncpb.Renewal     // the newest that is not answered
	position controlplane.Position    // of the hello
	vouched  atomic.Bool              // what the gateway says of revisions is about states that the database has
	granted  atomic.Uint64            // number of the last lease that was granted on this stream
	heard    []*syncpb.GatewayMessage // before it was served
}

// serve pushes, listens and renews until one of these ends, or the gateway is to be served no more. A receive that still
// waits then ends with the stream, which is over when its handler returns.
func (c *connection) serve() error {
	ctx, end := context.WithCancelCause(c.stream.Context())
	defer end(nil)
	defer context.AfterFunc(c.presence.Ended, func() {
		end(c.server.answer("serve gateway", context.Cause(c.presence.Ended)))
	})()
	defer context.AfterFunc(c.server.running, func() {
		select {
		case <-time.After(rand.N(stopSpread)):
			end(errStops)
		case <-ctx.Done():
		}
	})()
	go func() { end(c.listen(ctx, end)) }()
	err := c.push(ctx)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
