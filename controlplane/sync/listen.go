package sync

import (
	"context"
	"errors"
	"io"
	"log/slog"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/controlplane"
	"github.com/caracal-gateway/caracal/internal/syncpb"
)

// listen takes what the gateway says until it leaves. Renewals are answered beside it, so that an acknowledgement never
// waits for one; what goes wrong there is told to fail.
func (c *connection) listen(ctx context.Context, fail func(error)) error {
	renewing, stop := context.WithCancel(ctx)
	defer stop()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		if err := c.renew(renewing); err != nil {
			fail(err)
		}
	}()
	for {
		m, err := c.next()
		if errors.Is(err, io.EOF) {
			return errLeft
		}
		if err != nil {
			return err
		}
		if s := m.GetSurrender(); s != nil {
			stop()
			<-stopped
			return c.surrender(ctx, s.GetLease())
		}
		if err := c.take(ctx, m); err != nil {
			return err
		}
	}
}

// next is the next message, of those that came before the gateway was served first.
func (c *connection) next() (*syncpb.GatewayMessage, error) {
	if len(c.heard) == 0 {
		return c.stream.Recv()
	}
	m := c.heard[0]
	c.heard = c.heard[1:]
	return m, nil
}

func (c *connection) take(ctx context.Context, m *syncpb.GatewayMessage) error {
	service, log := c.server.service, c.server.log
	if err := sizeable(m); err != nil {
		return err
	}
	if err := c.server.allow(c.gateway, costOfMessage); err != nil {
		return err
	}
	switch m := m.GetMessage().(type) {
	case *syncpb.GatewayMessage_Acknowledged:
		a := controlplane.Acknowledgement{
			Revision: m.Acknowledged.GetRevision(), Digest: m.Acknowledged.GetDigest(), StreamsCut: m.Acknowledged.GetStreamsCut(),
		}
		// What it says of a state that is another than the one of that revision here counts for nothing.
		counts, given := c.counts(a.Revision, a.Digest), c.feed.Given()
		if !counts && a.Revision > given {
			return status.Errorf(codes.InvalidArgument, "revision %d was not sent: the workspace is at revision %d", a.Revision, given)
		}
		if !c.feed.Acknowledged(a.Revision, a.Digest) || !counts {
			c.vouched.Store(false) // nor does what its renewals say
			log.Error("gateway enforces another state than it was sent; it is sent the whole", "gateway", c.gateway, "workspace", c.caller.Slug(), "revision", a.Revision)
			return nil
		}
		if err := service.Acknowledge(ctx, c.caller, c.gateway, a); err != nil {
			return c.server.answer("acknowledge", err)
		}
	case *syncpb.GatewayMessage_Refused:
		asks := m.Refused.GetCode() == string(bundle.CodeGap)
		c.feed.Refused(m.Refused.GetRevision(), asks)
		level, text := slog.LevelError, "gateway refused a bundle; it enforces its last good one"
		if asks {
			level, text = slog.LevelInfo, "gateway asks for the whole state"
		}
		log.Log(ctx, level, text, "gateway", c.gateway, "workspace", c.caller.Slug(),
			"revision", m.Refused.GetRevision(), "code", short(m.Refused.GetCode()), "message", short(m.Refused.GetMessage()))
	case *syncpb.GatewayMessage_Sync:
		select {
		case <-c.asked: // an unanswered older request is answered by the newer one
		default:
		}
		c.asked <- m.Sync.GetId()
	case *syncpb.GatewayMessage_Envoy:
		e := controlplane.EnvoyStatus{Revision: m.Envoy.GetRevision(), Refusal: m.Envoy.GetMessage()}
		if err := service.ReportEnvoy(ctx, c.caller, c.gateway, e); err != nil {
			return c.server.answer("report Envoy", err)
		}
	case *syncpb.GatewayMessage_Renewal:
		select {
		case <-c.renewals: // the newer one is answered
		default:
		}
		c.renewals <- m.Renewal
	default:
		return status.Errorf(codes.InvalidArgument, "unexpected message %T", m)
	}
	return nil
}

// renew answers the gateway's renewals, one after the other. It ends the stream of a gateway that may not be granted
// anything at all.
func (c *connection) renew(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case r := <-c.renewals:
			answer, err := c.grant(ctx, r)
			if err == nil {
				err = c.say(ctx, answer)
			}
			if err != nil && ctx.Err() == nil {
				return err
			}
		}
	}
}

// grant asks for the lease. A database that is away withholds it and no more: the gateway asks again in its own time.
func (c *connection) grant(ctx context.Context, r *syncpb.Renewal) (reply, error) {
	granted, err := c.server.service.Renew(ctx, c.caller, c.gateway, controlplane.Renewal{
		Revision: c.enforced(r), Held: r.GetLease(), Report: reported(r.GetReport()),
	})
	var told *authority.Error
	if errors.As(err, &told) && told.Code == authority.CodeUnavailable {
		granted, err = controlplane.Granted{Message: told.Message}, nil
	}
	if err != nil {
		return reply{}, c.server.answer("renew lease", err)
	}
	if granted.Number == 0 {
		return reply{after: granted.After, message: &syncpb.ControlMessage{Message: &syncpb.ControlMessage_Withheld{
			Withheld: &syncpb.Withheld{Renewal: r.GetId(), Revision: granted.After, Message: granted.Message},
		}}}, nil
	}
	c.granted.Store(granted.Number)
	return reply{message: &syncpb.ControlMessage{Message: &syncpb.ControlMessage_Grant{
		Grant: &syncpb.Grant{Renewal: r.GetId(), Lease: granted.Number, Term: durationpb.New(granted.Term)},
	}}}, nil
}

func reported(r *syncpb.Report) controlplane.Report {
	return controlplane.Report{
		Address: r.GetAddress(), DecisionsPerSecond: r.GetDecisionsPerSecond(), LiveWatches: r.GetLiveWatches(),
		QueuedEvents: r.GetQueuedEvents(), EnvoyCurrent: r.GetEnvoyCurrent(),
	}
}

// surrender ends the stream of a gateway that decides no more: neither under the lease that it names nor under one that
// was granted on this stream and may not have reached it.
func (c *connection) surrender(ctx context.Context, number uint64) error {
	number = max(number, c.granted.Load())
	if err := c.server.service.Surrender(ctx, c.caller, c.gateway, number); err != nil {
		return c.server.answer("surrender lease", err)
	}
	return errLeft
}

// What a gateway says of a state is kept for as long as its stream lasts, or in the database: bounds of it, in bytes.
const (
	maxHello  = 64 << 10
	maxDigest = 64
)

// sizeable refuses what no gateway has a reason to say.
func sizeable(m *syncpb.GatewayMessage) error {
	if n := proto.Size(m.GetHello()); n > maxHello {
		return status.Errorf(codes.InvalidArgument, "the hello has %d bytes, more than %d", n, maxHello)
	}
	if n := max(len(m.GetHello().GetDigest()), len(m.GetAcknowledged().GetDigest())); n > maxDigest {
		return status.Errorf(codes.InvalidArgument, "a digest has %d bytes, more than %d", n, maxDigest)
	}
	return nil
}

// maxLogged bounds what of a gateway's own words goes into the log, in bytes.
const maxLogged = 1000

func short(text string) string {
	if len(text) > maxLogged {
		return text[:maxLogged] + "…"
	}
	return text
}
