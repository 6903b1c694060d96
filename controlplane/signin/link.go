package signin

import (
	"net/http"
	"strings"
)

// secretPages ask for a secret that the address of the page has behind its #, where it is in no log and in no request.
// A script of ours puts it into the form; without scripts it can be pasted. Pressing the button uses it.

func (h *Handler) link(x *exchange) error {
	h.render(x, http.StatusOK, "secret", secretView{
		Title: "Sign in with a one-time link", Action: "/login/link", Button: "Sign in",
		Text: "The link works once. Press the button to sign in with this browser.",
	})
	return nil
}

func (h *Handler) useLink(x *exchange) error {
	opened, err := h.service.SignInByLink(x.r.Context(), secretOf(x.r), x.visitor(h))
	if err != nil {
		return h.failed(x, err)
	}
	h.admit(x, opened)
	redirect(x, accountPath)
	return nil
}

// secretOf is what the form brings; what was pasted may be the whole link.
func secretOf(r *http.Request) string {
	text := strings.TrimSpace(r.PostFormValue("secret"))
	if _, secret, ok := strings.Cut(text, "#"); ok {
		return secret
	}
	return text
}

func (h *Handler) invitation(x *exchange) error {
	if h.provider == nil {
		return errNoProvider
	}
	h.render(x, http.StatusOK, "secret", secretView{
		Title: "You are invited", Action: "/login/invitation", Button: "Sign in and accept",
		Text: "Sign in at " + hostOf(h.provider.Issuer) + " to become a member. The invitation works once.",
	})
	return nil
}

// acceptInvitation goes to the provider with the invitation. The way there is a page of its own and not an answer to the
// form: where forms may lead to is limited, and the provider may send people on to others.
func (h *Handler) acceptInvitation(x *exchange) error {
	secret := secretOf(x.r)
	if err := h.service.Invites(x.r.Context(), secret); err != nil {
		return h.failed(x, err)
	}
	to, err := h.begin(x, accountPath, secret)
	if err != nil {
		return err
	}
	h.onward(x, to, "Continue to "+hostOf(h.provider.Issuer))
	return nil
}

// onward leads to another site by a page.
func (h *Handler) onward(x *exchange, to, label string) {
	h.render(x, http.StatusOK, "onward", onwardView{To: to, Label: label})
}
