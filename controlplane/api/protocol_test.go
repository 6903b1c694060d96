package api_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

func TestWhatIsOutsideTheInterface(t *testing.T) {
	m := newWorld(t).newTeam(t, "my-team")
	for sentence, c := range map[string]struct {
		method, path string
		status       int
		code         string
	}{
		"a path that is not there":       {"GET", "/api/v1/nothing", 404, "not_found"},
		"the root":                       {"GET", "/", 404, "not_found"},
		"a trailing slash":               {"GET", "/api/v1/mandates/", 404, "not_found"},
		"a doubled slash":                {"GET", "/api//v1/mandates", 404, "not_found"},
		"dots in a path":                 {"GET", "/api/v1/keys/../mandates", 404, "not_found"},
		"a method that the path has not": {"DELETE", "/api/v1/mandates", 405, "method_not_allowed"},
		"a method that nobody has":       {"BREW", "/api/v1/mandates", 405, "method_not_allowed"},
		"reading what can only be asked": {"GET", "/api/v1/mandates/validate", 405, "method_not_allowed"},
		"an id with a control character": {"GET", "/api/v1/mandates/%00", 404, "not_found"},
		"an id that is not UTF-8":        {"GET", "/api/v1/mandates/%ff", 404, "not_found"},
		"an id of another kind":          {"GET", "/api/v1/mandates/prn_aaaaaaaaaaaaaaaaaaaaaaaaaa", 404, "not_found"},
		"an id with a slash inside":      {"GET", "/api/v1/mandates/a%2fb", 404, "not_found"},
		"a workspace with a quote":       {"GET", "/api/v1/workspaces/'/mandates", 404, "not_found"},
		"a parameter that is not there":  {"GET", "/api/v1/mandates?subject=x", 400, "invalid_request"},
		"a parameter of a single thing":  {"GET", "/api/v1/policies/" + string(m.policy) + "?x=1", 400, "invalid_request"},
		"a query with a broken escape":   {"GET", "/api/v1/mandates?limit=%zz", 400, "invalid_request"},
		"a query with semicolons":        {"GET", "/api/v1/mandates?limit=1;cursor=2", 400, "invalid_request"},
	} {
		t.Run(sentence, func(t *testing.T) {
			a := m.call(t, m.ownerKey, c.method, c.path, nil)
			if p := into[problem](a); a.status != c.status || p.Code != c.code || p.Status != c.status || p.Type != "urn:caracal:problem:"+c.code {
				t.Errorf("answered %d %s", a.status, a.body)
			}
			if c.status == 405 && !strings.Contains(a.header.Get("Allow"), "T") {
				t.Errorf("Allow is %q", a.header.Get("Allow"))
			}
		})
	}
}

