package sync

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/caracal-gateway/caracal/internal/syncpb"
)

// push sends the workspace's bundle unless the gateway enforces its revision already, then after each change, and
// answers sync requests. It takes the newest state each time, so that changes in quick succession travel together.
func (c *connection) push(ctx context.Context, enforced uint64) error {
	wake, cancel := c.server.service.Subscribe(c.caller)
	defer cancel()
	sent, err := c.send(ctx, enforced)
	if err != nil {
		return err
	}
	for {
		var request uint64
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-wake:
		case request = <-c.asked:
		}
		if sent, err = c.send(ctx, sent); err != nil {
			return err
		}
		if request != 0 {
			current := &syncpb.ControlMessage{Time: timestamppb.New(c.server.now()), Message: &syncpb.ControlMessage_Current{Current: &syncpb.Current{Id: request, Revision: sent}}}
			if err := c.stream.Send(current); err != nil {
				return err
			}
		}
	}
}

// send sends the bundle if the workspace is beyond the revision that was sent last, and answers the revision that the
// gateway has been sent by now. The gateway key is authenticated again first: its revocation is a change too.
func (c *connection) send(ctx context.Context, sent uint64) (uint64, error) {
	if _, _, err := c.server.authenticate(c.stream.Context()); err != nil {
		return sent, err
	}
	revision, err := c.server.service.Revision(ctx, c.caller)
	if err != nil {
		return sent, c.server.answer("read revision", err)
	}
	if revision == sent {
		return sent, nil
	}
	b, err := c.server.service.Snapshot(ctx, c.caller)
	if err != nil {
		return sent, c.server.answer("seal bundle", err)
	}
	message := &syncpb.ControlMessage{Time: timestamppb.New(c.server.now()), Message: &syncpb.ControlMessage_Bundle{Bundle: &syncpb.Bundle{Revision: b.Revision, Sealed: b.Sealed}}}
	if err := c.stream.Send(message); err != nil {
		return sent, err
	}
	return b.Revision, nil
}
