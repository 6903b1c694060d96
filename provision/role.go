package provision

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"github.com/jackc/pgx/v5"
)

// The two roles of the product's database.
const (
	// OwnerRole owns the database and its tables; migrations run as it.
	OwnerRole = "caracal_owner"
	// AppRole is what the product runs as: it owns nothing, and row-level
	// security binds it.
	AppRole = "caracal_app"
)

// provisioning is the key of the advisory lock under which roles and databases
// are made: PostgreSQL fails one of two that make the same at once.
const provisioning = 0x6361726163616c

// EnsureRole makes a login role without any privilege, or takes the privileges
// of an existing one away, and sets its password. The admin URL is that of a
// superuser.
func EnsureRole(ctx context.Context, adminURL, name, password string) error {
	err := asAdmin(ctx, adminURL, func(session *pgx.Conn) error {
		var exists bool
		if err := session.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)`, name).Scan(&exists); err != nil {
			return err
		}
		verb := "CREATE"
		if exists {
			verb = "ALTER"
		}
		return quoteAndRun(ctx, session, `SELECT format('%s ROLE %I LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE
			NOREPLICATION PASSWORD %L', $1::text, $2::text, $3::text)`, verb, name, password)
	})
	if err != nil {
		return fmt.Errorf("make the role %s: %w", name, err)
	}
	return nil
}

// EnsureDatabase makes a database that the given role owns, when there is none
// of that name. It does not change an existing one. The admin URL is that of a
// superuser.
func EnsureDatabase(ctx context.Context, adminURL, name, owner string) error {
	err := asAdmin(ctx, adminURL, func(session *pgx.Conn) error {
		var exists bool
		if err := session.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)`, name).Scan(&exists); err != nil || exists {
			return err
		}
		return quoteAndRun(ctx, session, `SELECT format('CREATE DATABASE %I OWNER %I', $1::text, $2::text)`, name, owner)
	})
	if err != nil {
		return fmt.Errorf("make the database %s: %w", name, err)
	}
	return nil
}

// quoteAndRun runs the statement that a query returns: utility statements take
// no parameters, so the server quotes what goes into them.
func quoteAndRun(ctx context.Context, session *pgx.Conn, query string, args ...any) error {
	var statement string
	if err := session.QueryRow(ctx, query, args...).Scan(&statement); err != nil {
		return err
	}
	_, err := session.Exec(ctx, statement)
	return err
}

func asAdmin(ctx context.Context, adminURL string, do func(*pgx.Conn) error) (err error) {
	session, err := pgx.Connect(ctx, adminURL)
	if err != nil {
		return err
	}
	// Closing the session also frees the lock.
	defer func() { err = errors.Join(err, session.Close(context.WithoutCancel(ctx))) }()
	if _, err := session.Exec(ctx, `SELECT pg_advisory_lock($1)`, int64(provisioning)); err != nil {
		return err
	}
	return do(session)
}

// RoleURL returns the address of a database on the server of another URL, for
// a role with its password. Parameters of the URL, such as sslmode, are kept.
func RoleURL(serverURL, role, password, database string) (string, error) {
	u, err := url.Parse(serverURL)
	if err != nil || (u.Scheme != "postgres" && u.Scheme != "postgresql") {
		return "", errors.New("the address of the PostgreSQL server is not a postgres:// URL")
	}
	u.User = url.UserPassword(role, password)
	u.Path, u.RawPath = "/"+database, ""
	return u.String(), nil
}

func address(host, role, password, database string) string {
	u := url.URL{Scheme: "postgres", Host: host, User: url.UserPassword(role, password), Path: "/" + database, RawQuery: "sslmode=disable"}
	return u.String()
}
