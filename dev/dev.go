// Package dev runs all of Caracal on one machine: a private PostgreSQL, the control plane, one gateway with its Envoy,
// and an HTTPS upstream that echoes what it receives. It sets up a small workspace, plays the main job step by step,
// and stays up until it is told to stop. Nothing that it starts outlives it.
package dev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/caracal-gateway/caracal/provision"
)

// Config is what a run needs.
type Config struct {
	// Executable is this program, which is started again as control plane and as gateway.
	Executable string
	// Project is the directory with demo/ in it, where .caracal/dev.env is written.
	Project string
	// StateDir overrides where databases, keys and logs are kept; empty means .caracal in the project where
	// PostgreSQL's account can reach it.
	StateDir string
	// Ports of the listeners, all on 127.0.0.1.
	ControlPort, GatewayPort, ProxyPort, UpstreamPort int
	// Gateways is how many gateways there are, 1 to [MaxGateways], on ports from GatewayPort and from ProxyPort on.
	Gateways int
	// DatabaseURL is a superuser's URL of a PostgreSQL server from version 15; empty means a private one.
	DatabaseURL string
	Getenv      func(string) string
	Environment []string // of the programs that are started
	Out         io.Writer
}

// Settings that choose the ports, named where a port is taken.
const (
	ControlPortSetting  = "CARACAL_DEV_CONTROL_PORT"
	GatewayPortSetting  = "CARACAL_DEV_GATEWAY_PORT"
	ProxyPortSetting    = "CARACAL_DEV_PROXY_PORT"
	UpstreamPortSetting = "CARACAL_DEV_UPSTREAM_PORT"
)

// dyingTime is how long what has just been killed may hold a port or the state directory.
const dyingTime = 2 * time.Second

// Run starts everything, plays the story, and stays until ctx ends. It returns once all that it started has stopped.
func Run(ctx context.Context, c Config) error {
	if _, err := os.Stat(c.demo(policyFile)); err != nil {
		return fmt.Errorf("%s is not Caracal's project (%w): run this in the directory that holds demo/", c.Project, err)
	}
	state, err := provision.StateDir(c.Project, c.StateDir, os.Getuid())
	if err != nil {
		return err
	}
	unlock, err := lock(ctx, state)
	if err != nil {
		return err
	}
	defer unlock()
	if err := c.awaitPorts(ctx); err != nil {
		return err
	}
	s, err := c.start(ctx, state)
	if err == nil {
		defer s.stop()
		err = s.live(ctx)
	}
	if ctx.Err() != nil {
		return nil // whoever stops a start knows why nothing got ready
	}
	return err
}

// Clean removes what runs keep: the database, keys, logs and the environment file.
func Clean(ctx context.Context, c Config) error {
	state, err := provision.StateDir(c.Project, c.StateDir, os.Getuid())
	if err != nil {
		return err
	}
	unlock, err := lock(ctx, state)
	if err != nil {
		return err
	}
	defer unlock()
	kept := []string{"postgres", "logs", "credentials", "roots.pem", "upstream-ca.pem", "upstream.key", "upstream.pem", "master.key", "setup.key", "workspace.json"}
	for g := 1; g <= MaxGateways; g++ {
		kept = append(kept, place(g))
	}
	for _, name := range kept {
		if err := os.RemoveAll(filepath.Join(state, name)); err != nil {
			return fmt.Errorf("remove local data: %w", err)
		}
	}
	if err := os.Remove(c.environmentFile()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove local data: %w", err)
	}
	c.say("removed the database, keys and logs in %s", state)
	if c.DatabaseURL != "" {
		c.say("the database %s of CARACAL_DATABASE_URL is left alone: drop it before the next start", databaseName)
	}
	return nil
}

// startOver is what helps where a former run's data cannot be used.
func (c Config) startOver() string {
	if c.DatabaseURL != "" {
		return "`make clean-data` and dropping the database " + databaseName + " of CARACAL_DATABASE_URL start over"
	}
	return "`make clean-data` starts over"
}

// demo is the path of a file that comes with the project.
func (c Config) demo(name string) string { return filepath.Join(c.Project, "demo", name) }

func (c Config) environmentFile() string { return filepath.Join(c.Project, ".caracal", "dev.env") }

// lock makes the state directory this process's own until it ends. It gives a former owner that was killed the time to
// go.
func lock(ctx context.Context, state string) (unlock func(), err error) {
	file, err := os.OpenFile(filepath.Join(state, "dev.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the state directory: %w", err)
	}
	for deadline := time.Now().Add(dyingTime); ; {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = file.Close() }, nil // the end of the process releases it as well
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return nil, errors.Join(fmt.Errorf("another `caracal dev` runs in %s; stop it first, with Ctrl-C in its terminal", state), file.Close())
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// awaitPorts gives what a killed run had started the moment that it takes to go.
func (c Config) awaitPorts(ctx context.Context) error {
	for deadline := time.Now().Add(dyingTime); ; {
		err := c.checkPorts(ctx)
		if err == nil || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// checkPorts names each port that is taken with the setting that changes it, before anything is fetched or started.
func (c Config) checkPorts(ctx context.Context) error {
	var taken []error
	type port struct {
		port         int
		what, change string
	}
	ports := []port{{c.ControlPort, "control plane", ControlPortSetting}, {c.UpstreamPort, "echo upstream", UpstreamPortSetting}}
	for g := 1; g <= c.Gateways; g++ {
		ports = append(ports, port{c.gatewayPort(g), "gateway", GatewayPortSetting}, port{c.proxyPort(g), "gateway's proxy", ProxyPortSetting})
	}
	for _, p := range ports {
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp", loopback(p.port))
		if err != nil {
			taken = append(taken, fmt.Errorf("port %d of the %s is taken: stop what listens there, or choose another with %s", p.port, p.what, p.change))
			continue
		}
		if err := listener.Close(); err != nil {
			return fmt.Errorf("look at port %d: %w", p.port, err)
		}
	}
	return errors.Join(taken...)
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// say prints a line about the start.
func (c Config) say(format string, args ...any) {
	fmt.Fprintf(c.Out, format+"\n", args...)
}

// logger tells on the terminal what becomes of the programs that were started.
func (c Config) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(c.Out, &slog.HandlerOptions{
		Level: slog.LevelWarn,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				a.Value = slog.StringValue(a.Value.Time().Format(time.TimeOnly))
			}
			return a
		},
	}))
}
