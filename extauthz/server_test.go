package extauthz_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	accesslogdatav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/envoy"
)

// serve runs the service on a Unix socket until the test ends, and gives its path and a way to stop it.
func (b *bench) serve(t *testing.T) (path string, stop func() error) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "authz.sock")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.service.Serve(ctx, listener) }()
	stop = func() error {
		cancel()
		err := <-done
		done <- err
		return err
	}
	t.Cleanup(func() { _ = stop() })
	return path, stop
}

func dial(t *testing.T, path string) *grpc.ClientConn {
	t.Helper()
	connection, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	return connection
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestChecksAreAnsweredOverTheSocket(t *testing.T) {
	b := newBench(t)
	b.enforce(t)
	path, _ := b.serve(t)
	client := authv3.NewAuthorizationClient(dial(t, path))
	gateway := metadata.AppendToOutgoingContext(within(t), envoy.ModeKey, envoy.ModeGateway)
	answer, err := client.Check(gateway, b.proxied().check())
	if err != nil {
		t.Fatal(err)
	}
	wantPermission(t, answer)
	for name, ctx := range map[string]context.Context{
		"a way in that only the check itself names": within(t),
		"a way in that is named twice":              metadata.AppendToOutgoingContext(gateway, envoy.ModeKey, envoy.ModeGateway),
		"another way in than the check names":       metadata.AppendToOutgoingContext(within(t), envoy.ModeKey, envoy.ModePlain),
	} {
		answer, err := client.Check(ctx, b.proxied().check())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		wantDenial(t, answer)
	}
	for name, check := range garbage(b) {
		if check == nil {
			continue // gRPC cannot send nothing
		}
		if name == "a nil header" {
			continue // nor a header that is nil; it arrives as an empty one
		}
		if strings.Contains(name, "way in") {
			continue // what the check says of it does not count
		}
		answer, err := client.Check(metadata.AppendToOutgoingContext(within(t), envoy.ModeKey, envoy.ModeGateway), check)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		wantDenial(t, answer)
	}
}

func TestTheSocketServesThreeMethodsAndNothingElse(t *testing.T) {
	b := newBench(t)
	b.enforce(t)
	path, _ := b.serve(t)
	connection := dial(t, path)
	for _, method := range []string{
		"/envoy.service.auth.v3.Authorization/check", "/envoy.service.auth.v3.Authorization/Other", "/envoy.service.auth.v2.Authorization/Check",
		"/grpc.health.v1.Health/Check", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
		"/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources", "//envoy.service.auth.v3.Authorization/Check",
	} {
		if err := connection.Invoke(within(t), method, &emptypb.Empty{}, &emptypb.Empty{}); status.Code(err) != codes.Unimplemented {
			t.Errorf("%s: %v, want Unimplemented", method, err)
		}
	}
}

// raw speaks HTTP/2 to the socket frame by frame, as no proper client would.
func raw(t *testing.T, path string) (*http2.Framer, net.Conn) {
	t.Helper()
	connection, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	if err := connection.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(connection, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	framer := http2.NewFramer(connection, connection)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if err := framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	return framer, connection
}

func TestAPathWithoutASlashReachesNoMethod(t *testing.T) {
	b := newBench(t)
	b.enforce(t)
	path, _ := b.serve(t)
	framer, _ := raw(t, path)
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, field := range []hpack.HeaderField{
		{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: "http"}, {Name: ":authority", Value: "x"},
		{Name: ":path", Value: "envoy.service.auth.v3.Authorization/Check"},
		{Name: "content-type", Value: "application/grpc"}, {Name: "te", Value: "trailers"},
	} {
		if err := encoder.WriteField(field); err != nil {
			t.Fatal(err)
		}
	}
	if err := framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true}); err != nil {
		t.Fatal(err)
	}
	if err := framer.WriteData(1, true, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		headers, ok := frame.(*http2.MetaHeadersFrame)
		if !ok {
			continue
		}
		for _, field := range headers.RegularFields() {
			if field.Name == "grpc-status" {
				if field.Value != "12" {
					t.Errorf("grpc-status %s, want 12 (Unimplemented)", field.Value)
				}
				return
			}
		}
	}
}

