package signin_test

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
	"github.com/caracal-gateway/caracal/controlplane/signin"
	"github.com/caracal-gateway/caracal/internal/openid"
)

// memberKey makes an API key of a member.
func (w *world) memberKey(member string, terms map[string]any) (key, id string) {
	w.t.Helper()
	var made struct {
		ID     string `json:"key_id"`
		APIKey string `json:"api_key"`
	}
	body := map[string]any{"kind": "member", "name": "k", "principal_id": member}
	for name, term := range terms {
		body[name] = term
	}
	w.rest(w.owner, "POST", "keys", body, 201, &made)
	return made.APIKey, made.ID
}

// linked is a browser that is signed in by a link of a key.
func (w *world) linked(key string) *browser {
	w.t.Helper()
	b := w.browser()
	b.post("/login/link", form("secret", w.linkOf(key))).shows(200)
	return b
}

func TestASessionEndsWhenItIsNotUsedAndInTheEnd(t *testing.T) {
	w := newWorldAt(t, nil)
	alive := func(b *browser, want int, when string) {
		t.Helper()
		if _, status := b.whoami(); status != want {
			t.Errorf("%s: %d, want %d", when, status, want)
		}
	}
	b := w.linked(w.owner)
	w.clock.advance(29 * time.Minute)
	alive(b, 200, "after 29 minutes")
	w.clock.advance(29 * time.Minute)
	alive(b, 200, "after 29 more")
	w.clock.advance(30 * time.Minute)
	alive(b, 401, "after 30 idle ones")
	w.clock.advance(-30 * time.Minute)

	b = w.linked(w.owner)
	for range 11*60/20 + 2 { // used every 20 minutes for 11 hours and 40 minutes
		w.clock.advance(20 * time.Minute)
		alive(b, 200, "in use")
	}
	w.clock.advance(20 * time.Minute)
	alive(b, 401, "after 12 hours in use")
	b.get("/account").shows(200, "Sign in")
}

func TestWhatASessionMayDoIsJudgedAtEachRequest(t *testing.T) {
	w := newWorld(t, openid.User{Subject: "u-1"})
	member := w.member("one", "admin")
	b := w.browser()
	b.accept(w.invite(w.owner, member), "u-1").shows(200)
	b.get("/api/v1/keys").shows(200)

	w.rest(w.owner, "PATCH", "members/"+member, map[string]any{"role": "viewer"}, 200, nil)
	b.get("/api/v1/keys").shows(403, "the role viewer")
	w.rest(w.owner, "POST", "principals/"+member+"/suspend", nil, 200, nil)
	b.get("/api/v1/workspaces/my-team/principals").shows(404)
	if b.roles() != "" {
		t.Errorf("while suspended: %s", b.roles())
	}
	w.rest(w.owner, "POST", "principals/"+member+"/resume", nil, 200, nil)
	b.get("/api/v1/principals").shows(200)
	w.rest(w.owner, "DELETE", "members/"+member, nil, 200, nil)
	b.get("/api/v1/workspaces/my-team/principals").shows(404)
	b.get("/account").shows(200, "member of no workspace")
	// Signing in again changes nothing about that.
	w.browser().signIn("u-1", "").shows(403, "No workspace has invited you")
}

func TestSigningOutEndsTheSessionOnTheServer(t *testing.T) {
	w := newWorldAt(t, nil)
	first, second := w.linked(w.owner), w.linked(w.owner)
	copied := w.browser()
	copied.setCookie("caracal-session", first.cookie("caracal-session"))
	first.post("/logout", form("csrf_token", first.get("/account").csrf())).shows(200, "You are signed out")
	if first.cookie("caracal-session") != "" {
		t.Error("the cookie stayed")
	}
	if _, status := copied.whoami(); status != 401 {
		t.Errorf("a copy of the cookie answers %d", status)
	}
	if _, status := second.whoami(); status != 200 {
		t.Errorf("the other session answers %d", status)
	}
	// Who has no session any more is signed out.
	first.post("/logout", form()).shows(200, "You are signed out")
}

