// Package pgtest gives each test a fresh database on a real PostgreSQL server.
//
// The server is a private one of the test process, started when the first test
// asks and gone when the process ends; its directory is kept in the cache and
// used again, which makes later starts quick. CARACAL_TEST_DATABASE_URL, the
// URL of a superuser of any server from version 15, makes tests use that server
// instead.
package pgtest

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/provision"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Setting names a superuser's URL of a server to run the tests on.
const Setting = "CARACAL_TEST_DATABASE_URL"

const startLimit = 3 * time.Minute

// Cluster hands out databases. A test package declares one in a test file:
//
//	var cluster = pgtest.Cluster{Prepare: postgres.Migrate}
type Cluster struct {
	// Prepare fills the database that each test gets a copy of, as its owner.
	// It is called once in a process. Nil leaves the database empty.
	Prepare func(ctx context.Context, ownerURL string) error

	once   sync.Once
	err    error
	admin  string // URL of the superuser
	prefix string // of this process's databases
}

// New makes a database for one test and returns its URLs for the two roles of
// the product: the owner, and the application, which has the rights that Prepare
// granted it. The database is dropped when the test ends.
func (c *Cluster) New(t testing.TB) (ownerURL, appURL string) {
	t.Helper()
	c.once.Do(func() { c.err = c.start() })
	if c.err != nil {
		t.Fatalf("PostgreSQL for the tests: %v", c.err)
	}
	name := c.prefix + strings.ToLower(rand.Text()[:10])
	err := c.exec(t.Context(), "CREATE DATABASE "+name+" TEMPLATE "+c.template()+" OWNER "+provision.OwnerRole)
	if err != nil {
		t.Fatalf("make a database for the test: %v", err)
	}
	t.Cleanup(func() {
		if err := c.exec(context.Background(), "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Errorf("drop the test's database: %v", err)
		}
	})
	return c.roleURL(t, provision.OwnerRole, name), c.roleURL(t, provision.AppRole, name)
}

// Copy makes a database that is what another of [Cluster.New] is at present,
// like a backup of it that is restored elsewhere, and returns its URLs for the
// two roles. Sessions of the other are ended.
func (c *Cluster) Copy(t testing.TB, databaseURL string) (ownerURL, appURL string) {
	t.Helper()
	config, err := pgx.ParseConfig(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	name := c.prefix + strings.ToLower(rand.Text()[:10])
	if err := c.alone(t.Context(), config.Database, "CREATE DATABASE "+name+" TEMPLATE "+config.Database+" OWNER "+provision.OwnerRole); err != nil {
		t.Fatalf("copy a database for the test: %v", err)
	}
	t.Cleanup(func() {
		if err := c.exec(context.Background(), "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Errorf("drop the test's database: %v", err)
		}
	})
	return c.roleURL(t, provision.OwnerRole, name), c.roleURL(t, provision.AppRole, name)
}

// PutBack puts one database of [Cluster.New] or [Cluster.Copy] in the place of
// another, like a backup that is restored under whoever uses it. Sessions of
// both are ended; each has the other's URL from then on.
func (c *Cluster) PutBack(t testing.TB, databaseURL, copyURL string) {
	t.Helper()
	var names []string
	for _, url := range []string{databaseURL, copyURL} {
		config, err := pgx.ParseConfig(url)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, config.Database)
	}
	aside := names[0] + "_"
	for _, rename := range [][2]string{{names[0], aside}, {names[1], names[0]}, {aside, names[1]}} {
		err := c.alone(t.Context(), rename[0], "ALTER DATABASE "+rename[0]+" RENAME TO "+rename[1])
		if err != nil {
			t.Fatalf("put a database in the place of another: %v", err)
		}
	}
}

// alone runs a statement while nobody uses a database: sessions are ended until
// nobody has connected again.
func (c *Cluster) alone(ctx context.Context, database, statement string) error {
	end := "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '" + database + "'"
	for {
		err := c.exec(ctx, end, statement)
		var server *pgconn.PgError
		if !errors.As(err, &server) || server.Code != "55006" {
			return err
		}
	}
}

