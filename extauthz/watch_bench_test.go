package extauthz_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	procv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/envoy"
	"github.com/caracal-gateway/caracal/extauthz"
	"github.com/caracal-gateway/caracal/internal/world"
	"github.com/caracal-gateway/caracal/lease"
)

// benchmarked is a service on a socket with real clocks, and the connection of an Envoy.
func benchmarked(b *testing.B) (*bench, *grpc.ClientConn) {
	w := &bench{World: world.New(b, start)}
	w.State.Workspace.Settings.ShortRequestSeconds = 2
	w.service = extauthz.New(extauthz.Config{
		Clock:    extauthz.NewClock(extauthz.BootTime, func() time.Time { return start }),
		Recorder: nobody{}, Credentials: extauthz.NewCredentials("", func(string) (string, bool) { return "", false }),
		Routes: func(string) bool { return true }, Read: extauthz.ReadClocks, Log: slog.New(slog.DiscardHandler),
	})
	w.enforce(b)
	w.service.Hold(lease.From(extauthz.ReadClocks(), 1, lease.MaxTerm))
	path := filepath.Join(b.TempDir(), "authz.sock")
	listener, err := net.Listen("unix", path)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.service.Serve(ctx, listener) }()
	connection, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = connection.Close() // the server ends it too
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	})
	return w, connection
}

// watchFor opens the watch of a permitted request, and gives what ends it.
func watchFor(b *testing.B, client procv3.ExternalProcessorClient, answer *authv3.CheckResponse) procv3.ExternalProcessor_ProcessClient {
	stream, err := client.Process(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	id := answer.GetDynamicMetadata().GetFields()[envoy.MetadataDecisionID].GetStringValue()
	if err := stream.Send(describing(id)); err != nil {
		b.Fatal(err)
	}
	if said, err := stream.Recv(); err != nil || said.GetRequestHeaders() == nil {
		b.Fatal(said, err)
	}
	return stream
}

// BenchmarkRequest is what the decision service does for one request over its socket: the check alone, and the check with
// the watch that is opened and closed again.
func BenchmarkRequest(b *testing.B) {
	for name, duration := range map[string]int64{"short": 1, "watched": 0} {
		b.Run(name, func(b *testing.B) {
			w, connection := benchmarked(b)
			w.State.Destinations[0].MaxDurationSeconds = duration
			w.enforce(b)
			checks, watches := authv3.NewAuthorizationClient(connection), procv3.NewExternalProcessorClient(connection)
			check := w.proxied().check()
			b.ReportAllocs()
			for b.Loop() {
				answer, err := checks.Check(context.Background(), check)
				if err != nil || answer.GetOkResponse() == nil {
					b.Fatal(answer, err)
				}
				if duration == 0 {
					stream := watchFor(b, watches, answer)
					_ = stream.CloseSend()
					_, _ = stream.Recv() // io.EOF
				}
			}
		})
	}
}

// BenchmarkCut is one change among 2,000 live streams: what does not concern them, one of them, and a policy that is asked
// about all of them again.
func BenchmarkCut(b *testing.B) {
	const live = 2000
	for name, change := range map[string]func(*bench) extauthz.Change{
		"nobody": func(w *bench) extauthz.Change {
			return extauthz.Change{Principals: []authority.PrincipalID{w.Service.ID}}
		},
		"all are judged again": func(*bench) extauthz.Change { return extauthz.Change{All: true} },
	} {
		b.Run(fmt.Sprintf("%s of %d", name, live), func(b *testing.B) {
			w, connection := benchmarked(b)
			watches := procv3.NewExternalProcessorClient(connection)
			check := w.proxied().check()
			for range live {
				answer, err := w.service.Check(context.Background(), check)
				if err != nil || answer.GetOkResponse() == nil {
					b.Fatal(answer, err)
				}
				watchFor(b, watches, answer)
			}
			snapshot, err := extauthz.NewSnapshot(context.Background(), w.Reader())
			if err != nil {
				b.Fatal(err)
			}
			what := change(w)
			b.ReportAllocs()
			for b.Loop() {
				if cut := w.service.Enforce(snapshot, what); cut != 0 {
					b.Fatalf("%d were cut", cut)
				}
			}
		})
	}
}

// BenchmarkGate is what the last step of a decision costs: both clocks are read, and what is enforced is looked at again.
func BenchmarkGate(b *testing.B) {
	held := lease.From(extauthz.ReadClocks(), 1, lease.MaxTerm)
	b.ReportAllocs()
	for b.Loop() {
		if lease.Pass(1, 1, held, extauthz.ReadClocks()) != lease.Passes {
			b.Fatal("the lease does not hold")
		}
	}
}
