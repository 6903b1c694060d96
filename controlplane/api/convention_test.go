package api_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/caracal-gateway/caracal/controlplane/api"
)

func TestAnAnswerOfAMediaTypeThatTheCallerTakes(t *testing.T) {
	m := newWorld(t).newTeam(t, "my-team")
	for sentence, c := range map[string]struct {
		path, accept string
		status       int
	}{
		"anything":                              {"/api/v1/mandates", "*/*", 200},
		"nothing said":                          {"/api/v1/mandates", "", 200},
		"JSON":                                  {"/api/v1/mandates", "application/json", 200},
		"any application":                       {"/api/v1/mandates", "text/html, application/*;q=0.1", 200},
		"what a browser takes":                  {"/api/v1/mandates", "text/html,application/xhtml+xml,*/*;q=0.8", 200},
		"HTML alone":                            {"/api/v1/mandates", "text/html", 406},
		"anything but JSON":                     {"/api/v1/mandates", "application/json;q=0, text/plain", 406},
		"no media type at all":                  {"/api/v1/mandates", "nonsense", 406},
		"a table of events":                     {"/api/v1/events?format=csv", "text/csv", 200},
		"a table where there are none":          {"/api/v1/mandates", "text/csv", 406},
		"lines of events, asked for as a table": {"/api/v1/events?format=jsonl", "text/csv", 200},
	} {
		t.Run(sentence, func(t *testing.T) {
			headers := []string{}
			if c.accept != "" {
				headers = append(headers, "Accept: "+c.accept)
			}
			a := m.own("GET", c.path, nil, headers...).ok(c.status)
			if c.status == http.StatusNotAcceptable {
				a.refused(406, "not_acceptable", "Accept", "")
			}
		})
	}
}

func TestTheMethodsOfAPath(t *testing.T) {
	w := newWorld(t)
	for path, want := range map[string]string{
		"/api/v1/mandates":          "GET, POST, HEAD, OPTIONS",
		"/api/v1/mandates/validate": "POST, OPTIONS",
		"/health":                   "GET, HEAD, OPTIONS",
	} {
		a := w.call(t, "", "OPTIONS", path, nil)
		if got := a.header.Get("Allow"); a.status != http.StatusNoContent || len(a.body) != 0 || got != want {
			t.Errorf("OPTIONS %s answered %d %q, Allow is %q, want %q", path, a.status, a.body, got, want)
		}
		if got := w.call(t, "", "TRACE", path, nil).ok(405).header.Get("Allow"); got != want {
			t.Errorf("TRACE %s: Allow is %q, want %q", path, got, want)
		}
	}
}

// Pages of other origins read nothing: no answer has a header that would let them.
func TestNoOtherOriginIsLetIn(t *testing.T) {
	m := newWorld(t).newTeam(t, "my-team")
	for _, origin := range []string{"null", "https://elsewhere.example", m.url} {
		for sentence, a := range map[string]*answer{
			"a read":             m.own("GET", "/api/v1/mandates", nil, "Origin: "+origin),
			"a refusal":          m.call(t, "", "GET", "/api/v1/mandates", nil, "Origin: "+origin),
			"what anyone reads":  m.call(t, "", "GET", "/api/v1/openapi.json", nil, "Origin: "+origin),
			"a preflight":        m.call(t, "", "OPTIONS", "/api/v1/mandates", nil, "Origin: "+origin, "Access-Control-Request-Method: POST"),
			"a path of nothing":  m.call(t, "", "GET", "/nothing", nil, "Origin: "+origin),
			"a method of nobody": m.call(t, "", "PUT", "/health", nil, "Origin: "+origin),
		} {
			for name := range a.header {
				if strings.HasPrefix(name, "Access-Control-") {
					t.Errorf("%s from %s is answered with %s", sentence, origin, name)
				}
			}
			if got := a.header.Get("Cross-Origin-Resource-Policy"); got != "same-origin" {
				t.Errorf("%s from %s has Cross-Origin-Resource-Policy %q", sentence, origin, got)
			}
			if csp := a.header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") {
				t.Errorf("%s from %s has Content-Security-Policy %q", sentence, origin, csp)
			}
		}
	}
}

