package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// service is one of those that are compared, in a process of its own.
type service struct {
	name    string
	socket  string
	process *exec.Cmd
	output  *bytes.Buffer
}

// startService runs a program that answers checks on a socket, and waits until it does. It has one core's worth of Go's
// scheduler, as the others have.
func startService(ctx context.Context, name, socket, program string, arguments ...string) (service, error) {
	s := service{name: name, socket: socket, output: &bytes.Buffer{}}
	s.process = exec.CommandContext(ctx, program, arguments...)
	s.process.Env = append(os.Environ(), "GOMAXPROCS=1")
	s.process.Stdout, s.process.Stderr = s.output, s.output
	s.process.Cancel = func() error { return s.process.Process.Signal(os.Interrupt) }
	s.process.WaitDelay = 5 * time.Second
	if err := s.process.Start(); err != nil {
		return s, fmt.Errorf("start %s: %w", name, err)
	}
	over := time.NewTimer(time.Minute)
	defer over.Stop()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for {
		connection, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
		if err == nil {
			return s, connection.Close()
		}
		select {
		case <-ctx.Done():
			return s, ctx.Err()
		case <-over.C:
			s.stop()
			return s, fmt.Errorf("%s does not answer: %s", name, s.output)
		case <-look.C:
		}
	}
}

// stop ends the process; how it ended is of no interest.
func (s service) stop() {
	_ = s.process.Process.Signal(os.Interrupt)
	_ = s.process.Wait()
}

// cpu is the processor time that all threads of the process have taken, user and system.
func (s service) cpu() (time.Duration, error) { return cpuOf(s.process.Process.Pid) }

func cpuOf(pid int) (time.Duration, error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(threads) == 0 {
		return 0, fmt.Errorf("read the processor time of process %d: no threads", pid)
	}
	var total time.Duration
	for _, path := range threads {
		text, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue // the thread has just ended
		}
		if err != nil {
			return 0, fmt.Errorf("read processor time: %w", err)
		}
		first, _, _ := strings.Cut(string(text), " ")
		running, err := strconv.ParseInt(first, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read processor time: %w", err)
		}
		total += time.Duration(running)
	}
	return total, nil
}
