package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/internal/syncpb"
	"github.com/caracal-gateway/caracal/token"
)

// simulated is a gateway that speaks the sync protocol as a real one does, and enforces nothing: what the control plane
// has to do for it is the same.
type simulated struct {
	key     token.APIKey
	private ed25519.PrivateKey
	to      *grpc.ClientConn
	id      string
	trust   bundle.Trust
	piece   []byte // of a snapshot, as far as it has come

	received *traffic
}

// traffic counts what the control plane has sent to all simulated gateways, and how often one had to come again.
type traffic struct {
	bytes, snapshots, deltas, grants, again atomic.Int64

	opened sync.Map // func() opened by the text of a delta
}

type opened struct {
	delta bundle.Delta
	keys  token.KeySet
	err   error
}

// open opens a delta once for all gateways: each of them would have processors of its own for that.
func (t *traffic) open(sealed []byte, trust bundle.Trust) opened {
	once, _ := t.opened.LoadOrStore(string(sealed), sync.OnceValue(func() opened {
		d, keys, err := bundle.OpenDelta(sealed, trust)
		return opened{d, keys, err}
	}))
	return once.(func() opened)()
}

func newSimulated(ctx context.Context, s *site, n int, received *traffic) (*simulated, error) {
	key, err := token.ParseAPIKey(s.gatewayKey)
	if err != nil {
		return nil, err
	}
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	address, err := url.Parse(s.url)
	if err != nil {
		return nil, err
	}
	g := &simulated{key: key, private: private, trust: bundle.Trust{Root: key.Root}, received: received}
	quickly := grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second}}
	if g.to, err = grpc.NewClient("passthrough:///"+address.Host,
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithConnectParams(quickly)); err != nil {
		return nil, err
	}
	enrolled, err := syncpb.NewSyncClient(g.to).Enrol(g.authorised(ctx), &syncpb.EnrolRequest{
		Workspace: slug, PublicKey: private.Public().(ed25519.PublicKey), Proof: bundle.EnrolProof(private, key),
		Instance: fmt.Sprintf("simulated-%d", n), Version: "bench", Formats: []uint32{bundle.Format},
	})
	if err != nil {
		return nil, errors.Join(err, g.to.Close())
	}
	g.id, g.trust.Timeline = enrolled.GetGatewayId(), enrolled.GetTimeline()
	return g, nil
}

func (g *simulated) authorised(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+g.key.Reveal())
}

// maxPause is how long a gateway waits at most before it comes again.
const maxPause = time.Second

// run keeps a stream until ctx ends, and opens another when one breaks; ready is closed with the first grant.
func (g *simulated) run(ctx context.Context, ready chan struct{}) error {
	granted := sync.OnceFunc(func() { close(ready) })
	for {
		err := g.stream(ctx, granted)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // it broke because it is over
		}
		if code := status.Code(err); code != codes.Unavailable && code != codes.Canceled && !errors.Is(err, io.EOF) {
			return err
		}
		g.received.again.Add(1)
		g.piece = nil
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(rand.N(maxPause)):
		}
	}
}

// stream lives through one stream.
func (g *simulated) stream(ctx context.Context, granted func()) error {
	ctx, hangUp := context.WithCancel(ctx)
	defer hangUp()
	stream, err := syncpb.NewSyncClient(g.to).Stream(g.authorised(ctx))
	if err != nil {
		return err
	}
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	hello := &syncpb.Hello{
		GatewayId: g.id, Proof: bundle.StreamProof(g.private, first.GetChallenge().GetNonce()), Timeline: g.trust.Timeline,
		Revision: g.trust.Revision, Digest: g.trust.Digest, Epoch: 1, Version: "bench", Formats: []uint32{bundle.Format},
	}
	if err := stream.Send(&syncpb.GatewayMessage{Message: &syncpb.GatewayMessage_Hello{Hello: hello}}); err != nil {
		return err
	}
	messages := make(chan *syncpb.ControlMessage)
	failed := make(chan error, 1)
	go func() {
		for {
			m, err := stream.Recv()
			if err != nil {
				failed <- err
				return
			}
			select {
			case messages <- m:
			case <-ctx.Done():
				return
			}
		}
	}()
	return g.converse(ctx, stream, messages, failed, granted)
}

