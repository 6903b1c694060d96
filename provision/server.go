package provision

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// server is what a start needs while it is under way.
type server struct {
	PostgresConfig
	account  account
	data     string
	password string
	lock     *os.File // nil once a running server holds it
}

// newServer takes the directory for this process.
func newServer(ctx context.Context, c PostgresConfig) (*server, error) {
	a, err := serverAccount()
	if err != nil {
		return nil, err
	}
	if err := makeReachable(c.Dir); err != nil {
		return nil, err
	}
	if a.credential != nil {
		closed, err := closedParent(c.Dir)
		if err != nil {
			return nil, err
		}
		if closed != "" {
			return nil, fmt.Errorf("it runs as %s, to which the directory %s is closed", a.name, closed)
		}
	}
	lock, err := lockServer(ctx, c.Dir)
	if err != nil {
		return nil, err
	}
	return &server{PostgresConfig: c, account: a, data: filepath.Join(c.Dir, dataDirName(c.Binaries)), lock: lock}, nil
}

// dyingTime is how long a process that was killed may take to be gone, with what it held.
const dyingTime = 2 * time.Second

// lockServer makes the directory this process's own. It gives a former owner that was killed the time to go.
func lockServer(ctx context.Context, dir string) (*os.File, error) {
	patient, cancel := context.WithTimeout(ctx, dyingTime)
	defer cancel()
	lock, err := waitForLock(patient, filepath.Join(dir, "lock"))
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return nil, fmt.Errorf("%w: %s", ErrRunning, dir)
	}
	return lock, err
}

func (s *server) close() {
	if s.lock != nil {
		_ = s.lock.Close() // nothing was written to it
	}
}