// Superuser returns the URL of a database of [Cluster.New] for the superuser,
// whom row-level security does not bind: for looking at what is really there.
func (c *Cluster) Superuser(t testing.TB, databaseURL string) string {
	t.Helper()
	config, err := pgx.ParseConfig(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	admin, err := pgx.ParseConfig(c.admin)
	if err != nil {
		t.Fatal(err)
	}
	url, err := provision.RoleURL(c.admin, admin.User, admin.Password, config.Database)
	if err != nil {
		t.Fatal(err)
	}
	return url
}

func (c *Cluster) template() string { return c.prefix + "template" }

func (c *Cluster) roleURL(t testing.TB, role, database string) string {
	t.Helper()
	url, err := provision.RoleURL(c.admin, role, c.password(role), database)
	if err != nil {
		t.Fatal(err)
	}
	return url
}

// password derives a role's password from the server's URL, so that processes
// which share a server agree on it.
func (c *Cluster) password(role string) string {
	mac := hmac.New(sha256.New, []byte(c.admin))
	mac.Write([]byte(role))
	return hex.EncodeToString(mac.Sum(nil))
}

func (c *Cluster) start() error {
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	c.admin = os.Getenv(Setting)
	if c.admin == "" {
		server, err := startServer(ctx)
		if err != nil {
			return err
		}
		c.admin = server.URL("postgres")
	}
	c.prefix = "caracal_test_" + strings.ToLower(rand.Text()[:10]) + "_"
	if err := c.claim(ctx); err != nil {
		return err
	}
	for _, role := range []string{provision.OwnerRole, provision.AppRole} {
		if err := provision.EnsureRole(ctx, c.admin, role, c.password(role)); err != nil {
			return err
		}
	}
	if err := provision.EnsureDatabase(ctx, c.admin, c.template(), provision.OwnerRole); err != nil {
		return err
	}
	return c.prepare(ctx)
}

// claim drops the databases of test processes that have ended, and opens the
// session that shows this one to be alive. The session carries the prefix of
// the process's databases as its name and ends with the process.
func (c *Cluster) claim(ctx context.Context) error {
	config, err := pgx.ParseConfig(c.admin)
	if err != nil {
		return fmt.Errorf("read %s: %w", Setting, err)
	}
	config.RuntimeParams["application_name"] = c.prefix
	session, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return fmt.Errorf("open a session: %w", err)
	}
	rows, err := session.Query(ctx, `SELECT datname FROM pg_database WHERE datname ~ '^caracal_test_[a-z0-9]+_'
		AND substring(datname FROM '^caracal_test_[a-z0-9]+_') NOT IN (SELECT application_name FROM pg_stat_activity)`)
	if err != nil {
		return fmt.Errorf("look for databases of former tests: %w", err)
	}
	left, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("look for databases of former tests: %w", err)
	}
	for _, name := range left {
		// Another process may be dropping it too.
		if _, err := session.Exec(ctx, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)"); err != nil {
			return fmt.Errorf("drop a database of former tests: %w", err)
		}
	}
	return nil
}

// prepare fills the template and closes it to sessions: one that is open stands
// in the way of copying it.
func (c *Cluster) prepare(ctx context.Context) error {
	if c.Prepare != nil {
		url, err := provision.RoleURL(c.admin, provision.OwnerRole, c.password(provision.OwnerRole), c.template())
		if err != nil {
			return err
		}
		if err := c.Prepare(ctx, url); err != nil {
			return fmt.Errorf("prepare the template database: %w", err)
		}
	}
	return c.exec(ctx,
		"ALTER DATABASE "+c.template()+" ALLOW_CONNECTIONS false",
		"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '"+c.template()+"'")
}

func (c *Cluster) exec(ctx context.Context, statements ...string) (err error) {
	session, err := pgx.Connect(ctx, c.admin)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, session.Close(ctx)) }()
	for _, statement := range statements {
		if _, err := session.Exec(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// startServer starts a server in the first directory of the cache that no other
// test process uses. Nothing stops it: it ends with the process.
func startServer(ctx context.Context) (*provision.Postgres, error) {
	cache, err := provision.CacheDir(os.Getenv, os.Geteuid())
	if err != nil {
		return nil, err
	}
	binaries, err := provision.PostgresBinaries(ctx, provision.Config{Getenv: os.Getenv, CacheDir: cache, Progress: os.Stderr})
	if err != nil {
		return nil, err
	}
	const most = 64
	for slot := range most {
		server, err := provision.StartPostgres(ctx, provision.PostgresConfig{
			Binaries: binaries,
			Dir:      filepath.Join(cache, "test-postgres", strconv.Itoa(slot)),
			Log:      slog.New(slog.DiscardHandler),
		})
		if !errors.Is(err, provision.ErrRunning) {
			return server, err
		}
	}
	return nil, fmt.Errorf("%d test processes run already", most)
}
