// Package signin is where people sign in with a browser: at the OpenID provider, by a one-time link or by an invitation.
// It also lets them see and end their sessions, and hands the command line a session of its own.
//
// A session comes as a cookie. Whatever a cookie authenticates and changes something has to come from the control plane's
// own origin and to carry a token that only its own pages can read.
package signin

import (
	"crypto/rand"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"strings"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
	"github.com/caracal-gateway/caracal/controlplane/replica"
)

const (
	// maxForm holds every form that these pages have, in bytes.
	maxForm = 16 << 10
	// failuresPerMinute is how many wrong links and answers an address may bring, at once and a minute.
	failuresPerMinute = 20
	// requestTimeout bounds one request, the provider's answers included.
	requestTimeout = 30 * time.Second
)

// Config is what a Handler needs.
type Config struct {
	Service *controlplane.Service
	// PublicURL is where browsers reach the control plane: https://host[:port], or http on loopback.
	PublicURL *url.URL
	// Provider is the deployment's OpenID provider; nil for sign-in by one-time links only.
	Provider *ProviderConfig
	// Address is where a request comes from.
	Address func(*http.Request) netip.Addr
	Log     *slog.Logger
	Now     func() time.Time
}

// Handler answers the pages on which people sign in.
type Handler struct {
	service  *controlplane.Service
	origin   string // of PublicURL
	provider *provider
	cookies  cookies
	address  func(*http.Request) netip.Addr
	failures *replica.Limit
	log      *slog.Logger
	pages    map[string]*template.Template
	mux      *http.ServeMux
}

// ParsePublicURL reads the address at which browsers reach the control plane.
func ParsePublicURL(text string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimSuffix(text, "/"))
	if err != nil || u.Host == "" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("is not of the form https://host[:port]")
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())) {
		return nil, errors.New("would carry sessions unencrypted: use https, or http on loopback")
	}
	u.Host = strings.ToLower(u.Host)
	return u, nil
}

// New makes the handler.
func New(c Config) (*Handler, error) {
	h := &Handler{
		service: c.Service, origin: c.PublicURL.Scheme + "://" + c.PublicURL.Host, address: c.Address, log: c.Log,
		cookies: cookies{secure: c.PublicURL.Scheme == "https"}, mux: http.NewServeMux(),
	}
	if c.Provider != nil {
		if err := c.Provider.Validate(); err != nil {
			return nil, err
		}
		h.provider = newProvider(*c.Provider, h.origin+"/login/callback", c.Now)
	}
	var err error
	if h.pages, err = templates(); err != nil {
		return nil, err
	}
	if h.failures, err = c.Service.Replica().Limit("failed-sign-ins-of-address", replica.Rate{Burst: failuresPerMinute, PerMinute: failuresPerMinute}); err != nil {
		return nil, err
	}
	for pattern, page := range map[string]page{
		"GET /{$}":                        h.root,
		"GET /login":                      h.login,
		"GET /login/start":                h.start,
		"GET /login/callback":             h.callback,
		"GET /login/link":                 h.link,
		"POST /login/link":                h.useLink,
		"GET /login/invitation":           h.invitation,
		"POST /login/invitation":          h.acceptInvitation,
		"GET /login/cli":                  h.askForCLI,
		"POST /login/cli":                 h.grantCLI,
		"GET /account":                    h.account,
		"POST /account/sessions/{id}/end": h.endSession,
		"POST /logout":                    h.logout,
		"POST /logout-everywhere":         h.logoutEverywhere,
	} {
		h.mux.Handle(pattern, h.serve(page))
	}
	h.mux.HandleFunc("GET /login/assets/{name}", asset)
	h.mux.Handle("/", h.serve(func(*exchange) error { return authority.NotFound("page") }))
	return h, nil
}

// Serves reports whether a path is one of these pages.
func Serves(path string) bool {
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if path == "/" {
		return true
	}
	switch first {
	case "login", "logout", "logout-everywhere", "account":
		return true
	}
	return false
}

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.mux.ServeHTTP(w, r) }

// exchange is one request on its way.
type exchange struct {
	w  http.ResponseWriter
	r  *http.Request
	id string
}

func (x *exchange) visitor(h *Handler) controlplane.Visitor {
	return controlplane.Visitor{UserAgent: x.r.UserAgent(), Address: h.address(x.r)}
}

// page answers one exchange.
type page func(*exchange) error

// serve runs a page within the bounds of size and time. What changes something has to come from our own pages.
func (h *Handler) serve(do page) http.Handler {
	return http.TimeoutHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := &exchange{w: w, r: r, id: "req_" + strings.ToLower(rand.Text())}
		defer func() {
			switch p := recover(); p {
			case nil:
			case http.ErrAbortHandler:
				panic(p)
			default:
				h.fail(x, fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
			}
		}()
		secure(w.Header(), x.id)
		if h.cookies.secure {
			w.Header().Set("Strict-Transport-Security", "max-age=31536000")
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			r.Body = http.MaxBytesReader(w, r.Body, maxForm)
			if err := h.sameOrigin(r); err != nil {
				h.fail(x, err)
				return
			}
			if err := r.ParseForm(); err != nil {
				h.fail(x, authority.Invalid("", "the form could not be read"))
				return
			}
		}
		if err := do(x); err != nil {
			h.fail(x, err)
		}
	}), requestTimeout, "the control plane did not answer in time")
}

// secure sets the headers of every answer. The referrer policy lets forms say where they come from, and nobody else.
func secure(header http.Header, id string) {
	header.Set("X-Request-Id", id)
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("X-Frame-Options", "DENY")
	header.Set("Referrer-Policy", "same-origin")
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
}

// failed counts a wrong link or answer, and refuses an address that brings too many.
func (h *Handler) failed(x *exchange, err error) error {
	var told *authority.Error
	if errors.As(err, &told) && told.Code == authority.CodeUnauthenticated && h.failures.Take(x.r.Context(), h.address(x.r).String()) > 0 {
		return &authority.Error{Code: authority.CodeLimited, Message: "too many attempts from this address: wait a minute"}
	}
	return err
}

// fail answers an error with a page. What is not meant for people is logged instead.
func (h *Handler) fail(x *exchange, err error) {
	var told *authority.Error
	if !errors.As(err, &told) {
		h.log.ErrorContext(x.r.Context(), "sign-in failed", "request_id", x.id, "pattern", x.r.Pattern, "error", err)
		told = &authority.Error{Code: "internal_error", Message: "Something went wrong. It is in the control plane's log under this request."}
	}
	status := told.Code.Status()
	if status == http.StatusTooManyRequests {
		x.w.Header().Set("Retry-After", "60")
	}
	h.render(x, status, "problem", problemView{Title: titleOf(told.Code), Message: sentence(told.Message), RequestID: x.id})
}

func titleOf(code authority.Code) string {
	switch code {
	case authority.CodeUnauthenticated:
		return "That did not work"
	case authority.CodeForbidden:
		return "Not allowed"
	case authority.CodeNotFound:
		return "There is no such page"
	case authority.CodeLimited:
		return "Too many attempts"
	case authority.CodeUnavailable:
		return "Not available"
	case authority.CodeInvalid:
		return "That request is not valid"
	case authority.CodeConflict:
		return "That is not possible"
	default:
		return "Something went wrong"
	}
}

// sentence writes a message as people do.
func sentence(message string) string {
	if message == "" {
		return ""
	}
	message = strings.ToUpper(message[:1]) + message[1:]
	return strings.TrimSuffix(message, ".") + "."
}
