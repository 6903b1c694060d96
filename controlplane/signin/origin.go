package signin

import (
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/caracal-gateway/caracal/authority"
)

const (
	// csrfHeader carries the token of a request that a script makes, csrfField that of a form.
	csrfHeader = "X-CSRF-Token"
	csrfField  = "csrf_token"
	maxNext    = 1024
	// accountPath is where a browser goes that wants to go nowhere else.
	accountPath = "/account"
)

var errForeign = &authority.Error{
	Code:    authority.CodeForbidden,
	Message: "the request did not come from the control plane's own pages; open them at the address that CARACAL_PUBLIC_URL names",
}

// sameOrigin refuses a request that was not made by one of our pages. Browsers send Origin with whatever changes
// something; one that says nothing, or null, is refused.
func (h *Handler) sameOrigin(r *http.Request) error {
	origins, sites := r.Header.Values("Origin"), r.Header.Values("Sec-Fetch-Site")
	if len(origins) != 1 || origins[0] != h.origin || len(sites) > 1 || len(sites) == 1 && sites[0] != "same-origin" {
		return errForeign
	}
	return nil
}

// Credential is the secret of the session that a browser's request belongs to; empty where it brings none. A change that
// is not proven to come from our own pages is forbidden.
func (h *Handler) Credential(r *http.Request) (string, error) {
	secret := h.cookies.session(r)
	if secret == "" {
		return "", nil
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return secret, nil
	}
	if err := h.sameOrigin(r); err != nil {
		return "", err
	}
	tokens := r.Header.Values(csrfHeader)
	if len(tokens) != 1 || !h.service.IsCSRFToken(secret, tokens[0]) {
		return "", errToken
	}
	return secret, nil
}

var errToken = &authority.Error{
	Code: authority.CodeForbidden, Field: csrfHeader, Message: "the token of the session is missing or wrong: read it with GET /api/v1/session",
}

// localPath is a place on this site; anything else leads to the account page. What browsers read as another host, and
// characters that they drop, are no part of one.
func localPath(next string) string {
	if next == "" || len(next) > maxNext || next[0] != '/' || strings.HasPrefix(next, "//") {
		return accountPath
	}
	if strings.ContainsFunc(next, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '\\' }) {
		return accountPath
	}
	u, err := url.Parse(next)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || path.Clean(u.Path) != u.Path || strings.Contains(u.Path, "\\") {
		return accountPath
	}
	return u.RequestURI()
}