func (g *simulated) converse(ctx context.Context, stream syncpb.Sync_StreamClient, messages <-chan *syncpb.ControlMessage, failed <-chan error, granted func()) error {
	renew := time.NewTicker(15 * time.Second)
	defer renew.Stop()
	renewal, withheld := uint64(0), uint64(0)
	if g.trust.Revision > 0 { // it has a state, of which it may have to be told nothing
		renewal++
		if err := g.renew(stream, renewal); err != nil {
			return err
		}
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			if ctx.Err() != nil {
				return nil
			}
			return err
		case <-renew.C:
			renewal++
			if err := g.renew(stream, renewal); err != nil {
				return err
			}
		case m := <-messages:
			acknowledge, err := g.take(m)
			if err != nil {
				return err
			}
			if w := m.GetWithheld(); w != nil {
				withheld = w.GetRevision()
			}
			if m.GetGrant() != nil {
				granted()
			}
			if acknowledge != nil {
				if err := stream.Send(&syncpb.GatewayMessage{Message: &syncpb.GatewayMessage_Acknowledged{Acknowledged: acknowledge}}); err != nil {
					return err
				}
			}
			first := acknowledge != nil && renewal == 0
			if again := withheld != 0 && g.trust.Revision >= withheld; first || again {
				withheld = 0
				renewal++
				if err := g.renew(stream, renewal); err != nil {
					return err
				}
			}
		}
	}
}

func (g *simulated) renew(stream syncpb.Sync_StreamClient, id uint64) error {
	return stream.Send(&syncpb.GatewayMessage{Message: &syncpb.GatewayMessage_Renewal{Renewal: &syncpb.Renewal{
		Id: id, Revision: g.trust.Revision, Report: &syncpb.Report{},
	}}})
}

// take makes of a message what is to be acknowledged, if anything.
func (g *simulated) take(m *syncpb.ControlMessage) (*syncpb.Acknowledged, error) {
	switch message := m.GetMessage().(type) {
	case *syncpb.ControlMessage_Grant:
		g.received.grants.Add(1)
	case *syncpb.ControlMessage_Bundle:
		b := message.Bundle
		g.received.bytes.Add(int64(len(b.GetSealed())))
		g.piece = append(g.piece, b.GetSealed()...)
		if uint64(len(g.piece)) < b.GetSize() {
			return nil, nil
		}
		g.received.snapshots.Add(1)
		sealed := bundle.Sealed(g.piece)
		g.trust.Revision, g.trust.Digest, g.piece = sealed.Revision(), sealed.Digest(), nil
		return &syncpb.Acknowledged{Revision: g.trust.Revision, Digest: g.trust.Digest}, nil
	case *syncpb.ControlMessage_Delta:
		g.received.bytes.Add(int64(len(message.Delta.GetSealed())))
		g.received.deltas.Add(1)
		o := g.received.open(message.Delta.GetSealed(), g.trust)
		if o.err != nil {
			return nil, o.err
		}
		g.trust = g.trust.Advanced(o.delta, o.keys)
		return &syncpb.Acknowledged{Revision: g.trust.Revision, Digest: g.trust.Digest}, nil
	}
	return nil, nil
}

// fleet is a number of simulated gateways that are connected and hold a lease.
type fleet struct {
	received *traffic
	stop     context.CancelFunc
	running  sync.WaitGroup
	members  []*simulated
	failed   chan error
}

// newFleet enrols all and connects them at once, and says how long it took until each had its lease.
func newFleet(ctx context.Context, s *site, size int) (*fleet, time.Duration, error) {
	f := &fleet{received: &traffic{}, failed: make(chan error, size)}
	for n := range size {
		g, err := newSimulated(ctx, s, n, f.received)
		if err != nil {
			return nil, 0, errors.Join(err, f.close())
		}
		f.members = append(f.members, g)
	}
	took, err := f.connect(ctx)
	if err != nil {
		return nil, 0, errors.Join(err, f.close())
	}
	return f, took, nil
}

// connect opens all streams at once, and says how long it took until each gateway had a lease from its own.
func (f *fleet) connect(ctx context.Context) (time.Duration, error) {
	ctx, f.stop = context.WithCancel(ctx)
	began := time.Now()
	ready := make([]chan struct{}, len(f.members))
	for n, g := range f.members {
		ready[n] = make(chan struct{})
		f.running.Go(func() {
			if err := g.run(ctx, ready[n]); err != nil {
				f.failed <- err
			}
		})
	}
	for _, r := range ready {
		select {
		case <-r:
		case err := <-f.failed:
			return 0, err
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	return time.Since(began), nil
}

// hangUp ends all streams without a word, and waits until they are over.
func (f *fleet) hangUp() {
	if f.stop != nil {
		f.stop()
	}
	f.running.Wait()
}

func (f *fleet) close() error {
	f.hangUp()
	var failed error
	for _, g := range f.members {
		failed = errors.Join(failed, g.to.Close())
	}
	return failed
}
