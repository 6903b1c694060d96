// Package redistest runs a real Redis server for a test. The server listens on a Unix socket, keeps nothing on disk and
// ends with the test.
package redistest

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/provision"
)

// startLimit bounds how long a server may take until it answers.
const startLimit = 30 * time.Second

// Server is one Redis server. A test may end it and start it again at the same address.
type Server struct {
	program string
	socket  string
	running *exec.Cmd
}

// New starts a server.
func New(t testing.TB) *Server {
	t.Helper()
	cache, err := provision.CacheDir(os.Getenv, os.Geteuid())
	if err != nil {
		t.Fatal(err)
	}
	program, err := provision.RedisServer(t.Context(), provision.Config{Getenv: os.Getenv, CacheDir: cache, Progress: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	// The directories of tests have names that are too long for a socket's address.
	dir, err := os.MkdirTemp("", "redis")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{program: program, socket: filepath.Join(dir, "redis.sock")}
	t.Cleanup(func() {
		s.Kill(t)
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	s.Start(t)
	return s
}

// URL is the server's address, as clients read it.
func (s *Server) URL() string { return "unix://" + s.socket }

// Kill ends the server at once, as a crash would. What it held is lost.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	if s.running == nil {
		return
	}
	if err := s.running.Process.Kill(); err != nil {
		t.Errorf("kill Redis: %v", err)
	}
	_ = s.running.Wait() // it tells that it was killed
	s.running = nil
}

// Pause stops the server's process without ending it: connections stay open and nothing answers. Resume ends the pause.
func (s *Server) Pause(t testing.TB) { s.signal(t, syscall.SIGSTOP) }

// Resume lets a paused server go on.
func (s *Server) Resume(t testing.TB) { s.signal(t, syscall.SIGCONT) }

func (s *Server) signal(t testing.TB, signal syscall.Signal) {
	t.Helper()
	if err := s.running.Process.Signal(signal); err != nil {
		t.Fatalf("%v Redis: %v", signal, err)
	}
}

// Start starts the server at its address and waits until it answers.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	if s.running != nil {
		t.Fatal("the Redis of this test runs already")
	}
	s.running = exec.CommandContext(context.Background(), s.program, "--port", "0", "--unixsocket", s.socket, "--save", "", "--appendonly", "no", "--dir", filepath.Dir(s.socket))
	s.running.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.running.Start(); err != nil {
		t.Fatalf("start Redis: %v", err)
	}
	for end := time.Now().Add(startLimit); ; {
		err := s.ping()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("Redis does not answer: %v", err)
		}
	}
}

// ping asks with a connection of its own, without a client library: what is tested must not vouch for itself.
func (s *Server) ping() error {
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(context.Background(), "unix", s.socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return err
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err
	}
	if strings.TrimSpace(answer) != "+PONG" {
		return fmt.Errorf("it says %q", answer)
	}
	return nil
}
