package signin

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
)

//go:embed pages/*.html
var pageFiles embed.FS

//go:embed assets
var assetFiles embed.FS

// What the pages show.
type (
	loginView struct {
		Provider string // host of the provider; empty without one
		Start    string
		Next     string // where somebody goes on who has signed in elsewhere in the browser; empty for the account
	}
	secretView struct{ Title, Text, Action, Button string }
	onwardView struct{ To, Label string }
	cliView    struct {
		Name      string
		Port      uint16
		Challenge string
		State     string
		CSRF      string
	}
	accountView struct {
		controlplane.Identification
		Sessions []authority.Session
		CSRF     string
	}
	signedOutView struct{ Provider, SignOut string }
	uninvitedView struct {
		Name, Email     string
		Verified        bool
		Issuer, Subject string
	}
	problemView struct{ Title, Message, RequestID string }
)

// templates are the pages, each within the one layout.
func templates() (map[string]*template.Template, error) {
	layout, err := template.New("layout.html").Funcs(template.FuncMap{
		"moment": func(t time.Time) string { return t.Format("2 Jan 2006, 15:04 MST") },
		"exact":  func(t time.Time) string { return t.Format(time.RFC3339) },
		"device": device,
	}).ParseFS(pageFiles, "pages/layout.html")
	if err != nil {
		return nil, fmt.Errorf("read pages: %w", err)
	}
	pages := map[string]*template.Template{}
	for _, name := range []string{"login", "secret", "onward", "cli", "account", "signed_out", "uninvited", "problem"} {
		page, err := layout.Clone()
		if err == nil {
			page, err = page.ParseFS(pageFiles, "pages/"+name+".html")
		}
		if err != nil {
			return nil, fmt.Errorf("read pages: %w", err)
		}
		pages[name] = page
	}
	return pages, nil
}

// render answers with a page. Nothing on it comes from elsewhere, and only the pages that read a secret behind the # of
// their address run a script.
func (h *Handler) render(x *exchange, status int, name string, view any) {
	var text bytes.Buffer
	if err := h.pages[name].Execute(&text, view); err != nil {
		h.log.ErrorContext(x.r.Context(), "page not written", "request_id", x.id, "page", name, "error", err)
		http.Error(x.w, "internal error", http.StatusInternalServerError)
		return
	}
	policy := "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
	if name == "secret" {
		policy += "; script-src 'self'"
	}
	header := x.w.Header()
	header.Set("Content-Security-Policy", policy)
	header.Set("Content-Type", "text/html; charset=utf-8")
	if onward, ok := view.(onwardView); ok {
		header.Set("Refresh", "0; url="+onward.To)
	}
	x.w.WriteHeader(status)
	_, _ = x.w.Write(text.Bytes()) // a client that is gone needs no answer
}

// asset answers a file that pages are made of.
func asset(w http.ResponseWriter, r *http.Request) {
	secure(w.Header(), "")
	w.Header().Del("X-Request-Id")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	w.Header().Set("Cache-Control", "public, max-age=3600")
	http.ServeFileFS(w, r, assetFiles, "assets/"+r.PathValue("name"))
}

// device says in a few words what a browser says of itself at length.
func device(s authority.Session) string {
	if s.Kind == authority.SessionCLI {
		return "Command line"
	}
	first := func(marks ...string) string {
		for i := 0; i < len(marks); i += 2 {
			if strings.Contains(s.UserAgent, marks[i]) {
				return marks[i+1]
			}
		}
		return ""
	}
	browser := first("Firefox/", "Firefox", "Edg/", "Edge", "OPR/", "Opera", "Chrome/", "Chrome", "Safari/", "Safari")
	system := first("Android", "Android", "iPhone", "iPhone", "iPad", "iPad", "Windows", "Windows", "Mac OS X", "macOS", "Linux", "Linux")
	switch {
	case browser != "" && system != "":
		return browser + " on " + system
	case browser != "":
		return browser
	}
	return "Browser"
}
