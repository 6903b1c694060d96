package sync

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/caracal-gateway/caracal/controlplane"
	"github.com/caracal-gateway/caracal/internal/syncpb"
)

// reply answers something that the gateway said. It is sent once the gateway has been sent the state of a revision.
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

// lookAgain is after what time the state is looked at once more when it could not be read.
const lookAgain = time.Second

// waiting are the replies that wait for a state to be sent first: the newest of a kind takes the place of an older one.
type waiting struct {
	lease   *reply
	current *reply
}

// ready takes out those for which enough has been sent.
func (w *waiting) ready(given uint64) []*syncpb.ControlMessage {
	var all []*syncpb.ControlMessage
	for _, slot := range []**reply{&w.lease, &w.current} {
		if r := *slot; r != nil && r.after <= given {
			all = append(all, r.message)
			*slot = nil
		}
	}
	return all
}

// sight is what a look at the state found.
type sight struct {
	request uint64 // the SyncRequest that it was for
	present uint64 // the revision of the state
}

// push sends what the feed has, then what it comes to have, and answers what the gateway asks. Changes in quick
// succession travel together. It looks at the state beside that, so that a database that is slow holds up no reply that
// waits for nothing.
func (c *connection) push(ctx context.Context) error {
	var (
		w       waiting
		asked   uint64 // the request for which the state is to be looked at
		looking bool
		sights  = make(chan sight, 1)
	)
	for {
		if err := c.send(ctx, &w); err != nil {
			return err
		}
		if !looking && asked != 0 {
			looking = true
			go c.look(ctx, asked, sights)
			asked = 0
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.feed.Wake():
		case asked = <-c.asked:
		case r := <-c.replies:
			if w.lease = &r; r.after > c.feed.Given() {
				c.feed.Hurry()
			}
		case seen := <-sights:
			looking, w.current = false, currently(seen)
		}
	}
}

// look looks at the state for a request, until it has seen it.
func (c *connection) look(ctx context.Context, request uint64, sights chan<- sight) {
	for {
		present, err := c.feed.Look(ctx)
		if err == nil {
			sights <- sight{request, present}
			return
		}
		select {
		case <-time.After(lookAgain):
		case <-ctx.Done():
			return
		}
	}
}

func currently(s sight) *reply {
	return &reply{after: s.present, message: &syncpb.ControlMessage{Message: &syncpb.ControlMessage_Current{
		Current: &syncpb.Current{Id: s.request, Revision: s.present},
	}}}
}

// send sends all that the feed has, and the replies for which enough has been sent.
func (c *connection) send(ctx context.Context, w *waiting) error {
	for {
		for _, m := range w.ready(c.feed.Given()) {
			if err := c.tell(m); err != nil {
				return err
			}
		}
		m := c.feed.Next()
		if m == nil {
			return nil
		}
		if err := c.pass(ctx, m, w); err != nil {
			return err
		}
	}
}

// pieceSize is how much of a snapshot goes into one message, in bytes.
const pieceSize = 1 << 20

// pass sends one step. What the gateway is told of its lease does not wait until all of a snapshot is sent.
func (c *connection) pass(ctx context.Context, m *controlplane.Message, w *waiting) error {
	if m.Whole == nil {
		c.server.allowances.give(c.gateway, giftOfChange, c.server.now())
		return c.tell(&syncpb.ControlMessage{Message: &syncpb.ControlMessage_Delta{Delta: &syncpb.Delta{
			From: m.From, Revision: m.Revision, Sealed: m.Sealed,
		}}})
	}
	defer m.Whole.Close()
	if err := c.server.allow(c.gateway, costOfWhole); err != nil {
		return err
	}
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
		if err := c.interject(ctx, w); err != nil {
			return err
		}
	}
	return nil
}

// interject sends a reply that has come up, if it waits for nothing.
func (c *connection) interject(ctx context.Context, w *waiting) error {
	select {
	case r := <-c.replies:
		if r.after == 0 {
			return c.tell(r.message)
		}
		w.lease = &r
		return nil
	case <-ctx.Done():
		return ctx.Err()
	default:
		return nil
	}
}

// tell sends a message, with the time at which it is sent.
func (c *connection) tell(m *syncpb.ControlMessage) error {
	m.Time = timestamppb.New(c.server.now())
	return c.stream.Send(m)
}
