package provision_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/caracal-gateway/caracal/provision"
)

// keeperDir tells the test binary to be a keeper: a process that runs a server
// in that directory until somebody kills it. keeperBinaries are the server's.
const (
	keeperDir      = "CARACAL_KEEPER_DIR"
	keeperBinaries = "CARACAL_KEEPER_BINARIES"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(keeperDir); dir != "" {
		keep(dir, os.Getenv(keeperBinaries))
		return
	}
	os.Exit(runTests(m))
}

// keeperProgram is a copy of the test binary in a place where any account can
// run it. It is made before the first test: a child that a test forks meanwhile
// would keep it busy.
var keeperProgram string

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "keeper")
	if err == nil {
		defer func() { _ = os.RemoveAll(dir) }()
		err = os.Chmod(dir, 0o755)
	}
	if err == nil {
		keeperProgram = filepath.Join(dir, "keeper")
		err = copyTestBinary(keeperProgram)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func copyTestBinary(path string) error {
	own, err := os.Executable()
	if err != nil {
		return err
	}
	from, err := os.Open(own)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	return errors.Join(err, to.Chmod(0o755), to.Close())
}

// keep prints the server's URL and then waits for its end.
func keep(dir, programs string) {
	path, major, _ := strings.Cut(programs, " ")
	version, err := strconv.Atoi(major)
	if err != nil {
		fmt.Fprintln(os.Stdout, err)
		return
	}
	server, err := provision.StartPostgres(context.Background(), provision.PostgresConfig{
		Binaries: provision.Binaries{Dir: path, Major: version}, Dir: dir, Durable: true, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		fmt.Fprintln(os.Stdout, err)
		return
	}
	fmt.Fprintln(os.Stdout, server.URL("postgres"))
	<-server.Done()
}

// startKeeper runs a keeper as an account and returns it with its server's URL.
func startKeeper(t *testing.T, dir string, as *syscall.Credential) (*exec.Cmd, string) {
	t.Helper()
	b := binaries(t)
	cmd := exec.Command(keeperProgram)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), keeperDir+"="+filepath.Join(dir, "postgres"), fmt.Sprintf("%s=%s %d", keeperBinaries, b.Dir, b.Major))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // most tests have done it
		_ = cmd.Wait()
		pid, err := os.ReadFile(filepath.Join(dataDir(t, filepath.Join(dir, "postgres")), "postmaster.pid"))
		if err != nil {
			return // it has ended cleanly
		}
		first, _, _ := strings.Cut(string(pid), "\n")
		eventually(t, "the keeper's server has ended", func() bool { return !runningPID(first) })
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "postgres://") {
		t.Fatalf("the keeper says %q, %v", line, err)
	}
	return cmd, strings.TrimSpace(line)
}

// identities are the accounts that keepers run as: ourselves, and for root a
// plain user as well.
func identities(t *testing.T) map[string]*syscall.Credential {
	t.Helper()
	if os.Geteuid() != 0 {
		return map[string]*syscall.Credential{"as a plain user": nil}
	}
	return map[string]*syscall.Credential{"as root": nil, "as a plain user": credential(t, "nobody")}
}

