package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres/internal/query"
	"github.com/caracal-gateway/caracal/internal/pgtest"
)

// These tests are inside the package because they take its parts apart: they run every generated query without its
// WHERE clause on the workspace.

var cluster = pgtest.Cluster{Prepare: Migrate}

// canary is a word that only the other workspace holds.
const canary = "canary-of-the-other-workspace"

// tenant is a workspace that has one row in every table.
type tenant struct {
	id          authority.WorkspaceID
	principal   authority.PrincipalID
	policy      authority.PolicyID
	mandate     authority.MandateID
	destination authority.DestinationID
	rego        authority.RegoVersionID
	key         authority.KeyID
	gateway     authority.GatewayID
	receipt     authority.ReceiptID
	issuer      authority.TrustedIssuerID
	event       authority.EventID
	decision    authority.DecisionID
}

// now is an instant as precise as the database keeps it.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

func openStore(t *testing.T, url string, conns int32) *Store {
	t.Helper()
	s, err := Open(Config{URL: url, MaxConns: conns})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// fill makes a workspace whose every row carries a word.
func fill(t *testing.T, s *Store, word string) tenant {
	t.Helper()
	w := tenant{
		id: authority.NewID[authority.WorkspaceID](), principal: authority.NewID[authority.PrincipalID](),
		policy: authority.NewID[authority.PolicyID](), mandate: authority.NewID[authority.MandateID](),
		destination: authority.NewID[authority.DestinationID](), rego: authority.NewID[authority.RegoVersionID](),
		key: authority.NewID[authority.KeyID](), gateway: authority.NewID[authority.GatewayID](), receipt: authority.NewID[authority.ReceiptID](),
		issuer: authority.NewID[authority.TrustedIssuerID](), event: authority.NewID[authority.EventID](), decision: authority.NewID[authority.DecisionID](),
	}
	at := now()
	err := s.Write(t.Context(), w.id, func(ctx context.Context, tx *Tx) error {
		return errors.Join(
			tx.InsertWorkspace(ctx, authority.Workspace{ID: w.id, Slug: "ws-" + string(w.id[3:9]), Name: word, Settings: authority.DefaultSettings(), Revision: 1, CreatedAt: at}),
			tx.InsertPrincipal(ctx, authority.Principal{ID: w.principal, WorkspaceID: w.id, Name: word, Type: authority.Agent, Metadata: map[string]string{"is": word}, CreatedAt: at}),
			tx.InsertPolicy(ctx, authority.Policy{
				ID: w.policy, WorkspaceID: w.id, PrincipalID: w.principal, AllowedResources: []authority.ResourcePattern{authority.ResourcePattern("api:" + word)},
				AllowedActions: authority.Actions{authority.Read}, MaxValiditySeconds: 60, Grantors: []authority.PrincipalID{w.principal}, Version: 1, Active: true, CreatedAt: at,
			}),
			tx.InsertMandate(ctx, aMandate(w, word, at)),
			tx.InsertClientAuthority(ctx, authority.ClientAuthority{ID: authority.NewID[authority.ClientAuthorityID](), WorkspaceID: w.id, Name: word, Roots: word, Bindings: []authority.CertificateBinding{}, CreatedAt: at}),
			tx.SetGroupRoles(ctx, []authority.GroupRole{{Group: word, Role: authority.RoleViewer}}),
			tx.KeepGroupMember(ctx, w.principal, authority.RoleViewer),
			tx.InsertDestination(ctx, authority.Destination{ID: w.destination, WorkspaceID: w.id, Name: word, Host: word + ".test", Ports: []uint16{443}, TLS: authority.TLSRequired, MaxDurationSeconds: 1, EncodedSlash: authority.EncodedSlashRefuse, CreatedAt: at, Addresses: []netip.Prefix{}, Rules: []authority.Rule{}}),
			tx.InsertRegoVersion(ctx, authority.RegoVersion{ID: w.rego, WorkspaceID: w.id, Number: 1, Modules: map[string]string{"a.rego": word}, Data: map[string]any{}, Active: true, CreatedBy: w.principal, CreatedAt: at}),
			tx.InsertKey(ctx, authority.Key{ID: w.key, WorkspaceID: w.id, Kind: authority.KeyAgent, Name: word, PrincipalID: w.principal, CreatedAt: at}, make([]byte, 32)),
			tx.InsertSigningKey(ctx, SealedKey{ID: string(w.id), Purpose: "root", Sealed: []byte(word), NotBefore: at, RetireAt: at.Add(time.Hour)}),
			tx.InsertGateway(ctx, Gateway{ID: w.gateway, WorkspaceID: w.id, KeyID: w.key, PublicKey: make([]byte, 32), Instance: word, Formats: []uint32{1}, EnrolledAt: at}),
			tx.InsertInspectionAuthority(ctx, SealedAuthority{Certificate: []byte(word), Sealed: []byte(word), NotBefore: at, NotAfter: at.Add(time.Hour)}),
			tx.InsertInspectionCertificate(ctx, InspectionCertificate{GatewayID: w.gateway, Serial: word, IssuedAt: at, NotAfter: at.Add(time.Hour)}),
			tx.KeepBeyondReport(ctx, BeyondReport{GatewayID: w.gateway, Timeline: word, Revision: 2, RevokedMandates: []authority.MandateID{w.mandate}, ReportedAt: at}),
			tx.InsertIssuer(ctx, authority.TrustedIssuer{
				ID: w.issuer, WorkspaceID: w.id, Name: word, Kind: authority.IssuerOIDC, Issuer: word, Audiences: []string{word}, Claim: "sub",
				Algorithms: []string{"ES256"}, PrivateAddresses: []netip.Prefix{}, MaxLifetimeSeconds: 60, Bindings: []authority.IssuerBinding{}, CreatedAt: at,
			}),
			tx.PutIssuerKeys(ctx, IssuerKeys{IssuerID: w.issuer, AttemptedAt: &at, NextAttemptAt: &at, Failure: word}),
			tx.InsertReceipt(ctx, authority.Receipt{
				ID: w.receipt, WorkspaceID: w.id, Kind: authority.ReceiptOfMandate, Target: authority.ReceiptTarget{MandateID: w.mandate},
				State: authority.ReceiptPending, Revision: 1, Timeline: word, RequestedBy: w.principal, RevokedAt: at, CreatedAt: at, MandatesDigest: make([]byte, 32),
			}, "", []authority.GatewayReceipt{{GatewayID: w.gateway, Instance: word}}),
			tx.RememberAnswer(ctx, "caller", word, Answer{Operation: word, Digest: []byte(word), Sealed: []byte(word)}, at, at.Add(-time.Hour)),
			tx.AppendEvents(ctx, []authority.Event{{ID: authority.NewID[authority.EventID](), WorkspaceID: w.id, Type: authority.EventWorkspaceCreated, Time: at, Message: word}}),
		)
	})
	if err == nil {
		err = s.Write(t.Context(), w.id, func(ctx context.Context, tx *Tx) error {
			_, err := tx.RecordBatch(ctx, Batch{
				GatewayID: w.gateway, KeyID: w.key, Epoch: 1, First: 1, Last: 1,
				Events:   []authority.Event{{ID: w.event, WorkspaceID: w.id, Type: authority.EventAllowed, Time: at, DecisionID: w.decision, Message: word}},
				Outcomes: map[authority.DecisionID]authority.Outcome{w.decision: {Status: 200, Details: word}},
			})
			return err
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func aMandate(w tenant, word string, at time.Time) authority.Mandate {
	start := at.Truncate(time.Second)
	return authority.Mandate{
		ID: w.mandate, WorkspaceID: w.id, IssuerID: w.principal, SubjectID: w.principal,
		ResourceScope: []authority.ResourcePattern{"api:x/*"}, ActionScope: authority.Actions{authority.Read},
		ValidFrom: start, ValidUntil: start.Add(time.Hour), DelegationDepth: 3, RequestedBy: w.principal,
		Consent: authority.ConsentExplicit, PolicyID: w.policy, PolicyVersion: 1, CreatedAt: at, Signature: word,
	}
}

// tables are those that hold a workspace's rows, by the column that names it.
func tables(t *testing.T, admin *pgx.Conn) map[string]string {
	t.Helper()
	rows, err := admin.Query(t.Context(), `SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
		WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT a.attisdropped
		AND (a.attname = 'workspace_id' OR c.relname = 'workspaces' AND a.attname = 'id')`)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	var table, column string
	if _, err := pgx.ForEachRow(rows, []any{&table, &column}, func() error { found[table] = column; return nil }); err != nil {
		t.Fatal(err)
	}
	return found
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func TestEveryTableOfAWorkspaceForcesRowLevelSecurity(t *testing.T) {
	ownerURL, _ := cluster.New(t)
	admin := connect(t, cluster.Superuser(t, ownerURL))
	found := tables(t, admin)
	if len(found) < 15 {
		t.Fatalf("found only %d tables", len(found))
	}
	for table := range found {
		var enabled, forced bool
		var policies int
		err := admin.QueryRow(t.Context(), `SELECT relrowsecurity, relforcerowsecurity,
			(SELECT count(*) FROM pg_policy p WHERE p.polrelid = c.oid AND p.polname = 'workspace' AND p.polcmd = '*'
				AND p.polqual IS NOT NULL AND p.polwithcheck IS NOT NULL)
			FROM pg_class c WHERE c.oid = ('public.' || $1)::regclass`, table).Scan(&enabled, &forced, &policies)
		if err != nil {
			t.Fatal(err)
		}
		if !enabled || !forced || policies != 1 {
			t.Errorf("table %s: row-level security enabled %t, forced %t, workspace policies %d", table, enabled, forced, policies)
		}
	}
	var strangers []string
	err := admin.QueryRow(t.Context(), `SELECT coalesce(array_agg(c.relname), '{}') FROM pg_class c
		WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
		AND c.relname NOT IN ('deployment', 'goose_db_version') AND NOT relrowsecurity`).Scan(&strangers)
	if err != nil || len(strangers) > 0 {
		t.Errorf("tables without row-level security: %v %v", strangers, err)
	}
}

func TestAForeignKeyBetweenTablesOfAWorkspaceCarriesTheWorkspace(t *testing.T) {
	ownerURL, _ := cluster.New(t)
	admin := connect(t, cluster.Superuser(t, ownerURL))
	var loose []string
	err := admin.QueryRow(t.Context(), `SELECT coalesce(array_agg(conrelid::regclass || '.' || conname), '{}') FROM pg_constraint c
		WHERE contype = 'f' AND confrelid NOT IN ('workspaces'::regclass, 'people'::regclass) AND NOT EXISTS (
			SELECT FROM pg_attribute a WHERE a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey) AND a.attname = 'workspace_id')`).Scan(&loose)
	if err != nil || len(loose) > 0 {
		t.Errorf("foreign keys without the workspace: %v %v", loose, err)
	}
}

func TestTheApplicationSeesAndChangesItsOwnWorkspaceOnly(t *testing.T) {
	ownerURL, appURL := cluster.New(t)
	s := openStore(t, appURL, 2)
	mine, other := fill(t, s, "mine"), fill(t, s, canary)
	admin, app := connect(t, cluster.Superuser(t, ownerURL)), connect(t, appURL)
	for table, column := range tables(t, admin) {
		if strings.HasPrefix(table, "events_") {
			continue // partitions, which the application has no right to touch directly
		}
		t.Run(table, func(t *testing.T) {
			var all int
			if err := admin.QueryRow(t.Context(), fmt.Sprintf("SELECT count(*) FROM %s WHERE %s = $1", table, column), other.id).Scan(&all); err != nil || all == 0 {
				t.Fatalf("the other workspace has no row to find: %v", err)
			}
			inWorkspace(t, app, mine.id, func(tx pgx.Tx) {
				var foreign, own int
				err := tx.QueryRow(t.Context(), fmt.Sprintf("SELECT count(*) FILTER (WHERE %s <> $1), count(*) FROM %s", column, table), mine.id).Scan(&foreign, &own)
				if err != nil || foreign != 0 || own == 0 {
					t.Errorf("%d rows of others among %d: %v", foreign, own, err)
				}
			})
			inWorkspace(t, app, mine.id, func(tx pgx.Tx) {
				tag, err := tx.Exec(t.Context(), fmt.Sprintf("DELETE FROM %s WHERE %s = $1", table, column), other.id)
				if err == nil && tag.RowsAffected() != 0 {
					t.Errorf("deleted %d rows of the other workspace", tag.RowsAffected())
				}
			})
			inWorkspace(t, app, mine.id, func(tx pgx.Tx) {
				tag, err := tx.Exec(t.Context(), fmt.Sprintf("UPDATE %s SET %s = %s WHERE %s = $1", table, column, column, column), other.id)
				if err == nil && tag.RowsAffected() != 0 {
					t.Errorf("updated %d rows of the other workspace", tag.RowsAffected())
				}
			})
		})
	}
}

func TestARowCannotBeWrittenIntoAnotherWorkspace(t *testing.T) {
	_, appURL := cluster.New(t)
	s := openStore(t, appURL, 2)
	mine, other := fill(t, s, "mine"), fill(t, s, canary)
	err := s.Write(t.Context(), mine.id, func(ctx context.Context, tx *Tx) error {
		return tx.InsertPrincipal(ctx, authority.Principal{ID: authority.NewID[authority.PrincipalID](), WorkspaceID: other.id, Name: "x", Type: authority.Agent, Metadata: map[string]string{}, CreatedAt: now()})
	})
	var refused *pgconn.PgError
	if !errors.As(err, &refused) || refused.Code != "42501" {
		t.Errorf("error %v, want a violation of row-level security", err)
	}
	// A foreign key does not reach across either.
	err = s.Write(t.Context(), mine.id, func(ctx context.Context, tx *Tx) error {
		m := aMandate(mine, "x", now())
		m.ID, m.SubjectID = authority.NewID[authority.MandateID](), other.principal
		return tx.InsertMandate(ctx, m)
	})
	if !errors.As(err, &refused) || refused.Code != "23503" {
		t.Errorf("error %v, want a violation of a foreign key", err)
	}
}

func TestWithoutAWorkspaceEveryTableRefuses(t *testing.T) {
	ownerURL, appURL := cluster.New(t)
	s := openStore(t, appURL, 2)
	mine := fill(t, s, "mine")
	admin, app := connect(t, cluster.Superuser(t, ownerURL)), connect(t, appURL)
	inWorkspace(t, app, mine.id, func(pgx.Tx) {})
	never := connect(t, appURL)
	for table := range tables(t, admin) {
		for name, conn := range map[string]*pgx.Conn{"never set": never, "set by an earlier transaction": app} {
			if _, err := conn.Exec(t.Context(), "SELECT * FROM "+table); err == nil {
				t.Errorf("%s, %s: rows without a workspace", table, name)
			}
		}
	}
}

func inWorkspace(t *testing.T, conn *pgx.Conn, w authority.WorkspaceID, do func(pgx.Tx)) {
	t.Helper()
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.Background()) }()
	if _, err := tx.Exec(t.Context(), "SELECT set_config('caracal.workspace', $1, true)", w); err != nil {
		t.Fatal(err)
	}
	do(tx)
}

// stripped runs every statement without its condition on the workspace, as if it had been forgotten.
type stripped struct {
	pgx.Tx
	strip func(string) string
}

var onWorkspace = regexp.MustCompile(`(\w+\.)?workspace_id = (\$\d+)|(w\.|WHERE )id = (\$1)\b`)

// forget removes the condition on the workspace and keeps its parameter.
func forget(sql string) string {
	if strings.Contains(sql, "INSERT INTO") {
		return sql
	}
	return onWorkspace.ReplaceAllStringFunc(sql, func(m string) string {
		parameter := m[strings.LastIndex(m, "$"):]
		prefix := ""
		if strings.HasPrefix(m, "WHERE ") {
			prefix = "WHERE "
		}
		return prefix + parameter + "::text IS NOT NULL"
	})
}

func (s stripped) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	return s.Tx.Exec(ctx, s.strip(sql), args...)
}
func (s stripped) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return s.Tx.Query(ctx, s.strip(sql), args...)
}
func (s stripped) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return s.Tx.QueryRow(ctx, s.strip(sql), args...)
}

// arguments fills the parameters of a query with everything of a tenant.
func (w tenant) arguments(params reflect.Type) reflect.Value {
	v := reflect.New(params).Elem()
	for i := range params.NumField() {
		field := v.Field(i)
		switch field.Interface().(type) {
		case authority.WorkspaceID:
			field.Set(reflect.ValueOf(w.id))
		case authority.PrincipalID:
			field.Set(reflect.ValueOf(w.principal))
		case authority.PolicyID:
			field.Set(reflect.ValueOf(w.policy))
		case authority.MandateID:
			field.Set(reflect.ValueOf(w.mandate))
		case authority.DestinationID:
			field.Set(reflect.ValueOf(w.destination))
		case authority.RegoVersionID:
			field.Set(reflect.ValueOf(w.rego))
		case authority.KeyID:
			field.Set(reflect.ValueOf(w.key))
		case authority.GatewayID:
			field.Set(reflect.ValueOf(w.gateway))
		case authority.ReceiptID:
			field.Set(reflect.ValueOf(w.receipt))
		case authority.TrustedIssuerID:
			field.Set(reflect.ValueOf(w.issuer))
		case []string:
			field.Set(reflect.ValueOf([]string{string(w.principal), string(w.policy), string(w.mandate)}))
		case time.Time:
			if name := params.Field(i).Name; name == "UntilTime" || name == "At" {
				field.Set(reflect.ValueOf(time.Now().Add(-time.Minute).AddDate(1, 0, 0)))
			}
		case []byte:
			field.Set(reflect.ValueOf(make([]byte, 32)))
		case uint64:
			field.SetUint(1)
		case *uint64:
			one := uint64(1)
			field.Set(reflect.ValueOf(&one))
		case int32:
			field.SetInt(100)
		case string:
			switch params.Field(i).Name {
			case "Caller":
				field.SetString("caller")
			case "Key", "Instance":
				field.SetString(canary)
			case "ParentID":
				field.SetString(string(w.mandate))
			}
		}
	}
	return v
}

// TestNoGeneratedQueryCrossesWorkspacesWithoutItsWhereClause runs every query in my workspace, with the ids of another
// and without its condition on the workspace. A superuser, whom no policy binds, shows that the same queries would find
// the other's rows: it is row-level security that keeps them.
func TestNoGeneratedQueryCrossesWorkspacesWithoutItsWhereClause(t *testing.T) {
	ownerURL, appURL := cluster.New(t)
	s := openStore(t, appURL, 2)
	mine, other := fill(t, s, "mine"), fill(t, s, canary)
	app, admin := connect(t, appURL), connect(t, cluster.Superuser(t, ownerURL))
	before := dump(t, admin, other.id)
	var leaks []string
	queries := reflect.TypeFor[*query.Queries]()
	for i := range queries.NumMethod() {
		m := queries.Method(i)
		if m.Name == "WithTx" || m.Type.NumIn() < 3 || strings.HasPrefix(m.Name, "Insert") {
			continue // what takes no parameters is of no workspace; what is inserted is held by WITH CHECK
		}
		run := func(conn *pgx.Conn) string {
			var found string
			inWorkspace(t, conn, mine.id, func(tx pgx.Tx) {
				q := query.New(stripped{tx, forget})
				out := m.Func.Call([]reflect.Value{reflect.ValueOf(q), reflect.ValueOf(t.Context()), other.arguments(m.Type.In(2))})
				text, err := json.Marshal(out[0].Interface())
				if err != nil {
					t.Fatal(err)
				}
				found = string(text)
				if err, failed := out[len(out)-1].Interface().(error); failed && !errors.Is(err, pgx.ErrNoRows) {
					found = "error: " + err.Error()
				}
			})
			return found
		}
		if found := run(app); strings.Contains(found, canary) || strings.Contains(found, string(other.principal)) {
			t.Errorf("%s answers with what belongs to another workspace: %s", m.Name, found)
		}
		if strings.Contains(run(admin), canary) {
			leaks = append(leaks, m.Name)
		}
	}
	if len(leaks) < 15 {
		t.Errorf("only %d queries would leak to a role that bypasses the policies, so the test tells little: %v", len(leaks), leaks)
	}
	if after := dump(t, admin, other.id); !slices.Equal(before, after) {
		t.Errorf("rows of the other workspace changed:\nbefore %s\nafter  %s", before, after)
	}
}

// dump writes every row of a workspace.
func dump(t *testing.T, admin *pgx.Conn, w authority.WorkspaceID) []string {
	t.Helper()
	var all []string
	for table, column := range tables(t, admin) {
		var rows []string
		err := admin.QueryRow(t.Context(), fmt.Sprintf("SELECT coalesce(array_agg(r::text ORDER BY r::text), '{}') FROM %s r WHERE %s = $1", table, column), w).Scan(&rows)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, table+": "+strings.Join(rows, " "))
	}
	slices.Sort(all)
	return all
}

func TestARoleThatBypassesTheRulesIsRefused(t *testing.T) {
	ownerURL, appURL := cluster.New(t)
	for name, url := range map[string]string{"superuser": cluster.Superuser(t, appURL), "owner": ownerURL} {
		s := openStore(t, url, 1)
		if err := s.Ping(t.Context()); !errors.Is(err, errUnboundRole) {
			t.Errorf("%s: error %v, want %v", name, err, errUnboundRole)
		}
	}
}
