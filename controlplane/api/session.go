package api

import (
	"context"
	"net/http"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
)

// signInRoutes are about people, and what they have opened by signing in.
func (h *Handler) signInRoutes() []route {
	s := h.service
	return []route{
		{method: http.MethodPost, path: root + "members/{id}/invite", do: h.invite},
		{method: http.MethodPost, path: root + "members/{id}/end-sessions", do: change(s.EndMemberSessions)},
		{method: http.MethodGet, path: root + "workspaces/{id}/group-roles", do: inside(h.groupRoles)},
		{method: http.MethodPut, path: root + "workspaces/{id}/group-roles", do: inside(h.setGroupRoles)},
		{method: http.MethodGet, path: root + "session", do: h.session},
		{method: http.MethodDelete, path: root + "session", do: ending(s.SignOut)},
		{method: http.MethodPost, path: root + "session/exchange", do: h.exchangeCode, open: true},
		{method: http.MethodGet, path: root + "sessions", do: listAll(s.Sessions)},
		{method: http.MethodDelete, path: root + "sessions", do: ending(s.EndSessions)},
		{method: http.MethodDelete, path: root + "sessions/{id}", do: h.endOneSession},
		{method: http.MethodPost, path: root + "sign-in-links", do: h.signInLink},
	}
}

// authenticate identifies the caller by its credential, or by the session of its browser where it brings none.
func (h *Handler) authenticate(x *exchange, credential string) (controlplane.Caller, error) {
	from := client(x.r, h.trusted)
	if credential == "" && len(x.r.Header.Values("Authorization")) == 0 && h.browser != nil {
		secret, err := h.browser(x.r)
		if err != nil {
			return controlplane.Caller{}, err
		}
		if secret != "" {
			x.secret = secret
			return h.service.AuthenticateSession(x.ctx(), secret, authority.SessionBrowser, from)
		}
	}
	return h.service.Authenticate(x.ctx(), controlplane.Credential{Bearer: credential, Address: from})
}

// session tells the caller who it is.
func (h *Handler) session(x *exchange) (*reply, error) {
	if err := readQuery(x.r.URL.RawQuery).end(); err != nil {
		return nil, err
	}
	id, err := h.service.Identify(x.ctx(), x.caller)
	if err != nil {
		return nil, err
	}
	if x.secret != "" {
		id.CSRFToken = h.service.CSRFToken(x.secret)
	}
	return &reply{status: http.StatusOK, body: id}, nil
}

// sessionCode is what the command line has after somebody let it in with a browser.
type sessionCode struct {
	Code     string `json:"code"`
	Verifier string `json:"verifier"`
}

// openedSession is a session of the command line, with its secret.
type openedSession struct {
	Token   string            `json:"session_token"`
	Session authority.Session `json:"session"`
}

// exchangeCode gives the command line its session.
func (h *Handler) exchangeCode(x *exchange) (*reply, error) {
	var in sessionCode
	if err := x.decode(&in); err != nil {
		return nil, err
	}
	if err := readQuery(x.r.URL.RawQuery).end(); err != nil {
		return nil, err
	}
	from := client(x.r, h.trusted)
	opened, err := h.service.ExchangeCode(x.ctx(), in.Code, in.Verifier, controlplane.Visitor{UserAgent: x.r.UserAgent(), Address: from})
	if err != nil {
		return nil, h.counted(x, err, "")
	}
	return &reply{status: http.StatusCreated, body: openedSession{opened.Secret, opened.Session}}, nil
}

// ending ends sessions of the caller and answers nothing.
func ending(method func(context.Context, controlplane.Caller) error) operation {
	return func(x *exchange) (*reply, error) {
		if err := readQuery(x.r.URL.RawQuery).end(); err != nil {
			return nil, err
		}
		if err := x.decodeOptional(&struct{}{}); err != nil {
			return nil, err
		}
		if err := method(x.ctx(), x.caller); err != nil {
			return nil, err
		}
		return &reply{status: http.StatusNoContent}, nil
	}
}

// endOneSession ends the session that the path names.
func (h *Handler) endOneSession(x *exchange) (*reply, error) {
	id := x.r.PathValue("id")
	if !oneLine(id) {
		return nil, authority.NotFound("path")
	}
	return ending(func(ctx context.Context, c controlplane.Caller) error {
		return h.service.EndSession(ctx, c, authority.SessionID(id))
	})(x)
}

// signInLink makes a link for the holder of the key that asks.
func (h *Handler) signInLink(x *exchange) (*reply, error) {
	if err := x.within(readQuery(x.r.URL.RawQuery)); err != nil {
		return nil, err
	}
	if err := x.decodeOptional(&struct{}{}); err != nil {
		return nil, err
	}
	made, err := h.service.CreateSignInLink(x.ctx(), x.caller)
	if err != nil {
		return nil, err
	}
	return &reply{status: http.StatusCreated, body: made}, nil
}

// invite makes an invitation for the member that the path names.
func (h *Handler) invite(x *exchange) (*reply, error) {
	id, err := named[authority.PrincipalID](x)
	if err != nil {
		return nil, err
	}
	if err := x.decodeOptional(&struct{}{}); err != nil {
		return nil, err
	}
	return written[controlplane.Invitation](http.StatusCreated)(h.service.InviteMember(x.ctx(), x.caller, id))
}

// groupRoles answers which groups have which role in the workspace that the path names.
func (h *Handler) groupRoles(x *exchange) (*reply, error) {
	return find(func(ctx context.Context, c controlplane.Caller, _ string) (controlplane.GroupRoles, error) {
		return h.service.GroupRoles(ctx, c)
	})(x)
}

func (h *Handler) setGroupRoles(x *exchange) (*reply, error) {
	return edit(func(ctx context.Context, c controlplane.Caller, _ string, set controlplane.GroupRoles) (controlplane.Written[controlplane.GroupRoles], error) {
		return h.service.SetGroupRoles(ctx, c, set)
	})(x)
}
