package postgres

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres/internal/query"
)

// remove marks a workspace as deleted, its time of grace over.
func remove(t *testing.T, s *Store, w tenant, erase time.Time) {
	t.Helper()
	at := now().Add(-time.Hour)
	err := s.Write(t.Context(), w.id, func(ctx context.Context, tx *Tx) error {
		workspace, err := tx.Workspace(ctx)
		if err != nil {
			return err
		}
		workspace.DeletedAt, workspace.EraseAt = &at, &erase
		return tx.UpdateWorkspace(ctx, workspace)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// left counts the rows of a workspace in each table that has any.
func left(t *testing.T, admin *pgx.Conn, w authority.WorkspaceID) map[string]int {
	t.Helper()
	found := map[string]int{}
	for table, column := range tables(t, admin) {
		var n int
		if err := admin.QueryRow(t.Context(), "SELECT count(*) FROM "+table+" WHERE "+column+" = $1", w).Scan(&n); err != nil {
			t.Fatal(err)
		}
		if n > 0 && !strings.HasPrefix(table, "events_") {
			found[table] = n
		}
	}
	return found
}

func TestAnErasureLeavesEventsAndNobodyElsesRowsChange(t *testing.T) {
	ownerURL, appURL := cluster.New(t)
	s := openStore(t, appURL, 2)
	gone, waits, stays := fill(t, s, "gone"), fill(t, s, "waits"), fill(t, s, "stays")
	admin := connect(t, cluster.Superuser(t, ownerURL))
	remove(t, s, gone, now().Add(-time.Second))
	remove(t, s, waits, now().Add(time.Hour))
	before := append(dump(t, admin, waits.id), dump(t, admin, stays.id)...)
	if tables := left(t, admin, gone.id); len(tables) < 14 {
		t.Fatalf("only %v have rows to erase", slices.Sorted(maps.Keys(tables)))
	}
	erased, err := s.EraseWorkspaces(t.Context())
	if err != nil || !slices.Equal(erased, []authority.WorkspaceID{gone.id}) {
		t.Fatalf("erased %v: %v", erased, err)
	}
	want := map[string]int{"workspaces": 1, "events": 2, "event_outcomes": 1}
	if diff := cmp.Diff(want, left(t, admin, gone.id)); diff != "" {
		t.Errorf("what is left (-want +got):\n%s", diff)
	}
	if after := append(dump(t, admin, waits.id), dump(t, admin, stays.id)...); !slices.Equal(before, after) {
		t.Errorf("rows of others changed:\n%s", cmp.Diff(before, after))
	}
	var told string
	err = admin.QueryRow(t.Context(), "SELECT slug || name || description FROM workspaces WHERE id = $1", gone.id).Scan(&told)
	if err != nil || told != "erased:"+string(gone.id) {
		t.Errorf("the row that is left says %q: %v", told, err)
	}
	// With the last event goes the rest.
	if _, err := admin.Exec(t.Context(), "DELETE FROM events WHERE workspace_id = $1", gone.id); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.Exec(t.Context(), "DELETE FROM event_outcomes WHERE workspace_id = $1", gone.id); err != nil {
		t.Fatal(err)
	}
	if again, err := s.EraseWorkspaces(t.Context()); err != nil || len(again) != 0 {
		t.Errorf("erased again %v: %v", again, err)
	}
	if tables := left(t, admin, gone.id); len(tables) != 0 {
		t.Errorf("left without events: %v", tables)
	}
}

// TestTheApplicationErasesNothingByItself tries what the function does with the application's own rights.
func TestTheApplicationErasesNothingByItself(t *testing.T) {
	ownerURL, appURL := cluster.New(t)
	s := openStore(t, appURL, 2)
	mine := fill(t, s, "mine")
	app, admin := connect(t, appURL), connect(t, cluster.Superuser(t, ownerURL))
	before := dump(t, admin, mine.id)
	for _, table := range []string{"principals", "mandates", "api_keys", "events", "workspaces", "signing_keys"} {
		inWorkspace(t, app, mine.id, func(tx pgx.Tx) {
			if _, err := tx.Exec(t.Context(), "SELECT set_config('caracal.erase', 'on', true)"); err != nil {
				t.Fatal(err)
			}
			if _, err := tx.Exec(t.Context(), "DELETE FROM "+table); err == nil {
				t.Errorf("the application may delete from %s", table)
			}
		})
	}
	if _, err := s.EraseWorkspaces(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := dump(t, admin, mine.id); !slices.Equal(before, after) {
		t.Errorf("rows of a workspace that is not deleted changed:\n%s", cmp.Diff(before, after))
	}
}

func TestAnswersAreForgottenOnceNobodyMayRepeatThem(t *testing.T) {
	ownerURL, appURL := cluster.New(t)
	s := openStore(t, appURL, 2)
	fill(t, s, "mine")
	admin := connect(t, cluster.Superuser(t, ownerURL))
	count := func() (n int) {
		if err := s.ForgetAnswers(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := admin.QueryRow(t.Context(), "SELECT count(*) FROM idempotency").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := count(); n != 1 {
		t.Errorf("%d answers are kept, want 1", n)
	}
	if _, err := admin.Exec(t.Context(), "UPDATE idempotency SET created_at = now() - interval '26 hours'"); err != nil {
		t.Fatal(err)
	}
	if n := count(); n != 0 {
		t.Errorf("%d answers of yesterday are kept", n)
	}
}

// TestNoListCrossesWorkspacesWithoutItsCondition is the test of the generated queries for the lists, which are put
// together here: without the condition on the workspace row-level security keeps the other's rows.
func TestNoListCrossesWorkspacesWithoutItsCondition(t *testing.T) {
	ownerURL, appURL := cluster.New(t)
	s := openStore(t, appURL, 2)
	mine := fill(t, s, "mine")
	fill(t, s, canary)
	app, admin := connect(t, appURL), connect(t, cluster.Superuser(t, ownerURL))
	page := Page{Size: 100}
	lists := map[string]func(context.Context, *Tx) (any, error){
		"principals":   func(ctx context.Context, tx *Tx) (any, error) { return tx.Principals(ctx, PrincipalFilter{}, page) },
		"members":      func(ctx context.Context, tx *Tx) (any, error) { return tx.Members(ctx, MemberFilter{}, page) },
		"policies":     func(ctx context.Context, tx *Tx) (any, error) { return tx.Policies(ctx, PolicyFilter{}, page) },
		"mandates":     func(ctx context.Context, tx *Tx) (any, error) { return tx.Mandates(ctx, MandateFilter{}, now(), page) },
		"destinations": func(ctx context.Context, tx *Tx) (any, error) { return tx.Destinations(ctx, DestinationFilter{}, page) },
		"versions":     func(ctx context.Context, tx *Tx) (any, error) { return tx.RegoVersions(ctx, RegoFilter{}, page) },
		"keys":         func(ctx context.Context, tx *Tx) (any, error) { return tx.Keys(ctx, KeyFilter{}, now(), page) },
	}
	for name, list := range lists {
		run := func(conn *pgx.Conn) (found string) {
			inWorkspace(t, conn, mine.id, func(tx pgx.Tx) {
				bare := stripped{tx, func(sql string) string {
					return strings.Replace(sql, "WHERE workspace_id = $1", "WHERE $1::text IS NOT NULL", 1)
				}}
				rows, err := list(t.Context(), &Tx{tx: bare, q: query.New(bare), workspace: mine.id})
				if err != nil {
					t.Fatal(err)
				}
				text, err := json.Marshal(rows)
				if err != nil {
					t.Fatal(err)
				}
				found = string(text)
			})
			return found
		}
		if found := run(app); strings.Contains(found, canary) {
			t.Errorf("the list of %s has what belongs to another workspace: %s", name, found)
		}
		if found := run(admin); name != "members" && !strings.Contains(found, canary) {
			t.Errorf("the list of %s would not leak without row-level security either, so that the test tells nothing: %s", name, found)
		}
	}
}
