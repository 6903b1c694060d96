package gateway

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
)

// Bounds of Envoy's supervision. A restart waits the shortest pause first and doubles it while Envoy keeps dying young.
const (
	restartPauseMin = 50 * time.Millisecond
	restartPauseMax = 800 * time.Millisecond
	// settledAfter is how long Envoy has to live for its next death to count as the first one.
	settledAfter = 10 * time.Second
	// drainTime is how long Envoy may finish what it is doing when the gateway stops.
	drainTime = 5 * time.Second
)

// process is the gateway's Envoy, a child that is started again whenever it dies and that dies with its parent.
type process struct {
	path      string   // of the Envoy binary
	arguments []string // beside the program's name
	log       *slog.Logger
	pid       atomic.Int64 // 0 while it is not running
}

// Run keeps Envoy running until ctx ends, then stops it.
func (p *process) Run(ctx context.Context) error {
	pause := restartPauseMin
	for {
		started := time.Now()
		err := p.once(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
			return fmt.Errorf("start Envoy: %w", err)
		}
		if time.Since(started) > settledAfter {
			pause = restartPauseMin
		}
		p.log.Error("envoy ended, starting it again", "cause", err, "lived", time.Since(started).Round(time.Millisecond), "pause", pause)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		pause = min(2*pause, restartPauseMax)
	}
}

// once starts Envoy and waits for its end. When ctx ends it asks Envoy to stop, and kills it after the drain time.
func (p *process) once(ctx context.Context) error {
	output, childOutput := io.Pipe()
	command := exec.CommandContext(ctx, p.path, p.arguments...)
	command.Stdout, command.Stderr = childOutput, childOutput
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	command.WaitDelay = drainTime
	// A process group of its own keeps a terminal's Ctrl-C from Envoy, which the gateway stops itself; the death
	// signal covers a gateway that is killed.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}

	go p.relay(output)
	defer childOutput.Close()

	// The kernel sends the death signal when the thread that started the child ends, so that thread has to stay.
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := command.Start(); err != nil {
			result <- err
			return
		}
		p.pid.Store(int64(command.Process.Pid))
		p.log.Info("envoy started", "pid", command.Process.Pid)
		result <- command.Wait()
		p.pid.Store(0)
	}()
	return <-result
}

// relay turns Envoy's output into log lines.
func (p *process) relay(output io.Reader) {
	lines := bufio.NewScanner(output)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		p.log.Info("envoy", "line", lines.Text())
	}
	// A line beyond the buffer ends the scan; what follows still has to be read, or Envoy would block on its output.
	_, _ = io.Copy(io.Discard, output)
}
