// Package serve runs the control plane's one port: REST over HTTP/1.1 and HTTP/2, and gRPC on the same listener, with
// TLS or, on a laptop, without it.
package serve

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"
)

const (
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 2 * time.Minute
	// pingAfter is how long an HTTP/2 connection may be silent before its client is asked for a sign of life, and how
	// long that may take: a gateway whose host is gone is not connected.
	pingAfter = 15 * time.Second
	// shutdownGrace is how long running requests may take to end after the server is told to stop. Streams of gateways
	// never end by themselves, so what is open afterwards is cut.
	shutdownGrace  = 5 * time.Second
	maxHeaderBytes = 64 << 10
)

// Config is what the port serves.
type Config struct {
	Listener net.Listener
	// TLS, if set, is required of every client; without it HTTP/2 is spoken unencrypted to those that start with it.
	TLS  *tls.Config
	REST http.Handler
	GRPC http.Handler
	Log  *slog.Logger
}

// Run serves until the context ends or the listener fails. When the context ends, running requests get five seconds to
// end and Run returns nil.
func Run(ctx context.Context, cfg Config) error {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(cfg.TLS != nil)
	protocols.SetUnencryptedHTTP2(cfg.TLS == nil)
	server := &http.Server{
		Handler:           split(cfg.REST, cfg.GRPC),
		TLSConfig:         cfg.TLS,
		Protocols:         protocols,
		HTTP2:             &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingAfter},
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(cfg.Log.Handler(), slog.LevelWarn),
		BaseContext:       func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
	}
	ended := make(chan error, 1)
	go func() {
		if cfg.TLS != nil {
			ended <- server.ServeTLS(cfg.Listener, "", "")
		} else {
			ended <- server.Serve(cfg.Listener)
		}
	}()
	select {
	case err := <-ended:
		return fmt.Errorf("serving %s: %w", cfg.Listener.Addr(), err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer cancel()
	if err := server.Shutdown(grace); errors.Is(err, context.DeadlineExceeded) {
		return server.Close()
	} else if err != nil {
		return fmt.Errorf("stopping %s: %w", cfg.Listener.Addr(), err)
	}
	return nil
}

// split sends gRPC, which only HTTP/2 carries, to its own handler and everything else to REST.
func split(rest, grpc http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 2 && strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
			grpc.ServeHTTP(w, r)
			return
		}
		rest.ServeHTTP(w, r)
	})
}
