// Package api is the control plane's REST interface: it decodes a request, calls one method of the service and encodes
// the answer. What may be done by whom is the service's to say.
//
// The files of openapi describe every operation, field and status; the tests hold each exchange to it.
package api

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"path"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
)

const (
	// maxBody holds a Rego push of the largest size that compiles, with room for its data.
	maxBody = 1 << 20
	// requestTimeout bounds one operation, beside the time that its caller asks it to wait.
	requestTimeout = 15 * time.Second
	writeTimeout   = requestTimeout + 5*time.Second
)

// Config is what a Handler needs.
type Config struct {
	Service *controlplane.Service
	Log     *slog.Logger
	// Version is the program's, for people.
	Version string
	// RequestsPerSecond is how many requests one caller may send over time; DefaultRequestsPerSecond unless told.
	RequestsPerSecond int
	// Browser is the secret of the session that a browser's request belongs to, empty where it brings none, and an error
	// where a change is not proven to come from our own pages; nil where nobody signs in with a browser.
	Browser func(*http.Request) (secret string, err error)
	// TrustedProxies are the networks of proxies that say in X-Forwarded-For where a request comes from.
	TrustedProxies []netip.Prefix
	// Document is the OpenAPI description as JSON that the handler follows and serves; Document() unless told.
	Document []byte
}

// Handler answers the control plane's REST requests.
type Handler struct {
	service  *controlplane.Service
	trusted  []netip.Prefix
	browser  func(*http.Request) (string, error)
	log      *slog.Logger
	version  string
	limits   *limits
	running  running
	streams  running
	document []byte            // the OpenAPI document as JSON
	page     map[string][]byte // the files of the page to read and try it
	mux      *http.ServeMux
}

// New makes the handler of a service.
func New(cfg Config) (*Handler, error) {
	document := cfg.Document
	if document == nil {
		var err error
		if document, err = Document(); err != nil {
			return nil, err
		}
	}
	conventions, err := readConventions(document)
	if err != nil {
		return nil, err
	}
	files, err := readPage()
	if err != nil {
		return nil, err
	}
	limits, err := newLimits(cfg.Service.Replica(), cmp.Or(cfg.RequestsPerSecond, DefaultRequestsPerSecond))
	if err != nil {
		return nil, err
	}
	h := &Handler{
		service: cfg.Service, trusted: cfg.TrustedProxies, browser: cfg.Browser, log: cfg.Log, version: cfg.Version, document: document, page: files,
		limits: limits, mux: http.NewServeMux(),
	}
	byPath := map[string]map[string]route{}
	for _, r := range h.routes() {
		if byPath[r.path] == nil {
			byPath[r.path] = map[string]route{}
		}
		r.convention = conventions[r.method+" "+r.path]
		byPath[r.path][r.method] = r
	}
	for path, methods := range byPath {
		h.mux.Handle(path, h.methods(methods))
	}
	h.mux.HandleFunc("/", h.absent)
	return h, nil
}

// exchange is one request on its way through the handler.
type exchange struct {
	w      http.ResponseWriter
	r      *http.Request
	id     string
	caller controlplane.Caller
	// service moves the caller into the workspace that the request is about; entered is the slug of one that it names.
	service *controlplane.Service
	entered string
	secret  string // of the session of a browser
	trail   controlplane.Trail
	body    []byte
}

func (x *exchange) ctx() context.Context { return x.r.Context() }

// reply is the answer to an exchange. A revision other than 0 tells which state of the workspace holds the change.
type reply struct {
	status   int
	revision uint64
	tag      string // of the thing in the body, as controlplane.Tag makes it; empty for none
	body     any    // nil: none
}

// operation handles one exchange. A nil reply means that it has written the answer itself.
type operation func(*exchange) (*reply, error)

var callersRequestID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := r.Header.Get("X-Request-Id")
	if !callersRequestID.MatchString(id) {
		id = "req_" + strings.ToLower(rand.Text())
	}
	header := w.Header()
	header.Set("X-Request-Id", id)
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("X-Frame-Options", "DENY")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	if r.TLS != nil {
		header.Set("Strict-Transport-Security", "max-age=31536000")
	}
	// The mux would answer a path that is not in its shortest form with a redirect of its own.
	if path.Clean(r.URL.Path) != r.URL.Path {
		h.absent(w, r)
		return
	}
	h.mux.ServeHTTP(w, r)
}

// begin is the exchange of a request that ServeHTTP has given its id.
func begin(w http.ResponseWriter, r *http.Request) *exchange {
	return &exchange{w: w, r: r, id: w.Header().Get("X-Request-Id")}
}

func (h *Handler) absent(w http.ResponseWriter, r *http.Request) {
	h.fail(begin(w, r), authority.NotFound("path"))
}

