package controlplane_test

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
	"github.com/caracal-gateway/caracal/migrations"
	"github.com/caracal-gateway/caracal/token"
)

// beforeMembers is a database as it was filled when a member was an owner and nobody else.
func beforeMembers(t *testing.T) (ownerURL, appURL string, old *pgx.Conn) {
	t.Helper()
	ownerURL, appURL = cluster.New(t)
	old = must(pgx.Connect(t.Context(), cluster.Superuser(t, ownerURL)))(t)
	t.Cleanup(func() { _ = old.Close(context.Background()) })
	config := must(pgx.ParseConfig(ownerURL))(t)
	for _, statement := range []string{
		"DROP SCHEMA public CASCADE", "CREATE SCHEMA public AUTHORIZATION " + config.User, "GRANT USAGE ON SCHEMA public TO caracal_app",
	} {
		if _, err := old.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	config.RuntimeParams["search_path"] = "public"
	db := stdlib.OpenDB(*config)
	t.Cleanup(func() { _ = db.Close() })
	provider := must(goose.NewProvider(goose.DialectPostgres, db, migrations.Files))(t)
	if _, err := provider.UpTo(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	return ownerURL, appURL, old
}

// A database that the version before filled goes on working: its keys open what they opened, and its owners are people.
func TestKeysAndOwnersOfBeforeGoOnWorking(t *testing.T) {
	ctx := t.Context()
	ownerURL, appURL, old := beforeMembers(t)
	id := "ws_" + strings.Repeat("a", 26)
	run := func(statement string, arguments ...any) {
		t.Helper()
		if _, err := old.Exec(ctx, statement, arguments...); err != nil {
			t.Fatal(err)
		}
	}
	run(`INSERT INTO workspaces (id, slug, name, description, settings, revision, revised_at, created_at, event_sequence)
		VALUES ($1, 'old', 'Old', '', '{"max_stream_seconds": 60, "event_retention_days": 90}', 7, now(), now(), 0)`, id)
	holders := map[string]struct{ typ, role, kind string }{
		"owner": {"user", "owner", "owner"}, "second": {"user", "owner", "owner"},
		"agent": {"agent", "", "agent"}, "service": {"service", "", "agent"}, "user": {"user", "", ""},
	}
	keys := map[string]token.APIKey{}
	for name, h := range holders {
		run(`INSERT INTO principals (id, workspace_id, name, type, role, metadata, suspended, created_at)
			VALUES ($1, $2, $1, $3, $4, '{}', false, now())`, name, id, h.typ, h.role)
		if h.kind == "" {
			continue
		}
		key := must(token.NewAPIKey(authority.KeyKind(h.kind), ""))(t)
		hash := key.Hash()
		run(`INSERT INTO api_keys (id, workspace_id, kind, name, principal_id, created_at, hash) VALUES ($1, $2, $3, '', $4, now(), $5)`,
			key.ID, id, h.kind, name, hash[:])
		keys[name] = key
	}

	if err := postgres.Migrate(ctx, ownerURL); err != nil {
		t.Fatal(err)
	}
	s := newService(t, appURL)
	as := func(name string) controlplane.Caller {
		t.Helper()
		return must(s.Authenticate(ctx, controlplane.Credential{Bearer: keys[name].Reveal()}))(t)
	}
	type who struct {
		Kind authority.KeyKind
		Role authority.Role
		Type authority.PrincipalType
	}
	for name, want := range map[string]who{
		"owner": {authority.KeyMember, authority.RoleOwner, authority.User}, "second": {authority.KeyMember, authority.RoleOwner, authority.User},
		"agent": {authority.KeyAgent, "", authority.Agent}, "service": {authority.KeyService, "", authority.Service},
	} {
		c := as(name)
		if diff := cmp.Diff(want, who{c.Kind(), c.Principal().Role, c.Principal().Type}); diff != "" {
			t.Errorf("the %s is another:\n%s", name, diff)
		}
	}
	people := map[authority.PersonID]bool{}
	for _, m := range must(s.Members(ctx, as("owner"), controlplane.MemberFilter{}, controlplane.Page{}))(t).Items {
		if _, err := authority.ParseID[authority.PersonID](string(m.PersonID)); err != nil {
			t.Errorf("the person of %s is %q: %v", m.Name, m.PersonID, err)
		}
		people[m.PersonID] = true
	}
	if len(people) != 2 {
		t.Errorf("the two owners are %d people", len(people))
	}
	must(s.AddMember(ctx, as("owner"), controlplane.NewMember{Name: "third", Role: authority.RoleViewer}))(t)
	must(s.RemoveMember(ctx, as("owner"), "second"))(t)
	_, err := s.Authenticate(ctx, controlplane.Credential{Bearer: keys["second"].Reveal()})
	wantError(t, err, authority.CodeUnauthenticated, "")
}
