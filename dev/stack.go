package dev

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/caracal-gateway/caracal/child"
	"github.com/caracal-gateway/caracal/internal/echo"
	"github.com/caracal-gateway/caracal/provision"
)

const (
	// UpstreamHost is the name of the echo upstream, which only the gateway can resolve.
	UpstreamHost = "echo.caracal.test"
	databaseName = "caracal"
	ownerRole    = "caracal_owner"
	appRole      = "caracal_app"
	startTimeout = 60 * time.Second
	stopTimeout  = 10 * time.Second
	// refusedStatus is how a gateway ends that has no state to start from and is refused by its control plane.
	refusedStatus = 3
)

// stack is everything that runs.
type stack struct {
	Config
	state    string // directory
	upstream upstreamFiles
	envoy    string // path of the binary
	running  []func()
	failed   chan error // what ended although it should not have
}

// start brings the parts up in the order in which they need each other. What was started is stopped again when a later
// part fails.
func (c Config) start(ctx context.Context, state string) (_ *stack, err error) {
	s := &stack{Config: c, state: state, failed: make(chan error, 8+2*MaxGateways)}
	defer func() {
		if err != nil {
			s.stop()
		}
	}()
	began := time.Now()
	for _, step := range []func(context.Context) error{s.prepare, s.fetch, s.startUpstream, s.startControlPlane} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	c.say("started PostgreSQL and the control plane in %.1f s", time.Since(began).Seconds())
	return s, nil
}

// stop ends what was started, the newest first.
func (s *stack) stop() {
	for _, end := range slices.Backward(s.running) {
		end()
	}
	s.running = nil
}

// prepare makes the files that runs share: directories, the master key, the setup key, the upstream's CA.
func (s *stack) prepare(context.Context) error {
	directories := []string{"logs", "credentials"}
	for g := 1; g <= s.Gateways; g++ {
		directories = append(directories, place(g))
	}
	for _, name := range directories {
		if err := os.MkdirAll(filepath.Join(s.state, name), 0o700); err != nil {
			return fmt.Errorf("make state directory: %w", err)
		}
	}
	if err := os.MkdirAll(filepath.Dir(s.environmentFile()), 0o700); err != nil {
		return fmt.Errorf("make directory of the environment file: %w", err)
	}
	// It names what a former run had; it appears again when all of this run works.
	if err := os.Remove(s.environmentFile()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove environment file: %w", err)
	}
	for _, name := range []string{"master.key", "setup.key"} {
		if err := keepSecret(filepath.Join(s.state, name)); err != nil {
			return err
		}
	}
	var err error
	s.upstream, err = keepUpstream(s.state)
	return err
}

// keepSecret writes 32 random bytes in base64 where there is no file yet.
func keepSecret(path string) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("make secret: %w", err)
	}
	secret := make([]byte, 32)
	rand.Read(secret)
	_, err = io.WriteString(file, base64.StdEncoding.EncodeToString(secret)+"\n")
	return errors.Join(err, file.Close())
}

func (s *stack) fetch(ctx context.Context) error {
	cache, err := provision.CacheDir(s.Getenv, os.Getuid())
	if err != nil {
		return err
	}
	s.envoy, err = provision.Envoy(ctx, s.provisioning(cache))
	return err
}

func (s *stack) provisioning(cache string) provision.Config {
	return provision.Config{Getenv: s.Getenv, CacheDir: cache, Progress: s.Out}
}

func (s *stack) startUpstream(ctx context.Context) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", loopback(s.UpstreamPort))
	if err != nil {
		return fmt.Errorf("start echo upstream: %w", err)
	}
	s.background(func(ctx context.Context) error {
		return echo.Serve(ctx, listener, s.upstream.certificate, echo.Handler(&echo.Recorder{}))
	})
	return nil
}

// background runs a part in this process until the stack stops.
func (s *stack) background(run func(context.Context) error) {
	running, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := run(running); err != nil {
			s.failed <- err
		}
	}()
	s.running = append(s.running, func() { cancel(); <-ended })
}

