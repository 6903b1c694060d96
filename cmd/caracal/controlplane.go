package main

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/caracal-gateway/caracal/controlplane"
	"github.com/caracal-gateway/caracal/controlplane/api"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
	"github.com/caracal-gateway/caracal/controlplane/replica"
	"github.com/caracal-gateway/caracal/controlplane/serve"
	"github.com/caracal-gateway/caracal/controlplane/sync"
)

func (p *program) controlPlane() *cobra.Command {
	c := &cobra.Command{Use: "controlplane", Short: "Run the control plane: REST and the gateways' sync on one port", Args: cobra.NoArgs}
	settings := p.bind(c, controlPlaneSettings())
	c.RunE = func(cmd *cobra.Command, _ []string) error { return p.runControlPlane(cmd.Context(), settings) }
	c.AddCommand(p.acceptRestore())
	return c
}

func (p *program) runControlPlane(ctx context.Context, settings *values) error {
	log, err := p.logger(settings)
	if err != nil {
		return err
	}
	people, err := readSignIn(settings)
	if err != nil {
		return err
	}
	service, store, err := openService(settings, people.sessions, log)
	if err != nil {
		return err
	}
	defer store.Close()
	perSecond, err := strconv.Atoi(settings.text("requests-per-second"))
	if err != nil {
		return &usageError{"CARACAL_REQUESTS_PER_SECOND must be a number"}
	}
	proxies, err := settings.networks("trusted-proxies")
	if err != nil {
		return err
	}
	pages, err := people.pages(service, proxies, log)
	if err != nil {
		return err
	}
	rest, err := api.New(api.Config{
		Service: service, Version: version, Log: log, RequestsPerSecond: perSecond, TrustedProxies: proxies, Browser: credentialOf(pages),
	})
	if err != nil {
		return err
	}
	certificate, err := certificate(settings)
	if err != nil {
		return err
	}
	listener, err := listen(ctx, settings, certificate != nil)
	if err != nil {
		return err
	}
	log.Info("control plane listens", "address", listener.Addr().String(), "tls", certificate != nil)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return service.Run(ctx) })
	group.Go(func() error { return service.RequireHost(ctx) })
	group.Go(func() error {
		return serve.Run(ctx, serve.Config{
			Listener: listener, TLS: certificate, REST: withPages(pages, rest), GRPC: sync.New(ctx, service, time.Now, log), Log: log,
		})
	})
	return group.Wait()
}

func openService(settings *values, people controlplane.SignIn, log *slog.Logger) (*controlplane.Service, *postgres.Store, error) {
	url, masterKey, err := databaseAndKey(settings)
	if err != nil {
		return nil, nil, err
	}
	setupKey, err := settings.secret("setup-key-file")
	if err != nil {
		return nil, nil, err
	}
	grace, err := settings.grace()
	if err != nil {
		return nil, nil, err
	}
	quotas, err := settings.quotas()
	if err != nil {
		return nil, nil, err
	}
	issuers, err := settings.networks("issuer-networks")
	if err != nil {
		return nil, nil, err
	}
	redis, err := settings.secret("redis-url-file")
	if err != nil {
		return nil, nil, err
	}
	shared, err := replica.Open(replica.Config{RedisURL: redis, Log: log, Now: time.Now})
	if err != nil {
		return nil, nil, fmt.Errorf("CARACAL_REDIS_URL: %w", err)
	}
	store, err := postgres.Open(postgres.Config{URL: url})
	if err != nil {
		return nil, nil, err
	}
	service, err := controlplane.New(controlplane.Config{
		Store: store, Replica: shared, MasterKey: masterKey, SetupKey: setupKey, SignIn: people,
		Grace: grace, Quotas: quotas, IssuerNetworks: issuers, Log: log, Now: time.Now,
	})
	if err != nil {
		store.Close()
		return nil, nil, err
	}
	return service, store, nil
}

// databaseAndKey are where the database is, and what opens the private keys in it.
func databaseAndKey(settings *values) (url string, masterKey []byte, err error) {
	if url, err = settings.required("database-url-file"); err != nil {
		return "", nil, err
	}
	if _, err := settings.required("master-key-file"); err != nil {
		return "", nil, err
	}
	encoded, err := settings.secret("master-key-file")
	if err != nil {
		return "", nil, err
	}
	if masterKey, err = base64.StdEncoding.DecodeString(encoded); err != nil {
		return "", nil, fmt.Errorf("CARACAL_MASTER_KEY_FILE does not hold base64: make one with `head -c 32 /dev/urandom | base64`")
	}
	return url, masterKey, nil
}

// certificate is the port's TLS; nil without a certificate.
func certificate(settings *values) (*tls.Config, error) {
	cert, key := settings.text("tls-cert"), settings.text("tls-key")
	if cert == "" && key == "" {
		return nil, nil
	}
	if cert == "" || key == "" {
		return nil, &usageError{"set both of CARACAL_TLS_CERT and CARACAL_TLS_KEY, or neither"}
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate: %w", err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, nil
}

// listen opens the port. Keys travel through it, so that without TLS it is for this machine only, unless told otherwise.
func listen(ctx context.Context, settings *values, encrypted bool) (net.Listener, error) {
	address := settings.text("listen")
	plain, err := settings.boolean("allow-plain")
	if err != nil {
		return nil, err
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, &usageError{fmt.Sprintf("CARACAL_LISTEN %q is not of the form address:port", address)}
	}
	if ip := net.ParseIP(host); !encrypted && !plain && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, &usageError{fmt.Sprintf("CARACAL_LISTEN %q would carry keys unencrypted: set CARACAL_TLS_CERT and CARACAL_TLS_KEY, or CARACAL_ALLOW_PLAIN=true behind a proxy that ends TLS", address)}
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("opening CARACAL_LISTEN: %w", err)
	}
	return listener, nil
}

// logger writes JSON lines to stderr.
func (p *program) logger(settings *values) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(settings.text("log-level"))); err != nil {
		return nil, &usageError{"CARACAL_LOG_LEVEL must be debug, info, warn or error"}
	}
	return slog.New(slog.NewJSONHandler(p.stderr, &slog.HandlerOptions{Level: level, ReplaceAttr: durationsInWords})), nil
}

// durationsInWords writes 1.5s where JSON would have a number of nanoseconds.
func durationsInWords(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}
