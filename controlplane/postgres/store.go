// Package postgres keeps the control plane's state in PostgreSQL, its only store.
//
// Everything of a workspace is reached through a transaction that names the workspace, and row-level security shows it
// that workspace alone. The connection's role can neither bypass that nor own a table; a role that could is refused.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caracal-gateway/caracal/authority"
)

// How long the database may keep a caller waiting before it counts as away.
const (
	connectTimeout = 2 * time.Second
	acquireTimeout = 3 * time.Second
	pingTimeout    = time.Second
	resetTimeout   = 2 * time.Second
)

// serverLimits are the server's own bounds on what a transaction may take, in milliseconds.
func serverLimits() map[string]string {
	return map[string]string{
		"application_name":                    "caracal",
		"lock_timeout":                        "2000",
		"statement_timeout":                   "5000",
		"idle_in_transaction_session_timeout": "10000",
		"timezone":                            "UTC",
	}
}

// Store is the database of one deployment. Its methods are safe for concurrent use. They return ErrNotFound,
// ErrDuplicate and ErrUnavailable, wrapped, where these say what happened.
type Store struct {
	pool *pgxpool.Pool
}

// Config says where the database is.
type Config struct {
	// URL names the server and the application's role, which must be caracal_app or a member that inherits from it.
	URL string
	// MaxConns bounds the connections; 0 means 16.
	MaxConns int32
}

// Open makes a store. It does not connect: the database may come later, and go and come back.
func Open(c Config) (*Store, error) {
	config, err := pgxpool.ParseConfig(c.URL)
	if err != nil {
		return nil, fmt.Errorf("read database URL: %w", withoutSecrets(err))
	}
	config.MaxConns = c.MaxConns
	if config.MaxConns == 0 {
		config.MaxConns = 16
	}
	config.MaxConnLifetime = 30 * time.Minute
	config.MaxConnLifetimeJitter = 5 * time.Minute
	config.PingTimeout = pingTimeout
	config.ConnConfig.ConnectTimeout = connectTimeout
	for name, value := range serverLimits() {
		config.ConnConfig.RuntimeParams[name] = value
	}
	config.AfterConnect = prepareConnection
	config.AfterRelease = forgetWorkspace
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	return &Store{pool: pool}, nil
}

// Close ends every connection, after the transactions that are open.
func (s *Store) Close() { s.pool.Close() }

// withoutSecrets keeps the password of a URL that does not parse out of messages.
func withoutSecrets(err error) error {
	var parse *pgconn.ParseConfigError
	if errors.As(err, &parse) {
		return errors.New("not a PostgreSQL connection URL")
	}
	return err
}

// prepareConnection refuses a role that row-level security does not bind, and reads times as UTC.
func prepareConnection(ctx context.Context, conn *pgx.Conn) error {
	var unbound bool
	err := conn.QueryRow(ctx, `SELECT r.rolsuper OR r.rolbypassrls OR EXISTS (
			SELECT FROM pg_class c WHERE c.oid = to_regclass('public.workspaces') AND pg_has_role(c.relowner, 'MEMBER'))
		FROM pg_roles r WHERE r.rolname = current_user`).Scan(&unbound)
	if err != nil {
		return fmt.Errorf("check the role: %w", err)
	}
	if unbound {
		return errUnboundRole
	}
	conn.TypeMap().RegisterType(&pgtype.Type{
		Name: "timestamptz", OID: pgtype.TimestamptzOID, Codec: &pgtype.TimestamptzCodec{ScanLocation: time.UTC},
	})
	return nil
}

var errUnboundRole = errors.New("the database role is a superuser, bypasses row-level security or owns the tables: " +
	"the control plane runs as caracal_app; the owner is for `caracal migrate`")

// forgetWorkspace lets a connection back into the pool only once nothing of its last transaction is left on it. A
// workspace is named for one transaction only, so that there is nothing; this holds even if that were broken.
func forgetWorkspace(conn *pgx.Conn) bool {
	if conn.PgConn().TxStatus() != 'I' {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), resetTimeout)
	defer cancel()
	_, err := conn.Exec(ctx, "RESET ALL")
	return err == nil
}

// Ping reports whether the database answers and has every migration that this program needs.
func (s *Store) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, acquireTimeout)
	defer cancel()
	var ready bool
	err := s.pool.QueryRow(ctx, "SELECT to_regclass('public.beyond_reports') IS NOT NULL").Scan(&ready)
	if err != nil {
		return translate("reach database", err)
	}
	if !ready {
		return fmt.Errorf("%w: the database is not migrated; run `caracal migrate`", ErrUnavailable)
	}
	return nil
}

// KeyProof is what the bearer of an API key has to prove, for which workspace and within which terms, and how the
// holder of the key stands there.
type KeyProof struct {
	WorkspaceID     authority.WorkspaceID
	Kind            authority.KeyKind
	PrincipalID     authority.PrincipalID
	Hash            []byte
	ExpiresAt       *time.Time
	RevokedAt       *time.Time
	Role            authority.Role
	Workspaces      []authority.WorkspaceID // beyond its own
	AllowedNetworks []netip.Prefix
	PersonID        authority.PersonID // empty where the holder is no member
	HolderRole      authority.Role
	HolderSuspended bool
}