// startControlPlane starts PostgreSQL, brings its schema up to date, and starts the control plane on it.
func (s *stack) startControlPlane(ctx context.Context) error {
	admin, err := s.database(ctx)
	if err != nil {
		return err
	}
	owner, app, err := roles(ctx, admin)
	if err != nil && s.DatabaseURL != "" {
		return fmt.Errorf("use the server of CARACAL_DATABASE_URL, as a superuser: %w", err)
	}
	if err != nil {
		return err
	}
	if err := s.once(ctx, "migrate", []string{"migrate"}, "CARACAL_MIGRATE_DATABASE_URL="+owner); err != nil {
		return err
	}
	if err := s.keep("controlplane", []string{"controlplane"},
		"CARACAL_DATABASE_URL="+app,
		"CARACAL_LISTEN="+loopback(s.ControlPort),
		"CARACAL_PUBLIC_URL="+s.controlURL(),
		"CARACAL_MASTER_KEY_FILE="+filepath.Join(s.state, "master.key"),
		"CARACAL_SETUP_KEY_FILE="+filepath.Join(s.state, "setup.key"),
	); err != nil {
		return err
	}
	return s.await(ctx, "control plane", "controlplane", s.controlURL()+"/ready")
}

func (s *stack) controlURL() string { return "http://" + loopback(s.ControlPort) }
func (s *stack) gatewayURL() string { return "http://" + loopback(s.GatewayPort) }

// roles makes the database and the two roles of the control plane, with new passwords.
func roles(ctx context.Context, admin string) (owner, app string, err error) {
	urls := map[string]string{}
	for _, role := range []string{ownerRole, appRole} {
		password := rand.Text()
		if err := provision.EnsureRole(ctx, admin, role, password); err != nil {
			return "", "", err
		}
		if urls[role], err = provision.RoleURL(admin, role, password, databaseName); err != nil {
			return "", "", err
		}
	}
	if err := provision.EnsureDatabase(ctx, admin, databaseName, ownerRole); err != nil {
		return "", "", err
	}
	return urls[ownerRole], urls[appRole], nil
}

// keep starts this program under another command and keeps it running; its output goes to a file in logs.
func (s *stack) keep(name string, arguments []string, settings ...string) error {
	log, err := os.OpenFile(s.logFile(name), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	program := child.Program{
		Name: name, Path: s.Executable, Arguments: arguments, Environment: append(slices.Clone(s.Environment), settings...),
		Line:  func(line string) { fmt.Fprintln(log, line) },
		Grace: stopTimeout, Final: refusedStatus, Log: s.logger(),
	}
	go func() {
		defer close(ended)
		err := program.Run(ctx)
		if errors.Is(err, child.ErrFinal) {
			err = s.refusal(name)
		}
		if err != nil {
			s.failed <- err
		}
	}()
	s.running = append(s.running, sync.OnceFunc(func() {
		cancel()
		<-ended
		_ = log.Close() // nothing is written any more
	}))
	return nil
}

// once runs this program under another command to its end.
func (s *stack) once(ctx context.Context, name string, arguments []string, settings ...string) error {
	log, err := os.OpenFile(s.logFile(name), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	defer log.Close()
	// The kernel sends the death signal when the thread that started the program ends, so that thread has to stay.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	command := exec.CommandContext(ctx, s.Executable, arguments...)
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	command.Env = append(slices.Clone(s.Environment), settings...)
	command.Stdout, command.Stderr = log, log
	if err := command.Run(); err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, tail(s.logFile(name)))
	}
	return nil
}

func (s *stack) logFile(name string) string { return filepath.Join(s.state, "logs", name+".log") }

// await polls an address until it answers 200, or that this will not come.
func (s *stack) await(ctx context.Context, what, log, url string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	client := &http.Client{Timeout: 2 * time.Second}
	last := "no answer"
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return fmt.Errorf("wait for the %s: %w", what, err)
		}
		if response, err := client.Do(request); err == nil {
			body, _ := io.ReadAll(io.LimitReader(response.Body, 4096)) // for the message only
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
			if last = string(body); refused(body) {
				return s.refusal(log)
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the %s did not get ready: %s\n%s", what, last, tail(s.logFile(log)))
		case err := <-s.failed:
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// tail is the end of a log, for an error message.
func tail(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return "(no log: " + err.Error() + ")"
	}
	const most = 2000
	if len(text) > most {
		text = text[len(text)-most:]
	}
	return "the end of " + path + ":\n" + string(text)
}
