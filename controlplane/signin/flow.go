package signin

import (
	"errors"
	"net/http"
	"net/url"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
)

// login is the first page. Who is signed in already goes on at once.
func (h *Handler) login(x *exchange) error {
	next := localPath(x.r.URL.Query().Get("next"))
	if q := x.r.URL.Query(); q.Has("cli") {
		ask, err := readCLIRequest(q)
		if err != nil {
			return err
		}
		next = "/login/cli?" + ask.query()
	}
	if _, err := h.caller(x); err == nil {
		redirect(x, next)
		return nil
	}
	view := loginView{Start: "/login/start?" + url.Values{"next": {next}}.Encode()}
	if next != accountPath {
		view.Next = next
	}
	if h.provider != nil {
		view.Provider = hostOf(h.provider.Issuer)
	}
	h.render(x, http.StatusOK, "login", view)
	return nil
}

func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	return u.Hostname()
}

func redirect(x *exchange, to string) { http.Redirect(x.w, x.r, to, http.StatusSeeOther) }

var errNoProvider = &authority.Error{
	Code:    authority.CodeConflict,
	Message: "this control plane has no OpenID provider: use a one-time link (`caracal session link`), or an API key",
}

// begin starts a sign-in at the provider, which the browser keeps sealed, and answers where it continues.
func (h *Handler) begin(x *exchange, next, invitation string) (string, error) {
	if h.provider == nil {
		return "", errNoProvider
	}
	found, err := h.provider.discover(x.r.Context())
	if err != nil {
		return "", h.away(x, err)
	}
	attempt, sealed, err := h.service.BeginSignIn(next, invitation)
	if err != nil {
		return "", err
	}
	h.cookies.set(x.w, attemptCookie, sealed, attemptAge)
	return found.authorizationURL(attempt), nil
}

// away says that the provider could not be asked; why is for the operator's log.
func (h *Handler) away(x *exchange, err error) error {
	h.log.WarnContext(x.r.Context(), "OpenID provider not usable", "request_id", x.id, "cause", err)
	return &authority.Error{Code: authority.CodeUnavailable, Message: "the identity provider cannot be reached; try again in a moment"}
}

func (h *Handler) start(x *exchange) error {
	to, err := h.begin(x, localPath(x.r.URL.Query().Get("next")), "")
	if err != nil {
		return err
	}
	redirect(x, to)
	return nil
}

var errAnswer = &authority.Error{
	Code: authority.CodeUnauthenticated, Message: "the sign-in could not be completed: it took too long, was completed already or was begun in another browser; begin again",
}

// callback is where the provider sends people back to.
func (h *Handler) callback(x *exchange) error {
	if h.provider == nil {
		return errNoProvider
	}
	sealed := h.cookies.read(x.r, attemptCookie)
	h.cookies.remove(x.w, attemptCookie)
	answer, err := url.ParseQuery(x.r.URL.RawQuery)
	if err != nil || sealed == "" || len(answer["state"]) != 1 {
		return h.failed(x, errAnswer)
	}
	attempt, err := h.service.ResumeSignIn(x.r.Context(), sealed, answer.Get("state"))
	if err != nil {
		return h.failed(x, orAnswer(err))
	}
	found, err := h.provider.discover(x.r.Context())
	if err != nil {
		return h.away(x, err)
	}
	if err := h.provider.isAnswerOf(found, answer); err != nil {
		return h.refuse(x, err)
	}
	if refusal := answer.Get("error"); refusal != "" {
		h.log.InfoContext(x.r.Context(), "the OpenID provider refused a sign-in", "request_id", x.id, "error", short(refusal))
		return &authority.Error{Code: authority.CodeForbidden, Message: "the identity provider did not let you in; ask whoever runs it"}
	}
	if len(answer["code"]) != 1 {
		return h.refuse(x, errors.New("the answer has no code"))
	}
	who, err := h.provider.identify(x.r.Context(), found, answer.Get("code"), attempt)
	if err != nil {
		return h.refuse(x, err)
	}
	return h.welcome(x, who, attempt)
}

// orAnswer says of a sign-in that cannot be resumed what to do.
func orAnswer(err error) error {
	var told *authority.Error
	if errors.As(err, &told) && told.Code == authority.CodeUnauthenticated {
		return errAnswer
	}
	return err
}

// short bounds what somebody else wrote for the log.
func short(text string) string {
	const limit = 100
	if len(text) > limit {
		return text[:limit]
	}
	return text
}

// refuse ends a sign-in whose answer does not hold. The visitor is not told which check failed; the log is.
func (h *Handler) refuse(x *exchange, err error) error {
	h.log.WarnContext(x.r.Context(), "sign-in refused", "request_id", x.id, "cause", err)
	return h.failed(x, errAnswer)
}

// welcome opens the session of somebody who has proven who it is. A session that the browser had before ends, so that
// nobody goes on in one that somebody else may know.
func (h *Handler) welcome(x *exchange, who controlplane.Identity, attempt controlplane.SignInAttempt) error {
	opened, err := h.service.SignIn(x.r.Context(), who, attempt.Invitation, x.visitor(h))
	if errors.Is(err, controlplane.ErrUninvited) {
		h.render(x, http.StatusForbidden, "uninvited", uninvitedView{
			Name: who.Name, Email: who.Email, Verified: who.EmailVerified, Issuer: who.Issuer, Subject: who.Subject,
		})
		return nil
	}
	if err != nil {
		return h.failed(x, err)
	}
	h.admit(x, opened)
	redirect(x, localPath(attempt.Next))
	return nil
}

// admit gives the browser its new session and ends the one that it had.
func (h *Handler) admit(x *exchange, opened controlplane.OpenedSession) {
	if former, err := h.caller(x); err == nil {
		if err := h.service.SignOut(x.r.Context(), former); err != nil {
			h.log.WarnContext(x.r.Context(), "former session not ended", "request_id", x.id, "cause", err)
		}
	}
	h.cookies.set(x.w, sessionCookie, opened.Secret, 0)
}

// caller is who the browser's session belongs to.
func (h *Handler) caller(x *exchange) (controlplane.Caller, error) {
	return h.service.AuthenticateSession(x.r.Context(), h.cookies.session(x.r), authority.SessionBrowser, h.address(x.r))
}