const lookUpKey = `SELECT workspace_id, kind, principal_id, hash, expires_at, revoked_at, role, workspaces, allowed_networks,
	person_id, holder_role, holder_suspended FROM look_up_key($1)`

// LookUpKey finds an API key in whichever workspace it is.
func (s *Store) LookUpKey(ctx context.Context, id authority.KeyID) (KeyProof, error) {
	var k KeyProof
	err := s.look(ctx, func(conn *pgxpool.Conn) error {
		var err error
		k, err = readProof(ctx, conn, id)
		return err
	})
	return k, translate("look up key", err)
}

// LookUpKey finds an API key in whichever workspace it is, as of the transaction.
func (t *Tx) LookUpKey(ctx context.Context, id authority.KeyID) (KeyProof, error) {
	k, err := readProof(ctx, t.tx, id)
	return k, translate("look up key", err)
}

func readProof(ctx context.Context, in interface {
	Query(context.Context, string, ...any) (pgx.Rows, error)
}, id authority.KeyID) (KeyProof, error) {
	rows, err := in.Query(ctx, lookUpKey, id)
	if err != nil {
		return KeyProof{}, err
	}
	return pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[KeyProof])
}

// LookUpWorkspaces lists every workspace of the deployment.
func (s *Store) LookUpWorkspaces(ctx context.Context) ([]authority.Workspace, error) {
	var all []authority.Workspace
	err := s.look(ctx, func(conn *pgxpool.Conn) error {
		rows, err := conn.Query(ctx, `SELECT id, slug, name, description, settings, revision, created_at,
			archived_at, deleted_at, erase_at FROM look_up_workspaces()`)
		if err != nil {
			return err
		}
		all, err = pgx.CollectRows(rows, pgx.RowToStructByPos[authority.Workspace])
		return err
	})
	return all, translate("look up workspaces", err)
}

// LookUpRevisions reads the revisions of the given workspaces at once.
func (s *Store) LookUpRevisions(ctx context.Context, ids []authority.WorkspaceID) (map[authority.WorkspaceID]uint64, error) {
	revisions := make(map[authority.WorkspaceID]uint64, len(ids))
	err := s.look(ctx, func(conn *pgxpool.Conn) error {
		rows, err := conn.Query(ctx, "SELECT id, revision FROM look_up_revisions($1)", ids)
		if err != nil {
			return err
		}
		var (
			id       authority.WorkspaceID
			revision uint64
		)
		_, err = pgx.ForEachRow(rows, []any{&id, &revision}, func() error {
			revisions[id] = revision
			return nil
		})
		return err
	})
	return revisions, translate("look up revisions", err)
}

// EnsureEventPartitions makes the partitions of the month of an instant and of the one after it.
func (s *Store) EnsureEventPartitions(ctx context.Context, at time.Time) error {
	err := s.look(ctx, func(conn *pgxpool.Conn) error {
		for _, month := range []time.Time{at, at.AddDate(0, 1, 1-at.Day())} {
			if _, err := conn.Exec(ctx, "SELECT ensure_event_partition($1)", month); err != nil {
				return err
			}
		}
		return nil
	})
	return translate("make event partitions", err)
}

// ExpireEvents removes what is older than its workspace's retention.
func (s *Store) ExpireEvents(ctx context.Context) error {
	err := s.look(ctx, func(conn *pgxpool.Conn) error {
		// Removing a month of many workspaces takes longer than any request may.
		if _, err := conn.Exec(ctx, "SET statement_timeout = '10min'"); err != nil {
			return err
		}
		_, err := conn.Exec(ctx, "SELECT expire_events()")
		return err
	})
	return translate("expire events", err)
}

// EraseWorkspaces erases the workspaces whose time of grace is over, and names them.
func (s *Store) EraseWorkspaces(ctx context.Context) ([]authority.WorkspaceID, error) {
	var all []authority.WorkspaceID
	err := s.look(ctx, func(conn *pgxpool.Conn) error {
		if _, err := conn.Exec(ctx, "SET statement_timeout = '10min'"); err != nil {
			return err
		}
		for {
			var erased *authority.WorkspaceID
			if err := conn.QueryRow(ctx, "SELECT erase_workspace()").Scan(&erased); err != nil || erased == nil {
				return err
			}
			all = append(all, *erased)
		}
	})
	return all, translate("erase workspaces", err)
}

// ForgetAnswers removes the kept answers that no repetition is answered from.
func (s *Store) ForgetAnswers(ctx context.Context) error {
	err := s.look(ctx, func(conn *pgxpool.Conn) error {
		_, err := conn.Exec(ctx, "SELECT forget_answers()")
		return err
	})
	return translate("forget answers", err)
}

// look lends a connection that names no workspace.
func (s *Store) look(ctx context.Context, use func(*pgxpool.Conn) error) error {
	conn, err := s.acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	return use(conn)
}

func (s *Store) acquire(ctx context.Context) (*pgxpool.Conn, error) {
	acquiring, cancel := context.WithTimeout(ctx, acquireTimeout)
	defer cancel()
	conn, err := s.pool.Acquire(acquiring)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return conn, nil
}
