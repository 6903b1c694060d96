package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/envoy"
	"github.com/caracal-gateway/caracal/extauthz"
	"github.com/caracal-gateway/caracal/token"
)

const (
	// syncPause is the shortest time between two syncs that were asked for at /admin/sync.
	syncPause   = time.Second
	syncTimeout = 5 * time.Second
	// catchUpTimeout bounds how long the answer to a write waits until this gateway enforces it.
	catchUpTimeout = 10 * time.Second
	maxBody        = 1 << 20
	// revisionHeader is the control plane's: the revision of the workspace that holds a write.
	revisionHeader = "X-Caracal-Revision"
)

// local answers what Envoy routes to the gateway itself: health, readiness, sync and the agents' API. It listens on a
// Unix socket that only Envoy connects to, after the decision service has let the request through.
type local struct {
	state   *state
	service *extauthz.Service
	sync    func(context.Context) error
	log     *slog.Logger
	forward *httputil.ReverseProxy

	syncing  sync.Mutex
	lastSync time.Time
}

func newLocal(control *url.URL, transport http.RoundTripper, st *state, service *extauthz.Service, sync func(context.Context) error, log *slog.Logger) *local {
	l := &local{state: st, service: service, sync: sync, log: log}
	l.forward = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(control)
			// What a client says of addresses is gone by now. The control plane believes this where the gateway is
			// one of its trusted proxies.
			if from := r.In.Header.Get(envoy.AddressHeader); from != "" {
				r.Out.Header.Set("X-Forwarded-For", from)
			}
			for name := range r.Out.Header {
				if strings.HasPrefix(name, "X-Caracal-") && name != authority.StateHeader || strings.HasPrefix(name, "X-Envoy-") {
					r.Out.Header.Del(name)
				}
			}
		},
		Transport:      exchanging{control, transport, l.workspace},
		ModifyResponse: l.catchUp,
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			log.Warn("control plane did not answer", "path", r.URL.Path, "cause", err)
			problem(w, http.StatusServiceUnavailable, "unavailable", "the control plane does not answer; try again")
		},
	}
	return l
}

// Run serves on the listener until ctx ends.
func (l *local) Run(ctx context.Context, listener net.Listener) error {
	server := &http.Server{
		Handler:           l.routes(),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(l.log.Handler(), slog.LevelWarn),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve local endpoints: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		l.log.Warn("local endpoints did not end in time", "cause", err)
		return server.Close()
	}
	return nil
}

func (l *local) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, l.state.Health()) })
	mux.HandleFunc("GET /ready", l.ready)
	mux.HandleFunc("POST /admin/sync", l.adminSync)
	mux.HandleFunc("POST /api/v1/mandates/validate", l.validate)
	mux.HandleFunc("POST /api/v1/workspaces/{slug}/mandates/validate", l.validate)
	mux.HandleFunc("/api/v1/", l.pass)
	return mux
}

// workspace is the slug of the one workspace that the gateway enforces.
func (l *local) workspace() string {
	if snapshot := l.service.Snapshot(); snapshot != nil {
		return snapshot.Workspace().Slug
	}
	return ""
}

// ready says whether the gateway would let anything through at all.
func (l *local) ready(w http.ResponseWriter, _ *http.Request) {
	health := l.state.Health()
	status := http.StatusOK
	if health.Status == StatusFenced || health.unready {
		status = http.StatusServiceUnavailable
	}
	reply(w, status, health)
}

// adminSync makes the gateway look for a newer revision now and answers the state afterwards. Calls that come while
// one is under way, or within a second of it, share its result.
func (l *local) adminSync(w http.ResponseWriter, r *http.Request) {
	l.syncing.Lock()
	defer l.syncing.Unlock()
	if time.Since(l.lastSync) >= syncPause {
		ctx, cancel := context.WithTimeout(r.Context(), syncTimeout)
		defer cancel()
		if err := l.sync(ctx); err != nil {
			l.log.Warn("enterprise_sync on demand", "cause", err)
		}
		l.lastSync = time.Now()
	}
	reply(w, http.StatusOK, l.state.Health())
}

