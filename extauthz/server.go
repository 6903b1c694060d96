package extauthz

import (
	"context"
	"fmt"
	"net"
	"runtime/debug"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	procv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/envoy"
)

const (
	// checkWorkers keep their stacks between checks; a new goroutine for each would grow its stack anew.
	checkWorkers = 64
	// maxMessage bounds a check, whose headers are bounded far below, and a batch of access log entries.
	maxMessage = 4 << 20
	// stopTime is how long checks that are running may take to end when the server stops.
	stopTime = 2 * time.Second
)

// Serve answers Envoy's checks, watches its live requests and takes its access log until ctx ends, and closes the listener.
// It serves these three methods and nothing else. Whoever can connect is believed to be Envoy: the listener is a Unix socket
// that only the gateway's own user can open.
//
// When ctx ends every live request is ended first: nobody would be left to end it later.
func (s *Service) Serve(ctx context.Context, listener net.Listener) error {
	server := grpc.NewServer(
		grpc.NumStreamWorkers(checkWorkers),
		grpc.MaxRecvMsgSize(maxMessage),
		// Envoy pings also when nothing is asked. A server that does not expect this closes the connection under live
		// requests; on a socket that is Envoy's alone there is nothing to enforce.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Millisecond, PermitWithoutStream: true}),
		grpc.ConnectionTimeout(5*time.Second),
		grpc.UnaryInterceptor(s.onlyCheck),
		grpc.StreamInterceptor(s.onlyStreams),
	)
	authv3.RegisterAuthorizationServer(server, checks{service: s})
	accesslogv3.RegisterAccessLogServiceServer(server, accessLog{recorder: s.recorder})
	procv3.RegisterExternalProcessorServer(server, watchServer{service: s})
	tended, stopTending := context.WithCancel(context.WithoutCancel(ctx))
	defer stopTending()
	tending := make(chan error, 1)
	go func() { tending <- s.tend(tended) }()
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve checks: %w", err)
	case err := <-tending:
		server.Stop() // a gateway that does not end streams in time has none
		return fmt.Errorf("watch live requests: %w", err)
	case <-ctx.Done():
	}
	s.End(authority.ReasonNoDecision)
	stopped := make(chan struct{})
	go func() {
		server.GracefulStop()
		close(stopped)
	}()
	// The access log's stream never ends by itself.
	select {
	case <-stopped:
	case <-time.After(stopTime):
		server.Stop()
	}
	if err := <-served; err != nil {
		return fmt.Errorf("serve checks: %w", err)
	}
	return nil
}

// checks takes the checks of the gateway's own Envoy. By which way a request came is what Envoy's listener says beside the
// check; what the check says of it itself comes from a route table, and counts for nothing.
type checks struct {
	authv3.UnimplementedAuthorizationServer
	service *Service
}

// Check answers Envoy, always without an error.
func (c checks) Check(ctx context.Context, check *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	if attributes := check.GetAttributes(); attributes != nil {
		attributes.ContextExtensions = beside(ctx)
	}
	return c.service.Check(ctx, check)
}

// beside is what came with a call: each key that is known, where it has one value.
func beside(ctx context.Context) map[string]string {
	told, _ := metadata.FromIncomingContext(ctx)
	values := map[string]string{}
	for _, key := range []string{envoy.ModeKey, envoy.OuterKey} {
		if value := told.Get(key); len(value) == 1 && value[0] != wayForeign {
			values[key] = value[0]
		}
	}
	return values
}

// onlyCheck refuses every unary method but one, whatever comes to be registered.
func (s *Service) onlyCheck(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if info.FullMethod != authv3.Authorization_Check_FullMethodName {
		return nil, status.Error(codes.Unimplemented, "unknown method")
	}
	return handler(ctx, request)
}

// onlyStreams refuses every streaming method but two, and keeps a bug in them from ending the process.
func (s *Service) onlyStreams(service any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	switch info.FullMethod {
	case accesslogv3.AccessLogService_StreamAccessLogs_FullMethodName, procv3.ExternalProcessor_Process_FullMethodName:
	default:
		return status.Error(codes.Unimplemented, "unknown method")
	}
	defer func() {
		if cause := recover(); cause != nil {
			s.log.Error("stream panicked", "method", info.FullMethod, "cause", cause, "stack", string(debug.Stack()))
			err = status.Error(codes.Internal, "the stream failed")
		}
	}()
	return handler(service, stream)
}
