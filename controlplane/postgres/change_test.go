package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caracal-gateway/caracal/authority"
)

// change runs statements under a revision of their own, and gives what is known to have changed by it.
func change(t *testing.T, s *Store, w authority.WorkspaceID, statements ...string) []Changed {
	t.Helper()
	var changed []Changed
	err := s.Write(t.Context(), w, func(ctx context.Context, tx *Tx) error {
		revision, err := tx.AdvanceRevision(ctx, now(), false)
		if err != nil {
			return err
		}
		for _, statement := range statements {
			if _, err := tx.tx.Exec(ctx, statement); err != nil {
				return fmt.Errorf("%s: %w", statement, err)
			}
		}
		changed, err = tx.ChangesSince(ctx, revision-1, revision, 100)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return changed
}

// Whatever table a gateway's state is read from, a change in it is noted. A table that is added is named here or told.
func TestWhatGatewaysAreToldIsNotedWhenItChanges(t *testing.T) {
	ownerURL, appURL := cluster.New(t)
	s := openStore(t, appURL, 2)
	w := fill(t, s, "mine")
	fill(t, s, "other")
	untold := []string{
		"policy_grantors", "gateways", "idempotency", "events", "event_outcomes", "event_batches", "group_roles", "group_members", "revisions",
		"changes", "receipts", "receipt_gateways", "short_requests", "beyond_reports", "inspection_authorities", "inspection_certificates",
	}
	cases := map[string]struct {
		statement string
		want      Changed
	}{
		"principals":         {"UPDATE principals SET name = 'x'", Changed{ChangedPrincipal, string(w.principal)}},
		"mandates":           {"UPDATE mandates SET revoked = true, revoked_at = now(), revoked_by = subject_id, revoked_revision = 2", Changed{ChangedMandate, string(w.mandate)}},
		"api_keys":           {"UPDATE api_keys SET revoked_at = now()", Changed{ChangedAgentKey, string(w.key)}},
		"destinations":       {"DELETE FROM destinations", Changed{ChangedDestination, string(w.destination)}},
		"rego_versions":      {"UPDATE rego_versions SET active = false", Changed{ChangedRego, string(w.rego)}},
		"client_authorities": {"UPDATE client_authorities SET name = 'x'", Changed{Kind: ChangedClientAuthority}},
		"issuer_keys":        {"UPDATE issuer_keys SET keys = '[1]'", Changed{ChangedTrustedIssuer, string(w.issuer)}},
		"issuers":            {"UPDATE issuers SET name = 'x'", Changed{ChangedTrustedIssuer, string(w.issuer)}},
		"policies":           {"UPDATE policies SET active = false", Changed{ChangedPolicy, string(w.policy)}},
		"signing_keys":       {"UPDATE signing_keys SET retire_at = retire_at - interval '1s'", Changed{ChangedSigningKey, string(w.id)}},
		"workspaces":         {"UPDATE workspaces SET name = 'x'", Changed{ChangedWorkspace, string(w.id)}},
	}
	admin := connect(t, cluster.Superuser(t, ownerURL))
	for _, name := range untold {
		cases[name] = struct {
			statement string
			want      Changed
		}{}
	}
	there := tables(t, admin)
	for table := range cases {
		if there[table] == "" {
			t.Errorf("there is no table %s", table)
		}
	}
	for table := range there {
		if _, known := cases[table]; !known && !strings.HasPrefix(table, "events_") {
			t.Errorf("it is not said whether changes of %s are told to gateways", table)
		}
	}
	for table, c := range cases {
		if c.statement == "" {
			continue
		}
		t.Run(table, func(t *testing.T) {
			got := change(t, s, w.id, c.statement)
			if len(got) == 1 && c.want.ID == "" {
				got[0].ID = ""
			}
			if diff := cmp.Diff([]Changed{c.want}, got); diff != "" {
				t.Errorf("noted (-want +got):\n%s", diff)
			}
		})
	}
	for sentence, statement := range map[string]string{
		"a key is used":                  "UPDATE api_keys SET last_used_at = now()",
		"an issuer is asked in vain":     "UPDATE issuer_keys SET failure = 'x', attempted_at = now()",
		"events are counted":             "UPDATE workspaces SET event_sequence = event_sequence + 1",
		"a gateway is seen":              "UPDATE gateways SET seen_at = now()",
		"a grantor joins":                "INSERT INTO policy_grantors SELECT workspace_id, policy_id, principal_id, joined_at FROM policy_grantors ON CONFLICT DO NOTHING",
		"nothing is there to be changed": "UPDATE principals SET name = 'y' WHERE id = ''",
	} {
		t.Run("not when "+sentence, func(t *testing.T) {
			if got := change(t, s, w.id, statement); len(got) != 0 {
				t.Errorf("noted: %v", got)
			}
		})
	}
	if got := change(t, s, w.id, "UPDATE workspaces SET deleted_at = now(), erase_at = now()"); len(got) != 1 || got[0].Kind != ChangedEverything {
		t.Errorf("of a deletion is noted: %v", got)
	}
}

func TestRevisionsAreForgottenButTheNewest(t *testing.T) {
	_, appURL := cluster.New(t)
	s := openStore(t, appURL, 2)
	w := fill(t, s, "mine")
	since := func(from uint64) (n int, err error) {
		err = s.Read(t.Context(), w.id, func(ctx context.Context, tx *Tx) error {
			present, err := tx.Workspace(ctx)
			if err != nil {
				return err
			}
			changed, err := tx.ChangesSince(ctx, from, present.Revision, 100)
			n = len(changed)
			return err
		})
		return n, err
	}
	for range 4 {
		change(t, s, w.id, "UPDATE principals SET name = name || 'x'", "UPDATE destinations SET name = name || 'x'")
	}
	if n, err := since(1); n != 2 || err != nil {
		t.Fatalf("%d things changed since the first revision: %v", n, err)
	}
	if err := s.ForgetRevisions(t.Context(), time.Hour, 4); err != nil {
		t.Fatal(err)
	}
	if _, err := since(1); !errors.Is(err, ErrForgotten) {
		t.Errorf("more changes are kept than there is room for: %v", err)
	}
	if n, err := since(3); n != 2 || err != nil {
		t.Errorf("%d things changed in the last two revisions: %v", n, err)
	}
	if err := s.ForgetRevisions(t.Context(), 0, 1000); err != nil {
		t.Fatal(err)
	}
	if _, err := since(3); !errors.Is(err, ErrForgotten) {
		t.Errorf("older revisions are kept than have to be: %v", err)
	}
	if n, err := since(5); n != 0 || err != nil {
		t.Errorf("since the newest %d things changed: %v", n, err)
	}
	err := s.Read(t.Context(), w.id, func(ctx context.Context, tx *Tx) error {
		_, err := tx.RevisionTime(ctx, 5)
		return err
	})
	if err != nil {
		t.Errorf("the newest revision is forgotten: %v", err)
	}
	if n := len(change(t, s, w.id, "UPDATE principals SET name = 'y'")); n != 1 {
		t.Errorf("after that %d things change", n)
	}
}