func TestBodiesThatAreRefused(t *testing.T) {
	m := newWorld(t).newTeam(t, "my-team")
	deep := strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40)
	for sentence, c := range map[string]struct {
		path, body, contentType string
		status                  int
		code, field             string
	}{
		"no body":                           {"principals", "", "", 400, "invalid_request", ""},
		"no JSON":                           {"principals", "name=x", "", 400, "invalid_request", ""},
		"JSON that ends early":              {"principals", `{"name": "x"`, "", 400, "invalid_request", ""},
		"two JSON values":                   {"principals", `{"name":"x","principal_type":"agent"} {}`, "", 400, "invalid_request", ""},
		"a list for an object":              {"principals", `[]`, "", 400, "invalid_request", ""},
		"an unknown field":                  {"principals", `{"name":"x","principal_type":"agent","nickname":"y"}`, "", 400, "invalid_request", "nickname"},
		"a field in another case":           {"principals", `{"Name":"x","principal_type":"agent"}`, "", 400, "invalid_request", "Name"},
		"a field twice":                     {"principals", `{"name":"x","principal_type":"agent","name":"y"}`, "", 400, "invalid_request", "name"},
		"a member of a map twice":           {"principals", `{"name":"x","principal_type":"agent","metadata":{"a":"1","a":"2"}}`, "", 400, "invalid_request", "metadata.a"},
		"a number for a text":               {"principals", `{"name":7,"principal_type":"agent"}`, "", 400, "invalid_request", "name"},
		"null for a text":                   {"principals", `{"name":null,"principal_type":"agent"}`, "", 400, "invalid_request", "name"},
		"null in a map of texts":            {"principals", `{"name":"x","principal_type":"agent","metadata":{"a":null}}`, "", 400, "invalid_request", "metadata.a"},
		"an object inside a map of texts":   {"principals", `{"name":"x","principal_type":"agent","metadata":{"a":{}}}`, "", 400, "invalid_request", "metadata"},
		"a NUL character":                   {"principals", `{"name":"x\u0000y","principal_type":"agent"}`, "", 400, "invalid_request", "name"},
		"a NUL character in a map":          {"principals", `{"name":"x","principal_type":"agent","metadata":{"a\u0000":"1"}}`, "", 400, "invalid_request", "metadata"},
		"a text that is not UTF-8":          {"principals", "{\"name\":\"\xff\",\"principal_type\":\"agent\"}", "", 400, "invalid_request", ""},
		"an unknown field inside a list":    {"destinations", `{"name":"x","host":"x.example","rules":[{"path":"/","method":"GET"}]}`, "", 400, "invalid_request", "rules[0].method"},
		"a fraction for a whole number":     {"policies", `{"principal_id":"` + string(m.agent) + `","allowed_resources":["db:*"],"allowed_actions":["read"],"max_validity_seconds":1.5}`, "", 400, "invalid_request", "max_validity_seconds"},
		"a number beyond all bounds":        {"policies", `{"principal_id":"` + string(m.agent) + `","allowed_resources":["db:*"],"allowed_actions":["read"],"max_validity_seconds":1e400}`, "", 400, "invalid_request", "max_validity_seconds"},
		"a day for a time":                  {"keys", `{"name":"x","kind":"gateway","expires_at":"2030-01-15"}`, "", 400, "invalid_request", "expires_at"},
		"an address for a range":            {"workspaces/my-team/issuers", `{"name":"x","kind":"oidc","issuer":"https://x.example","private_addresses":["10.0.0.1"]}`, "", 400, "invalid_request", "private_addresses[0]"},
		"what nests too deep":               {"rego-versions", `{"modules":{},"data":` + deep + `}`, "", 400, "invalid_request", ""},
		"a form":                            {"principals", `{"name":"x","principal_type":"agent"}`, "application/x-www-form-urlencoded", 415, "unsupported_media_type", "Content-Type"},
		"JSON in another character set":     {"principals", `{"name":"x","principal_type":"agent"}`, "application/json; charset=utf-16", 415, "unsupported_media_type", "Content-Type"},
		"more than a mebibyte":              {"principals", `{"name":"` + strings.Repeat("x", 1<<20) + `"}`, "", 413, "body_too_large", ""},
		"an action where a body says no":    {"principals/" + string(m.agent) + "/suspend", `{"for":"ever"}`, "", 400, "invalid_request", "for"},
		"a wait that is no number":          {"mandates/" + string(m.issue().ID) + "/revoke", `{"wait":"long"}`, "", 400, "invalid_request", "wait"},
		"a wait beyond its bound":           {"mandates/" + string(m.issue().ID) + "/revoke", `{"wait":121}`, "", 400, "invalid_request", "wait"},
		"a wait below nothing":              {"mandates/" + string(m.issue().ID) + "/revoke", `{"wait":-1}`, "", 400, "invalid_request", "wait"},
		"another mandate than the path's":   {"mandates/" + string(m.issue().ID) + "/revoke", `{"mandate_id":"mdt_aaaaaaaaaaaaaaaaaaaaaaaaaa"}`, "", 400, "invalid_request", "mandate_id"},
		"another parent than the path's":    {"mandates/" + string(m.issue().ID) + "/delegate", `{"parent_mandate_id":"mdt_aaaaaaaaaaaaaaaaaaaaaaaaaa"}`, "", 400, "invalid_request", "parent_mandate_id"},
		"a resource that is not literal":    {"mandates/validate", `{"mandate_id":"x","requested_action":"read","requested_resource":"db:*"}`, "", 400, "invalid_request", "requested_resource"},
		"a presenter that was lost":         {"mandates/validate", `{"mandate_id":"x","presenter_id":"","requested_action":"read","requested_resource":"db:x"}`, "", 400, "invalid_request", "presenter_id"},
		"a presenter's token that was lost": {"mandates/validate", `{"mandate_id":"x","presenter_token":"","requested_action":"read","requested_resource":"db:x"}`, "", 400, "invalid_request", "presenter_token"},
		"a presenter that is none":          {"mandates/validate", `{"mandate_id":"x","presenter_id":"x","requested_action":"read","requested_resource":"db:x"}`, "", 400, "invalid_request", "presenter_id"},
		"no mandate to validate":            {"mandates/validate", `{"requested_action":"read","requested_resource":"db:x"}`, "", 400, "invalid_request", "mandate_id"},
		"an action that is none":            {"mandates/validate", `{"mandate_id":"x","requested_action":"own","requested_resource":"db:x"}`, "", 400, "invalid_request", "requested_action"},
		"a workspace of nobody in the body": {"principals", `{"name":"x","principal_type":"agent","workspace_slug":"theirs"}`, "", 404, "not_found", ""},
	} {
		t.Run(sentence, func(t *testing.T) {
			headers := []string{}
			if c.contentType != "" {
				headers = append(headers, "Content-Type: "+c.contentType)
			}
			a := m.own("POST", "/api/v1/"+c.path, c.body, headers...)
			p := into[problem](a)
			if a.status != c.status || p.Code != c.code || sentence != "what nests too deep" && p.Field != c.field {
				t.Errorf("answered %d %s", a.status, a.body)
			}
		})
	}
}

