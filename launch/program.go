package launch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// Program is what runs in the foreground.
type Program struct {
	Path        string
	Arguments   []string // beside the program's name
	Environment []string // its whole environment
	Stdin       io.Reader
	Stdout      io.Writer
	Stderr      io.Writer
	// Terminal is the file whose keyboard signals the program gets by itself; nil for none.
	Terminal *os.File
}

// ErrNotStarted is the failure of a program that did not begin.
var ErrNotStarted = errors.New("the program did not start")

// forwarded are the signals that are handed on. A terminal's window belongs to the group that the program is in.
func forwarded() []os.Signal {
	return []os.Signal{
		syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH, syscall.SIGCONT,
	}
}

// Run starts the program and waits for its end, however often it is interrupted meanwhile: signals are the program's to
// act on. It answers the exit status as a shell does, 128 and the number of the signal for a program that one ended.
//
// The program is in the group of whoever started this one, so that it has its terminal, and its place in a pipe, and can be
// stopped and continued. It does not outlive this process.
func (p Program) Run(ctx context.Context) (status int, err error) {
	command := exec.CommandContext(context.WithoutCancel(ctx), p.Path, p.Arguments...)
	command.Env, command.Stdin, command.Stdout, command.Stderr = p.Environment, p.Stdin, p.Stdout, p.Stderr
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, forwarded()...)
	defer signal.Stop(signals)

	started, ended := make(chan error, 1), make(chan error, 1)
	go func() {
		// The kernel sends the death signal when the thread that started the program ends, so that thread has to stay.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := command.Start()
		if started <- err; err == nil {
			ended <- command.Wait()
		}
	}()
	if err := <-started; err != nil {
		return 0, fmt.Errorf("%w: %w", ErrNotStarted, err)
	}
	for {
		select {
		case s := <-signals:
			if number, ok := s.(syscall.Signal); ok && !p.typed(number) {
				_ = command.Process.Signal(number) // it may have ended
			}
		case err := <-ended:
			return statusOf(command.ProcessState, err)
		}
	}
}

// typed reports whether a signal came from the keyboard of the terminal: the program, which is in the same group, has it too.
func (p Program) typed(s syscall.Signal) bool {
	switch s {
	case syscall.SIGINT, syscall.SIGQUIT, syscall.SIGWINCH:
	case syscall.SIGCONT:
		return true // a shell continues the whole job
	default:
		return false
	}
	if p.Terminal == nil {
		return false
	}
	group, err := unix.IoctlGetInt(int(p.Terminal.Fd()), unix.TIOCGPGRP)
	return err == nil && group == syscall.Getpgrp()
}

// statusOf is how a program that began has ended.
func statusOf(state *os.ProcessState, err error) (int, error) {
	if state == nil {
		return 0, fmt.Errorf("wait for the program: %w", err)
	}
	if how, ok := state.Sys().(syscall.WaitStatus); ok && how.Signaled() { //nolint:misspell // it is called so
		return 128 + int(how.Signal()), nil
	}
	return state.ExitCode(), nil
}
