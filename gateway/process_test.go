package gateway_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/extauthz"
	"github.com/caracal-gateway/caracal/gateway"
	"github.com/caracal-gateway/caracal/token"
)

// processVariable holds the order of a test binary that is to be a gateway process and nothing else.
const processVariable = "CARACAL_TEST_GATEWAY"

// order is what such a process runs with.
type order struct {
	Control, Key, Workspace, StateDir, Envoy string
	Listen                                   netip.AddrPort
	Roots                                    []byte
	Interval                                 time.Duration
}

func TestMain(m *testing.M) {
	if text := os.Getenv(processVariable); text != "" {
		if err := obey(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func obey(text string) error {
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	control, err := url.Parse(o.Control)
	if err != nil {
		return err
	}
	key, err := token.ParseAPIKey(o.Key)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	return gateway.Run(ctx, gateway.Config{
		Control: control, Key: key, Workspace: o.Workspace, Interval: o.Interval, Listen: o.Listen, Roots: o.Roots,
		StateDir: o.StateDir, EnvoyPath: o.Envoy, Instance: "process", Version: "test",
		Credentials: extauthz.NewCredentials("", func(string) (string, bool) { return "", false }),
		Log:         slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
}

// process is a gateway in a process of its own.
type process struct {
	t       *testing.T
	command *exec.Cmd
	ended   chan struct{}
}

// spawn starts a gateway like start does, in a process that can be stopped and killed.
func (r *rig) spawn() *process {
	r.t.Helper()
	if r.envoy == "" {
		r.envoy = envoyBinary(r.t)
	}
	text, err := json.Marshal(order{
		Control: r.control.url(), Key: r.key.Reveal(), Workspace: r.slug, StateDir: r.stateDir, Envoy: r.envoy,
		Listen: r.listen, Roots: r.anyRoots(), Interval: time.Second,
	})
	if err != nil {
		r.t.Fatal(err)
	}
	p := &process{t: r.t, command: exec.Command(os.Args[0]), ended: make(chan struct{})}
	p.command.Env = append(os.Environ(), processVariable+"="+string(text))
	p.command.Stdout, p.command.Stderr = r.log, r.log
	if err := p.command.Start(); err != nil {
		r.t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		_ = p.command.Wait() // how it ended is for the log to say
	}()
	r.t.Cleanup(func() {
		_ = p.command.Process.Signal(syscall.SIGCONT)
		p.end(syscall.SIGTERM)
		if r.t.Failed() {
			r.t.Logf("log of the gateway:\n%s", r.log)
		}
	})
	return p
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.command.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// end ends the process with a signal and waits for it.
func (p *process) end(s syscall.Signal) {
	p.t.Helper()
	if err := p.command.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Fatal(err)
	}
	select {
	case <-p.ended:
	case <-time.After(patience):
		_ = p.command.Process.Kill()
		p.t.Errorf("the gateway runs on after %s", s)
	}
}