// handlerOf is another handler of the world's service, which follows a changed document.
func (w *world) handlerOf(t *testing.T, change func(operation map[string]any)) http.Handler {
	t.Helper()
	text, err := api.Document()
	if err != nil {
		t.Fatal(err)
	}
	var document map[string]any
	if err := json.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	change(document["paths"].(map[string]any)["/health"].(map[string]any)["get"].(map[string]any))
	changed, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	handler, err := api.New(api.Config{Service: w.service, Log: slog.New(slog.DiscardHandler), Document: changed})
	if err != nil {
		t.Fatal(err)
	}
	return handler
}

func TestADeprecatedOperationSaysSo(t *testing.T) {
	w := newWorld(t)
	for sentence, c := range map[string]struct {
		fields              map[string]any
		deprecation, sunset string
	}{
		"one that stays":              {nil, "", ""},
		"one that may stay for long":  {map[string]any{"deprecated": true, "x-deprecated-since": "2026-01-02"}, "@1767312000", ""},
		"one that has its day to end": {map[string]any{"deprecated": true, "x-deprecated-since": "2026-01-02", "x-sunset": "2027-01-02"}, "@1767312000", "Sat, 02 Jan 2027 00:00:00 GMT"},
	} {
		t.Run(sentence, func(t *testing.T) {
			handler := w.handlerOf(t, func(operation map[string]any) {
				for name, value := range c.fields {
					operation[name] = value
				}
			})
			got := httptest.NewRecorder()
			handler.ServeHTTP(got, httptest.NewRequest(http.MethodGet, "/health", nil))
			header := got.Result().Header
			if header.Get("Deprecation") != c.deprecation || header.Get("Sunset") != c.sunset {
				t.Errorf("Deprecation is %q, Sunset %q", header.Get("Deprecation"), header.Get("Sunset"))
			}
			if linked := strings.Contains(header.Get("Link"), `rel="deprecation"`); linked != (c.deprecation != "") {
				t.Errorf("Link is %q", header.Get("Link"))
			}
		})
	}
}

func TestADeprecationWithoutItsDayIsNone(t *testing.T) {
	w := newWorld(t)
	text, err := api.Document()
	if err != nil {
		t.Fatal(err)
	}
	for sentence, fields := range map[string]string{
		"no day at all":         `"deprecated": true,`,
		"a day that is none":    `"deprecated": true, "x-deprecated-since": "soon",`,
		"an end that is no day": `"deprecated": true, "x-deprecated-since": "2026-01-02", "x-sunset": "later",`,
	} {
		t.Run(sentence, func(t *testing.T) {
			changed := bytes.Replace(text, []byte(`"operationId":"health"`), []byte(fields+`"operationId":"health"`), 1)
			if _, err := api.New(api.Config{Service: w.service, Log: slog.New(slog.DiscardHandler), Document: changed}); err == nil || !strings.Contains(err.Error(), "GET /health") {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

// Each request is one line of the debug log, under its id, without what its caller wrote into it.
func TestTheLogOfRequests(t *testing.T) {
	w := newWorld(t)
	m := w.newTeam(t, "my-team")
	lines := &lockedBuffer{}
	handler, err := api.New(api.Config{Service: w.service, Log: slog.New(slog.NewJSONHandler(lines, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	if err != nil {
		t.Fatal(err)
	}
	request := httptest.NewRequest(http.MethodGet, "/api/v1/mandates/wrong%0aplace?secret=in-a-query", nil)
	request.Header.Set("Authorization", "Bearer "+m.ownerKey)
	request.Header.Set("X-Request-Id", "mine-42")
	handler.ServeHTTP(httptest.NewRecorder(), request)
	var told []map[string]any
	for line := range strings.Lines(lines.String()) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatalf("a line is no JSON object: %s", line)
		}
		told = append(told, fields)
	}
	i := slices.IndexFunc(told, func(fields map[string]any) bool { return fields["msg"] == "request" })
	if i < 0 {
		t.Fatalf("the log is %v", told)
	}
	line := told[i]
	if line["request_id"] != "mine-42" || line["pattern"] != "/api/v1/mandates/{id}" || line["method"] != "GET" || line["key"] == "" {
		t.Errorf("the line is %v", line)
	}
	for _, secret := range []string{"wrong", "in-a-query", m.ownerKey} {
		if strings.Contains(lines.String(), secret) {
			t.Errorf("the log has %q: %s", secret, lines.String())
		}
	}
}
