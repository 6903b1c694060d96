package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Host is what a database server says of itself.
type Host struct {
	// Ahead is by how much the server's clock is ahead of ours, give or take Doubt.
	Ahead, Doubt time.Duration
	// Durable says that what is committed survives a crash of the server's host.
	Durable bool
}

// LookAtHost asks the server for its time and how it writes.
func (s *Store) LookAtHost(ctx context.Context, now func() time.Time) (Host, error) {
	var h Host
	err := s.look(ctx, func(conn *pgxpool.Conn) error {
		var told time.Time
		asked := now()
		err := conn.QueryRow(ctx, `SELECT clock_timestamp(), current_setting('fsync') = 'on' AND current_setting('full_page_writes') = 'on'`).
			Scan(&told, &h.Durable)
		h.Doubt = now().Sub(asked) / 2
		h.Ahead = told.Sub(asked.Add(h.Doubt))
		return err
	})
	return h, translate("look at the server", err)
}
