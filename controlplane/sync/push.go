package sync

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/caracal-gateway/caracal/internal/syncpb"
)

// reply answers something that the gateway said. It is sent once the gateway has been sent the state of a revision, which
// it then finds said of.
type reply struct {
	message *syncpb.ControlMessage
	after   uint64 // 0: at once
}

// say hands a reply to the stream's sender, and waits while it is busy.
func (c *connection) say(ctx context.Context, r reply) error {
	select {
	case c.replies <- r:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// push sends what the feed has, then what it comes to have, and answers what the gateway asks. Changes in quick
// succession travel together.
func (c *connection) push(ctx context.Context) error {
	feed := c.feed
	var waiting []reply // for the state of their revision, in their order
	if err := c.send(ctx); err != nil {
		return err
	}
	for {
		replies := c.replies
		if len(waiting) > 0 {
			replies = nil
		}
		var request uint64
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-feed.Wake():
		case request = <-c.asked:
		case r := <-replies:
			waiting = append(waiting, r)
			if r.after <= feed.Given() {
				break
			}
			if err := feed.Look(ctx); err != nil {
				return c.server.answer("read state", err)
			}
		}
		if err := c.send(ctx); err != nil {
			return err
		}
		if request != 0 {
			waiting = append(waiting, reply{message: &syncpb.ControlMessage{Message: &syncpb.ControlMessage_Current{
				Current: &syncpb.Current{Id: request, Revision: feed.Given()},
			}}})
		}
		for len(waiting) > 0 && waiting[0].after <= feed.Given() {
			if err := c.tell(waiting[0].message); err != nil {
				return err
			}
			waiting = waiting[1:]
		}
	}
}

// send sends all that the feed has. The gateway key is authenticated again first: its revocation is a change too.
func (c *connection) send(ctx context.Context) error {
	if _, _, err := c.server.authenticate(c.stream.Context()); err != nil {
		return err
	}
	for {
		m, err := c.feed.Next(ctx)
		if err != nil {
			return c.server.answer("read state", err)
		}
		if m == nil {
			return nil
		}
		if err := c.tell(&syncpb.ControlMessage{Message: &syncpb.ControlMessage_Bundle{Bundle: &syncpb.Bundle{Revision: m.Revision, Sealed: m.Sealed}}}); err != nil {
			return err
		}
	}
}

// tell sends a message, with the time at which it is sent.
func (c *connection) tell(m *syncpb.ControlMessage) error {
	m.Time = timestamppb.New(c.server.now())
	return c.stream.Send(m)
}
