package signin_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/internal/openid"
)

func TestWhoIsInvitedSignsInAndIsThatMember(t *testing.T) {
	w := newWorld(t, openid.User{Subject: "u-ada", Name: "Ada", Email: "ada@example.com"})
	member := w.member("Ada L.", "operator")
	secret := w.invite(w.owner, member)
	b := w.browser()
	b.get("/login").shows(200, "Continue with localhost")
	b.get("/login/invitation").shows(200, "You are invited")
	b.accept(secret, "u-ada").shows(200, "Ada", "my-team", "operator", "Firefox on Linux", "this one")
	id, _ := b.whoami()
	if id.PrincipalID != member || id.Kind != "member" || b.roles() != "my-team:operator" {
		t.Errorf("the session is %+v", id)
	}
	// The role is what the REST interface goes by.
	b.get("/api/v1/gateways").shows(200)
	b.get("/api/v1/keys").shows(403, "the role operator may not do this")
	// Once is once, also for whoever signed in with it.
	for _, other := range []*browser{b, w.browser()} {
		other.post("/login/invitation", form("secret", secret)).shows(401, "ask for another")
	}
	// Signing in again needs no invitation.
	again := w.browser()
	again.signIn("u-ada", "/account").shows(200, "my-team", "operator")
	w.rest(w.owner, "POST", "members/"+member+"/invite", nil, 409, nil)
}

func TestWhoIsNotInvitedIsToldSoAndGetsNothing(t *testing.T) {
	w := newWorld(t, openid.User{Subject: "u-eve", Name: "Eve <b>", Email: "eve@example.com"})
	b := w.browser()
	b.signIn("u-eve", "/account").shows(403, "No workspace has invited you", "Eve &lt;b&gt;", "eve@example.com, not verified", "u-eve")
	if b.cookie("caracal-session") != "" {
		t.Error("there is a session all the same")
	}
	if _, status := b.whoami(); status != 401 {
		t.Errorf("the REST interface answers %d", status)
	}
}

func TestAnInvitationIsWorthNothing(t *testing.T) {
	w := newWorld(t, openid.User{Subject: "u-1"}, openid.User{Subject: "u-2"})
	refused := func(what, secret string) {
		t.Helper()
		if p := w.browser().accept(secret, "u-1"); p.status != 401 {
			t.Errorf("%s: %d: %s", what, p.status, p.text)
		}
	}
	refused("made up", strings.Repeat("x", 43))
	refused("empty", "")

	member := w.member("one", "viewer")
	older := w.invite(w.owner, member)
	newer := w.invite(w.owner, member)
	refused("a newer one was made", older)

	// The invitation is good when the sign-in begins, and not any more when it ends.
	b := w.browser()
	atProvider := b.get(b.post("/login/invitation", form("secret", newer)).shows(200).onward())
	w.rest(w.owner, "DELETE", "members/"+member, nil, 200, nil)
	b.authenticate(atProvider, "u-1").shows(401, "ask for another")
	refused("the member was removed", newer)

	admin := w.member("an admin", "admin")
	var key struct {
		APIKey string `json:"api_key"`
	}
	w.rest(w.owner, "POST", "keys", map[string]any{"kind": "member", "name": "k", "principal_id": admin}, 201, &key)
	member = w.member("two", "viewer")
	secret := w.invite(key.APIKey, member)
	w.rest(w.owner, "PATCH", "members/"+admin, map[string]any{"role": "viewer"}, 200, nil)
	refused("its maker may not invite any more", secret)
	w.rest(key.APIKey, "POST", "members/"+member+"/invite", nil, 403, nil)
	w.rest(w.owner, "PATCH", "members/"+admin, map[string]any{"role": "admin"}, 200, nil)
	w.rest(key.APIKey, "POST", "members/"+w.ownerID+"/invite", nil, 403, nil)

	secret = w.invite(w.owner, member)
	w.clock.advance(7 * 24 * time.Hour)
	refused("a week has gone", secret)
}

// Whoever makes an invitation for a member of his workspace gains nothing in another one where the same person is a member.
func TestAnInvitationOpensNoOtherWorkspace(t *testing.T) {
	w := newWorld(t, openid.User{Subject: "u-victim"}, openid.User{Subject: "u-mallory"})
	victim := w.member("victim", "owner")
	w.browser().accept(w.invite(w.owner, victim), "u-victim").shows(200)
	mallorys, _ := w.workspace("mallorys")

	// The victim is made a member there, by an owner of both, and signs in.
	both := w.browser()
	both.signIn("u-victim", "/account").shows(200)
	person, _ := both.whoami()
	var there struct {
		ID string `json:"principal_id"`
	}
	w.rest(mallorys, "POST", "members", map[string]any{"name": "victim", "role": "viewer"}, 201, &there)
	both.accept(w.invite(mallorys, there.ID), "u-victim").shows(200, "my-team", "mallorys")
	if id, _ := both.whoami(); id.PersonID != person.PersonID {
		t.Errorf("the person is %s in one and %s in both", person.PersonID, id.PersonID)
	}
	// The member signs in, so that nobody else can be put into its place.
	w.rest(mallorys, "POST", "members/"+there.ID+"/invite", nil, 409, nil)

	// A member that nobody signs in as yet becomes whoever comes first, in this workspace and no other.
	var own struct {
		ID string `json:"principal_id"`
	}
	w.rest(mallorys, "POST", "members", map[string]any{"name": "own", "role": "owner"}, 201, &own)
	b := w.browser()
	b.accept(w.invite(mallorys, own.ID), "u-mallory").shows(200, "mallorys")
	if b.roles() != "mallorys:owner" {
		t.Errorf("the invitation opened %s", b.roles())
	}
	b.get("/api/v1/workspaces/my-team/principals").shows(404)
}

