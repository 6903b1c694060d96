package signin_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/caracal-gateway/caracal/internal/openid"
)

// Whatever opens something is told to the one who is to have it, and is nowhere else: not in the log at its most talkative,
// not in events, not in clear in the database, not in an address that a server sees.
func TestSecretsAreToldOnceAndKeptNowhere(t *testing.T) {
	w := newWorld(t, openid.User{Subject: "u-1", Name: "Ada", Groups: []string{"platform"}})
	w.groups(w.owner, "my-team", 200, "platform", "operator")
	secrets := map[string]string{"the client's secret": clientSecret, "the owner's key": w.owner}
	invitation := w.invite(w.owner, w.member("one", "viewer"))
	secrets["the invitation"] = invitation
	b := w.browser()
	p := b.post("/login/invitation", form("secret", invitation)).shows(200)
	secrets["the sealed sign-in"] = b.cookie(attempt)
	to, err := url.Parse(p.onward())
	if err != nil {
		t.Fatal(err)
	}
	secrets["the state"], secrets["the nonce"] = to.Query().Get("state"), to.Query().Get("nonce")
	answer := b.answered(t, "u-1") // another attempt, so that its code is seen
	secrets["the provider's code"] = answer.Query().Get("code")
	b.get(answer.String()).shows(200, "operator")
	secrets["the browser's session"] = b.cookie("caracal-session")
	id, _ := b.whoami()
	secrets["the CSRF token"] = id.CSRF
	code := b.grant("allow").Get("code")
	secrets["the command line's code"], secrets["its verifier"] = code, verifier
	token, _ := w.exchange(code, verifier)
	secrets["the command line's session"] = token
	link := w.linkOf(w.owner)
	secrets["a link"] = link
	w.browser().post("/login/link", form("secret", link)).shows(200)
	unused := w.linkOf(w.owner)
	secrets["a link that nobody has used"] = unused
	// Failures tell no more.
	b.post("/login/link", form("secret", link)).shows(401)
	b.get(answer.String()).shows(401)
	w.exchange(code, verifier)

	found := map[string]string{"the log": w.log.String(), "the database": w.dump(), "the account page": b.get("/account").text}
	var events []json.RawMessage
	w.rest(w.owner, "GET", "events?limit=200", nil, 200, &events)
	var types []string
	for _, event := range events {
		found["the events"] += string(event)
		var e struct {
			Type string `json:"event_type"`
		}
		if err := json.Unmarshal(event, &e); err != nil {
			t.Fatal(err)
		}
		types = append(types, e.Type)
	}
	for _, want := range []string{"member_invited", "group_roles_set", "signed_in", "sign_in_link_created", "member_added"} {
		if !strings.Contains(strings.Join(types, " "), want) {
			t.Errorf("no event %s among %v", want, types)
		}
	}
	for what, secret := range secrets {
		if len(secret) < 16 {
			t.Fatalf("%s is %q", what, secret)
		}
		for place, text := range found {
			if what == "the CSRF token" && place == "the account page" {
				continue
			}
			if strings.Contains(text, secret) || strings.Contains(text, base64.StdEncoding.EncodeToString([]byte(secret))) {
				t.Errorf("%s holds %s", place, what)
			}
		}
	}
}

// dump is every row of the database as text.
func (w *world) dump() string {
	w.t.Helper()
	conn, err := pgx.Connect(w.t.Context(), cluster.Superuser(w.t, w.appURL))
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	rows, err := conn.Query(w.t.Context(), "SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')")
	if err != nil {
		w.t.Fatal(err)
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		w.t.Fatal(err)
	}
	var all strings.Builder
	for _, table := range tables {
		rows, err := conn.Query(w.t.Context(), "SELECT t::text FROM "+table+" t")
		if err != nil {
			w.t.Fatal(err)
		}
		texts, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			w.t.Fatal(err)
		}
		all.WriteString(table + "\n" + strings.Join(texts, "\n") + "\n")
	}
	if text := all.String(); strings.Contains(text, "sessions\n") && strings.Contains(text, "ses_") {
		return text
	}
	w.t.Fatal("the dump shows no session: it does not see what it should")
	return ""
}

// The application cannot list what belongs to people, whatever it is made to ask.
func TestTheApplicationHasNoRightToTheTablesOfPeople(t *testing.T) {
	w := newWorldAt(t, nil)
	w.linked(w.owner)
	conn, err := pgx.Connect(t.Context(), w.appURL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	for _, statement := range []string{
		"SELECT * FROM sessions", "SELECT * FROM logins", "SELECT * FROM tickets", "UPDATE sessions SET kind = 'cli'", "DELETE FROM tickets",
		"INSERT INTO logins VALUES ('i', 's', 'p', '', '', false, now(), now())", "SELECT name FROM people",
	} {
		if _, err := conn.Exec(t.Context(), statement); err == nil || !strings.Contains(err.Error(), "permission denied") {
			t.Errorf("%s: %v", statement, err)
		}
	}
	var listed int
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM look_up_group_roles(ARRAY['%', ''])").Scan(&listed); err != nil || listed != 0 {
		t.Errorf("%d roles: %v", listed, err)
	}
}
