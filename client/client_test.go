package client_test

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/client"
)

func TestWhereAKeyMayGo(t *testing.T) {
	for sentence, c := range map[string]struct {
		config client.Config
		want   string // part of the error; empty when the client is made
	}{
		"TLS to anywhere":                        {client.Config{URL: "https://control.example.com"}, ""},
		"plain HTTP to this machine":             {client.Config{URL: "http://127.0.0.1:8080"}, ""},
		"plain HTTP to this machine over IPv6":   {client.Config{URL: "http://[::1]:8080"}, ""},
		"plain HTTP to localhost":                {client.Config{URL: "http://localhost:8080"}, ""},
		"plain HTTP to another machine":          {client.Config{URL: "http://control.example.com"}, "unencrypted"},
		"plain HTTP to a name that looks local":  {client.Config{URL: "http://127.0.0.1.example.com"}, "unencrypted"},
		"plain HTTP to another machine, allowed": {client.Config{URL: "http://control.example.com", AllowPlain: true}, ""},
		"another scheme":                         {client.Config{URL: "ftp://control.example.com"}, "not of the form"},
		"no scheme":                              {client.Config{URL: "control.example.com:8080"}, "not of the form"},
		"nothing":                                {client.Config{}, "not of the form"},
		"a CA file that holds something else":    {client.Config{URL: "https://control.example.com", CA: []byte("hello")}, "no PEM certificate"},
	} {
		t.Run(sentence, func(t *testing.T) {
			_, err := client.New(c.config)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error is %v, want one that says %q", err, c.want)
			}
		})
	}
}

// answering makes a client of a server that answers each request as the handler says.
func answering(t *testing.T, handler http.HandlerFunc) *client.Client {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return dial(t, client.Config{URL: server.URL, Key: "the-key", Workspace: "my-team"})
}

func dial(t *testing.T, config client.Config) *client.Client {
	t.Helper()
	c, err := client.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestACallSaysWhoAsksForWhat(t *testing.T) {
	var got []string
	c := answering(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = append(got, fmt.Sprintf("%s %s %s %s", r.Method, r.URL.RequestURI(), r.Header.Get("Authorization"), body))
		fmt.Fprint(w, `{}`)
	})
	for _, err := range []error{
		second(c.Mandate(t.Context(), "mdt_x/../y")),
		second(c.RevokeMandate(t.Context(), "mdt_x", 1500*time.Millisecond)),
		second(c.DeleteDestination(t.Context(), "dst_x")),
		second(c.RegisterPrincipal(t.Context(), client.NewPrincipal{Name: "a", Type: authority.Agent})),
		second(c.Token(t.Context())),
		second(c.BoundToken(t.Context(), "mdt_x", time.Hour)),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	want := []string{
		"GET /api/v1/mandates/mdt_x%2F..%2Fy Bearer the-key ",
		`POST /api/v1/mandates/mdt_x/revoke Bearer the-key {"wait":1.5}`,
		"DELETE /api/v1/destinations/dst_x Bearer the-key ",
		`POST /api/v1/workspaces/my-team/principals Bearer the-key {"name":"a","principal_type":"agent"}`,
		"POST /api/v1/token Bearer the-key ",
		`POST /api/v1/token Bearer the-key {"lifetime_seconds":3600,"mandate_id":"mdt_x"}`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

func second[T any](_ T, err error) error { return err }

func TestARefusalIsRead(t *testing.T) {
	for sentence, c := range map[string]struct {
		status int
		body   string
		want   client.Error
		text   string
	}{
		"a problem": {422, `{"status":422,"code":"refused","title":"t","detail":"too wide","field":"resource_scope","reason":"scope_exceeds_parent","request_id":"req_1"}`,
			client.Error{Status: 422, Code: "refused", Title: "t", Detail: "too wide", Field: "resource_scope", Reason: "scope_exceeds_parent", RequestID: "req_1"}, "scope_exceeds_parent: too wide"},
		"a problem of a Rego policy": {400, `{"code":"invalid_request","detail":"d","problems":[{"file":"a.rego","row":3,"col":2,"code":"parse_error","message":"m"}]}`,
			client.Error{Status: 400, Code: "invalid_request", Detail: "d", Problems: []client.Problem{{File: "a.rego", Row: 3, Column: 2, Code: "parse_error", Message: "m"}}}, "invalid_request: d"},
		"a proxy's page": {502, `<html>`, client.Error{Status: 502, Code: "unexpected_answer", Title: "the server answered 502 Bad Gateway, which is not an answer of a control plane"},
			"unexpected_answer: the server answered 502 Bad Gateway, which is not an answer of a control plane"},
		"JSON of somebody else": {403, `{"error":"x"}`, client.Error{Status: 403, Code: "unexpected_answer", Title: "the server answered 403 Forbidden, which is not an answer of a control plane"},
			"unexpected_answer: the server answered 403 Forbidden, which is not an answer of a control plane"},
	} {
		t.Run(sentence, func(t *testing.T) {
			_, err := answering(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(c.status)
				fmt.Fprint(w, c.body)
			}).Mandate(t.Context(), "mdt_x")
			var got *client.Error
			if !errors.As(err, &got) {
				t.Fatalf("the error is %v", err)
			}
			if diff := cmp.Diff(c.want, *got); diff != "" {
				t.Errorf("the refusal (-want +got):\n%s", diff)
			}
			if got.Error() != c.text {
				t.Errorf("it reads %q, want %q", got, c.text)
			}
		})
	}
}

// The key never follows a redirect to somewhere else.
func TestARedirectIsNotFollowed(t *testing.T) {
	reached := false
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	t.Cleanup(elsewhere.Close)
	_, err := answering(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
	}).Mandate(t.Context(), "mdt_x")
	if err == nil || reached {
		t.Errorf("a redirect was followed: reached=%v, %v", reached, err)
	}
}

func TestAnAnswerThatBreaksOffIsAnError(t *testing.T) {
	c := answering(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		fmt.Fprint(w, `{"mandate_id": "mdt_`)
	})
	if m, err := c.Mandate(t.Context(), "mdt_x"); err == nil {
		t.Errorf("half an answer was read as %+v", m)
	}
	if err := c.ExportEvents(t.Context(), nil, "jsonl", io.Discard); err == nil || !strings.Contains(err.Error(), "not all of it") {
		t.Errorf("half an export ended with %v", err)
	}
}

