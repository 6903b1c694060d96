package signin_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/internal/openid"
)

const attempt = "caracal-sign-in"

// answered carries a sign-in as far as the provider's answer, which is not brought to the control plane.
func (b *browser) answered(t *testing.T, subject string) *url.URL {
	t.Helper()
	var answer *url.URL
	stop := func(r *http.Request, _ []*http.Request) error {
		if r.URL.Path == "/login/callback" {
			answer = r.URL
			return http.ErrUseLastResponse
		}
		return nil
	}
	b.client.CheckRedirect = stop
	defer func() { b.client.CheckRedirect = nil }()
	if p := b.get("/login/start"); answer == nil {
		b.authenticate(p, subject)
	}
	if answer == nil {
		t.Fatal("the provider did not answer")
	}
	return answer
}

// with replaces parameters of an answer; an empty value takes one away.
func with(answer *url.URL, pairs ...string) string {
	u := *answer
	q := u.Query()
	for i := 0; i < len(pairs); i += 2 {
		q.Del(pairs[i])
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	u.RawQuery = q.Encode()
	return u.String()
}

func TestAnAnswerThatIsNotOursSignsNobodyIn(t *testing.T) {
	w := newWorld(t, openid.User{Subject: "u-1"}, openid.User{Subject: "u-mallory"})
	w.browser().accept(w.invite(w.owner, w.member("one", "owner")), "u-1").shows(200)
	w.browser().accept(w.invite(w.owner, w.member("mallory", "viewer")), "u-mallory").shows(200)

	for name, attack := range map[string]func(b *browser, answer *url.URL) page{
		"the state is absent":               func(b *browser, a *url.URL) page { return b.get(with(a, "state", "")) },
		"the state is another":              func(b *browser, a *url.URL) page { return b.get(with(a, "state", strings.Repeat("x", 43))) },
		"the state is there twice":          func(b *browser, a *url.URL) page { return b.get(a.String() + "&state=" + a.Query().Get("state")) },
		"the code is absent":                func(b *browser, a *url.URL) page { return b.get(with(a, "code", "")) },
		"the code is there twice":           func(b *browser, a *url.URL) page { return b.get(a.String() + "&code=x") },
		"the code is made up":               func(b *browser, a *url.URL) page { return b.get(with(a, "code", "made-up")) },
		"it names another issuer":           func(b *browser, a *url.URL) page { return b.get(with(a, "iss", "https://evil.example")) },
		"it names no issuer":                func(b *browser, a *url.URL) page { return b.get(with(a, "iss", "")) },
		"it names two issuers":              func(b *browser, a *url.URL) page { return b.get(a.String() + "&iss=https://evil.example") },
		"the sign-in is of another browser": func(_ *browser, a *url.URL) page { return w.browser().get(a.String()) },
		"the sealed sign-in is changed": func(b *browser, a *url.URL) page {
			sealed := []byte(b.cookie(attempt))
			sealed[len(sealed)/2] ^= 1
			b.setCookie(attempt, string(sealed))
			return b.get(a.String())
		},
		"the query is malformed": func(b *browser, a *url.URL) page { return b.get(a.String() + "&%zz") },
		"the provider refuses":   func(b *browser, a *url.URL) page { return b.get(with(a, "code", "", "error", "access_denied")) },
	} {
		t.Run(name, func(t *testing.T) {
			w.clock.advance(time.Minute) // failures are counted by the minute
			b := w.browser()
			answer := b.answered(t, "u-1")
			p := attack(b, answer)
			if want := map[bool]int{false: 401, true: 403}[name == "the provider refuses"]; p.status != want {
				t.Errorf("%d: %s", p.status, p.text)
			}
			if _, status := b.whoami(); status != 401 {
				t.Errorf("somebody is signed in: %d", status)
			}
			// The right answer comes too late: an attempt that was answered is over.
			if p := b.get(answer.String()); p.status != 401 && !strings.Contains(name, "another browser") {
				t.Errorf("the right answer afterwards: %d", p.status)
			}
		})
	}
}

// Mallory has his own answer of the provider and brings it to somebody else's browser, so that the victim would work, and
// leave secrets, in his account.
func TestNobodyIsSignedInAsSomebodyElse(t *testing.T) {
	w := newWorld(t, openid.User{Subject: "u-victim"}, openid.User{Subject: "u-mallory"})
	w.browser().accept(w.invite(w.owner, w.member("victim", "owner")), "u-victim").shows(200)
	w.browser().accept(w.invite(w.owner, w.member("mallory", "viewer")), "u-mallory").shows(200)
	mallory, victim := w.browser(), w.browser()
	his := mallory.answered(t, "u-mallory")

	if p := victim.get(his.String()); p.status != 401 {
		t.Errorf("a browser that began nothing: %d", p.status)
	}
	victim.answered(t, "u-victim")
	if p := victim.get(his.String()); p.status != 401 {
		t.Errorf("a browser that began another: %d", p.status)
	}
	// His code with the victim's state: the verifier is another, and so is the nonce.
	victims := victim.answered(t, "u-victim")
	if p := victim.get(with(victims, "code", his.Query().Get("code"))); p.status != 401 {
		t.Errorf("a code of another sign-in: %d", p.status)
	}
	if _, status := victim.whoami(); status != 401 {
		t.Errorf("the victim is signed in: %d", status)
	}
	// His answer was brought to others only, and is good where it was asked for.
	his = mallory.answered(t, "u-mallory")
	mallory.get(his.String()).shows(200, "mallory")
}

// Whoever has copied everything that a browser has of a sign-in gets nothing once the browser has used it.
func TestAnAnswerWorksOnce(t *testing.T) {
	w := newWorld(t, openid.User{Subject: "u-1"})
	w.browser().accept(w.invite(w.owner, w.member("one", "owner")), "u-1").shows(200)
	b := w.browser()
	answer := b.answered(t, "u-1")
	thief := w.browser()
	thief.setCookie(attempt, b.cookie(attempt))
	b.get(answer.String()).shows(200, "my-team")
	if p := thief.get(answer.String()); p.status != 401 {
		t.Errorf("again, with the same cookie: %d", p.status)
	}
	if p := b.get(answer.String()); p.status != 401 {
		t.Errorf("again, by the same browser: %d", p.status)
	}
	if _, status := b.whoami(); status != 200 {
		t.Errorf("the session that was opened: %d", status)
	}
}

// An attacker who could set a cookie before the victim signs in knows the session afterwards, unless it is another.
func TestSigningInMakesAnotherSession(t *testing.T) {
	w := newWorld(t, openid.User{Subject: "u-1"}, openid.User{Subject: "u-2"})
	for _, user := range []string{"u-1", "u-2"} {
		w.browser().accept(w.invite(w.owner, w.member(user, "viewer")), user).shows(200)
	}
	b := w.browser()
	b.setCookie("caracal-session", "known-to-an-attacker")
	b.signIn("u-1", "").shows(200)
	first := b.cookie("caracal-session")
	if first == "known-to-an-attacker" || len(first) < 43 {
		t.Fatalf("the session is %q", first)
	}
	// Signing in again, as whomever, ends the session that the browser had.
	b.post("/login/link", form("secret", w.linkOf(w.owner))).shows(200, "owner")
	if second := b.cookie("caracal-session"); second == first {
		t.Error("the session stayed the same")
	}
	old := w.browser()
	old.setCookie("caracal-session", first)
	if _, status := old.whoami(); status != 401 {
		t.Errorf("the former session answers %d", status)
	}
}

func TestGuessingIsSlowedDown(t *testing.T) {
	w := newWorldAt(t, nil)
	b := w.browser()
	statuses := map[int]int{}
	for range 30 {
		p := b.post("/login/link", form("secret", "guess"))
		statuses[p.status]++
		if p.status == 429 && p.header.Get("Retry-After") == "" {
			t.Error("429 without Retry-After")
		}
	}
	if statuses[401] != 20 || statuses[429] != 10 {
		t.Errorf("30 guesses were answered %v", statuses)
	}
	// Who has a good link is let in all the same.
	b.post("/login/link", form("secret", w.linkOf(w.owner))).shows(200, "my-team")
}