func TestSigningOutEverywhereCountsFromTheNextRequest(t *testing.T) {
	w := newWorld(t, openid.User{Subject: "u-1"}, openid.User{Subject: "u-2"})
	for _, user := range []string{"u-1", "u-2"} {
		w.browser().accept(w.invite(w.owner, w.member(user, "viewer")), user).shows(200)
	}
	first, second, other := w.browser(), w.browser(), w.browser()
	first.signIn("u-1", "").shows(200)
	second.signIn("u-1", "").shows(200)
	other.signIn("u-2", "").shows(200)
	account := first.get("/account").shows(200)
	account.shows(200, ">End<")
	first.post("/logout-everywhere", form("csrf_token", account.csrf())).shows(200, "You are signed out", "Sign out at localhost")
	for name, b := range map[string]*browser{"this": first, "the second": second} {
		if _, status := b.whoami(); status != 401 {
			t.Errorf("%s session answers %d", name, status)
		}
	}
	if _, status := other.whoami(); status != 200 {
		t.Errorf("somebody else's session answers %d", status)
	}
}

func TestOneEndsOneOfOnesOwnSessionsAndNobodyElses(t *testing.T) {
	w := newWorld(t, openid.User{Subject: "u-1"}, openid.User{Subject: "u-2"})
	for _, user := range []string{"u-1", "u-2"} {
		w.browser().accept(w.invite(w.owner, w.member(user, "viewer")), user).shows(200)
	}
	mine, phone, other := w.browser(), w.browser(), w.browser()
	mine.signIn("u-1", "").shows(200)
	phone.signIn("u-1", "").shows(200)
	other.signIn("u-2", "").shows(200)
	phones, _ := phone.whoami()
	others, _ := other.whoami()
	csrf := mine.get("/account").csrf()
	mine.post("/account/sessions/"+others.Session.ID+"/end", form("csrf_token", csrf)).shows(404)
	mine.post("/account/sessions/"+phones.Session.ID+"/end", form("csrf_token", csrf)).shows(200)
	if _, status := phone.whoami(); status != 401 {
		t.Errorf("the ended session answers %d", status)
	}
	if _, status := other.whoami(); status != 200 {
		t.Errorf("somebody else's session answers %d", status)
	}
}

func TestAnAdministratorEndsTheSessionsOfAMember(t *testing.T) {
	w := newWorld(t, openid.User{Subject: "u-1"})
	member, admin := w.member("one", "operator"), w.member("an admin", "admin")
	b := w.browser()
	b.accept(w.invite(w.owner, member), "u-1").shows(200)
	key, _ := w.memberKey(admin, nil)
	var ended struct{ Ended int }
	w.rest(key, "POST", "members/"+w.ownerID+"/end-sessions", nil, 403, nil)
	w.rest(key, "POST", "members/"+member+"/end-sessions", nil, 200, &ended)
	if _, status := b.whoami(); status != 401 || ended.Ended != 1 {
		t.Errorf("after %d were ended: %d", ended.Ended, status)
	}
	_, foreign := w.workspace("other")
	w.rest(key, "POST", "members/"+foreign+"/end-sessions", nil, 404, nil)
}

func TestALinkOpensWhatItsKeyOpensAndEndsWithIt(t *testing.T) {
	w := newWorldAt(t, nil)
	member := w.member("one", "admin")
	key, id := w.memberKey(member, map[string]any{"role": "viewer"})
	secret := w.linkOf(key)
	b := w.browser()
	b.get("/login/link").shows(200, "The link works once")
	b.post("/login/link", form("secret", "http://127.0.0.1/login/link#"+secret)).shows(200, "viewer", id)
	b.get("/api/v1/keys").shows(403, "the role viewer")
	w.browser().post("/login/link", form("secret", secret)).shows(401, "ask for another")

	older, newer := w.linkOf(key), w.linkOf(key)
	w.browser().post("/login/link", form("secret", older)).shows(401)
	w.clock.advance(10 * time.Minute)
	w.browser().post("/login/link", form("secret", newer)).shows(401)

	last := w.linkOf(key)
	w.rest(w.owner, "POST", "keys/"+id+"/revoke", nil, 200, nil)
	if _, status := b.whoami(); status != 401 {
		t.Errorf("after the key was revoked: %d", status)
	}
	w.browser().post("/login/link", form("secret", last)).shows(401)

	elsewhere, _ := w.memberKey(member, map[string]any{"allowed_networks": []string{"192.0.2.0/24"}})
	w.rest(elsewhere, "POST", "sign-in-links", nil, 401, nil)
	var agent struct {
		APIKey string `json:"api_key"`
	}
	w.rest(w.owner, "POST", "principals", map[string]any{"name": "a", "principal_type": "agent"}, 201, &agent)
	w.rest(agent.APIKey, "POST", "sign-in-links", nil, 403, nil)
	// A session makes no links: it would live on in them.
	owner := w.linked(w.owner)
	who, _ := owner.whoami()
	request := owner.request("POST", "/api/v1/sign-in-links", nil)
	request.Header.Del("Content-Type")
	request.Header.Set("X-CSRF-Token", who.CSRF)
	owner.do(request).shows(403, "with a member's API key")
}