func TestEveryListRefusesWhatItDoesNotUnderstand(t *testing.T) {
	m := newWorld(t).newTeam(t, "my-team")
	for _, o := range operations(t) {
		if o.method != "GET" || o.open || strings.Contains(o.path, "{id}") || strings.HasSuffix(o.path, "/workspaces") {
			continue
		}
		path := strings.ReplaceAll(o.path, "{workspace}", "my-team")
		m.own("GET", path+"?no_such_filter=1", nil).refused(400, "invalid_request", "no_such_filter", "")
		if strings.HasSuffix(path, "gateways") {
			continue
		}
		for value, why := range map[string]string{"0": "too few", "201": "too many", "x": "no number", "1&limit=2": "two"} {
			a := m.own("GET", path+"?limit="+value, nil)
			if p := into[problem](a); a.status != 400 || p.Field != "limit" {
				t.Errorf("%s with a limit of %s (%s) answered %d %s", path, value, why, a.status, a.body)
			}
		}
	}
}

func TestEveryOperationAsksForAKey(t *testing.T) {
	m := newWorld(t).newTeam(t, "my-team")
	things := absent()
	attempts := 0
	for _, o := range operations(t) {
		if o.open {
			continue
		}
		a := m.call(t, "", o.method, things.at(o.path), m.body(o))
		if attempts++; a.status != 401 || into[problem](a).Code != "unauthenticated" {
			t.Errorf("%s without a key answered %d %s", o, a.status, a.body)
		}
	}
	if attempts < 45 {
		t.Errorf("only %d operations ask for a key", attempts)
	}
}

func TestHeadersOfAnswers(t *testing.T) {
	m := newWorld(t).newTeam(t, "my-team")
	for sentence, a := range map[string]*answer{
		"an answer":          m.own("GET", "/api/v1/mandates", nil).ok(200),
		"a refusal":          m.own("GET", "/api/v1/mandates/nothing", nil).ok(404),
		"a path of nothing":  m.own("GET", "/nothing", nil).ok(404),
		"a method of nobody": m.own("PUT", "/api/v1/mandates", nil).ok(405),
		"health":             m.call(t, "", "GET", "/health", nil).ok(200),
	} {
		for name, want := range map[string]string{
			"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer",
		} {
			if got := a.header.Get(name); got != want {
				t.Errorf("%s has %s: %q, want %q", sentence, name, got, want)
			}
		}
		if !strings.HasPrefix(a.header.Get("X-Request-Id"), "req_") {
			t.Errorf("%s has X-Request-Id %q", sentence, a.header.Get("X-Request-Id"))
		}
	}
	if a := m.own("GET", "/nothing", nil, "X-Request-Id: mine-42"); a.header.Get("X-Request-Id") != "mine-42" || into[problem](a).RequestID != "mine-42" {
		t.Errorf("the caller's own request id was answered as %q: %s", a.header.Get("X-Request-Id"), a.body)
	}
	if a := m.own("GET", "/nothing", nil, `X-Request-Id: "};evil`); !strings.HasPrefix(a.header.Get("X-Request-Id"), "req_") {
		t.Errorf("a request id that is none was taken: %q", a.header.Get("X-Request-Id"))
	}
	if a := m.own("HEAD", "/api/v1/mandates", nil); a.status != http.StatusOK || len(a.body) != 0 {
		t.Errorf("HEAD answered %d with %d bytes", a.status, len(a.body))
	}
}

