package api

import (
	"mime"
	"net/http"
	"net/url"
	"strconv"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
)

// The words of RFC 8693 for what is exchanged.
const (
	grantTokenExchange = "urn:ietf:params:oauth:grant-type:token-exchange"
	typeAPIKey         = "urn:caracal:params:oauth:token-type:api-key"
	typeJWT            = "urn:ietf:params:oauth:token-type:jwt"
)

// maxSubjectToken is more than any token that is accepted, in bytes.
const maxSubjectToken = 16 << 10

// tokenExchange is the request of RFC 8693, as far as it says something here. All of it may be left out: the bearer's
// own key is exchanged then.
type tokenExchange struct {
	GrantType        string `json:"grant_type"`
	SubjectToken     string `json:"subject_token"`
	SubjectTokenType string `json:"subject_token_type"`
	// WorkspaceSlug says for which workspace the JWT of a trusted issuer is exchanged. A key belongs to one anyway.
	WorkspaceSlug string `json:"workspace_slug"`
	// Confirmation binds the token to a client certificate; nil binds it to none.
	Confirmation *authority.Confirmation `json:"cnf"`
	// MandateID binds the token to one mandate, and LifetimeSeconds says for how long it is asked.
	MandateID       *authority.MandateID `json:"mandate_id"`
	LifetimeSeconds *int64               `json:"lifetime_seconds"`
}

// terms are what the token is narrowed by.
func (t tokenExchange) terms() (controlplane.TokenTerms, error) {
	terms := controlplane.TokenTerms{Confirmation: t.Confirmation}
	if t.MandateID != nil {
		if terms.MandateID = *t.MandateID; terms.MandateID == "" {
			return terms, authority.Invalid("mandate_id", "is empty; leave it out for a token that is bound to none")
		}
	}
	if t.LifetimeSeconds != nil {
		if terms.LifetimeSeconds = *t.LifetimeSeconds; terms.LifetimeSeconds < 1 {
			return terms, authority.Invalid("lifetime_seconds", "is at least 1")
		}
	}
	return terms, nil
}

// token exchanges an API key, or the JWT of a trusted issuer, for a short-lived access token. The key comes as the subject
// token or as the bearer.
func (h *Handler) token(x *exchange) (*reply, error) {
	in, err := readExchange(x)
	if err != nil {
		return nil, err
	}
	if in.GrantType != "" && in.GrantType != grantTokenExchange {
		return nil, authority.Invalid("grant_type", "must be %s", grantTokenExchange)
	}
	if in.SubjectTokenType == typeJWT {
		return h.foreignToken(x, in)
	}
	if in.SubjectTokenType != "" && in.SubjectTokenType != typeAPIKey {
		return nil, authority.Invalid("subject_token_type", "must be %s or %s", typeAPIKey, typeJWT)
	}
	credential := bearer(x.r)
	if in.SubjectToken != "" {
		if len(x.r.Header.Values("Authorization")) > 0 {
			return nil, authority.Invalid("subject_token", "give the key once: here or in the Authorization header")
		}
		credential = in.SubjectToken
	}
	if err := h.identify(x, credential); err != nil {
		return nil, err
	}
	terms, err := in.terms()
	if err != nil {
		return nil, err
	}
	token, err := h.service.IssueBoundToken(x.ctx(), x.caller, terms)
	if err != nil {
		return nil, err
	}
	return &reply{status: http.StatusOK, body: token}, nil
}

// foreignToken exchanges the JWT of a trusted issuer.
func (h *Handler) foreignToken(x *exchange, in tokenExchange) (*reply, error) {
	if in.SubjectToken == "" {
		return nil, authority.Invalid("subject_token", "is the JWT of a trusted issuer")
	}
	if in.WorkspaceSlug == "" {
		return nil, authority.Invalid("workspace_slug", "is missing: which workspace trusts the issuer")
	}
	if len(x.r.Header.Values("Authorization")) > 0 {
		return nil, authority.Invalid("subject_token", "give one credential: here or in the Authorization header")
	}
	terms, err := in.terms()
	if err != nil {
		return nil, err
	}
	token, err := h.service.ExchangeToken(x.ctx(), controlplane.Exchange{
		WorkspaceSlug: in.WorkspaceSlug, Token: in.SubjectToken, Address: client(x.r, h.trusted), TokenTerms: terms,
	})
	if err != nil {
		return nil, h.counted(x, err, in.SubjectToken)
	}
	return &reply{status: http.StatusOK, body: token}, nil
}

// readExchange reads a form or a JSON object.
func readExchange(x *exchange) (in tokenExchange, err error) {
	mediaType, _, _ := mime.ParseMediaType(x.r.Header.Get("Content-Type"))
	if mediaType != "application/x-www-form-urlencoded" || len(x.body) == 0 {
		return in, x.decodeOptional(&in)
	}
	values, err := url.ParseQuery(string(x.body))
	if err != nil {
		return in, authority.Invalid("", "the body is not a valid form")
	}
	form := &query{values: values}
	in = tokenExchange{
		GrantType: form.text("grant_type"), SubjectToken: form.line("subject_token", maxSubjectToken),
		SubjectTokenType: form.text("subject_token_type"), WorkspaceSlug: form.text("workspace_slug"),
	}
	if text := form.text("mandate_id"); text != "" {
		in.MandateID = new(authority.MandateID(text))
	}
	if text := form.text("lifetime_seconds"); text != "" {
		seconds, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return in, authority.Invalid("lifetime_seconds", "is not a whole number of seconds")
		}
		in.LifetimeSeconds = &seconds
	}
	if text := form.text("cnf"); text != "" {
		in.Confirmation = new(authority.Confirmation)
		if err := decodeJSON([]byte(text), in.Confirmation); err != nil {
			return in, authority.Invalid("cnf", "is not a JSON object with x5t#S256")
		}
	}
	return in, form.end()
}