func TestWhatACookieChangesComesFromOurOwnPages(t *testing.T) {
	w := newWorldAt(t, nil)
	b := w.linked(w.owner)
	id, _ := b.whoami()
	other := w.linked(w.owner)
	others, _ := other.whoami()
	const body = `{"name":"x","principal_type":"agent"}`
	for name, c := range map[string]struct {
		origin, site, token string
		status              int
	}{
		"from our own page":                   {w.url, "same-origin", id.CSRF, 201},
		"by a browser without fetch metadata": {w.url, "", id.CSRF, 201},
		"without the token":                   {w.url, "same-origin", "", 403},
		"with another token":                  {w.url, "same-origin", strings.Repeat("x", 43), 403},
		"with the token of another session":   {w.url, "same-origin", others.CSRF, 403},
		"from another site":                   {"https://evil.example", "cross-site", id.CSRF, 403},
		"from a site of the same domain":      {strings.Replace(w.url, "http:", "https:", 1), "same-site", id.CSRF, 403},
		"from nowhere":                        {"null", "cross-site", id.CSRF, 403},
		"from nowhere, and the same":          {"null", "same-origin", id.CSRF, 403},
		"without an origin":                   {"", "", id.CSRF, 403},
		"with the metadata alone":             {"", "same-origin", id.CSRF, 403},
		"with metadata that disagree":         {w.url, "cross-site", id.CSRF, 403},
		"typed into the address bar":          {w.url, "none", id.CSRF, 403},
	} {
		t.Run(name, func(t *testing.T) {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url+"/api/v1/principals", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Content-Type", "application/json")
			for header, value := range map[string]string{"Origin": c.origin, "Sec-Fetch-Site": c.site, "X-CSRF-Token": c.token} {
				if value != "" {
					request.Header.Set(header, value)
				}
			}
			if p := b.do(request); p.status != c.status {
				t.Errorf("%d, want %d: %s", p.status, c.status, p.text)
			}
		})
	}
}

func TestAFormOfAnotherSiteDoesNothing(t *testing.T) {
	w := newWorldAt(t, nil)
	b := w.linked(w.owner)
	csrf := b.get("/account").csrf()
	link := w.linkOf(w.owner)
	for _, c := range []struct {
		path string
		form url.Values
	}{
		{"/logout", form("csrf_token", csrf)},
		{"/logout-everywhere", form("csrf_token", csrf)},
		{"/login/link", form("secret", link)},
		{"/login/invitation", form("secret", link)},
		{"/login/cli", form("csrf_token", csrf, "cli", "4000", "challenge", strings.Repeat("a", 43), "state", strings.Repeat("s", 16), "decision", "allow")},
	} {
		for _, origin := range []string{"https://evil.example", "null", ""} {
			request := b.request("POST", c.path, c.form)
			request.Header.Del("Sec-Fetch-Site")
			request.Header.Del("Origin")
			if origin != "" {
				request.Header.Set("Origin", origin)
			}
			b.do(request).shows(403, "did not come from the control plane")
		}
		if strings.HasPrefix(c.path, "/logout") {
			b.post(c.path, form("csrf_token", "wrong")).shows(403)
		}
	}
	if _, status := b.whoami(); status != 200 {
		t.Errorf("the session answers %d", status)
	}
	w.browser().post("/login/link", form("secret", link)).shows(200)
}