func credential(t *testing.T, name string) *syscall.Credential {
	t.Helper()
	account, err := user.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	uid, err := strconv.ParseUint(account.Uid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	gid, err := strconv.ParseUint(account.Gid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// keeperHome is a directory that belongs to the account.
func keeperHome(t *testing.T, as *syscall.Credential) string {
	t.Helper()
	dir := openTempDir(t)
	if as != nil {
		if err := os.Chown(dir, int(as.Uid), int(as.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func running(pid int) bool { return runningPID(strconv.Itoa(pid)) }

// runningPID reports whether a process is there and not only its zombie.
func runningPID(pid string) bool {
	line, err := os.ReadFile(filepath.Join("/proc", pid, "cmdline"))
	return err == nil && len(line) > 0
}

func TestAServerEndsCleanlyWithTheProcessThatStartedIt(t *testing.T) {
	t.Parallel()
	for name, as := range identities(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			home := keeperHome(t, as)
			keeper, url := startKeeper(t, home, as)
			write(t, url)
			dir := filepath.Join(home, "postgres")
			pid := postmasterPID(t, dir)
			if err := keeper.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the server has ended", func() bool { return !running(pid) })
			if _, err := os.Stat(filepath.Join(dataDir(t, dir), "postmaster.pid")); !os.IsNotExist(err) {
				t.Errorf("the pid file of a clean end: %v", err)
			}
			log, err := os.ReadFile(filepath.Join(dir, "postgres.log"))
			if err != nil || !strings.Contains(string(log), "database system is shut down") {
				t.Errorf("the log tells of no clean end (%v): %s", err, log)
			}
			if _, url := startKeeper(t, home, as); ask(t, url, readRow) != "42" {
				t.Error("the row is lost")
			}
		})
	}
}

func TestNoRowIsLostWhenKeeperAndServerAreKilled(t *testing.T) {
	t.Parallel()
	for name, as := range identities(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			home := keeperHome(t, as)
			keeper, url := startKeeper(t, home, as)
			write(t, url)
			if err := syscall.Kill(postmasterPID(t, filepath.Join(home, "postgres")), syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			if err := keeper.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			if _, url := startKeeper(t, home, as); ask(t, url, readRow) != "42" {
				t.Error("the row is lost")
			}
		})
	}
}

// serverCredential is of the account that a server of ours runs as.
func serverCredential(t *testing.T, dir string) *syscall.Credential {
	t.Helper()
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(dataDir(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	return &syscall.Credential{Uid: owner.Uid, Gid: owner.Gid}
}

func TestAPidFileThatNamesAStrangerIsRemoved(t *testing.T) {
	t.Parallel()
	c := config(t, openTempDir(t))
	stop(t, start(t, c))
	stranger := exec.Command("sleep", "600")
	stranger.SysProcAttr = &syscall.SysProcAttr{Credential: serverCredential(t, c.Dir)}
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = stranger.Process.Kill()
		_ = stranger.Wait()
	}()
	file := filepath.Join(dataDir(t, c.Dir), "postmaster.pid")
	writeFile(t, file, fmt.Sprintf("%d\n%s\n0\n0\n", stranger.Process.Pid, dataDir(t, c.Dir)), 0o600)
	start(t, c)
	if !running(stranger.Process.Pid) {
		t.Error("the stranger was killed")
	}
}

func TestAnOrphanedServerIsStoppedFirst(t *testing.T) {
	t.Parallel()
	c := config(t, openTempDir(t))
	first := start(t, c)
	write(t, first.URL("postgres"))
	stop(t, first)
	orphan := exec.Command(filepath.Join(c.Binaries.Dir, "postgres"), "-D", dataDir(t, c.Dir),
		"-p", strconv.Itoa(first.Port()), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=")
	orphan.Dir = dataDir(t, c.Dir)
	orphan.SysProcAttr = &syscall.SysProcAttr{Credential: serverCredential(t, c.Dir)}
	if err := orphan.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- orphan.Wait() }()
	eventually(t, "the orphan has its pid file", func() bool {
		text, err := os.ReadFile(filepath.Join(dataDir(t, c.Dir), "postmaster.pid"))
		return err == nil && strings.HasPrefix(string(text), strconv.Itoa(orphan.Process.Pid)+"\n")
	})

	second := start(t, c)
	if err := <-ended; err != nil {
		t.Errorf("the orphan did not end cleanly: %v", err)
	}
	if got := ask(t, second.URL("postgres"), readRow); got != "42" {
		t.Errorf("the row is %q", got)
	}
}

func TestAnUnfinishedDataDirectoryIsMadeAnew(t *testing.T) {
	t.Parallel()
	c := config(t, openTempDir(t))
	writeFile(t, filepath.Join(dataDir(t, c.Dir)+".part", "base", "1", "112"), "half", 0o600)
	start(t, c)
	if _, err := os.Stat(dataDir(t, c.Dir) + ".part"); !os.IsNotExist(err) {
		t.Errorf("the unfinished one: %v", err)
	}
}

func TestAnUnfinishedDataDirectoryIsClearedAlthoughSomethingStillWritesToIt(t *testing.T) {
	t.Parallel()
	dir := openTempDir(t)
	c := config(t, dir)
	part := dataDir(t, dir) + ".part"
	for database := range 16 {
		if err := os.MkdirAll(filepath.Join(part, "base", strconv.Itoa(database)), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	// Like the servers of an initdb that was just killed: they write for a while, as long as their directories are there.
	var writers, underWay sync.WaitGroup
	for writer := range 8 {
		underWay.Add(1)
		writers.Go(func() {
			for i := range 20_000 {
				if i == 100 {
					underWay.Done()
				}
				_ = os.WriteFile(filepath.Join(part, "base", strconv.Itoa(i%16), fmt.Sprintf("%d-%d", writer, i)), nil, 0o600)
				if _, err := os.Stat(filepath.Join(part, "base")); err != nil {
					return
				}
			}
		})
	}
	underWay.Wait()
	stop(t, start(t, c))
	writers.Wait()
}
