package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/extauthz"
	"github.com/caracal-gateway/caracal/lease"
	"github.com/caracal-gateway/caracal/token"
)

// serve runs one of the services until it is told to end.
func serve(ctx context.Context, _ io.Writer, arguments []string) error {
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	socket := flags.String("socket", "", "where to answer checks")
	dir := flags.String("scenario", "", "directory of the scenario")
	what := flags.String("what", "noop", "noop or caracal")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", *socket)
	if err != nil {
		return fmt.Errorf("serve %s: %w", *what, err)
	}
	switch *what {
	case "noop":
		return serveNoop(ctx, listener)
	case "caracal":
		return serveCaracal(ctx, listener, *dir)
	}
	return fmt.Errorf("there is no service %q", *what)
}

// noop says yes to everything: what is left is what asking costs.
type noop struct {
	authv3.UnimplementedAuthorizationServer
}

func (noop) Check(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	return &authv3.CheckResponse{
		Status:       &status.Status{},
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{}},
	}, nil
}

func serveNoop(ctx context.Context, listener net.Listener) error {
	server := grpc.NewServer()
	authv3.RegisterAuthorizationServer(server, noop{})
	defer context.AfterFunc(ctx, server.Stop)()
	return server.Serve(listener)
}

// unrecorded drops events: OPA's decision log is off as well.
type unrecorded struct{}

func (unrecorded) Record(authority.Event)                          {}
func (unrecorded) Outcome(authority.DecisionID, authority.Outcome) {}

func serveCaracal(ctx context.Context, listener net.Listener, dir string) error {
	sealed, err := os.ReadFile(filepath.Join(dir, stateFile))
	if err != nil {
		return err
	}
	root, err := os.ReadFile(filepath.Join(dir, rootFile))
	if err != nil {
		return err
	}
	reader, err := bundle.NewReader(bytes.NewReader(sealed), bundle.Trust{Root: token.Fingerprint(root)})
	if err != nil {
		return err
	}
	snapshot, err := extauthz.NewSnapshot(ctx, reader)
	if err != nil {
		return err
	}
	service := extauthz.New(extauthz.Config{
		Clock: extauthz.NewClock(extauthz.BootTime, time.Now), Read: extauthz.ReadClocks,
		Recorder: unrecorded{}, Credentials: extauthz.NewCredentials("", func(string) (string, bool) { return "", false }),
		Routes: func(string) bool { return true }, Log: slog.New(slog.DiscardHandler),
	})
	service.Hold(lease.From(extauthz.ReadClocks(), 1, lease.MaxTerm))
	service.Enforce(snapshot, extauthz.Change{All: true})
	return service.Serve(ctx, listener)
}
