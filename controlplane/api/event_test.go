package api_test

import (
	"encoding/csv"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/authority"
)

func TestEventsInEachFormat(t *testing.T) {
	m := newWorld(t).newTeam(t, "my-team")
	for range 3 {
		m.issue()
	}
	for _, at := range []string{m.at("events"), "/api/v1/events"} {
		all := into[[]authority.Event](m.own("GET", at+"?limit=200", nil).ok(200))
		lines := m.own("GET", at+"?format=jsonl", nil).ok(200)
		if n := strings.Count(string(lines.body), "\n"); n != len(all) {
			t.Errorf("jsonl has %d lines for %d events", n, len(all))
		}
		table := m.own("GET", at+"?format=csv", nil).ok(200)
		rows, err := csv.NewReader(strings.NewReader(string(table.body))).ReadAll()
		if err != nil || len(rows) != len(all)+1 || rows[0][0] != "event_id" || rows[1][0] != string(all[0].ID) {
			t.Errorf("csv has %d rows for %d events (%v)", len(rows), len(all), err)
		}
		if got := lines.header.Get("Content-Type"); got != "application/jsonl" {
			t.Errorf("jsonl is sent as %q", got)
		}
		one := m.own("GET", at+"?limit=1&event_type=issued", nil).ok(200)
		cursor := one.header.Get("X-Caracal-Next-Cursor")
		next := into[[]authority.Event](m.own("GET", at+"?limit=1&event_type=issued&cursor="+cursor, nil).ok(200))
		if cursor == "" || len(next) != 1 || next[0].ID == into[[]authority.Event](one)[0].ID {
			t.Errorf("the page after %s is %+v", one.body, next)
		}
		page := m.own("GET", at+"?limit=2&format=jsonl", nil).ok(200)
		if strings.Count(string(page.body), "\n") != 2 || page.header.Get("X-Caracal-Next-Cursor") == "" {
			t.Errorf("a page of jsonl is %s", page.body)
		}
		m.own("GET", at+"?format=xml", nil).refused(400, "invalid_request", "format", "")
	}
}

// An export goes on over every page.
func TestAnExportHasAllEvents(t *testing.T) {
	m := newWorld(t).newTeam(t, "my-team")
	const many = 230 // more than a page
	for range many {
		m.own("POST", "/api/v1/mandates/validate", map[string]any{"mandate_id": "mdt_aaaaaaaaaaaaaaaaaaaaaaaaaa", "requested_action": "read", "requested_resource": "db:x"}).ok(200)
	}
	a := m.own("GET", m.at("events")+"?format=jsonl&event_type=denied", nil).ok(200)
	if n := strings.Count(string(a.body), "\n"); n != many {
		t.Errorf("the export has %d events, want %d", n, many)
	}
}

func TestEventsByDay(t *testing.T) {
	m := newWorld(t).newTeam(t, "my-team")
	m.issue()
	today := time.Now().UTC()
	count := func(start, end time.Time) int {
		return len(into[[]authority.Event](m.own("GET", m.at("events")+"?event_type=issued&start_date="+start.Format(time.DateOnly)+"&end_date="+end.Format(time.DateOnly), nil).ok(200)))
	}
	if n := count(today.AddDate(0, 0, -1), today.AddDate(0, 0, 1)); n != 1 {
		t.Errorf("the days around today have %d events", n)
	}
	if n := count(today.AddDate(0, 0, -3), today.AddDate(0, 0, -2)); n != 0 {
		t.Errorf("the days before have %d events", n)
	}
	for _, bad := range []string{"2024-1-1", "yesterday", "2024-02-30", "2024-01-01T00:00:00Z"} {
		m.own("GET", m.at("events")+"?start_date="+url.QueryEscape(bad), nil).refused(400, "invalid_request", "start_date", "")
		m.own("GET", m.at("events")+"?end_date="+url.QueryEscape(bad), nil).refused(400, "invalid_request", "end_date", "")
	}
}

