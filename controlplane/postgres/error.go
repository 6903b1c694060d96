package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// What a store's error can be; any other is a defect.
var (
	// ErrNotFound says that the workspace has no such thing.
	ErrNotFound = errors.New("no such row")
	// ErrDuplicate says that a name or an id is taken.
	ErrDuplicate = errors.New("taken already")
	// ErrUnavailable says that the database is away or overloaded: nothing is known to have been changed.
	ErrUnavailable = errors.New("database unavailable")
	// ErrRestored says that the database was restored from a backup and that nobody has accepted that yet: it is not to
	// be relied on.
	ErrRestored = errors.New("the database was restored from a backup")
)

// SQLSTATE codes that have a meaning here.
const (
	uniqueViolation      = "23505"
	serializationFailure = "40001"
	deadlockDetected     = "40P01"
)

// translate names the operation and turns what the driver says into this package's errors; nil stays nil.
func translate(operation string, err error) error {
	if err == nil || errors.Is(err, ErrUnavailable) || errors.Is(err, ErrNotFound) || errors.Is(err, ErrDuplicate) || errors.Is(err, ErrRestored) {
		return wrap(operation, err)
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("%s: %w", operation, ErrNotFound)
	}
	var server *pgconn.PgError
	switch {
	case errors.As(err, &server) && server.Code == uniqueViolation:
		return fmt.Errorf("%s: %w: %w", operation, ErrDuplicate, err)
	case errors.As(err, &server) && !isTransient(server.Code):
		return wrap(operation, err)
	case errors.As(err, &server), isConnection(err):
		return fmt.Errorf("%s: %w: %w", operation, ErrUnavailable, err)
	}
	return wrap(operation, err)
}

func wrap(operation string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", operation, err)
}

// isTransient reports whether the server could not do now what it may do later: connections (08), resources (53),
// interventions such as a shutdown (57), locks and conflicts, a standby that is read-only, or a database that is
// still to be migrated.
func isTransient(code string) bool {
	switch code {
	case "55P03", "25006", "42P01", "42883", serializationFailure, deadlockDetected:
		return true
	}
	return strings.HasPrefix(code, "08") || strings.HasPrefix(code, "53") || strings.HasPrefix(code, "57") || strings.HasPrefix(code, "28")
}

// isConnection reports whether the connection, not what was asked on it, is at fault.
func isConnection(err error) bool {
	var connect *pgconn.ConnectError
	return errors.As(err, &connect) || pgconn.SafeToRetry(err) || pgconn.Timeout(err) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) ||
		isClosed(err)
}

func isRepeatable(err error) bool {
	var server *pgconn.PgError
	return errors.As(err, &server) && (server.Code == serializationFailure || server.Code == deadlockDetected)
}
