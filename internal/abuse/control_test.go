package abuse_test

import (
	"context"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/internal/syncpb"
	"github.com/caracal-gateway/caracal/token"
)

// control stands in for a control plane: it knows one state, and grants every lease.
type control struct {
	syncpb.UnimplementedSyncServer
	front *front
}

// serveControl serves one until the test ends and returns its address.
func (f *front) serveControl(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	syncpb.RegisterSyncServer(server, control{front: f})
	go func() { _ = server.Serve(listener) }() // it ends with Stop
	t.Cleanup(server.Stop)
	return listener.Addr().String()
}

// Enrol takes every gateway.
func (c control) Enrol(context.Context, *syncpb.EnrolRequest) (*syncpb.EnrolResponse, error) {
	keys, err := token.SealKeySet(c.front.Root, c.front.KeySet())
	return &syncpb.EnrolResponse{
		GatewayId: string(authority.NewID[authority.GatewayID]()), WorkspaceId: string(c.front.State.Workspace.ID), KeySet: keys, Time: timestamppb.Now(),
	}, err
}

// Certify makes the certificate of whoever asks, under the one CA of the workspace.
func (c control) Certify(_ context.Context, r *syncpb.CertifyRequest) (*syncpb.CertifyResponse, error) {
	made, err := c.front.inspection.Certify(r.GetRequest(), r.GetGatewayId(), time.Now())
	if err != nil {
		return nil, err
	}
	return &syncpb.CertifyResponse{Certificate: made.Raw, Root: c.front.inspection.Certificate(), Time: timestamppb.Now()}, nil
}

// Record keeps nothing.
func (control) Record(_ context.Context, r *syncpb.RecordRequest) (*syncpb.RecordResponse, error) {
	return &syncpb.RecordResponse{Last: r.GetLast()}, nil
}

// Stream sends the state, in one piece, and answers what is asked.
func (c control) Stream(stream syncpb.Sync_StreamServer) error {
	challenge := &syncpb.ControlMessage{Message: &syncpb.ControlMessage_Challenge{Challenge: &syncpb.Challenge{Nonce: make([]byte, 32)}}}
	if err := stream.Send(challenge); err != nil {
		return err
	}
	if _, err := stream.Recv(); err != nil {
		return err
	}
	sealed := c.front.Seal()
	if err := stream.Send(&syncpb.ControlMessage{Message: &syncpb.ControlMessage_Bundle{Bundle: &syncpb.Bundle{
		Revision: sealed.Revision(), Sealed: sealed, Size: uint64(len(sealed)),
	}}}); err != nil {
		return err
	}
	for lease := uint64(1); ; {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		answer := &syncpb.ControlMessage{Time: timestamppb.Now()}
		switch {
		case m.GetRenewal() != nil:
			answer.Message = &syncpb.ControlMessage_Grant{Grant: &syncpb.Grant{Renewal: m.GetRenewal().GetId(), Lease: lease, Term: durationpb.New(time.Hour)}}
			lease++
		case m.GetSync() != nil:
			answer.Message = &syncpb.ControlMessage_Current{Current: &syncpb.Current{Id: m.GetSync().GetId(), Revision: sealed.Revision()}}
		default:
			continue
		}
		if err := stream.Send(answer); err != nil {
			return err
		}
	}
}
