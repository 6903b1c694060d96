package api_test

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/controlplane"
	"github.com/caracal-gateway/caracal/controlplane/api"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
)

// Whatever comes as a query and a body, the answer is a refusal that names no more than the caller said, never a failure
// of the server's. The database is away, so that nothing is slower than the reading.
func FuzzRequests(f *testing.F) {
	for _, seed := range [][3]string{
		{"GET", "/api/v1/events?format=csv&limit=1&start_date=2026-01-01", ""},
		{"GET", "/api/v1/mandates?subject_id=prn_aaaaaaaaaaaaaaaaaaaaaaaaaa&cursor=AAAA", ""},
		{"GET", "/api/v1/principals?limit=%zz&limit=2", ""},
		{"POST", "/api/v1/token", `{"grant_type":"urn:ietf:params:oauth:grant-type:token-exchange","subject_token":"ck_agent_x_y"}`},
		{"POST", "/api/v1/token", "grant_type=a&grant_type=b"},
		{"POST", "/api/v1/token", `{"subject_token":null}`},
		{"POST", "/api/v1/token", `{"subject_token":"a","subject_token":"b"}`},
		{"POST", "/api/v1/token", strings.Repeat(`[`, 64)},
		{"POST", "/api/v1/mandates/validate", "\x00\xff"},
		{"OPTIONS", "/api/v1/docs/..%2fpage.go", ""},
		{"GET", "/api/v1/docs/page.js?x", ""},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	handler := withoutDatabase(f)
	f.Fuzz(func(t *testing.T, method, target, body string) {
		parsed, err := url.ParseRequestURI(target)
		if err != nil || parsed.Host != "" || !strings.HasPrefix(target, "/") {
			return
		}
		for _, contentType := range []string{"application/json", "application/x-www-form-urlencoded"} {
			request, err := http.NewRequestWithContext(t.Context(), method, "http://control.example"+target, strings.NewReader(body))
			if err != nil {
				return
			}
			request.Header.Set("Content-Type", contentType)
			request.RemoteAddr = "192.0.2.7:1"
			got := httptest.NewRecorder()
			handler.ServeHTTP(got, request)
			if got.Code == http.StatusInternalServerError {
				t.Errorf("%s %s with %q answered %d %s", method, target, body, got.Code, got.Body)
			}
			if got.Code >= 400 && !json.Valid(got.Body.Bytes()) {
				t.Errorf("%s %s with %q answered %q, which is no problem", method, target, body, got.Body)
			}
		}
	})
}

// withoutDatabase is a handler whose database nobody has.
func withoutDatabase(t testing.TB) http.Handler {
	t.Helper()
	store, err := postgres.Open(postgres.Config{URL: "postgres://caracal_app:x@127.0.0.1:1/none?connect_timeout=1", MaxConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	log := slog.New(slog.DiscardHandler)
	service, err := controlplane.New(controlplane.Config{Store: store, MasterKey: make([]byte, 32), SetupKey: setupKey, Log: log, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	handler, err := api.New(api.Config{Service: service, Log: log, RequestsPerSecond: api.MaxRequestsPerSecond})
	if err != nil {
		t.Fatal(err)
	}
	return handler
}
