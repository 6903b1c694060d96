package provision_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/provision"
	"github.com/jackc/pgx/v5"
)

// openTempDir returns a directory that every account can reach.
func openTempDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{filepath.Dir(dir), dir} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// ofThisMachine are the programs that most tests run.
var ofThisMachine = sync.OnceValues(func() (provision.Binaries, error) {
	cache, err := provision.CacheDir(os.Getenv, os.Geteuid())
	if err != nil {
		return provision.Binaries{}, err
	}
	return provision.PostgresBinaries(context.Background(), provision.Config{Getenv: os.Getenv, CacheDir: cache})
})

func binaries(t *testing.T) provision.Binaries {
	t.Helper()
	b, err := ofThisMachine()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func config(t *testing.T, dir string) provision.PostgresConfig {
	return provision.PostgresConfig{Binaries: binaries(t), Dir: dir, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
}

func start(t *testing.T, c provision.PostgresConfig) *provision.Postgres {
	t.Helper()
	server, err := provision.StartPostgres(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, server) })
	return server
}

func stop(t *testing.T, server *provision.Postgres) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := server.Stop(ctx); err != nil && server.Err() == nil {
		t.Errorf("stop: %v", err)
	}
}

// ask runs a statement and returns the first column of its first row.
func ask(t *testing.T, url, statement string) string {
	t.Helper()
	session, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = session.Close(context.Background()) }()
	rows, err := session.Query(t.Context(), statement)
	if err != nil {
		t.Fatal(err)
	}
	answers, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (string, error) {
		values, err := row.Values()
		return fmt.Sprint(values...), err
	})
	if err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	if len(answers) == 0 {
		return ""
	}
	return answers[0]
}

const (
	writeRow = `CREATE TABLE kept (n int); INSERT INTO kept VALUES (42)`
	readRow  = `SELECT n FROM kept`
)

// write commits a row, which later starts have to find.
func write(t *testing.T, url string) {
	t.Helper()
	session, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = session.Close(context.Background()) }()
	if _, err := session.Exec(t.Context(), writeRow); err != nil {
		t.Fatal(err)
	}
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	tick, deadline := time.NewTicker(10*time.Millisecond), time.After(30*time.Second)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

func postmasterPID(t *testing.T, dir string) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dataDir(t, dir), "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func dataDir(t *testing.T, dir string) string {
	t.Helper()
	return filepath.Join(dir, fmt.Sprintf("data-%d", binaries(t).Major))
}

func TestAPrivateServerKeepsItsDataAndItsPassword(t *testing.T) {
	t.Parallel()
	c := config(t, filepath.Join(openTempDir(t), "state", "postgres"))
	c.Durable = true
	first := start(t, c)
	write(t, first.URL("postgres"))
	if got := ask(t, first.URL("postgres"), `SHOW fsync`); got != "on" {
		t.Errorf("fsync of a durable server is %s", got)
	}
	if got := ask(t, first.URL("postgres"), `SHOW listen_addresses`); got != "127.0.0.1" {
		t.Errorf("it listens on %q", got)
	}
	if os.Geteuid() == 0 {
		info, err := os.Stat(filepath.Join("/proc", strconv.Itoa(postmasterPID(t, c.Dir))))
		if err != nil || info.Sys().(*syscall.Stat_t).Uid == 0 {
			t.Errorf("the server of root runs as root, or is not there: %v", err)
		}
	}
	if info, err := os.Stat(filepath.Join(c.Dir, fmt.Sprintf("password-%d", c.Binaries.Major))); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the password's file: %v, %v", info, err)
	}
	wrong := strings.Replace(first.URL("postgres"), "caracal:", "caracal:x", 1)
	if _, err := pgx.Connect(t.Context(), wrong); err == nil || !strings.Contains(err.Error(), "password authentication failed") {
		t.Errorf("with a wrong password: %v", err)
	}

	stop(t, first)
	select {
	case <-first.Done():
	default:
		t.Error("it is not done after Stop")
	}
	if err := first.Err(); err != nil {
		t.Errorf("after a clean end: %v", err)
	}

	second := start(t, c)
	if got := ask(t, second.URL("postgres"), readRow); got != "42" {
		t.Errorf("after a new start the row is %q", got)
	}
}

func TestAServerForTestsDoesNotSync(t *testing.T) {
	t.Parallel()
	server := start(t, config(t, openTempDir(t)))
	if got := ask(t, server.URL("postgres"), `SHOW fsync`); got != "off" {
		t.Errorf("fsync is %s", got)
	}
}

