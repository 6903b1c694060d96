package provision_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/caracal-gateway/caracal/provision"
	"github.com/jackc/pgx/v5"
)

func TestRolesAndDatabasesAreMadeOnceAndWithoutPrivileges(t *testing.T) {
	t.Parallel()
	admin := start(t, config(t, openTempDir(t))).URL("postgres")
	const role, database, password = `odd "role's`, `odd "base`, `p'w\"ö`

	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			if err := provision.EnsureRole(t.Context(), admin, role, password); err != nil {
				t.Error(err)
			}
			if err := provision.EnsureDatabase(t.Context(), admin, database, role); err != nil {
				t.Error(err)
			}
		})
	}
	callers.Wait()
	if t.Failed() {
		return
	}

	url, err := provision.RoleURL(admin, role, password, database)
	if err != nil {
		t.Fatal(err)
	}
	const rights = `SELECT rolsuper OR rolbypassrls OR rolcreatedb OR rolcreaterole OR rolreplication FROM pg_roles WHERE rolname = current_user`
	if got := ask(t, url, rights); got != "false" {
		t.Errorf("the new role has privileges: %s", got)
	}
	if got := ask(t, url, `SELECT current_database() || ' of ' || pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()`); got != database+" of "+role {
		t.Errorf("the database is %s", got)
	}

	ask(t, admin, `ALTER ROLE "odd ""role's" SUPERUSER BYPASSRLS`)
	if err := provision.EnsureRole(t.Context(), admin, role, "another"); err != nil {
		t.Fatal(err)
	}
	if session, err := pgx.Connect(t.Context(), url); err == nil {
		_ = session.Close(t.Context())
		t.Error("the former password still opens a session")
	}
	url, err = provision.RoleURL(admin, role, "another", database)
	if err != nil {
		t.Fatal(err)
	}
	if got := ask(t, url, rights); got != "false" {
		t.Errorf("the role kept its privileges: %s", got)
	}
}

func TestAnAddressOfARoleKeepsTheServersParameters(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ server, want, wantErr string }{
		"parameters and port": {"postgres://admin:x@db.example:6432/postgres?sslmode=verify-full", "postgres://app:p%40@db.example:6432/data?sslmode=verify-full", ""},
		"the other scheme":    {"postgresql://db.example", "postgresql://app:p%40@db.example/data", ""},
		"key and value":       {"host=db.example password=x", "", "not a postgres:// URL"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := provision.RoleURL(tc.server, "app", "p@", "data")
			if got != tc.want || (tc.wantErr == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), tc.wantErr)) {
				t.Errorf("got %q, %v; want %q %q", got, err, tc.want, tc.wantErr)
			}
		})
	}
}
