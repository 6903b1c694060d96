package signin

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
)

// signInFirst sends who has no session to the first page, and back afterwards.
func (h *Handler) signInFirst(x *exchange, err error) error {
	var told *authority.Error
	if !errors.As(err, &told) || told.Code != authority.CodeUnauthenticated {
		return err
	}
	redirect(x, "/login?"+url.Values{"next": {localPath(x.r.URL.RequestURI())}}.Encode())
	return nil
}

// decided is who pressed a button of ours.
func (h *Handler) decided(x *exchange) (controlplane.Caller, error) {
	c, err := h.caller(x)
	if err == nil && !h.service.IsCSRFToken(h.cookies.session(x.r), x.r.PostFormValue(csrfField)) {
		err = errForeign
	}
	return c, err
}

// root is what somebody opens who types the control plane's address.
func (h *Handler) root(x *exchange) error {
	redirect(x, accountPath)
	return nil
}

// account shows who is signed in, where, and with which sessions.
func (h *Handler) account(x *exchange) error {
	c, err := h.caller(x)
	if err != nil {
		return h.signInFirst(x, err)
	}
	id, err := h.service.Identify(x.r.Context(), c)
	if err != nil {
		return err
	}
	sessions, err := h.service.Sessions(x.r.Context(), c)
	if err != nil {
		return err
	}
	h.render(x, http.StatusOK, "account", accountView{
		Identification: id, Sessions: sessions, CSRF: h.service.CSRFToken(h.cookies.session(x.r)),
	})
	return nil
}

func (h *Handler) endSession(x *exchange) error {
	c, err := h.decided(x)
	if err != nil {
		return err
	}
	if err := h.service.EndSession(x.r.Context(), c, authority.SessionID(x.r.PathValue("id"))); err != nil {
		return err
	}
	redirect(x, accountPath)
	return nil
}

func (h *Handler) logout(x *exchange) error { return h.end(x, h.service.SignOut) }

func (h *Handler) logoutEverywhere(x *exchange) error { return h.end(x, h.service.EndSessions) }

// end ends sessions and takes the cookie away. Who has no session any more is signed out already.
func (h *Handler) end(x *exchange, sessions func(context.Context, controlplane.Caller) error) error {
	c, err := h.decided(x)
	var told *authority.Error
	switch {
	case err == nil:
		err = sessions(x.r.Context(), c)
	case errors.As(err, &told) && told.Code == authority.CodeUnauthenticated:
		err = nil
	}
	if err != nil {
		return err
	}
	h.cookies.remove(x.w, sessionCookie)
	view := signedOutView{}
	if h.provider != nil && c.Key() == "" {
		// Without the provider there is no link to it; being signed out here does not depend on it.
		if found, err := h.provider.discover(x.r.Context()); err == nil {
			view.Provider, view.SignOut = hostOf(h.provider.Issuer), found.signOutURL(h.origin+"/login")
		}
	}
	h.render(x, http.StatusOK, "signed_out", view)
	return nil
}
