package clients_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// patience is how long anything may take that is waited for.
const patience = 60 * time.Second

// program is a server that runs in a process of its own until its test ends.
type program struct {
	name    string
	log     string
	command *exec.Cmd
	ended   chan struct{}
}

// start runs a program on a thread that lives as long as it does: the kernel sends the signal of a parent's death when the
// thread ends that started the child.
func start(t *testing.T, name, log string, command *exec.Cmd) *program {
	t.Helper()
	output, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	p := &program{name: name, log: log, command: command, ended: make(chan struct{})}
	if command.Stdout == nil {
		command.Stdout = output
	}
	command.Stderr = output
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer output.Close()
		err := command.Start()
		started <- err
		if err == nil {
			_ = command.Wait() // it is told to end
			close(p.ended)
		}
	}()
	if err := <-started; err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	t.Cleanup(func() { p.stop(t) })
	return p
}

// stop ends the program in order, and shows the end of its log when the test failed.
func (p *program) stop(t *testing.T) {
	_ = p.command.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(20 * time.Second):
		_ = p.command.Process.Kill()
		<-p.ended
	}
	if text, err := os.ReadFile(p.log); err == nil && t.Failed() {
		const most = 3000
		t.Logf("the end of the log of %s:\n%s", p.name, text[max(0, len(text)-most):])
	}
}

// await polls an address until it answers 200.
func (p *program) await(ctx context.Context, url string) error {
	var last error
	err := until(ctx, p.name+" is ready", func() bool {
		last = probe(ctx, url)
		return last == nil
	})
	if err != nil {
		return fmt.Errorf("%w: %w", err, last)
	}
	return nil
}

// until asks again and again whether something is so.
func until(ctx context.Context, what string, so func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited until %s: %w", what, ctx.Err())
		case <-tick.C:
		}
	}
	return nil
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