func TestABearerNeedsNoTokenAndACookieBesideItCountsForNothing(t *testing.T) {
	w := newWorldAt(t, nil)
	b := w.linked(w.owner)
	var agent struct {
		APIKey string `json:"api_key"`
	}
	w.rest(w.owner, "POST", "principals", map[string]any{"name": "a", "principal_type": "agent"}, 201, &agent)
	for name, c := range map[string]struct {
		authorization string
		status        int
	}{
		"an agent's key beside the owner's cookie":  {"Bearer " + agent.APIKey, 403},
		"a wrong key beside the owner's cookie":     {"Bearer ck_agent_x", 401},
		"another scheme beside the owner's cookie":  {"Basic eA==", 401},
		"an empty header beside the owner's cookie": {"", 401},
		"the cookie's secret as a bearer":           {"Bearer " + b.cookie("caracal-session"), 401},
	} {
		t.Run(name, func(t *testing.T) {
			request := b.request("GET", "/api/v1/keys", nil)
			request.Header["Authorization"] = []string{c.authorization}
			if p := b.do(request); p.status != c.status {
				t.Errorf("%d, want %d: %s", p.status, c.status, p.text)
			}
		})
	}
}

func TestOtherSitesNeitherFrameNorReadAnything(t *testing.T) {
	w := newWorldAt(t, nil)
	b := w.linked(w.owner)
	for _, path := range []string{"/login?next=/x", "/login/link", "/login/callback", "/account", "/login/nothing", "/login/assets/style.css", "/login/assets/none", "/api/v1/session"} {
		request := b.request("GET", path, nil)
		request.Header.Set("Origin", "https://evil.example")
		p := b.do(request)
		if policy := p.header.Get("Content-Security-Policy"); !strings.Contains(policy, "frame-ancestors 'none'") || !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") {
			t.Errorf("%s: Content-Security-Policy %q", path, policy)
		}
		if p.header.Get("X-Frame-Options") != "DENY" || p.header.Get("X-Content-Type-Options") != "nosniff" || p.header.Get("Cross-Origin-Resource-Policy") != "same-origin" {
			t.Errorf("%s: %v", path, p.header)
		}
		for name := range p.header {
			if strings.HasPrefix(name, "Access-Control-") {
				t.Errorf("%s: %s", path, name)
			}
		}
		if !strings.HasPrefix(path, "/login/assets") && p.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s may be kept", path)
		}
	}
}

func TestTheRESTInterfaceTellsSessionsAndEndsThem(t *testing.T) {
	w := newWorldAt(t, nil)
	first, second := w.linked(w.owner), w.linked(w.owner)
	id, _ := first.whoami()
	others, _ := second.whoami()
	var list struct {
		Items []struct {
			ID      string `json:"session_id"`
			Current bool
		}
	}
	if err := json.Unmarshal([]byte(first.get("/api/v1/sessions").shows(200).text), &list); err != nil || len(list.Items) != 2 {
		t.Fatalf("%v: %+v", err, list)
	}
	for _, session := range list.Items {
		if session.Current != (session.ID == id.Session.ID) {
			t.Errorf("%+v", list)
		}
	}
	deleted := func(path string) int {
		request := first.request("DELETE", "/api/v1/"+path, nil)
		request.Header.Set("Origin", w.url)
		request.Header.Set("X-CSRF-Token", id.CSRF)
		return first.do(request).status
	}
	if status := deleted("sessions/" + others.Session.ID); status != 204 {
		t.Errorf("ending one: %d", status)
	}
	if status := deleted("sessions/" + others.Session.ID); status != 404 {
		t.Errorf("ending it again: %d", status)
	}
	if status := deleted("session"); status != 204 {
		t.Errorf("signing out: %d", status)
	}
	if _, status := first.whoami(); status != 401 {
		t.Errorf("afterwards: %d", status)
	}
	// What comes with a key is somebody too, and has no session.
	var who identification
	w.rest(w.owner, "GET", "session", nil, 200, &who)
	if who.Session != nil || who.CSRF != "" || who.PrincipalID != w.ownerID {
		t.Errorf("%+v", who)
	}
	w.rest(w.owner, "DELETE", "session", nil, 400, nil)
}

