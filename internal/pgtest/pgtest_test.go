package pgtest_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caracal-gateway/caracal/internal/pgtest"
	"github.com/jackc/pgx/v5"
)

func open(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	session, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := session.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return session
}

func prepared(count *atomic.Int32) func(context.Context, string) error {
	return func(ctx context.Context, ownerURL string) error {
		count.Add(1)
		session, err := pgx.Connect(ctx, ownerURL)
		if err != nil {
			return err
		}
		// Left open: a pool that is slow to close must not break the copying.
		_, err = session.Exec(ctx, `CREATE TABLE notes (text text);
			GRANT SELECT, INSERT ON notes TO caracal_app; INSERT INTO notes VALUES ('from the template')`)
		return err
	}
}

func TestEachTestHasADatabaseOfItsOwnMadeFromOneTemplate(t *testing.T) {
	var preparations atomic.Int32
	cluster := pgtest.Cluster{Prepare: prepared(&preparations)}
	for _, name := range []string{"first", "second", "third"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, appURL := cluster.New(t)
			app := open(t, appURL)
			if _, err := app.Exec(t.Context(), `INSERT INTO notes VALUES ('mine')`); err != nil {
				t.Fatal(err)
			}
			var notes int
			if err := app.QueryRow(t.Context(), `SELECT count(*) FROM notes`).Scan(&notes); err != nil {
				t.Fatal(err)
			}
			if notes != 2 {
				t.Errorf("sees %d notes, want its own and the template's", notes)
			}
		})
	}
	t.Cleanup(func() {
		if n := preparations.Load(); n != 1 {
			t.Errorf("prepared %d times", n)
		}
	})
}

func TestTheRolesHaveTheRightsOfProduction(t *testing.T) {
	var preparations atomic.Int32
	cluster := pgtest.Cluster{Prepare: prepared(&preparations)}
	ownerURL, appURL := cluster.New(t)
	for name, tc := range map[string]struct{ url, statement, wantErr string }{
		"the owner changes the schema":          {ownerURL, `ALTER TABLE notes ADD COLUMN author text`, ""},
		"the owner makes tables":                {ownerURL, `CREATE TABLE more ()`, ""},
		"the owner is no superuser":             {ownerURL, `CREATE ROLE another SUPERUSER`, "permission denied"},
		"the application reads":                 {appURL, `SELECT text FROM notes`, ""},
		"the application makes no tables":       {appURL, `CREATE TABLE more_still ()`, "permission denied"},
		"the application drops nothing":         {appURL, `DROP TABLE notes`, "must be owner"},
		"the application does what it may only": {appURL, `DELETE FROM notes`, "permission denied"},
		"the superuser sees the same database":  {cluster.Superuser(t, appURL), `SELECT text FROM notes`, ""},
		"row-level security binds the app's role": {appURL, `DO $$ BEGIN IF (SELECT rolbypassrls OR rolsuper FROM pg_roles WHERE rolname = current_user)
			THEN RAISE 'unbound'; END IF; END $$`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := open(t, tc.url).Exec(t.Context(), tc.statement)
			if tc.wantErr == "" && err != nil {
				t.Errorf("got %v", err)
			}
			if tc.wantErr != "" && (err == nil || !strings.Contains(err.Error(), tc.wantErr)) {
				t.Errorf("got %v, want an error with %q", err, tc.wantErr)
			}
		})
	}
}

func TestADatabaseIsGoneWhenItsTestEnds(t *testing.T) {
	cluster := pgtest.Cluster{}
	var ended string
	t.Run("a test", func(t *testing.T) { ended, _ = cluster.New(t) })
	session, err := pgx.Connect(t.Context(), ended)
	if err == nil {
		_ = session.Close(t.Context())
	}
	if err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("opening the database of a test that ended: %v", err)
	}
}
