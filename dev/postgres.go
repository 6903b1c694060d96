package dev

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/caracal-gateway/caracal/provision"
)

// database gives a superuser's URL of the server to use, starting a private one where none was named.
func (s *stack) database(ctx context.Context) (string, error) {
	if s.DatabaseURL != "" {
		return s.DatabaseURL, nil
	}
	cache, err := provision.CacheDir(s.Getenv, os.Getuid())
	if err != nil {
		return "", err
	}
	binaries, err := provision.PostgresBinaries(ctx, s.provisioning(cache))
	if err != nil {
		return "", err
	}
	config := provision.PostgresConfig{Binaries: binaries, Dir: filepath.Join(s.state, "postgres"), Durable: true, Log: s.logger()}
	server, err := provision.StartPostgres(ctx, config)
	if err != nil {
		return "", err
	}
	config.Port = server.Port() // the control plane knows it; a new server takes the same
	s.superviseDatabase(server, config)
	return server.URL("postgres"), nil
}

// superviseDatabase starts PostgreSQL again when it dies, until the stack stops.
func (s *stack) superviseDatabase(server *provision.Postgres, config provision.PostgresConfig) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			select {
			case <-ctx.Done():
			case <-server.Done():
				s.say("PostgreSQL ended (%v); starting it again", server.Err())
				_ = server.Stop(ctx) // gives its lock back; the process is gone
				again, err := restart(ctx, config)
				if err != nil {
					s.failed <- err
					return
				}
				server = again
			}
		}
		stopping, done := context.WithTimeout(context.Background(), stopTimeout)
		defer done()
		if err := server.Stop(stopping); err != nil {
			s.say("PostgreSQL did not stop in time: %v", err)
		}
	}()
	s.running = append(s.running, sync.OnceFunc(func() { cancel(); <-ended }))
}

// restart tries for a while: what is left of a killed server takes a moment to go.
func restart(ctx context.Context, config provision.PostgresConfig) (*provision.Postgres, error) {
	deadline := time.Now().Add(startTimeout)
	for {
		server, err := provision.StartPostgres(ctx, config)
		if err == nil {
			return server, nil
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			return nil, fmt.Errorf("start PostgreSQL again: %w", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(500 * time.Millisecond):
		}
	}
}
