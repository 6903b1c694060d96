// Package sync is the control plane's side of the stream to its gateways: it enrols their processes, pushes sealed
// bundles as the workspace changes, takes their acknowledgements, and stores the record of their decisions.
package sync

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"runtime/debug"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/controlplane"
	"github.com/caracal-gateway/caracal/internal/syncpb"
	"github.com/caracal-gateway/caracal/token"
)

// maxMessage bounds what a gateway may send at once: a batch of decision events.
const maxMessage = 16 << 20

// server answers gateways. Each call authenticates the gateway key again, so that a revoked key ends at the next call;
// a stream looks again at each change of the workspace.
type server struct {
	syncpb.UnimplementedSyncServer
	running context.Context // until the process stops
	service *controlplane.Service
	now     func() time.Time
	log     *slog.Logger

	opening    places // of what a gateway does before it is served
	recording  places
	allowances allowances
}

// New makes the gRPC server of the sync protocol. Methods that it does not know are Unimplemented. It is to be served
// on the control plane's port through its ServeHTTP method.
//
// Once running ends, so do the streams, one after the other within four seconds, so that not all gateways come to another
// replica at the same time.
func New(running context.Context, service *controlplane.Service, now func() time.Time, log *slog.Logger) *grpc.Server {
	s := &server{
		running: running, service: service, now: now, log: log, opening: make(places, maxOpening), recording: make(places, maxRecording),
		allowances: allowances{of: map[authority.GatewayID]allowance{}},
	}
	g := grpc.NewServer(grpc.MaxRecvMsgSize(maxMessage), grpc.UnaryInterceptor(s.surviveCall), grpc.StreamInterceptor(s.surviveStream))
	syncpb.RegisterSyncServer(g, s)
	return g
}

// surviveCall keeps a bug that one gateway meets from ending the process for all.
func (s *server) surviveCall(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (_ any, err error) {
	defer s.survive(&err)
	return handler(ctx, request)
}

func (s *server) surviveStream(service any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	defer s.survive(&err)
	return handler(service, stream)
}

func (s *server) survive(err *error) {
	if cause := recover(); cause != nil {
		s.log.Error("sync panicked", "cause", cause, "stack", string(debug.Stack()))
		*err = status.Error(codes.Internal, "internal error")
	}
}

// Enrol registers a gateway process that proves to hold its private key.
func (s *server) Enrol(ctx context.Context, r *syncpb.EnrolRequest) (*syncpb.EnrolResponse, error) {
	caller, key, err := s.authenticate(ctx, s.opening)
	if err != nil {
		return nil, err
	}
	if r.GetWorkspace() != caller.Slug() {
		return nil, status.Errorf(codes.PermissionDenied, "the gateway key belongs to the workspace %q, not to %q", caller.Slug(), r.GetWorkspace())
	}
	if bundle.VerifyEnrolProof(r.GetPublicKey(), key, r.GetProof()) != nil {
		return nil, status.Error(codes.Unauthenticated, "the proof is not by the key that is to be enrolled")
	}
	enrolled, err := inTurn(ctx, s.opening, func() (controlplane.Enrolled, error) {
		return s.service.EnrolGateway(ctx, caller, controlplane.Enrolment{
			PublicKey: r.GetPublicKey(), Instance: r.GetInstance(),
			Program: controlplane.Program{Version: r.GetVersion(), Formats: r.GetFormats()},
		})
	})
	if err != nil {
		return nil, s.answer("enrol gateway", err)
	}
	s.log.Info("gateway enrolled", "gateway", enrolled.GatewayID, "workspace", caller.Slug(), "instance", r.GetInstance())
	return &syncpb.EnrolResponse{
		GatewayId:    string(enrolled.GatewayID),
		WorkspaceId:  string(enrolled.WorkspaceID),
		DeploymentId: enrolled.Deployment,
		Timeline:     enrolled.Timeline,
		KeySet:       enrolled.KeySet,
		Time:         timestamppb.New(s.now()),
	}, nil
}

// Record stores a batch of decision events, signed by the process that decided.
func (s *server) Record(ctx context.Context, r *syncpb.RecordRequest) (*syncpb.RecordResponse, error) {
	caller, _, err := s.authenticate(ctx, s.recording)
	if err != nil {
		return nil, err
	}
	gateway, err := s.find(ctx, s.recording, caller, r.GetGatewayId())
	if err != nil {
		return nil, err
	}
	signed := bundle.Batch{Gateway: gateway.ID, Epoch: r.GetEpoch(), First: r.GetFirst(), Last: r.GetLast(), Events: r.GetEvents(), Outcomes: r.GetOutcomes()}
	if bundle.VerifyRecordProof(gateway.PublicKey, signed, r.GetProof()) != nil {
		return nil, status.Error(codes.Unauthenticated, "the proof is not by the gateway's enrolled key")
	}
	batch, err := decode(r)
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "batch %d to %d: %v", r.GetFirst(), r.GetLast(), err)
	}
	last, err := inTurn(ctx, s.recording, func() (uint64, error) { return s.service.RecordEvents(ctx, caller, batch) })
	if err != nil {
		return nil, s.answer("record events", err)
	}
	return &syncpb.RecordResponse{Last: last}, nil
}