// methods serves one path.
func (h *Handler) methods(byMethod map[string]route) http.HandlerFunc {
	var allowed []string
	for _, m := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		if _, ok := byMethod[m]; ok {
			allowed = append(allowed, m)
		}
	}
	if slices.Contains(allowed, http.MethodGet) {
		allowed = append(allowed, http.MethodHead)
	}
	allowed = append(allowed, http.MethodOptions)
	return func(w http.ResponseWriter, r *http.Request) {
		method := r.Method
		if method == http.MethodHead {
			method = http.MethodGet
		}
		matched, ok := byMethod[method]
		if !ok {
			w.Header().Set("Allow", strings.Join(allowed, ", "))
			if method == http.MethodOptions {
				w.WriteHeader(http.StatusNoContent)
				return
			}
			h.fail(begin(w, r), errMethod)
			return
		}
		h.serve(begin(w, r), matched)
	}
}

// serve runs one operation: read, identify, do, answer. A panic is an internal error and ends this request only.
func (h *Handler) serve(x *exchange, matched route) {
	defer func() {
		switch p := recover(); p {
		case nil:
		case http.ErrAbortHandler:
			panic(p)
		default:
			h.fail(x, fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
		}
	}()
	answered := &observed{ResponseWriter: x.w}
	x.w = answered
	defer func(began time.Time) { h.logged(x, matched.path, answered.status, began) }(time.Now())
	matched.announce(x.w.Header())
	if !matched.acceptable(x.r) {
		h.fail(x, errAccept)
		return
	}
	ctx, cancel := context.WithTimeout(x.ctx(), requestTimeout+matched.wait)
	defer cancel()
	x.r = x.r.WithContext(ctx)
	if err := x.read(matched.wait); err != nil {
		h.fail(x, err)
		return
	}
	if !matched.whileRestored {
		if err := h.service.Relied(); err != nil {
			h.fail(x, err)
			return
		}
	}
	if !matched.open {
		if err := h.identify(x, bearer(x.r)); err != nil {
			h.fail(x, err)
			return
		}
		if err := h.limits.admit(x.ctx(), x.caller); err != nil {
			h.fail(x, err)
			return
		}
		end, err := h.running.begin(x.caller, maxRunning)
		if err != nil {
			h.fail(x, err)
			return
		}
		defer end()
	}
	answer, err := matched.do(x)
	if err != nil {
		h.fail(x, err)
		return
	}
	if answer != nil {
		h.answer(x, answer)
	}
}

// read takes the whole body, within the bounds of size and time.
func (x *exchange) read(wait time.Duration) error {
	control := http.NewResponseController(x.w)
	// A connection that knows no deadlines is bounded by the context alone.
	_ = control.SetReadDeadline(time.Now().Add(requestTimeout))
	_ = control.SetWriteDeadline(time.Now().Add(writeTimeout + wait))
	body, err := io.ReadAll(http.MaxBytesReader(x.w, x.r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return errTooLarge
	}
	if err != nil {
		return authority.Invalid("", "the body could not be read to its end")
	}
	_ = control.SetReadDeadline(time.Time{})
	x.body = body
	return nil
}

// identify makes the bearer of a credential the caller, and marks what it writes with its Idempotency-Key.
func (h *Handler) identify(x *exchange, credential string) error {
	caller, err := h.authenticate(x, credential)
	if err != nil && (credential != "" || x.secret != "") {
		err = h.counted(x, err, credential)
	}
	if err != nil {
		return err
	}
	x.service = h.service
	if caller, err = conditions(x, caller); err != nil {
		return err
	}
	states, err := authority.ParseStates(strings.Join(x.r.Header.Values(authority.StateHeader), ","))
	if err != nil {
		return err
	}
	x.caller, err = once(x, caller.Seen(states).Leaving(&x.trail))
	return err
}

// counted counts an attempt with a bad credential, and refuses who makes too many.
func (h *Handler) counted(x *exchange, err error, credential string) error {
	var told *authority.Error
	if errors.As(err, &told) && told.Code == authority.CodeUnauthenticated {
		if err := h.limits.failed(x.ctx(), client(x.r, h.trusted), credential); err != nil {
			return err
		}
	}
	return err
}

// bearer is the credential of the Authorization header; empty where there is none, more than one, or another scheme.
func bearer(r *http.Request) string {
	values := r.Header.Values("Authorization")
	if len(values) != 1 {
		return ""
	}
	scheme, credential, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(credential)
}

// answer writes a reply.
func (h *Handler) answer(x *exchange, a *reply) {
	if a.revision != 0 {
		x.w.Header().Set("X-Caracal-Revision", strconv.FormatUint(a.revision, 10))
	}
	if state := x.trail.Last(); state.Revision != 0 {
		x.w.Header().Set(authority.StateHeader, state.String())
	}
	if a.tag != "" {
		x.w.Header().Set("ETag", `"`+a.tag+`"`)
	}
	if a.body == nil {
		x.w.WriteHeader(a.status)
		return
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(a.body); err != nil {
		h.fail(x, fmt.Errorf("encoding the answer: %w", err))
		return
	}
	h.write(x, a.status, "application/json", text.Bytes())
}

func (h *Handler) write(x *exchange, status int, contentType string, text []byte) {
	x.w.Header().Set("Content-Type", contentType)
	x.w.WriteHeader(status)
	if _, err := x.w.Write(text); err != nil {
		h.log.DebugContext(x.ctx(), "client left before its answer", "request_id", x.id, "error", err)
	}
}