func TestADirectoryServesOneServerAtATime(t *testing.T) {
	t.Parallel()
	c := config(t, openTempDir(t))
	first := start(t, c)
	_, err := provision.StartPostgres(t.Context(), c)
	if !errors.Is(err, provision.ErrRunning) || !strings.Contains(err.Error(), c.Dir) {
		t.Errorf("the second got %v", err)
	}
	if got := ask(t, first.URL("postgres"), `SELECT 1`); got != "1" {
		t.Errorf("the first answers %q", got)
	}
	stop(t, first)
	start(t, c)
}

func TestAPortThatIsTakenIsNamed(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	c := config(t, openTempDir(t))
	c.Port = listener.Addr().(*net.TCPAddr).Port
	_, err = provision.StartPostgres(t.Context(), c)
	if !errors.Is(err, provision.ErrPortInUse) || !strings.Contains(err.Error(), listener.Addr().String()) {
		t.Fatalf("got %v", err)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	if server := start(t, c); server.Port() != c.Port {
		t.Errorf("it took port %d, want %d", server.Port(), c.Port)
	}
}

func TestAServerThatEndsByItselfSaysSo(t *testing.T) {
	t.Parallel()
	c := config(t, openTempDir(t))
	server := start(t, c)
	if err := server.Err(); err != nil {
		t.Errorf("while it runs: %v", err)
	}
	if err := syscall.Kill(postmasterPID(t, c.Dir), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-server.Done()
	if err := server.Err(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("after a kill: %v", err)
	}
	stop(t, server)
	start(t, c)
}

func TestAStopThatHasNoTimeLosesNothing(t *testing.T) {
	t.Parallel()
	c := config(t, openTempDir(t))
	c.Durable = true
	server := start(t, c)
	write(t, server.URL("postgres"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	// A fast shutdown may still win the race against a context that has ended.
	if err := server.Stop(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if got := ask(t, start(t, c).URL("postgres"), readRow); got != "42" {
		t.Errorf("after a new start the row is %q", got)
	}
}

func TestTheDataOfAnotherVersionIsLeftAlone(t *testing.T) {
	t.Parallel()
	dir := openTempDir(t)
	writeFile(t, filepath.Join(dir, "data-9", "PG_VERSION"), "9\n", 0o600)
	writeFile(t, filepath.Join(dir, "password-9"), "theirs", 0o600)
	start(t, config(t, dir))
	for file, want := range map[string]string{"data-9/PG_VERSION": "9\n", "password-9": "theirs"} {
		if got, err := os.ReadFile(filepath.Join(dir, file)); err != nil || string(got) != want {
			t.Errorf("%s is %q, %v", file, got, err)
		}
	}
}

func TestAStartThatIsGivenUpLeavesARoomForTheNext(t *testing.T) {
	t.Parallel()
	c := config(t, openTempDir(t))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond) // initdb takes longer
	defer cancel()
	_, err := provision.StartPostgres(ctx, c)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	if _, err := os.Stat(dataDir(t, c.Dir)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an unfinished data directory has its final name: %v", err)
	}
	start(t, c)
}

func TestDataThatCannotBeServedIsNotTouched(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		spoil    func(t *testing.T, c provision.PostgresConfig)
		rootOnly bool
		wantErr  string
	}{
		"its password is lost": {func(t *testing.T, c provision.PostgresConfig) {
			if err := os.Remove(filepath.Join(c.Dir, fmt.Sprintf("password-%d", c.Binaries.Major))); err != nil {
				t.Fatal(err)
			}
		}, false, "read the password"},
		"it is damaged": {func(t *testing.T, c provision.PostgresConfig) {
			if err := os.Remove(filepath.Join(dataDir(t, c.Dir), "global", "pg_control")); err != nil {
				t.Fatal(err)
			}
		}, false, "pg_control"},
		"it belongs to somebody else": {func(t *testing.T, c provision.PostgresConfig) {
			if err := os.Chown(dataDir(t, c.Dir), 4711, 4711); err != nil {
				t.Fatal(err)
			}
		}, true, "belongs to uid 4711"},
		"its directory is closed to the server's account": {func(t *testing.T, c provision.PostgresConfig) {
			if err := os.Chmod(filepath.Dir(c.Dir), 0o700); err != nil {
				t.Fatal(err)
			}
		}, true, "is closed"},
	} {
		if tc.rootOnly && os.Geteuid() != 0 {
			continue // the state cannot arise for a plain user
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := config(t, filepath.Join(openTempDir(t), "postgres"))
			stop(t, start(t, c))
			tc.spoil(t, c)
			_, err := provision.StartPostgres(t.Context(), c)
			if err == nil || !strings.Contains(err.Error(), tc.wantErr) {
				t.Errorf("got %v, want an error with %q", err, tc.wantErr)
			}
			if _, err := os.Stat(filepath.Join(dataDir(t, c.Dir), "PG_VERSION")); err != nil {
				t.Errorf("the data: %v", err)
			}
		})
	}
}