// Certify makes the inspection certificate of a gateway process.
func (s *server) Certify(ctx context.Context, r *syncpb.CertifyRequest) (*syncpb.CertifyResponse, error) {
	caller, _, err := s.authenticate(ctx, s.opening)
	if err != nil {
		return nil, err
	}
	gateway, err := s.find(ctx, s.opening, caller, r.GetGatewayId())
	if err != nil {
		return nil, err
	}
	if bundle.VerifyCertifyProof(gateway.PublicKey, gateway.ID, r.GetRequest(), r.GetProof()) != nil {
		return nil, status.Error(codes.Unauthenticated, "the proof is not by the gateway's enrolled key")
	}
	if err := s.allow(gateway.ID, costOfStream); err != nil {
		return nil, err
	}
	made, err := inTurn(ctx, s.opening, func() (controlplane.Certified, error) {
		return s.service.CertifyGateway(ctx, caller, gateway.ID, r.GetRequest())
	})
	if err != nil {
		return nil, s.answer("certify gateway", err)
	}
	s.log.Info("gateway certified for inspection", "gateway", gateway.ID, "workspace", caller.Slug())
	return &syncpb.CertifyResponse{Certificate: made.Certificate, Root: made.Root, Time: timestamppb.New(s.now())}, nil
}

// authenticate finds the gateway key in the call's metadata.
func (s *server) authenticate(ctx context.Context, places places) (controlplane.Caller, token.APIKey, error) {
	var (
		none controlplane.Caller
		zero token.APIKey
	)
	values := metadata.ValueFromIncomingContext(ctx, "authorization")
	if len(values) != 1 {
		return none, zero, status.Error(codes.Unauthenticated, "one gateway key is needed as authorization metadata")
	}
	bearer, isBearer := strings.CutPrefix(values[0], "Bearer ")
	key, err := token.ParseAPIKey(bearer)
	if !isBearer || err != nil {
		return none, zero, status.Error(codes.Unauthenticated, "a gateway key is needed as authorization metadata, in the form `Bearer <key>`")
	}
	caller, err := inTurn(ctx, places, func() (controlplane.Caller, error) {
		return s.service.Authenticate(ctx, controlplane.Credential{Bearer: bearer, Address: peerOf(ctx)})
	})
	if err != nil {
		return none, zero, s.answer("authenticate gateway", err)
	}
	if caller.Kind() != authority.KeyGateway {
		return none, zero, status.Errorf(codes.PermissionDenied, "a key of the kind gateway is needed, this is one of the kind %s", caller.Kind())
	}
	return caller, key, nil
}

// find finds a process of the caller's own gateway key.
func (s *server) find(ctx context.Context, places places, caller controlplane.Caller, id string) (controlplane.Process, error) {
	found, err := inTurn(ctx, places, func() (controlplane.Process, error) {
		return s.service.OwnGateway(ctx, caller, authority.GatewayID(id))
	})
	if err != nil {
		return found, s.answer("find gateway", err)
	}
	return found, nil
}

// peerOf is the address of the call's connection; the zero address where it has none.
func peerOf(ctx context.Context) netip.Addr {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return netip.Addr{}
	}
	address, err := netip.ParseAddrPort(p.Addr.String())
	if err != nil {
		return netip.Addr{}
	}
	return address.Addr()
}

// answer turns an error into a status, whose text begins with the error's code. What the gateway may not be told is logged
// and becomes Internal.
func (s *server) answer(doing string, err error) error {
	var known *authority.Error
	switch {
	case errors.As(err, &known):
		return status.Error(statusOf(known.Code), known.Error())
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return status.FromContextError(err).Err()
	default:
		s.log.Error(doing, "cause", err)
		return status.Error(codes.Internal, "internal error")
	}
}

func statusOf(code authority.Code) codes.Code {
	switch code {
	case authority.CodeInvalid:
		return codes.InvalidArgument
	case authority.CodeUnauthenticated:
		return codes.Unauthenticated
	case authority.CodeForbidden:
		return codes.PermissionDenied
	case authority.CodeNotFound:
		return codes.NotFound
	case authority.CodeConflict, authority.CodeRefused:
		return codes.FailedPrecondition
	case authority.CodeLimited, authority.CodeQuota:
		return codes.ResourceExhausted
	default:
		return codes.Unavailable
	}
}
