package sync

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/caracal-gateway/caracal/internal/syncpb"
)

// listen takes what the gateway says until it leaves.
func (c *connection) listen(ctx context.Context) error {
	for {
		m, err := c.stream.Recv()
		if errors.Is(err, io.EOF) {
			return errLeft
		}
		if err != nil {
			return err
		}
		if err := c.take(ctx, m); err != nil {
			return err
		}
	}
}

func (c *connection) take(ctx context.Context, m *syncpb.GatewayMessage) error {
	service, log := c.server.service, c.server.log
	switch m := m.GetMessage().(type) {
	case *syncpb.GatewayMessage_Acknowledged:
		if err := service.Acknowledge(ctx, c.caller, c.gateway, m.Acknowledged.GetRevision()); err != nil {
			return c.server.answer("acknowledge", err)
		}
	case *syncpb.GatewayMessage_Refused:
		log.Error("gateway refused a bundle; it enforces its last good one", "gateway", c.gateway, "workspace", c.caller.Slug(),
			"revision", m.Refused.GetRevision(), "code", short(m.Refused.GetCode()), "message", short(m.Refused.GetMessage()))
	case *syncpb.GatewayMessage_Sync:
		select {
		case <-c.asked: // an unanswered older request is answered by the newer one
		default:
		}
		c.asked <- m.Sync.GetId()
	case *syncpb.GatewayMessage_Envoy:
		if err := service.ReportEnvoy(ctx, c.caller, c.gateway, m.Envoy.GetMessage()); err != nil {
			return c.server.answer("report Envoy", err)
		}
	default:
		return status.Errorf(codes.InvalidArgument, "unexpected message %T", m)
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