// grpc-go's default would end the connection at the third ping of a client that asks nothing.
func TestEnvoyMayPingAnIdleConnection(t *testing.T) {
	b := newBench(t)
	path, _ := b.serve(t)
	framer, _ := raw(t, path)
	for sent := byte(1); sent <= 10; sent++ {
		if err := framer.WritePing(false, [8]byte{sent}); err != nil {
			t.Fatal(err)
		}
		for acknowledged := false; !acknowledged; {
			frame, err := framer.ReadFrame()
			if err != nil {
				t.Fatalf("after %d pings: %v", sent, err)
			}
			switch frame := frame.(type) {
			case *http2.GoAwayFrame:
				t.Fatalf("after %d pings the server left: %s %s", sent, frame.ErrCode, frame.DebugData())
			case *http2.PingFrame:
				acknowledged = frame.IsAck()
			}
		}
		<-time.After(2 * time.Millisecond)
	}
}

func TestEnvoysAccessLogCompletesTheRecord(t *testing.T) {
	b := newBench(t)
	path, stop := b.serve(t)
	stream, err := accesslogv3.NewAccessLogServiceClient(dial(t, path)).StreamAccessLogs(within(t))
	if err != nil {
		t.Fatal(err)
	}
	id := authority.NewID[authority.DecisionID]()
	cut := authority.NewID[authority.DecisionID]()
	entry := func(decision string) *accesslogdatav3.HTTPAccessLogEntry {
		fields := map[string]*structpb.Value{envoy.MetadataDecisionID: structpb.NewStringValue(decision)}
		return &accesslogdatav3.HTTPAccessLogEntry{
			CommonProperties: &accesslogdatav3.AccessLogCommon{
				Metadata: &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{envoy.MetadataNamespace: {Fields: fields}}},
				Duration: durationpb.New(42 * time.Millisecond),
				UpstreamRemoteAddress: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
					Address: "192.0.2.9", PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 443},
				}}},
			},
			Request: &accesslogdatav3.HTTPRequestProperties{RequestBodyBytes: 17},
			Response: &accesslogdatav3.HTTPResponseProperties{
				ResponseCode: wrapperspb.UInt32(200), ResponseBodyBytes: 1234, ResponseCodeDetails: "via_upstream",
			},
		}
	}
	ended := entry(string(cut))
	ended.Response.ResponseCodeDetails = envoy.WatchDetails + "mandate_revoked"
	err = stream.Send(&accesslogv3.StreamAccessLogsMessage{LogEntries: &accesslogv3.StreamAccessLogsMessage_HttpLogs{
		HttpLogs: &accesslogv3.StreamAccessLogsMessage_HTTPAccessLogEntries{LogEntry: []*accesslogdatav3.HTTPAccessLogEntry{
			{}, nil, entry(""), entry("somebody else's"), ended, entry(string(id)),
		}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx := within(t)
	for {
		if got, ok := b.events.outcome(id); ok {
			want := authority.Outcome{Status: 200, BytesSent: 1234, BytesReceived: 17, DurationMS: 42, Details: "via_upstream", Upstream: "192.0.2.9:443"}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("outcome (-want +got):\n%s", diff)
			}
			break
		}
		select {
		case <-ctx.Done():
			t.Fatal("the outcome never arrived")
		case <-time.After(time.Millisecond):
		}
	}
	if got, _ := b.events.outcome(cut); got.EndedBy != authority.ReasonMandateRevoked {
		t.Errorf("the outcome of a request that was ended: %+v", got)
	}
	if n := len(b.events.outcomes); n != 2 {
		t.Errorf("%d outcomes, want 2", n)
	}
	if err := stop(); err != nil {
		t.Errorf("the server did not stop cleanly while the log was open: %v", err)
	}
}
