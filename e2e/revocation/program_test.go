package revocation_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// patience is how long anything may take that is waited for.
const patience = 60 * time.Second

// program is one of ours that runs in a process of its own, and can be frozen, killed and started again.
type program struct {
	name        string
	path        string
	arguments   []string
	environment []string
	log         string

	command *exec.Cmd
	ended   chan struct{}
}

// start runs the program on a thread that lives as long as it does: the kernel sends the signal of a parent's death when
// the thread ends that started the child.
func (p *program) start() error {
	output, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	p.command = exec.Command(p.path, p.arguments...)
	p.command.Env, p.command.Stdout, p.command.Stderr = p.environment, output, output
	p.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	command, ended, started := p.command, make(chan struct{}), make(chan error)
	p.ended = ended
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer output.Close()
		err := command.Start()
		started <- err
		if err == nil {
			_ = command.Wait() // it is killed, mostly
			close(ended)
		}
	}()
	return <-started
}

func (p *program) signal(s syscall.Signal) error {
	return p.command.Process.Signal(s)
}

// kill ends the program at once and waits until it is gone.
func (p *program) kill() error {
	err := p.signal(syscall.SIGKILL)
	<-p.ended
	return err
}

// supervise starts the program again when it has ended by itself, as whoever runs it in earnest does: one that was killed
// leaves its port to its Envoy for a moment.
func (p *program) supervise() error {
	select {
	case <-p.ended:
		return p.start()
	default:
		return nil
	}
}

// stop ends it in order.
func (p *program) stop() {
	_ = p.signal(syscall.SIGCONT)
	_ = p.signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(20 * time.Second):
		_ = p.kill()
	}
}

// cleanUp ends the program with its test, and shows its log when the test failed.
func (p *program) cleanUp(t *testing.T) {
	t.Cleanup(func() {
		p.stop()
		if !t.Failed() {
			return
		}
		if text, err := os.ReadFile(p.log); err == nil {
			const most = 1500
			t.Logf("the end of the log of %s:\n%s", p.name, text[max(0, len(text)-most):])
		}
	})
}

// await polls an address until it answers 200, and keeps the program behind it running.
func (p *program) await(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var last error
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if last = errors.Join(p.supervise(), probe(ctx, url)); last == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not get ready: %w", p.name, last)
		case <-tick.C:
		}
	}
}

func probe(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 4<<10))
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, body)
	}
	return err
}

// build compiles the program of this tree, or of this tree with some files replaced.
func build(t *testing.T, overlay string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "caracal")
	arguments := []string{"build", "-o", path}
	if overlay != "" {
		arguments = append(arguments, "-overlay", overlay)
	}
	out, err := exec.CommandContext(t.Context(), "go", append(arguments, "github.com/caracal-gateway/caracal/cmd/caracal")...).CombinedOutput()
	if err != nil {
		t.Fatalf("build caracal: %v\n%s", err, out)
	}
	return path
}
