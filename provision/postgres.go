package provision

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// Superuser is the role that owns a private PostgreSQL server.
const Superuser = "caracal"

var (
	// ErrRunning is returned by [StartPostgres] when another process already
	// runs a server in the directory.
	ErrRunning = errors.New("another caracal runs PostgreSQL there")
	// ErrPortInUse is returned by [StartPostgres] when the port it was told to
	// take is taken.
	ErrPortInUse = errors.New("the port is in use")
)

// PostgresConfig describes a private PostgreSQL server. Every field but Port
// and Durable must be set.
type PostgresConfig struct {
	Binaries Binaries
	// Dir holds the data, the password and the server's log. It is made when it
	// does not exist. The account that the server runs as (for root: postgres or
	// nobody) must be able to pass through its parents; see [StateDir].
	Dir string
	// Port on 127.0.0.1; 0 takes a free one.
	Port int
	// Durable keeps what is committed through a crash of the machine. Without
	// it a server is faster and fit for tests only.
	Durable bool
	// Log gets what is worth knowing about a former server's remains.
	Log *slog.Logger
}

// Postgres is a running private PostgreSQL server. It listens on 127.0.0.1
// only, without TLS, and lets in those who know its random password. It stops
// by itself when the process that started it ends in whatever way.
type Postgres struct {
	port     int
	password string
	process  *os.Process
	lock     *os.File
	done     chan struct{}
	err      error // of the exit; written before done is closed
	log      string
}

// StartPostgres runs a private PostgreSQL server and returns when it answers.
// It makes the data directory when there is none and reuses it otherwise, after
// whatever crash: an orphaned server is stopped first and a stale pid file
// removed. A directory serves one server at a time; a second gets [ErrRunning].
func StartPostgres(ctx context.Context, c PostgresConfig) (*Postgres, error) {
	s, err := newServer(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("start PostgreSQL: %w", err)
	}
	defer s.close()
	if err := s.prepareData(ctx); err != nil {
		return nil, fmt.Errorf("start PostgreSQL: %w", err)
	}
	// A free port may be lost to somebody else before the server takes it, and
	// after a crash the last processes of the former server take a moment to go.
	const attempts = 5
	for attempt := 1; ; attempt++ {
		p, retry, err := s.start(ctx)
		if err == nil {
			s.lock = nil // now held by p
			return p, nil
		}
		if !retry || attempt == attempts {
			return nil, fmt.Errorf("start PostgreSQL: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("start PostgreSQL: %w", ctx.Err())
		case <-time.After(time.Duration(attempt) * 200 * time.Millisecond):
		}
	}
}

// URL returns the address of a database for the superuser. It holds the
// password.
func (p *Postgres) URL(database string) string {
	return address("127.0.0.1:"+strconv.Itoa(p.port), Superuser, p.password, database)
}

// Port returns the port on 127.0.0.1.
func (p *Postgres) Port() int { return p.port }

// LogFile returns the path of what the server wrote since it was started.
func (p *Postgres) LogFile() string { return p.log }

// Done is closed when the server has ended.
func (p *Postgres) Done() <-chan struct{} { return p.done }

// Err returns nil while the server runs and after a clean end, else why it
// ended.
func (p *Postgres) Err() error {
	select {
	case <-p.done:
		return p.err
	default:
		return nil
	}
}

// Stop ends the server's sessions, shuts it down and waits for its end. When
// the context ends first, the server is told to drop everything, which costs
// recovery at the next start but loses nothing that was committed, and the
// context's error is returned. Stopping twice is harmless.
func (p *Postgres) Stop(ctx context.Context) error {
	defer p.lock.Close()
	if err := p.signal(syscall.SIGINT); err != nil {
		return err
	}
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
	}
	if err := p.signal(syscall.SIGQUIT); err != nil {
		return err
	}
	<-p.done
	return fmt.Errorf("stop PostgreSQL: %w", ctx.Err())
}

func (p *Postgres) signal(s syscall.Signal) error {
	if err := p.process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop PostgreSQL: %w", err)
	}
	return nil
}

// ready waits until a session can be opened, or the server has ended.
func (p *Postgres) ready(ctx context.Context) error {
	for {
		attempt, cancel := context.WithTimeout(ctx, 2*time.Second)
		session, err := pgx.Connect(attempt, p.URL("postgres"))
		if err == nil {
			err = session.Close(attempt)
		}
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return errEnded
		case <-ctx.Done():
			return fmt.Errorf("wait until it answers: %w (%w)", ctx.Err(), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

var errEnded = errors.New("the server ended at once")

// freePort returns a port of 127.0.0.1 that nobody listens on at the moment.
func freePort(ctx context.Context) (int, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port, nil
}

// logTail returns the last lines of a server's log, for the person who reads
// why it did not start.
func logTail(path string) string {
	const most = 1500
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	if len(text) > most {
		text = text[len(text)-most:]
	}
	return string(text)
}

func dataDirName(b Binaries) string { return "data-" + strconv.Itoa(b.Major) }

func otherData(dir string, b Binaries) []string {
	all, err := filepath.Glob(filepath.Join(dir, "data-*"))
	if err != nil {
		return nil
	}
	var others []string
	for _, path := range all {
		if name := filepath.Base(path); name != dataDirName(b) && filepath.Ext(name) == "" {
			others = append(others, path)
		}
	}
	return others
}
