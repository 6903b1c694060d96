package main

import (
	"bytes"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// browser is one that a person uses, without scripts.
type browser struct {
	*testing.T
	origin string
	http   *http.Client
}

func newBrowser(t *testing.T, origin string) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{t, origin, &http.Client{Jar: jar}}
}

// visit opens a page, or sends a form to it, and returns what it shows.
func (b *browser) visit(address string, form url.Values) string {
	b.Helper()
	request, err := http.NewRequestWithContext(b.Context(), http.MethodGet, address, nil)
	if form != nil {
		request, err = http.NewRequestWithContext(b.Context(), http.MethodPost, address, strings.NewReader(form.Encode()))
	}
	if err != nil {
		b.Fatal(err)
	}
	if form != nil {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		request.Header.Set("Origin", b.origin)
	}
	response, err := b.http.Do(request)
	if err != nil {
		b.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		b.Fatalf("%s answered %d (%v): %s", address, response.StatusCode, err, text)
	}
	return string(text)
}

var (
	csrfToken  = regexp.MustCompile(`name="csrf_token" value="([^"]+)"`)
	signInPage = regexp.MustCompile(`http://\S+/login\?\S+`)
	wayBack    = regexp.MustCompile(`"(http://127\.0\.0\.1:\d+/\?[^"]+)"`)
)

// decide answers the page that the command line sends a person to, and returns where the browser is sent back.
func (b *browser) decide(page, decision string) string {
	b.Helper()
	asked, err := url.Parse(page)
	if err != nil {
		b.Fatal(err)
	}
	token := csrfToken.FindStringSubmatch(b.visit(page, nil))
	if token == nil {
		b.Fatal("the page has no form")
	}
	form := asked.Query()
	form.Set("csrf_token", token[1])
	form.Set("decision", decision)
	back := wayBack.FindStringSubmatch(b.visit(b.origin+"/login/cli", form))
	if back == nil {
		b.Fatal("the browser is not sent back")
	}
	return html.UnescapeString(back[1])
}

// signingIn is `caracal login --browser` under way.
type signingIn struct {
	said  *lines
	ended chan error
	page  string // where it sends the browser
}

func (e environment) signingIn(t *testing.T) signingIn {
	t.Helper()
	s := signingIn{said: &lines{}, ended: make(chan error, 1)}
	go func() {
		s.ended <- run(t.Context(), []string{"login", "--browser"}, e.get, strings.NewReader(""), s.said, s.said)
	}()
	for deadline := time.Now().Add(20 * time.Second); s.page == ""; s.page = signInPage.FindString(s.said.String()) {
		if time.Now().After(deadline) {
			t.Fatalf("it does not say where to sign in: %s", s.said)
		}
		<-time.After(5 * time.Millisecond)
	}
	return s
}

func TestSigningInWithTheBrowser(t *testing.T) {
	server := serverEnvironment(t)
	server["CARACAL_LISTEN"] = closedPort(t)
	server["CARACAL_PUBLIC_URL"] = "http://" + server["CARACAL_LISTEN"]
	server.serve(t)
	owner := member(t, server["CARACAL_PUBLIC_URL"])
	link, err := url.Parse(owner.must(t, "session", "link")["url"].(string))
	if err != nil {
		t.Fatal(err)
	}
	b := newBrowser(t, owner["CARACAL_URL"])
	b.visit(b.origin+"/login/link", url.Values{"secret": {link.Fragment}})
	me := home(t).with(environment{"CARACAL_URL": owner["CARACAL_URL"], "BROWSER": "/nowhere"})

	s := me.signingIn(t)
	back, err := url.Parse(b.decide(s.page, "allow"))
	if err != nil {
		t.Fatal(err)
	}
	strange := *back
	strange.RawQuery = "code=made-up&state=made-up"
	if response, err := http.Get(strange.String()); err != nil || response.StatusCode != http.StatusBadRequest {
		t.Errorf("a code without the state was taken: %v (%v)", response, err)
	} else if err := response.Body.Close(); err != nil {
		t.Error(err)
	}
	if page := b.visit(back.String(), nil); !strings.Contains(page, "close this page") {
		t.Errorf("the browser shows %s", page)
	}
	if err := <-s.ended; err != nil {
		t.Fatalf("signing in ended with %v: %s", err, s.said)
	}
	if listed := me.ok(t, "", "session", "list"); !strings.Contains(listed, "cli") {
		t.Errorf("the sessions are %s", listed)
	}
	if status := me.ok(t, "", "status"); !strings.Contains(status, "my-team") || !strings.Contains(status, "expires_at") {
		t.Errorf("the status is %s", status)
	}
	kept, err := os.ReadFile(me.configFile())
	if err != nil || !bytes.Contains(kept, []byte("cs_")) || strings.Contains(s.said.String(), "cs_") {
		t.Errorf("kept is %s (%v), and said was %s", kept, err, s.said)
	}
	token := regexp.MustCompile(`cs_\S+`).FindString(string(kept))
	me.ok(t, "", "logout")
	me.with(environment{"CARACAL_API_KEY": token}).fails(t, exitUnauthenticated, "unauthenticated", "session", "list")

	s = me.signingIn(t)
	b.visitAnyway(b.decide(s.page, "refuse"))
	if err := <-s.ended; statusOf(err) != exitUnauthenticated {
		t.Errorf("after a refusal it ended with %v", err)
	}
}

// visitAnyway opens a page whatever it shows.
func (b *browser) visitAnyway(address string) {
	b.Helper()
	response, err := b.http.Get(address)
	if err != nil {
		b.Fatal(err)
	}
	if err := response.Body.Close(); err != nil {
		b.Error(err)
	}
}
