package postgres

import (
	"slices"
	"testing"
)

// A temporary schema is searched for tables and types before every other, unless a function's search_path names it. What
// the application makes there must not stand in for what the owner's functions mean.
func TestTheApplicationsTemporaryTablesDoNotMisleadTheOwnersFunctions(t *testing.T) {
	ownerURL, appURL := cluster.New(t)
	admin, app := connect(t, cluster.Superuser(t, ownerURL)), connect(t, appURL)
	for _, statement := range []string{
		"CREATE TEMPORARY TABLE pg_class AS SELECT oid, 'x_0001_01'::name AS relname FROM pg_catalog.pg_class WHERE relname = 'policy_grantors'",
		"CREATE TEMPORARY TABLE pg_inherits AS SELECT oid AS inhrelid, 'public.events'::regclass::oid AS inhparent FROM pg_temp.pg_class",
		"GRANT SELECT ON pg_temp.pg_class, pg_temp.pg_inherits TO PUBLIC",
	} {
		if _, err := app.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	// It would drop the tables of "months" that are over. A workspace makes retention have a beginning.
	fill(t, openStore(t, appURL, 2), "mine")
	if _, err := app.Exec(t.Context(), "SELECT expire_events()"); err != nil {
		t.Fatal(err)
	}
	var there bool
	if err := admin.QueryRow(t.Context(), "SELECT to_regclass('public.policy_grantors') IS NOT NULL").Scan(&there); err != nil || !there {
		t.Errorf("the application had the owner drop a table (%v)", err)
	}
}

func TestTheApplicationsTemporaryTypesDoNotRunAsTheOwner(t *testing.T) {
	_, appURL := cluster.New(t)
	app := connect(t, appURL)
	for _, statement := range []string{
		"CREATE TEMPORARY TABLE seen (who text)",
		`CREATE FUNCTION pg_temp.note(pg_catalog.text) RETURNS boolean LANGUAGE plpgsql AS
			$$ BEGIN RAISE EXCEPTION 'ran as %', current_user; END $$`,
		"CREATE DOMAIN pg_temp.text AS pg_catalog.text CHECK (pg_temp.note(VALUE))",
	} {
		if _, err := app.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := app.Exec(t.Context(), "SELECT ensure_event_partition(now())"); err != nil {
		t.Errorf("what the application made ran inside the owner's function: %v", err)
	}
}

func TestEveryFunctionSearchesTheTemporarySchemaLast(t *testing.T) {
	ownerURL, _ := cluster.New(t)
	rows, err := connect(t, ownerURL).Query(t.Context(), `SELECT p.proname, coalesce(p.proconfig, '{}') FROM pg_proc p
		WHERE p.pronamespace = 'public'::regnamespace`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		var settings []string
		if err := rows.Scan(&name, &settings); err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(settings, "search_path=pg_catalog, pg_temp") {
			t.Errorf("%s: %v", name, settings)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
}
