package api

import (
	"mime"
	"net/http"
	"net/url"

	"github.com/caracal-gateway/caracal/authority"
)

// The words of RFC 8693 for what is exchanged.
const (
	grantTokenExchange = "urn:ietf:params:oauth:grant-type:token-exchange"
	typeAPIKey         = "urn:caracal:params:oauth:token-type:api-key"
)

// tokenExchange is the request of RFC 8693, as far as it says something here. All of it may be left out: the bearer's
// own key is exchanged then.
type tokenExchange struct {
	GrantType        string `json:"grant_type"`
	SubjectToken     string `json:"subject_token"`
	SubjectTokenType string `json:"subject_token_type"`
	// Confirmation binds the token to a client certificate; nil binds it to none.
	Confirmation *authority.Confirmation `json:"cnf"`
}

// token exchanges an API key for a short-lived access token. The key comes as the subject token or as the bearer.
func (h *Handler) token(x *exchange) (*reply, error) {
	in, err := readExchange(x)
	if err != nil {
		return nil, err
	}
	if in.GrantType != "" && in.GrantType != grantTokenExchange {
		return nil, authority.Invalid("grant_type", "must be %s", grantTokenExchange)
	}
	if in.SubjectTokenType != "" && in.SubjectTokenType != typeAPIKey {
		return nil, authority.Invalid("subject_token_type", "must be %s", typeAPIKey)
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
	token, err := h.service.IssueBoundToken(x.ctx(), x.caller, in.Confirmation)
	if err != nil {
		return nil, err
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
		GrantType: form.text("grant_type"), SubjectToken: form.text("subject_token"), SubjectTokenType: form.text("subject_token_type"),
	}
	if text := form.text("cnf"); text != "" {
		in.Confirmation = new(authority.Confirmation)
		if err := decodeJSON([]byte(text), in.Confirmation); err != nil {
			return in, authority.Invalid("cnf", "is not a JSON object with x5t#S256")
		}
	}
	return in, form.end()
}
