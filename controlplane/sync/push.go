package sync

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/caracal-gateway/caracal/controlplane"
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

// send sends all that the feed has.
func (c *connection) send(ctx context.Context) error {
	for m := c.feed.Next(); m != nil; m = c.feed.Next() {
		if err := c.pass(m); err != nil {
			return err
		}
	}
	return nil
}

// pieceSize is how much of a snapshot goes into one message, in bytes.
const pieceSize = 1 << 20

// pass sends one step.
func (c *connection) pass(m *controlplane.Message) error {
	if m.Whole == nil {
		return c.tell(&syncpb.ControlMessage{Message: &syncpb.ControlMessage_Delta{Delta: &syncpb.Delta{
			From: m.From, Revision: m.Revision, Sealed: m.Sealed,
		}}})
	}
	defer m.Whole.Close()
	size := m.Whole.Size()
	for offset := int64(0); offset < size; offset += pieceSize {
		piece := make([]byte, min(pieceSize, size-offset))
		if _, err := m.Whole.ReadAt(piece, offset); err != nil {
			return c.server.answer("read snapshot", err)
		}
		if err := c.tell(&syncpb.ControlMessage{Message: &syncpb.ControlMessage_Bundle{Bundle: &syncpb.Bundle{
			Revision: m.Revision, Sealed: piece, Offset: uint64(offset), Size: uint64(size),
		}}}); err != nil {
			return err
		}
	}
	return nil
}

// tell sends a message, with the time at which it is sent.
func (c *connection) tell(m *syncpb.ControlMessage) error {
	m.Time = timestamppb.New(c.server.now())
	return c.stream.Send(m)
}