func TestAnIdentityIsIssuerAndSubjectAndNeverAnAddress(t *testing.T) {
	w := newWorld(t,
		openid.User{Subject: "u-boss", Name: "Boss", Email: "boss@example.com", EmailVerified: true},
		openid.User{Subject: "u-thief", Name: "Boss", Email: "boss@example.com", EmailVerified: true},
	)
	boss := w.member("Boss", "owner")
	w.browser().accept(w.invite(w.owner, boss), "u-boss").shows(200)
	w.browser().signIn("u-thief", "/account").shows(403, "No workspace has invited you")
	// The address of an account may change, and the account stays who it is.
	w.provider.AddUser(openid.User{Subject: "u-boss", Password: password, Name: "Boss", Email: "other@example.com"})
	b := w.browser()
	b.signIn("u-boss", "/account").shows(200, "other@example.com")
	if b.roles() != "my-team:owner" {
		t.Errorf("with another address: %s", b.roles())
	}
}

func TestSigningInLeadsToPlacesOfThisSiteOnly(t *testing.T) {
	w := newWorld(t, openid.User{Subject: "u-1"})
	w.browser().accept(w.invite(w.owner, w.member("one", "viewer")), "u-1").shows(200)
	for next, want := range map[string]string{
		"/api/v1/session":           w.url + "/api/v1/session",
		"https://evil.example/":     w.url + "/account",
		"//evil.example/":           w.url + "/account",
		`/\evil.example/`:           w.url + "/account",
		"/\t/evil.example/":         w.url + "/account",
		"/%5cevil.example/":         w.url + "/account",
		"/.//evil.example/":         w.url + "/account",
		"javascript:alert(1)":       w.url + "/account",
		"/api/v1/session?a=//b.com": w.url + "/api/v1/session?a=//b.com",
		"":                          w.url + "/account",
	} {
		b := w.browser()
		if p := b.signIn("u-1", next); p.at.String() != want {
			t.Errorf("next=%q leads to %s, want %s", next, p.at, want)
		}
		// Who is signed in already goes on from the first page, to the same places.
		if p := b.get("/login?next=" + escape(next)); p.at.String() != want {
			t.Errorf("signed in, next=%q leads to %s, want %s", next, p.at, want)
		}
	}
}

func TestTheProviderMayBeAwayAtTheStartAndLater(t *testing.T) {
	w := newWorld(t, openid.User{Subject: "u-1"})
	w.provider.Stop()
	b := w.browser()
	b.get("/login").shows(200)
	b.get("/login/start").shows(503, "cannot be reached")
	w.rest(w.owner, "GET", "principals", nil, 200, nil)
	w.provider.Resume()
	w.clock.advance(time.Minute)
	member := w.member("one", "viewer")
	b.accept(w.invite(w.owner, member), "u-1").shows(200)
	// What the provider has said of itself is known; a sign-in fails where it has to answer.
	w.provider.Stop()
	w.clock.advance(2 * time.Minute)
	b.get("/api/v1/session").shows(200)
	w.provider.Resume()
	if p := w.browser().signIn("u-1", ""); p.status != http.StatusOK {
		t.Errorf("after it came back: %d %s", p.status, p.text)
	}
}

func TestWithoutAProviderThereAreLinks(t *testing.T) {
	w := newWorldAt(t, nil)
	b := w.browser()
	b.get("/login").shows(200, "make run", "caracal session link", "caracal login")
	b.get("/").shows(200, "caracal login")
	b.get("/login/start").shows(409)
	b.get("/login/callback?code=x&state=y").shows(409)
	b.get("/login/invitation").shows(409)
	w.rest(w.owner, "POST", "members/"+w.member("one", "viewer")+"/invite", nil, 409, nil)
	b.post("/login/link", form("secret", w.linkOf(w.owner))).shows(200, "my-team", "owner")
}

// A link leads to the account; the page that the command line has opened leads on to what it asks.
func TestAfterALinkThePageOfTheCommandLineGoesOn(t *testing.T) {
	w := newWorldAt(t, nil)
	b := w.browser()
	if p := b.get("/login").shows(200); strings.Contains(p.text, "go on here") {
		t.Errorf("who was on the way to nothing is sent on: %s", p.text)
	}
	on := `<a href="/login/cli?` + strings.ReplaceAll(cliQuery(), "&", "&amp;") + `">go on here</a>`
	b.get("/login?"+cliQuery()).shows(200, on)
	b.post("/login/link", form("secret", w.linkOf(w.owner))).shows(200, "my-team")
	b.get("/login/cli?"+cliQuery()).shows(200, "Let the command line act as you?")
}
