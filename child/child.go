// Package child keeps another program running: started again whenever it dies, stopped in order, and never left behind,
// however its parent ends.
package child

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
	"syscall"
	"time"
)

// Bounds of supervision. A restart waits the shortest pause first and doubles it while the program keeps dying young.
const (
	restartPauseMin = 50 * time.Millisecond
	restartPauseMax = 800 * time.Millisecond
	// settledAfter is how long the program has to live for its next death to count as the first one.
	settledAfter = 10 * time.Second
	maxLine      = 1 << 20 // bytes
)

// Program is what to keep running.
type Program struct {
	Name      string // for the log
	Path      string
	Arguments []string // beside the program's name
	// Environment is the program's whole environment, as os.Environ gives it; nil means the parent's.
	Environment []string
	// Line gets each line that the program writes to standard output or error.
	Line func(string)
	// Grace is how long the program may take to end after it was told to, before it is killed.
	Grace time.Duration
	// Final is the exit status by which the program says that starting it again does not help; 0 for none.
	Final int
	Log   *slog.Logger
}

// ErrFinal is the end of a program that is not started again.
var ErrFinal = errors.New("ended for good")

// Run keeps the program running until ctx ends, then stops it with SIGTERM. It returns early only when the program
// cannot be started at all, or says that this does not help: ErrFinal.
func (p Program) Run(ctx context.Context) error {
	pause := restartPauseMin
	for {
		started := time.Now()
		err := p.once(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // it was told to end, however it did
		}
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
			return fmt.Errorf("start %s: %w", p.Name, err)
		}
		var exit *exec.ExitError
		if p.Final != 0 && errors.As(err, &exit) && exit.ExitCode() == p.Final {
			return fmt.Errorf("%s %w: %w", p.Name, ErrFinal, err)
		}
		if time.Since(started) > settledAfter {
			pause = restartPauseMin
		}
		p.Log.Error(p.Name+" ended, starting it again", "cause", err, "lived", time.Since(started).Round(time.Millisecond), "pause", pause)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		pause = min(2*pause, restartPauseMax)
	}
}

// once starts the program and waits for its end.
func (p Program) once(ctx context.Context) error {
	output, writer := io.Pipe()
	command := exec.CommandContext(ctx, p.Path, p.Arguments...)
	command.Env = p.Environment
	command.Stdout, command.Stderr = writer, writer
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	command.WaitDelay = p.Grace
	// A process group of its own keeps a terminal's Ctrl-C from the program, which its parent stops in order; the
	// death signal covers a parent that is killed.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}

	relayed := make(chan struct{})
	go func() {
		defer close(relayed)
		p.relay(output)
	}()
	err := p.live(command)
	_ = writer.Close() // never fails
	<-relayed
	return err
}

// live starts the program and waits for its end on one thread: the kernel sends the death signal when the thread that
// started the program ends.
func (p Program) live(command *exec.Cmd) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := command.Start(); err != nil {
			result <- err
			return
		}
		p.Log.Info(p.Name+" started", "pid", command.Process.Pid)
		result <- command.Wait()
	}()
	return <-result
}

func (p Program) relay(output io.Reader) {
	lines := bufio.NewScanner(output)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		p.Line(lines.Text())
	}
	// A longer line ends the scan; what follows still has to be read, or the program would block on its output.
	_, _ = io.Copy(io.Discard, output)
}
