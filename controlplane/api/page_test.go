package api_test

import (
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/caracal-gateway/caracal/internal/browser"
)

// A browser shows the page under its strict policy, asks this server alone, and carries out an operation with a key.
func TestThePageToReadAndTry(t *testing.T) {
	m := newWorld(t).newTeam(t, "my-team")
	for _, scheme := range []string{"light", "dark"} {
		t.Run(scheme, func(t *testing.T) {
			p := browser.New(t, scheme)
			p.Do(
				chromedp.Navigate(m.url+"/api/v1/docs"),
				chromedp.WaitVisible("#operations-tag-mandates"),
			)
			p.Picture(os.Getenv("CARACAL_PICTURES"), "docs-"+scheme)
			var answered string
			p.Do(
				chromedp.Click(".authorize.unlocked"),
				chromedp.WaitVisible(".modal-ux input"),
				chromedp.SendKeys(".modal-ux input", m.ownerKey),
				chromedp.Click(".modal-ux .authorize"),
				chromedp.WaitVisible(".modal-ux .btn-done"),
				chromedp.Click(".modal-ux .btn-done"),
				chromedp.Click("#operations-tag-workspaces"),
				chromedp.Click("#operations-workspaces-listWorkspaces .opblock-summary-control"),
				chromedp.Click("#operations-workspaces-listWorkspaces .try-out__btn"),
				chromedp.Click("#operations-workspaces-listWorkspaces .execute"),
				chromedp.WaitVisible("#operations-workspaces-listWorkspaces .live-responses-table .response-col_status"),
				chromedp.Text("#operations-workspaces-listWorkspaces .live-responses-table", &answered),
			)
			p.Picture(os.Getenv("CARACAL_PICTURES"), "docs-tried-"+scheme)
			if !strings.Contains(answered, "200") || !strings.Contains(answered, `"slug": "my-team"`) {
				t.Errorf("the page shows %s", answered)
			}
			if said := p.Said(); len(said) > 0 {
				t.Errorf("the page complains: %q", said)
			}
			here, err := url.Parse(m.url)
			if err != nil {
				t.Fatal(err)
			}
			for _, asked := range p.Requested() {
				if u, err := url.Parse(asked); err != nil || u.Scheme != "data" && u.Host != here.Host {
					t.Errorf("the page asks for %s", asked)
				}
			}
			var kept int
			p.Do(chromedp.Evaluate("localStorage.length + sessionStorage.length + document.cookie.length", &kept))
			if kept != 0 {
				t.Error("the page keeps something in the browser")
			}
		})
	}
}

func TestTheFilesOfThePage(t *testing.T) {
	w := newWorld(t)
	for path, contentType := range map[string]string{
		"/api/v1/docs": "text/html; charset=utf-8", "/api/v1/docs/page.js": "text/javascript; charset=utf-8", "/api/v1/docs/swagger-ui-bundle.js": "text/javascript; charset=utf-8",
		"/api/v1/docs/swagger-ui.css": "text/css; charset=utf-8", "/api/v1/docs/favicon-32x32.png": "image/png",
	} {
		a := w.call(t, "", "GET", path, nil).ok(200)
		if got := a.header.Get("Content-Type"); got != contentType || len(a.body) == 0 {
			t.Errorf("%s is %d bytes of %s, want %s", path, len(a.body), got, contentType)
		}
		policy := a.header.Get("Content-Security-Policy")
		if strings.Contains(policy, "unsafe") || !strings.HasPrefix(policy, "default-src 'none'; script-src 'self'; style-src 'self';") || !strings.Contains(policy, "frame-ancestors 'none'") {
			t.Errorf("%s has the policy %q", path, policy)
		}
	}
	for _, path := range []string{"/api/v1/docs/index.html", "/api/v1/docs/swagger-ui.js", "/api/v1/docs/%2e%2e%2fpage.go", "/api/v1/docs/page"} {
		w.call(t, "", "GET", path, nil).refused(404, "not_found", "", "")
	}
	w.call(t, "", "GET", "/api/v1/docs?x=1", nil).refused(400, "invalid_request", "x", "")
	w.call(t, "", "GET", "/api/v1/docs/page.js?x=1", nil).refused(400, "invalid_request", "x", "")
}
