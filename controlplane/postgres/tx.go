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
	revocationTimeout  = 90 * time.Second
	surveyTimeout      = 5 * time.Minute
	maxAttempts        = 5
	firstPause         = 5 * time.Millisecond
)

// Tx is a transaction in one workspace. It is for one goroutine, and only while the function that was given it runs.
type Tx struct {
	tx        pgx.Tx
	q         *query.Queries
	workspace authority.WorkspaceID
	state     authority.State
	restored  bool
}

// State is where the workspace stood when the transaction began; of one that is not there the revision is 0.
func (t *Tx) State() authority.State { return t.state }

// Restored reports whether the database is known to be restored from a backup, without anybody having accepted that yet.
func (t *Tx) Restored() bool { return t.restored }

// Write runs a function in a transaction of a workspace and commits it when the function returns nil. A transaction
// that the database gives up for the sake of another is run again, so that the function must have no effect beyond it.
// An error of the commit itself is ErrUnavailable: it may have been committed. Nothing is written to a database that was
// found to be restored from a backup, before that is accepted: ErrRestored.
func (s *Store) Write(ctx context.Context, w authority.WorkspaceID, change func(context.Context, *Tx) error) error {
	return s.write(ctx, w, transactionTimeout, serving(change))
}

// WriteRevocation is Write for what may end hundreds of thousands of mandates: it may take a minute and a half.
func (s *Store) WriteRevocation(ctx context.Context, w authority.WorkspaceID, change func(context.Context, *Tx) error) error {
	return s.write(ctx, w, revocationTimeout, serving(change))
}

// WriteRestored is Write for what is to be done about a database that was restored from a backup.
func (s *Store) WriteRestored(ctx context.Context, w authority.WorkspaceID, change func(context.Context, *Tx) error) error {
	return s.write(ctx, w, transactionTimeout, change)
}

func (s *Store) write(ctx context.Context, w authority.WorkspaceID, timeout time.Duration, change func(context.Context, *Tx) error) error {
	pause := firstPause
	for attempt := 1; ; attempt++ {
		err := s.run(ctx, w, timeout, pgx.TxOptions{}, change)
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

// Read runs a function that changes nothing. All that it reads is of one revision. It is ErrRestored like Write.
func (s *Store) Read(ctx context.Context, w authority.WorkspaceID, look func(context.Context, *Tx) error) error {
	return translate("read", s.run(ctx, w, transactionTimeout, reading(), serving(look)))
}

// ReadRestored is Read for what is to be done about a database that was restored from a backup.
func (s *Store) ReadRestored(ctx context.Context, w authority.WorkspaceID, look func(context.Context, *Tx) error) error {
	return translate("read", s.run(ctx, w, transactionTimeout, reading(), look))
}

// Survey is Read for what reads much: it may take five minutes.
func (s *Store) Survey(ctx context.Context, w authority.WorkspaceID, look func(context.Context, *Tx) error) error {
	return translate("survey", s.run(ctx, w, surveyTimeout, reading(), serving(func(ctx context.Context, tx *Tx) error {
		if _, err := tx.tx.Exec(ctx, "SET LOCAL statement_timeout = '5min'; SET LOCAL work_mem = '64MB'"); err != nil {
			return err
		}
		return look(ctx, tx)
	})))
}

func reading() pgx.TxOptions {
	return pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
}

// serving is what runs only where the database is to be relied on.
func serving(do func(context.Context, *Tx) error) func(context.Context, *Tx) error {
	return func(ctx context.Context, tx *Tx) error {
		if tx.restored {
			return ErrRestored
		}
		return do(ctx, tx)
	}
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
	t := &Tx{tx: tx, q: query.New(tx), workspace: w, state: authority.State{Workspace: w}}
	entering := tx.QueryRow(ctx, "SELECT timeline, restored, revision FROM enter_workspace($1)", w)
	if err := entering.Scan(&t.state.Timeline, &t.restored, &t.state.Revision); err != nil {
		return err
	}
	if err := do(ctx, t); err != nil {
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
