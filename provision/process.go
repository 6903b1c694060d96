package provision

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// account is who a PostgreSQL server runs as: PostgreSQL refuses to be root.
type account struct {
	name       string
	uid, gid   int
	credential *syscall.Credential // nil: we are that account already
}

// serverAccount returns ourselves, or for root an account of the machine that
// has as few rights as possible. It has to be a named one: initdb looks it up.
func serverAccount() (account, error) {
	if uid := os.Geteuid(); uid != 0 {
		return account{name: strconv.Itoa(uid), uid: uid, gid: os.Getegid()}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		found, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.ParseUint(found.Uid, 10, 32)
		gid, gidErr := strconv.ParseUint(found.Gid, 10, 32)
		if uidErr != nil || gidErr != nil || uid == 0 {
			continue
		}
		return account{name: name, uid: int(uid), gid: int(gid),
			credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, nil
	}
	return account{}, errors.New("PostgreSQL cannot run as root, and the machine has neither an account postgres nor nobody")
}

// command prepares a program that runs as the account, in a process group of
// its own so that Ctrl-C reaches us alone, and that gets the given signal when
// we die, however we die. Its working directory is one that it may read.
func (a account) command(dir string, ifWeDie syscall.Signal, program string, args ...string) *exec.Cmd {
	return &exec.Cmd{
		Path:        program,
		Args:        append([]string{program}, args...),
		Dir:         dir,
		Env:         []string{"LC_ALL=C", "TZ=UTC", "PATH=/usr/local/bin:/usr/bin:/bin"},
		SysProcAttr: &syscall.SysProcAttr{Credential: a.credential, Setpgid: true, Pdeathsig: ifWeDie},
	}
}

// tellVersion returns what a program says of its version: that it runs here at
// all is known only then. A program that was just written may be busy, because
// a child that another goroutine forks holds the file until it runs its own.
func tellVersion(ctx context.Context, program string) (string, error) {
	const attempts = 50
	for attempt := 1; ; attempt++ {
		out, err := exec.CommandContext(ctx, program, "--version").CombinedOutput()
		if err == nil {
			return string(out), nil
		}
		if !errors.Is(err, syscall.ETXTBSY) || attempt == attempts {
			return "", fmt.Errorf("run %s: %w: %s", program, err, strings.TrimSpace(string(out)))
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// launch starts a command and returns a channel that gets what its Wait returns.
// The kernel sends the signal of a parent's death when the thread that started
// the child ends, so that thread is kept for as long as the child runs.
func launch(cmd *exec.Cmd) (exited <-chan error, err error) {
	started, ended := make(chan error, 1), make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			ended <- cmd.Wait()
		}
	}()
	return ended, <-started
}

// postmaster returns the process id of the PostgreSQL server that runs on a
// data directory, or 0. The pid file alone does not tell: after a crash it may
// name a process that is dead or has nothing to do with PostgreSQL.
func postmaster(dataDir string) (int, error) {
	text, err := os.ReadFile(filepath.Join(dataDir, "postmaster.pid"))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the server's pid file: %w", err)
	}
	first, _, _ := strings.Cut(string(text), "\n")
	if pid, err := strconv.Atoi(strings.TrimSpace(first)); err == nil && pid > 1 && isPostmaster(pid, dataDir) {
		return pid, nil
	}
	return 0, nil
}

// isPostmaster reports whether a process is PostgreSQL on a data directory. A
// zombie has no command line, so a dead server that nobody has waited for yet
// does not count.
func isPostmaster(pid int, dataDir string) bool {
	line, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	if err != nil {
		return false
	}
	args := strings.Split(string(line), "\x00")
	at := slices.Index(args, "-D")
	if filepath.Base(args[0]) != "postgres" || at < 0 || at+1 == len(args) {
		return false
	}
	theirs, err := os.Stat(args[at+1])
	if err != nil {
		return false
	}
	ours, err := os.Stat(dataDir)
	return err == nil && os.SameFile(theirs, ours)
}
