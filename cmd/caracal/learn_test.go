package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/authority"
)

// denying is a control plane before which a gateway has denied requests, each with the path of its URL, some time ago.
func denying(t *testing.T, owner environment, ago map[string]time.Duration) environment {
	t.Helper()
	var events []authority.Event
	for text, age := range ago {
		target, err := authority.ParseTarget(text)
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, authority.Event{
			ID: authority.NewID[authority.EventID](), Type: authority.EventDenied, Reason: authority.ReasonTargetNotAllowed, Time: time.Now().Add(-age),
			Request: &authority.RequestRecord{Method: "GET", Scheme: target.Scheme, Host: target.Host, Port: target.Port, Path: target.Path},
		})
	}
	behind, err := url.Parse(owner["CARACAL_URL"])
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(behind) }}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/events") {
			proxy.ServeHTTP(w, r)
			return
		}
		if r.URL.Query().Get("event_type") != "denied" || r.URL.Query().Get("start_date") == "" {
			t.Errorf("events are asked for by %s", r.URL.RawQuery)
		}
		if err := json.NewEncoder(w).Encode(events); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)
	return owner.with(environment{"CARACAL_URL": server.URL})
}

func TestWhatWasDeniedIsLearned(t *testing.T) {
	owner := member(t, "http://"+serverEnvironment(t).serve(t))
	owner.must(t, "destination", "create", "shop", "--host", "shop.example.com", "--rule", "/items/{item} GET=read api:shop/items")
	owner.must(t, "destination", "delete", "groq", "--yes")
	learning := denying(t, owner, map[string]time.Duration{
		"https://a.example.org/v1/orders/17": time.Minute, "https://b.example.org/": time.Minute, "https://c.example.org/": 25 * time.Hour,
		"https://shop.example.com/carts/7": time.Minute, "https://api.groq.com/v1/models": time.Minute,
	})
	printed, stderr, err := learning.caracal(t, "", "destination", "learn")
	if err != nil {
		t.Fatalf("learning ended with %v: %s", err, stderr)
	}
	for _, want := range []string{
		"# 1 denied requests to api.groq.com: caracal destination add groq", "/carts/{id} GET=read api:shop/carts/{id}",
		"---\nname: a.example.org", "path: /v1/orders/{id}", "---\nname: b.example.org",
	} {
		if !strings.Contains(printed, want) {
			t.Errorf("%q is missing in\n%s", want, printed)
		}
	}
	if strings.Contains(printed, "c.example.org") {
		t.Errorf("what was denied earlier is proposed:\n%s", printed)
	}
	if all, _, err := owner.caracal(t, "", "destination", "list", "--host", "a.example.org"); err != nil || !strings.Contains(all, "none") {
		t.Errorf("learning has made %s (%v)", all, err)
	}
	if listed, stderr, err := owner.caracal(t, printed, "destination", "create", "--file", "-"); err != nil || !strings.Contains(listed, "a.example.org") || !strings.Contains(listed, "b.example.org") {
		t.Errorf("creating what is printed ended with %v: %s%s", err, listed, stderr)
	}
	for _, name := range []string{"a.example.org", "b.example.org"} {
		owner.must(t, "destination", "delete", name, "--yes")
	}
	printed, stderr, err = learning.caracal(t, "", "destination", "learn", "-o", "json")
	if err != nil || !strings.Contains(stderr, "caracal destination add groq") {
		t.Errorf("in JSON it ended with %v: %s", err, stderr)
	}
	if _, stderr, err := owner.caracal(t, printed, "destination", "create", "--file", "-"); err != nil {
		t.Errorf("creating from JSON ended with %v: %s", err, stderr)
	}
	for _, name := range []string{"a.example.org", "b.example.org"} {
		owner.must(t, "destination", "delete", name, "--yes")
	}

	learning.fails(t, exitUsage, "say --yes", "destination", "learn", "--apply")
	made, stderr, err := learning.caracal(t, "", "destination", "learn", "--apply", "--yes")
	if err != nil || strings.Count(made, "added") != 3 || strings.Count(made, "extended") != 1 {
		t.Errorf("applying ended with %v: %s%s", err, made, stderr)
	}
	if got, _, err := owner.caracal(t, "", "destination", "get", "shop", "-o", "yaml"); err != nil || !strings.Contains(got, "/carts/{id}") || !strings.Contains(got, "/items/{item}") {
		t.Errorf("the extended destination is %s (%v)", got, err)
	}
	if printed, _, err := learning.caracal(t, "", "destination", "learn"); err != nil || !strings.Contains(printed, "nothing to propose") {
		t.Errorf("there is still something to learn: %s (%v)", printed, err)
	}
}

func TestProposalsAreMadeOneByOne(t *testing.T) {
	owner := member(t, "http://"+serverEnvironment(t).serve(t))
	learning := denying(t, owner, map[string]time.Duration{"https://a.example.org/x": time.Minute, "https://b.example.org/x": time.Minute})
	term := openTerminal(t)
	ended := make(chan error, 1)
	go func() {
		ended <- run(t.Context(), []string{"destination", "learn", "--apply"}, learning.get, term.File, term.File, term.File)
	}()
	term.await(t, "create the destination a.example.org (/x GET=read api:a.example.org/x), for 1 denied requests. Go on? [y/N] ")
	term.press(t, "n\n")
	term.await(t, "create the destination b.example.org (/x GET=read api:b.example.org/x), for 1 denied requests. Go on? [y/N] ")
	term.press(t, "y\n")
	if err := <-ended; err != nil {
		t.Fatalf("it ended with %v: %s", err, term.seen())
	}
	owner.must(t, "destination", "get", "b.example.org")
	owner.fails(t, exitNotFound, "there is no destination", "destination", "get", "a.example.org")
}

func TestAFileMayDescribeSeveralDestinations(t *testing.T) {
	owner := member(t, "http://"+serverEnvironment(t).serve(t))
	for sentence, c := range map[string]struct {
		text string
		args []string
		want exitStatus
		says string
	}{
		"two documents":              {"name: a1\nhost: a1.example.com\n---\nname: a2\nhost: a2.example.com\n", nil, exitDone, "a2.example.com"},
		"a list":                     {`[{"name": "b1", "host": "b1.example.com"}, {"name": "b2", "host": "b2.example.com"}]`, nil, exitDone, "b2.example.com"},
		"comments around one":        {"# about it\n---\n# more\nname: c1\nhost: c1.example.com\n", nil, exitDone, "c1.example.com"},
		"a name for two":             {"name: d1\nhost: d1.example.com\n---\nname: d2\nhost: d2.example.com\n", []string{"d"}, exitUsage, "names of their own"},
		"comments alone":             {"# nothing\n", nil, exitUsage, "describes no destination"},
		"a field that is none":       {"name: e1\nhost: e1.example.com\nhots: e1\n", nil, exitUsage, "hots"},
		"a document that is no YAML": {"name: [\n", nil, exitUsage, "reading"},
	} {
		stdout, stderr, err := owner.caracal(t, c.text, append([]string{"destination", "create", "--file", "-"}, c.args...)...)
		if statusOf(err) != c.want || !strings.Contains(stdout+stderr, c.says) {
			t.Errorf("%s: ended with %v: %s%s", sentence, err, stdout, stderr)
		}
	}
}
