package signin_test

import (
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/security"
	"github.com/chromedp/chromedp"

	chromium "github.com/caracal-gateway/caracal/internal/browser"
	"github.com/caracal-gateway/caracal/internal/openid"
)

// pictures names a directory that gets a picture of each page, for people to look at.
const pictures = "CARACAL_PICTURES"

// seen is what a page shows, and where.
func seen(p *chromium.Page) (text, at string) {
	p.Do(chromedp.Location(&at), chromedp.Text("body", &text, chromedp.ByQuery))
	return text, at
}

func expect(t *testing.T, p *chromium.Page, at string, words ...string) {
	t.Helper()
	text, where := seen(p)
	if where != at {
		t.Errorf("the browser is at %s, want %s", where, at)
	}
	for _, word := range words {
		if !strings.Contains(text, word) {
			t.Errorf("%s does not show %q: %s", at, word, text)
		}
	}
}

// clickTo presses a button and waits for the page that has something.
func clickTo(p *chromium.Page, button, has string) {
	p.Do(chromedp.Click(button, chromedp.ByQuery), chromedp.WaitVisible(has, chromedp.ByQuery))
}

// cliListener is the command line's end of its sign-in.
func cliListener(t *testing.T) (port string, answers chan url.Values) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	answers = make(chan url.Values, 2)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" {
			answers <- r.URL.Query()
		}
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte(`<!doctype html><title>done</title><link rel="icon" href="data:,"><p id="done">Back in the terminal.`))
	})}
	go func() { _ = server.Serve(listener) }() // ends with the listener
	t.Cleanup(func() { _ = server.Close() })
	return strconv.Itoa(listener.Addr().(*net.TCPAddr).Port), answers
}

func TestARealBrowserSignsIn(t *testing.T) {
	w := newWorld(t, openid.User{Subject: "u-ada", Password: password, Name: "Ada Lovelace", Email: "ada@example.com", EmailVerified: true})
	for _, scheme := range []string{"light", "dark"} {
		t.Run(scheme, func(t *testing.T) {
			picture := func(p *chromium.Page, name string) { p.Picture(os.Getenv(pictures), "signin-"+name+"-"+scheme) }
			p := chromium.New(t, scheme)
			p.Do(security.SetIgnoreCertificateErrors(true)) // of the provider's own CA
			p.Do(chromedp.Navigate(w.url + "/account"))
			expect(t, p, w.url+"/login?next=%2Faccount", "Continue with localhost")
			picture(p, "login")

			// By a link: its secret leaves the address as soon as the page is there, and is sent when the button is pressed.
			secret := w.linkOf(w.owner)
			p.Do(chromedp.Navigate(w.url+"/login/link#"+secret), chromedp.WaitReady("form", chromedp.ByQuery))
			expect(t, p, w.url+"/login/link", "The link works once")
			picture(p, "link")
			clickTo(p, "form button", "table")
			expect(t, p, w.url+"/account", "my-team", "owner", "Chrome on Linux", "this one")
			for _, requested := range p.Requested() {
				if strings.Contains(requested, secret) && !strings.HasSuffix(requested, "#"+secret) {
					t.Errorf("the secret was sent to %s", requested)
				}
			}
			clickTo(p, `form[action="/logout"] button`, "h1")
			p.Do(chromedp.WaitVisible(`a[href="/login"]`, chromedp.ByQuery))
			expect(t, p, w.url+"/logout", "You are signed out")
			picture(p, "signed-out")

			// By an invitation and the provider; in the second run Ada signs in as the member that she is.
			if scheme == "light" {
				p.Do(chromedp.Navigate(w.url+"/login/invitation#"+w.invite(w.owner, w.member("Ada", "operator"))), chromedp.WaitReady("form", chromedp.ByQuery))
				expect(t, p, w.url+"/login/invitation", "You are invited")
				picture(p, "invitation")
				clickTo(p, "form button", "input[name=login]")
			} else {
				p.Do(chromedp.Navigate(w.url + "/login"))
				clickTo(p, "a.primary", "input[name=login]")
			}
			p.Do(chromedp.SendKeys("input[name=login]", "u-ada", chromedp.ByQuery), chromedp.SendKeys("input[name=password]", password, chromedp.ByQuery))
			clickTo(p, "button", "table")
			expect(t, p, w.url+"/account", "Ada Lovelace", "ada@example.com", "my-team", "operator")
			picture(p, "account")

			// The command line gets its code through the browser, which asks first.
			port, answers := cliListener(t)
			p.Do(chromedp.Navigate(w.url + "/login?" + cliQuery("cli", port)))
			expect(t, p, w.url+"/login/cli?"+cliQuery("cli", port), "Ada Lovelace", port)
			picture(p, "cli")
			clickTo(p, "button.primary", "#done")
			answer := <-answers
			if token, status := w.exchange(answer.Get("code"), verifier); status != 201 || answer.Get("state") != cliState {
				t.Errorf("the answer %v gives %d %q", answer, status, token)
			}
			p.Do(chromedp.Navigate(w.url + "/account"))
			picture(p, "account-full")
			clickTo(p, "td form button", "table")
			p.Do(chromedp.WaitNotPresent("td form button", chromedp.ByQuery))
			clickTo(p, `form[action="/logout-everywhere"] button`, `a[href="/login"]`)
			expect(t, p, w.url+"/logout-everywhere", "You are signed out", "Sign out at localhost")

			for _, said := range p.Said() {
				if strings.Contains(said, w.url) {
					t.Errorf("a page said %q", said)
				}
			}
			p.Do(chromedp.Navigate(w.url + "/login/nothing"))
			picture(p, "problem")
		})
	}
}
