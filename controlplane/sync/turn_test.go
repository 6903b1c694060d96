package sync_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// The pool of this control plane has eight connections. With none left, the owner's question would fail.
func TestGatewaysThatComeAtOnceLeaveTheDatabaseToOthers(t *testing.T) {
	p := newPlane(t)
	m := p.team("acme")
	key := p.gatewayKey(m).APIKey
	database := must(pgx.Connect(t.Context(), cluster.Superuser(t, p.url)))(t)
	defer func() { _ = database.Close(context.WithoutCancel(t.Context())) }()
	look := must(pgx.Connect(t.Context(), cluster.Superuser(t, p.url)))(t)
	defer func() { _ = look.Close(context.WithoutCancel(t.Context())) }()
	waiting := func() (n int) {
		err := look.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity
			WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%look_up_key%'`).Scan(&n)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}

	held := must(database.Begin(t.Context()))(t)
	if _, err := held.Exec(t.Context(), "LOCK TABLE api_keys IN ACCESS EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	const crowd = 40
	challenged := make(chan error, crowd)
	for range crowd {
		go func() { challenged <- p.challenged(t.Context(), key) }()
	}
	eventually(t, "gateways ask for their key", func() bool { return waiting() > 0 })
	if got := must(p.Gateways(t.Context(), m.owner))(t); len(got) != 0 {
		t.Errorf("there are %d gateways", len(got))
	}
	if n := waiting(); n > 3 {
		t.Errorf("%d gateways ask the database at once", n)
	}
	if err := held.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range crowd {
		if err := <-challenged; err != nil {
			t.Error(err)
		}
	}
}

// challenged opens a stream until it is challenged. As gateways do, it comes again when the database kept it waiting for
// too long.
func (p *plane) challenged(ctx context.Context, key string) error {
	ctx, hangUp := context.WithTimeout(bearing(ctx, key), patience)
	defer hangUp()
	for {
		stream, err := p.client.Stream(ctx)
		if err == nil {
			_, err = stream.Recv()
		}
		if status.Code(err) != codes.Unavailable {
			return err
		}
	}
}
