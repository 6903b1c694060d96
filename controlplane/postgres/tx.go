package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres/internal/query"
)

const (
	transactionTimeout = 15 * time.Second
	surveyTimeout      = 5 * time.Minute
	maxAttempts        = 5
	firstPause         = 5 * time.Millisecond
)

// Tx is a transaction in one workspace. It is for one goroutine, and only while the function that was given it runs.
type Tx struct {
	tx        pgx.Tx
	q         *query.Queries
	workspace authority.WorkspaceID
}

// Write runs a function in a transaction of a workspace and commits it when the function returns nil. A transaction
// that the database gives up for the sake of another is run again, so that the function must have no effect beyond it.
// An error of the commit itself is ErrUnavailable: it may have been committed.
func (s *Store) Write(ctx context.Context, w authority.WorkspaceID, change func(context.Context, *Tx) error) error {
	pause := firstPause
	for attempt := 1; ; attempt++ {
		err := s.run(ctx, w, transactionTimeout, pgx.TxOptions{}, change)
		if err == nil || !isRepeatable(err) || attempt == maxAttempts {
			return translate("write", err)
		}
		select {
		case <-ctx.Done():
			return translate("write", ctx.Err())
		case <-time.After(pause/2 + rand.N(pause)):
		}
		pause *= 2
	}
}

// Read runs a function that changes nothing. All that it reads is of one revision.
func (s *Store) Read(ctx context.Context, w authority.WorkspaceID, look func(context.Context, *Tx) error) error {
	return translate("read", s.run(ctx, w, transactionTimeout, reading(), look))
}

// Survey is Read for what reads much: it may take five minutes.
func (s *Store) Survey(ctx context.Context, w authority.WorkspaceID, look func(context.Context, *Tx) error) error {
	return translate("survey", s.run(ctx, w, surveyTimeout, reading(), func(ctx context.Context, tx *Tx) error {
		if _, err := tx.tx.Exec(ctx, "SET LOCAL statement_timeout = '5min'"); err != nil {
			return err
		}
		return look(ctx, tx)
	}))
}

func reading() pgx.TxOptions {
	return pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
}

func (s *Store) run(ctx context.Context, w authority.WorkspaceID, limit time.Duration, options pgx.TxOptions, do func(context.Context, *Tx) error) (err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	conn, err := s.acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	tx, err := conn.BeginTx(ctx, options)
	if err != nil {
		return err
	}
	// Rolls back after an error and after a panic; after a commit it does nothing. Should it fail, the pool drops the
	// connection, which ends the transaction too.
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	if _, err := tx.Exec(ctx, "SELECT set_config('caracal.workspace', $1, true)", w); err != nil {
		return err
	}
	if err := do(ctx, &Tx{tx: tx, q: query.New(tx), workspace: w}); err != nil {
		return err
	}
	if err := tx.Commit(ctx); err != nil {
		if isRepeatable(err) {
			return err
		}
		return fmt.Errorf("commit: %w: %w", ErrUnavailable, err)
	}
	return nil
}

// isClosed reports whether the server went away in the middle.
func isClosed(err error) bool {
	var network net.Error
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || errors.As(err, &network)
}