func TestTheServiceTellsOfItself(t *testing.T) {
	w := newWorld(t)
	w.newTeam(t, "my-team")
	if a := w.call(t, "", "GET", "/health", nil).ok(200); !strings.Contains(string(a.body), `"status":"ok"`) {
		t.Errorf("health answered %s", a.body)
	}
	w.call(t, "", "GET", "/ready", nil).ok(200)
	var document struct {
		OpenAPI string                     `json:"openapi"`
		Paths   map[string]json.RawMessage `json:"paths"`
	}
	a := w.call(t, "", "GET", "/api/v1/openapi.json", nil).ok(200)
	if err := json.Unmarshal(a.body, &document); err != nil || document.OpenAPI != "3.1.0" || len(document.Paths) < 30 {
		t.Errorf("the document has version %q and %d paths (%v)", document.OpenAPI, len(document.Paths), err)
	}
}

// Without its database the control plane stays up, says so, and refuses writes and reads quickly as unavailable.
func TestWithoutTheDatabase(t *testing.T) {
	w := newWorldOn(t, "postgres://caracal_app:x@127.0.0.1:1/none?connect_timeout=1")
	if a := w.call(t, "", "GET", "/health", nil).ok(200); !strings.Contains(string(a.body), `"status":"degraded","database":"unavailable"`) {
		t.Errorf("health answered %s", a.body)
	}
	for path, a := range map[string]*answer{
		"ready":             w.call(t, "", "GET", "/ready", nil),
		"a write":           w.call(t, setupKey, "POST", "/api/v1/workspaces", map[string]any{"name": "x", "slug": "my-team"}),
		"a key that is one": w.call(t, wellFormedKey, "GET", "/api/v1/mandates", nil),
	} {
		if p := into[problem](a); a.status != 503 || p.Code != "unavailable" || a.header.Get("Retry-After") == "" {
			t.Errorf("%s answered %d %s", path, a.status, a.body)
		}
	}
}

// An error that is not meant for callers is told as an internal error, and logged under its request's id.
func TestInternalErrorsTellNothing(t *testing.T) {
	owner, app := cluster.New(t)
	w := newWorldOn(t, app)
	m := w.newTeam(t, "my-team")
	session, err := pgx.Connect(t.Context(), owner)
	if err != nil {
		t.Fatal(err)
	}
	_, err = session.Exec(t.Context(), "ALTER TABLE destinations RENAME COLUMN host TO elsewhere")
	if err := errors.Join(err, session.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
	a := m.own("GET", m.at("destinations"), nil)
	p := a.refused(500, "internal_error", "", "")
	if strings.Contains(string(a.body), "elsewhere") || strings.Contains(string(a.body), "host") || strings.Contains(string(a.body), "SQL") {
		t.Errorf("an internal error tells %s", a.body)
	}
	if log := w.log.String(); !strings.Contains(log, p.RequestID) {
		t.Errorf("the log does not have request %s: %s", p.RequestID, log)
	}
}

func TestPagesOfAList(t *testing.T) {
	m := newWorld(t).newTeam(t, "my-team")
	for range 5 {
		m.register("worker", "agent")
	}
	type page struct {
		Items []struct {
			ID string `json:"principal_id"`
		} `json:"items"`
		NextCursor *string `json:"next_cursor"`
	}
	seen := map[string]bool{}
	path, pages := m.at("principals")+"?limit=3", 0
	for cursor := ""; ; pages++ {
		p := into[page](m.own("GET", path+cursor, nil).ok(200))
		for _, i := range p.Items {
			if seen[i.ID] {
				t.Errorf("%s is on two pages", i.ID)
			}
			seen[i.ID] = true
		}
		if p.NextCursor == nil {
			break
		}
		if len(p.Items) != 3 {
			t.Errorf("a page that is not the last has %d items", len(p.Items))
		}
		cursor = "&cursor=" + *p.NextCursor
	}
	if len(seen) != 9 || pages != 2 {
		t.Errorf("saw %d principals on %d pages, want 9 on 3", len(seen), pages+1)
	}
}