// pages serves n things of a collection in pages of at most the asked size.
func pages(n int, asked *[]string, list func(w http.ResponseWriter, items []map[string]any, next string)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		*asked = append(*asked, r.URL.Query().Get("limit"))
		from, _ := strconv.Atoi(r.URL.Query().Get("cursor")) // the first page has none
		limit, err := strconv.Atoi(r.URL.Query().Get("limit"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		items := []map[string]any{}
		for i := from; i < min(n, from+limit); i++ {
			items = append(items, map[string]any{"principal_id": fmt.Sprint(i), "event_id": fmt.Sprint(i)})
		}
		next := ""
		if from+limit < n {
			next = fmt.Sprint(from + limit)
		}
		list(w, items, next)
	}
}

func writeJSON(w http.ResponseWriter, v any) {
	if err := json.NewEncoder(w).Encode(v); err != nil {
		panic(err)
	}
}

func TestAListFollowsItsPages(t *testing.T) {
	for sentence, c := range map[string]struct {
		have, limit, want int
		asked             []string
	}{
		"all of them":              {450, 0, 450, []string{"200", "200", "200"}},
		"as many as asked for":     {450, 250, 250, []string{"200", "50"}},
		"fewer than asked for":     {10, 250, 10, []string{"200"}},
		"exactly a page":           {200, 200, 200, []string{"200"}},
		"a part of the first page": {10, 3, 3, []string{"3"}},
	} {
		t.Run(sentence, func(t *testing.T) {
			var asked, askedEvents []string
			principals, err := answering(t, pages(c.have, &asked, func(w http.ResponseWriter, items []map[string]any, next string) {
				page := map[string]any{"items": items, "next_cursor": nil}
				if next != "" {
					page["next_cursor"] = next
				}
				writeJSON(w, page)
			})).Principals(t.Context(), client.Filter{"principal_type": ""}, c.limit)
			if err != nil || len(principals) != c.want {
				t.Errorf("%d principals, %v, want %d", len(principals), err, c.want)
			}
			if diff := cmp.Diff(c.asked, asked); diff != "" {
				t.Errorf("the sizes asked for (-want +got):\n%s", diff)
			}
			if c.limit == 0 {
				return
			}
			events, err := answering(t, pages(c.have, &askedEvents, func(w http.ResponseWriter, items []map[string]any, next string) {
				w.Header().Set("X-Caracal-Next-Cursor", next)
				writeJSON(w, items)
			})).Events(t.Context(), nil, c.limit)
			if err != nil || len(events) != c.want {
				t.Errorf("%d events, %v, want %d", len(events), err, c.want)
			}
		})
	}
}

func TestTheControlPlanesCertificateIsVerified(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{}`) }))
	t.Cleanup(server.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if _, err := dial(t, client.Config{URL: server.URL, CA: ca}).Mandate(t.Context(), "mdt_x"); err != nil {
		t.Errorf("with its CA: %v", err)
	}
	if _, err := dial(t, client.Config{URL: server.URL}).Mandate(t.Context(), "mdt_x"); err == nil {
		t.Error("a certificate that nobody knows was accepted")
	}
}