// A cell that a spreadsheet would run is shown as text.
func TestACellIsNoFormula(t *testing.T) {
	m := newWorld(t).newTeam(t, "my-team")
	mandate := m.issue()
	m.own("POST", m.at("rego-versions"), map[string]any{
		"activate": true, "modules": map[string]string{"a.rego": "package caracal.policy\n\ndeny contains {\"code\": \"no\", \"message\": \"=cmd|' /C calc'!A0\"}\n"},
	}).ok(201)
	m.call(t, m.agentKey, "POST", "/api/v1/mandates/validate", map[string]any{"mandate_id": mandate.ID, "requested_action": "execute", "requested_resource": "api:external/openai"}).ok(200)
	a := m.own("GET", m.at("events")+"?format=csv&event_type=denied", nil).ok(200)
	if !strings.Contains(string(a.body), `'=cmd`) || strings.Contains(string(a.body), ",=cmd") {
		t.Errorf("the table is %s", a.body)
	}
}

// Text that means something to a database, a shell or a pattern is only ever text: it finds nothing, and is no error of
// the server's.
func TestInjectedTextIsText(t *testing.T) {
	m := newWorld(t).newTeam(t, "my-team")
	m.issue()
	hostile := []string{
		`' OR '1'='1`, `'; DROP TABLE mandates; --`, `%`, `_`, `%25%25%25`, `\`, `$1`, `{"$ne":null}`, `") OR 1=1 --`, `../../etc/passwd`,
		`caracal.workspace`, `1 UNION SELECT secret FROM api_keys`, strings.Repeat("%", 900), "\u202e", "null", `[]`,
	}
	filters := map[string][]string{
		"principals": {"principal_type", "suspended", "cursor"}, "policies": {"principal_id", "active", "cursor"}, "keys": {"kind", "principal_id", "cursor"},
		"mandates": {"issuer_id", "subject_id", "parent_mandate_id", "revoked", "cursor"}, "destinations": {"cursor"}, "rego-versions": {"cursor"},
		"events": {"event_type", "principal_id", "mandate_id", "decision_id", "resource", "start_date", "end_date", "format", "cursor"},
	}
	for collection, names := range filters {
		for _, name := range append(names, "workspace_slug", "limit") {
			for _, text := range append(hostile, "a\x00b", "\xff", "a\nb") {
				a := m.own("GET", m.at(collection)+"?"+name+"="+url.QueryEscape(text), nil)
				switch {
				case a.status == 200 && strings.Contains(string(a.body), `_id"`):
					t.Errorf("%s with %s=%q found %s", collection, name, text, a.body)
				case a.status != 200 && a.status != 400 && a.status != 404:
					t.Errorf("%s with %s=%q answered %d %s", collection, name, text, a.status, a.body)
				}
			}
		}
	}
	for _, text := range hostile {
		if len(text) > 200 {
			continue
		}
		for collection := range filters {
			a := m.own("GET", "/api/v1/"+collection+"/"+url.PathEscape(text), nil)
			if a.status != 404 && a.status != 405 {
				t.Errorf("%s named %q answered %d %s", collection, text, a.status, a.body)
			}
		}
	}
	if n := len(into[[]authority.Event](m.own("GET", m.at("events")+"?event_type=issued", nil).ok(200))); n != 1 {
		t.Errorf("afterwards there are %d issued events", n)
	}
}

// A cursor is good for the list and the workspace that gave it, as it was given.
func TestATamperedCursorIsRefused(t *testing.T) {
	w := newWorld(t)
	mine, theirs := w.newTeam(t, "mine"), w.newTeam(t, "theirs")
	type page struct {
		NextCursor string `json:"next_cursor"`
	}
	cursor := into[page](mine.own("GET", mine.at("principals")+"?limit=1", nil).ok(200)).NextCursor
	mine.own("GET", mine.at("principals")+"?limit=1&cursor="+cursor, nil).ok(200)
	theirs.own("GET", theirs.at("principals")+"?limit=1&cursor="+cursor, nil).refused(400, "invalid_request", "cursor", "")
	mine.own("GET", mine.at("policies")+"?limit=1&cursor="+cursor, nil).refused(400, "invalid_request", "cursor", "")
	for i := range len(cursor) {
		other := byte('A')
		if cursor[i] == other {
			other = 'B'
		}
		changed := cursor[:i] + string(other) + cursor[i+1:]
		if a := mine.own("GET", mine.at("principals")+"?limit=1&cursor="+changed, nil); a.status != 400 {
			t.Errorf("a cursor changed at %d answered %d", i, a.status)
		}
		if a := mine.own("GET", mine.at("principals")+"?limit=1&cursor="+cursor[:i], nil); a.status != 400 && i > 0 {
			t.Errorf("a cursor cut to %d answered %d", i, a.status)
		}
	}
}
