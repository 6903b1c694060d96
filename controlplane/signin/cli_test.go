package signin_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/internal/openid"
)

const (
	verifier = "a-verifier-of-the-command-line-0123456789-0123456789"
	cliState = "state-of-the-command-line"
)

func challengeOf(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func cliQuery(pairs ...string) string {
	q := form("cli", "4000", "challenge", challengeOf(verifier), "state", cliState)
	for i := 0; i < len(pairs); i += 2 {
		q.Set(pairs[i], pairs[i+1])
	}
	return q.Encode()
}

// grant lets the command line in with a browser that is signed in, and answers what its listener would be told.
func (b *browser) grant(decision string) url.Values {
	b.w.t.Helper()
	p := b.get("/login?"+cliQuery()).shows(200, "Let the command line act as you?", "4000")
	p = b.post("/login/cli", form("csrf_token", p.csrf(), "cli", "4000", "challenge", challengeOf(verifier), "state", cliState, "decision", decision)).shows(200)
	u, err := url.Parse(p.onward())
	if err != nil || u.Scheme != "http" || u.Host != "127.0.0.1:4000" || u.Path != "/" || u.Query().Get("state") != cliState {
		b.w.t.Fatalf("the browser goes to %s", p.onward())
	}
	return u.Query()
}

// exchange gives a code and a verifier for a session.
func (w *world) exchange(code, verifier string) (token string, status int) {
	w.t.Helper()
	body, err := json.Marshal(map[string]string{"code": code, "verifier": verifier})
	if err != nil {
		w.t.Fatal(err)
	}
	response, err := http.Post(w.url+"/api/v1/session/exchange", "application/json", bytes.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	var opened struct {
		Token string `json:"session_token"`
	}
	if err := json.Unmarshal(text, &opened); err != nil {
		w.t.Fatalf("%s: %v", text, err)
	}
	return opened.Token, response.StatusCode
}

func TestTheCommandLineGetsASessionOfItsOwn(t *testing.T) {
	w := newWorld(t, openid.User{Subject: "u-1", Name: "Ada"})
	w.browser().accept(w.invite(w.owner, w.member("one", "operator")), "u-1").shows(200)
	b := w.browser()
	// Who is not signed in is asked to, and comes back to the question.
	b.get("/login?"+cliQuery()).shows(200, "Continue with localhost")
	b.signIn("u-1", "/login/cli?"+cliQuery()).shows(200, "Let the command line act as you?", "Ada", "4000")
	token, status := w.exchange(b.grant("allow").Get("code"), verifier)
	if status != 201 || !strings.HasPrefix(token, "cs_") {
		t.Fatalf("%d %q", status, token)
	}
	var who identification
	w.rest(token, "GET", "session", nil, 200, &who)
	if len(who.Memberships) != 1 || who.Memberships[0].Role != "operator" || who.CSRF != "" {
		t.Errorf("the command line is %+v", who)
	}
	w.rest(token, "GET", "gateways", nil, 200, nil)
	w.rest(token, "GET", "keys", nil, 403, nil)
	b.get("/account").shows(200, "Command line")
	// It is no cookie, and ends no later than the session that let it in.
	copied := w.browser()
	copied.setCookie("caracal-session", token)
	if _, status := copied.whoami(); status != 401 {
		t.Errorf("as a cookie it answers %d", status)
	}
	browsers, _ := b.whoami()
	if who.Session.ExpiresAt.After(browsers.Session.ExpiresAt) {
		t.Errorf("it ends at %s, the browser's at %s", who.Session.ExpiresAt, browsers.Session.ExpiresAt)
	}
	w.rest(token, "DELETE", "session", nil, 204, nil)
	w.rest(token, "GET", "session", nil, 401, nil)

	token, _ = w.exchange(b.grant("allow").Get("code"), verifier)
	w.rest(token, "GET", "session", nil, 200, nil)
	b.post("/logout-everywhere", form("csrf_token", b.get("/account").csrf())).shows(200)
	w.rest(token, "GET", "session", nil, 401, nil)
}

func TestACodeIsWorthNothing(t *testing.T) {
	w := newWorldAt(t, nil)
	b := w.linked(w.owner)
	refused := func(what, code, verifier string) {
		t.Helper()
		if token, status := w.exchange(code, verifier); status != 401 || token != "" {
			t.Errorf("%s: %d %q", what, status, token)
		}
	}
	refused("made up", "made-up", verifier)
	code := b.grant("allow").Get("code")
	refused("with another verifier", code, verifier+"x")
	refused("after another verifier", code, verifier)
	code = b.grant("allow").Get("code")
	if _, status := w.exchange(code, verifier); status != 201 {
		t.Fatalf("a good code: %d", status)
	}
	refused("again", code, verifier)
	code = b.grant("allow").Get("code")
	w.clock.advance(time.Minute)
	refused("after a minute", code, verifier)
	code = b.grant("allow").Get("code")
	link := w.linkOf(w.owner)
	refused("a link for a code", link, verifier)
	b.post("/login/link", form("secret", code)).shows(401)
	b.post("/logout", form("csrf_token", b.get("/account").csrf())).shows(200)
	refused("after signing out", code, verifier)
}

func TestTheCommandLineIsRefused(t *testing.T) {
	w := newWorldAt(t, nil)
	b := w.linked(w.owner)
	if answer := b.grant("refuse"); answer.Get("error") != "access_denied" || answer.Has("code") {
		t.Errorf("a refusal tells %v", answer)
	}
	for name, query := range map[string]string{
		"a port of the system":     cliQuery("cli", "80"),
		"no port":                  cliQuery("cli", "80@evil.example"),
		"a port that is none":      cliQuery("cli", "70000"),
		"a short challenge":        cliQuery("challenge", "abc"),
		"a challenge that is none": cliQuery("challenge", strings.Repeat("=", 43)),
		"a short state":            cliQuery("state", "x"),
		"a state with a line":      cliQuery("state", strings.Repeat("x", 20)+"\n"),
	} {
		if p := b.get("/login?" + query); p.status != 400 {
			t.Errorf("%s: %d", name, p.status)
		}
		if p := b.get("/login/cli?" + query); p.status != 400 {
			t.Errorf("%s, asked directly: %d", name, p.status)
		}
	}
	// Nothing is granted without the token of the page.
	b.post("/login/cli", form("cli", "4000", "challenge", challengeOf(verifier), "state", cliState, "decision", "allow")).shows(403)
}

// What a key's session grants the command line ends with the key, like the session.
func TestTheCommandLinesSessionEndsWithTheKeyThatOpenedTheBrowsers(t *testing.T) {
	w := newWorldAt(t, nil)
	key, id := w.memberKey(w.member("one", "admin"), map[string]any{"role": "viewer"})
	token, _ := w.exchange(w.linked(key).grant("allow").Get("code"), verifier)
	w.rest(token, "GET", "principals", nil, 200, nil)
	w.rest(token, "GET", "keys", nil, 403, nil)
	w.rest(w.owner, "POST", "keys/"+id+"/revoke", nil, 200, nil)
	w.rest(token, "GET", "principals", nil, 401, nil)
}