// credentialOf is what a caller showed, in its request and in the connection that the request came by.
func credentialOf(r *http.Request) extauthz.Credential {
	scheme, bearer, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		bearer = ""
	}
	// What cannot be read is the zero address, which no network holds.
	from, _ := netip.ParseAddr(r.Header.Get(envoy.AddressHeader))
	return extauthz.Credential{
		Bearer: bearer, Address: from,
		Certificate: authority.Thumbprint(r.Header.Get(envoy.CertificateHeader)), Holder: authority.PrincipalID(r.Header.Get(envoy.HolderHeader)),
	}
}

// validate answers from the gateway's own snapshot. Keys that a gateway does not know, such as an owner's, are for the
// control plane to judge.
func (l *local) validate(w http.ResponseWriter, r *http.Request) {
	credential := credentialOf(r)
	if key, err := token.ParseAPIKey(credential.Bearer); err == nil && !key.Kind.IsOwn() {
		l.forward.ServeHTTP(w, r)
		return
	}
	if err := l.service.AwaitStates(r.Context(), strings.Join(r.Header.Values(authority.StateHeader), ",")); err != nil {
		refuse(w, err)
		return
	}
	caller, err := l.service.Identify(credential)
	if err != nil {
		refuse(w, err)
		return
	}
	if slug := r.PathValue("slug"); slug != "" && slug != l.service.Snapshot().Workspace().Slug {
		refuse(w, authority.NotFound("workspace"))
		return
	}
	var asked extauthz.Question
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&asked); err != nil {
		problem(w, http.StatusBadRequest, string(authority.CodeInvalid), "the body is not a validation: "+err.Error())
		return
	}
	asked.Certificate = credential.Certificate
	known := l.service.Snapshot().State()
	answer, err := l.service.Validate(r.Context(), caller, asked)
	if err != nil {
		refuse(w, err)
		return
	}
	w.Header().Set(authority.StateHeader, known.String())
	reply(w, http.StatusOK, answer)
}

// catchUp holds the answer to a write until this gateway enforces it: who writes through a gateway may use what was
// written at once.
func (l *local) catchUp(r *http.Response) error {
	if r.Request.Method == http.MethodGet || r.StatusCode >= http.StatusBadRequest {
		return nil
	}
	revision, err := strconv.ParseUint(r.Header.Get(revisionHeader), 10, 64)
	if err != nil {
		return nil // nothing was written
	}
	ctx, cancel := context.WithTimeout(r.Request.Context(), catchUpTimeout)
	defer cancel()
	if state, err := authority.ParseState(r.Header.Get(authority.StateHeader)); err == nil {
		err = l.service.Await(ctx, []authority.State{state})
		if err == nil {
			return nil
		}
	} else if l.state.Await(ctx.Done(), revision) {
		return nil // a control plane of before there were states
	}
	body := problemBody(http.StatusServiceUnavailable, "not_enforced_yet", "the change is committed, but this gateway does not enforce it yet")
	_ = r.Body.Close() // its content is replaced
	r.StatusCode, r.Status = http.StatusServiceUnavailable, ""
	r.Header = http.Header{"Content-Type": {"application/problem+json"}, revisionHeader: r.Header[revisionHeader], authority.StateHeader: r.Header[authority.StateHeader], "Retry-After": {"1"}}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return nil
}

func reply(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value) // a client that is gone has no use for an error
}

// refuse answers an error of the domain or of the decision service; anything else is an internal error without detail.
func refuse(w http.ResponseWriter, err error) {
	var (
		denial *extauthz.Denial
		known  *authority.Error
	)
	switch {
	case errors.As(err, &denial):
		problem(w, denial.Reason.Status(), string(denial.Reason), denial.Message)
	case errors.As(err, &known) && known.Reason != "":
		problem(w, known.Code.Status(), string(known.Reason), known.Message)
	case errors.As(err, &known):
		problem(w, known.Code.Status(), string(known.Code), known.Message)
	default:
		problem(w, http.StatusInternalServerError, string(authority.ReasonInternal), authority.ReasonInternal.Message())
	}
}

// problem answers an RFC 9457 problem, like the control plane does.
func problem(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(problemBody(status, code, message))
}

func problemBody(status int, code, message string) []byte {
	body, err := json.Marshal(struct {
		Type   string `json:"type"`
		Title  string `json:"title"`
		Status int    `json:"status"`
		Code   string `json:"code"`
		Detail string `json:"detail"`
	}{"about:blank", http.StatusText(status), status, code, message})
	if err != nil {
		return nil // strings and a number encode always
	}
	return body
}