// What a session listens to ends with it.
func TestAStreamOfEventsEndsWithItsSession(t *testing.T) {
	w := newWorldAt(t, nil)
	b := w.linked(w.owner)
	response, err := b.client.Do(b.request("GET", "/api/v1/workspaces/my-team/events/stream", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Fatalf("the stream answers %s", response.Status)
	}
	b.post("/logout", form("csrf_token", b.get("/account").csrf())).shows(200)
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		t.Errorf("the stream ended with %v", err)
	}
}

// Somebody is let in and ends the session before what was asked for is done.
func TestNothingIsWrittenOnceTheSessionHasEnded(t *testing.T) {
	w := newWorldAt(t, nil)
	b := w.linked(w.owner)
	caller, err := w.service.AuthenticateSession(t.Context(), b.cookie("caracal-session"), authority.SessionBrowser, netip.MustParseAddr("127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	asked := controlplane.NewPrincipal{Name: "x", Type: authority.Agent}
	if _, err := w.service.RegisterPrincipal(t.Context(), caller, asked); err != nil {
		t.Fatal(err)
	}
	if err := w.service.SignOut(t.Context(), caller); err != nil {
		t.Fatal(err)
	}
	_, err = w.service.RegisterPrincipal(t.Context(), caller, asked)
	var told *authority.Error
	if !errors.As(err, &told) || told.Code != authority.CodeUnauthenticated {
		t.Errorf("after signing out: %v", err)
	}
}

// Somebody who can set a cookie for this host, from a neighbour on it, puts nobody into a session of his.
func TestOfTwoSessionsNoneCounts(t *testing.T) {
	w := newWorldAt(t, nil)
	first, second := w.linked(w.owner), w.linked(w.owner)
	request := w.browser().request("GET", "/api/v1/session", nil)
	request.Header.Set("Cookie", "caracal-session="+first.cookie("caracal-session")+"; caracal-session="+second.cookie("caracal-session"))
	w.browser().do(request).shows(401)
}

// Over TLS the cookies are bound to the host, and none of another name is read.
func TestCookiesAreForThisHostOnly(t *testing.T) {
	w := newWorldAt(t, nil)
	public, err := signin.ParsePublicURL("https://caracal.example.com")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := signin.New(signin.Config{
		Service: w.service, PublicURL: public, Log: slog.New(slog.DiscardHandler), Now: w.clock.now,
		Address: func(*http.Request) netip.Addr { return netip.MustParseAddr("127.0.0.1") },
	})
	if err != nil {
		t.Fatal(err)
	}
	request := httptest.NewRequest(http.MethodPost, "/login/link", strings.NewReader(form("secret", w.linkOf(w.owner)).Encode()))
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Origin", "https://caracal.example.com")
	recorder := httptest.NewRecorder()
	pages.ServeHTTP(recorder, request)
	cookies := recorder.Result().Cookies()
	if len(cookies) != 1 {
		t.Fatalf("%d %v", recorder.Code, cookies)
	}
	c := cookies[0]
	if recorder.Header().Get("Strict-Transport-Security") == "" {
		t.Error("no Strict-Transport-Security over TLS")
	}
	if c.Name != "__Host-caracal-session" || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || c.MaxAge != 0 {
		t.Errorf("the cookie is %+v", c)
	}
	for name, want := range map[string]string{"__Host-caracal-session": c.Value, "caracal-session": ""} {
		request := httptest.NewRequest(http.MethodGet, "/api/v1/session", nil)
		request.AddCookie(&http.Cookie{Name: name, Value: c.Value})
		if secret, err := pages.Credential(request); err != nil || secret != want {
			t.Errorf("%s: %q %v", name, secret, err)
		}
	}
}

func TestWhichAddressesAControlPlaneMayHave(t *testing.T) {
	for text, valid := range map[string]bool{
		"https://caracal.example.com": true, "https://caracal.example.com/": true, "https://caracal.example.com:8443": true,
		"http://127.0.0.1:8080": true, "http://localhost:8080": true, "http://[::1]:8080": true,
		"http://caracal.example.com": false, "https://caracal.example.com/path": false, "https://u:p@caracal.example.com": false,
		"caracal.example.com": false, "": false, "https://": false, "https://x?y": false, "https://x#y": false, "ftp://127.0.0.1": false,
	} {
		if _, err := signin.ParsePublicURL(text); (err == nil) != valid {
			t.Errorf("%q: %v", text, err)
		}
	}
}