// prepareData leaves a complete data directory that no server runs on.
func (s *server) prepareData(ctx context.Context) error {
	for _, other := range otherData(s.Dir, s.Binaries) {
		s.Log.Warn("data of another PostgreSQL version is left alone", "dir", other, "version_in_use", s.Binaries.Major)
	}
	if !isDir(s.data) {
		if err := s.newPassword(); err != nil {
			return err
		}
		return s.initialise(ctx)
	}
	info, err := os.Stat(s.data)
	if err != nil {
		return err
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && int(owner.Uid) != s.account.uid {
		return fmt.Errorf("the data in %s belongs to uid %d, but the server would run as %s; start it as who made it, or use another directory",
			s.data, owner.Uid, s.account.name)
	}
	password, err := os.ReadFile(s.passwordFile())
	if err != nil {
		return fmt.Errorf("read the password of the data in %s: %w", s.data, err)
	}
	s.password = string(password)
	return s.clearRemains(ctx)
}

func (s *server) passwordFile() string {
	return filepath.Join(s.Dir, "password-"+strconv.Itoa(s.Binaries.Major))
}

func (s *server) newPassword() error {
	s.password = rand.Text()
	if err := os.WriteFile(s.passwordFile(), []byte(s.password), 0o600); err != nil {
		return fmt.Errorf("keep the password: %w", err)
	}
	return nil
}

// initialise makes the data directory. It works under another name until it is
// through: what carries the final name is complete.
func (s *server) initialise(ctx context.Context) error {
	part := s.data + ".part"
	if err := clearUnfinished(ctx, part); err != nil {
		return fmt.Errorf("clear an unfinished data directory: %w", err)
	}
	if err := os.Mkdir(part, 0o700); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	if err := s.give(part); err != nil {
		return err
	}
	if err := s.runInitdb(ctx, part); err != nil {
		return err
	}
	if err := os.Rename(part, s.data); err != nil {
		return fmt.Errorf("put the data directory in place: %w", err)
	}
	return nil
}

// clearUnfinished removes what an initdb that was killed left. The server that
// it had under it ends a moment later, and writes until then.
func clearUnfinished(ctx context.Context, dir string) error {
	for deadline := time.Now().Add(10 * time.Second); ; {
		err := os.RemoveAll(dir)
		if err == nil || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// give makes the server's account the owner of a path.
func (s *server) give(path string) error {
	if s.account.credential == nil {
		return nil
	}
	if err := os.Chown(path, s.account.uid, s.account.gid); err != nil {
		return fmt.Errorf("give the data to the account %s: %w", s.account.name, err)
	}
	return nil
}

func (s *server) runInitdb(ctx context.Context, dir string) error {
	args := []string{"-D", dir, "-U", Superuser, "--auth=scram-sha-256", "--pwfile=/dev/fd/3",
		"-E", "UTF8", "--locale=C", "--no-instructions"}
	if !s.Durable {
		args = append(args, "--no-sync")
	}
	cmd := s.account.command(dir, syscall.SIGKILL, s.Binaries.program("initdb"), args...)

	// The password goes through a pipe: our file of it is closed to the server's
	// account. Opening the pipe by name asks for its permissions, hence the owner.
	read, write, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("pass the password: %w", err)
	}
	defer read.Close()
	if s.account.credential != nil {
		if err := read.Chown(s.account.uid, s.account.gid); err != nil {
			return fmt.Errorf("pass the password: %w", err)
		}
	}
	_, err = write.WriteString(s.password + "\n")
	if err := errors.Join(err, write.Close()); err != nil {
		return fmt.Errorf("pass the password: %w", err)
	}
	cmd.ExtraFiles = []*os.File{read}

	out, err := os.Create(filepath.Join(s.Dir, "initdb.log"))
	if err != nil {
		return fmt.Errorf("open initdb's log: %w", err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	exited, err := launch(cmd)
	if err != nil {
		return fmt.Errorf("run initdb: %w", err)
	}
	select {
	case err = <-exited:
	case <-ctx.Done():
		// The whole group: initdb has a server of its own under it.
		killErr := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		killed := <-exited
		return fmt.Errorf("run initdb: %w", errors.Join(ctx.Err(), killErr, killed))
	}
	if err != nil {
		return fmt.Errorf("run initdb: %w: %s", err, logTail(out.Name()))
	}
	return nil
}

// clearRemains stops a server that outlived the process which had started it,
// and removes a pid file that names no such server: PostgreSQL itself would
// refuse to start beside one that names any living process. Its own check of
// the shared memory still stands in the way of two servers on one directory.
func (s *server) clearRemains(ctx context.Context) error {
	orphan, err := postmaster(s.data)
	if err != nil {
		return err
	}
	if orphan != 0 {
		s.Log.Warn("stopping a PostgreSQL server that was left running", "pid", orphan, "dir", s.data)
		if err := stopOrphan(ctx, orphan, s.data); err != nil {
			return err
		}
	}
	err = os.Remove(filepath.Join(s.data, "postmaster.pid"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove a stale pid file: %w", err)
	}
	return nil
}

func stopOrphan(ctx context.Context, pid int, data string) error {
	for _, way := range []struct {
		signal   syscall.Signal
		patience time.Duration
	}{{syscall.SIGINT, 10 * time.Second}, {syscall.SIGQUIT, 5 * time.Second}} {
		if err := syscall.Kill(pid, way.signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("stop the server that was left running (pid %d): %w", pid, err)
		}
		for deadline := time.Now().Add(way.patience); time.Now().Before(deadline); {
			if !isPostmaster(pid, data) {
				return nil
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("stop the server that was left running (pid %d): %w", pid, ctx.Err())
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	return fmt.Errorf("the server that was left running (pid %d) does not stop", pid)
}

// start runs the server once. It says whether the failure is one that passes.
func (s *server) start(ctx context.Context) (p *Postgres, retry bool, err error) {
	port := s.Port
	if port == 0 {
		if port, err = freePort(ctx); err != nil {
			return nil, false, err
		}
	}
	logFile := filepath.Join(s.Dir, "postgres.log")
	out, err := os.Create(logFile)
	if err != nil {
		return nil, false, fmt.Errorf("open the server's log: %w", err)
	}
	defer out.Close()

	cmd := s.account.command(s.data, syscall.SIGINT, s.Binaries.program("postgres"), s.arguments(port)...)
	cmd.Stdout, cmd.Stderr = out, out
	exited, err := launch(cmd)
	if err != nil {
		return nil, false, err
	}
	p = &Postgres{port: port, password: s.password, process: cmd.Process, lock: s.lock, done: make(chan struct{}), log: logFile}
	go func() {
		p.err = <-exited
		close(p.done)
	}()

	err = p.ready(ctx)
	if err == nil {
		return p, false, nil
	}
	if errors.Is(err, errEnded) {
		retry, err = s.explain(p, err)
		return nil, retry, err
	}
	// Not Stop: the lock stays ours.
	stopErr := p.signal(syscall.SIGQUIT)
	<-p.done
	return nil, false, errors.Join(err, stopErr)
}

// explain turns the log of a server that ended at once into an error.
func (s *server) explain(p *Postgres, err error) (retry bool, explained error) {
	text := logTail(p.log)
	switch {
	case strings.Contains(text, "Address already in use"):
		return s.Port == 0, fmt.Errorf("%w: 127.0.0.1:%d", ErrPortInUse, p.port)
	case strings.Contains(text, "is still in use"):
		return true, fmt.Errorf("a former server still holds %s", s.data)
	}
	return false, fmt.Errorf("%w (log: %s): %s", err, p.log, text)
}

func (s *server) arguments(port int) []string {
	settings := []string{
		"listen_addresses=127.0.0.1",
		"unix_socket_directories=", // their paths have a limit of 107 bytes
		"max_connections=100",
		"shared_buffers=64MB",
		"dynamic_shared_memory_type=mmap", // containers often have next to no /dev/shm
	}
	if !s.Durable {
		settings = append(settings, "fsync=off", "synchronous_commit=off", "full_page_writes=off")
	}
	args := []string{"-D", s.data, "-p", strconv.Itoa(port)}
	for _, setting := range settings {
		args = append(args, "-c", setting)
	}
	return args
}
