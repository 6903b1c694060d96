package gateway

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/caracal-gateway/caracal/token"
)

const (
	tokenPath = "/api/v1/token"
	// maxExchanged is the size of the largest answer to an exchange that is read, in bytes.
	maxExchanged = 64 << 10
)

// pass hands a call of the agents' API to the control plane. The bearer of an issuer's token is identified here first, so
// that what identifies nobody gets no further.
func (l *local) pass(w http.ResponseWriter, r *http.Request) {
	if foreignBearer(r) != "" {
		if _, err := l.service.Identify(credentialOf(r)); err != nil {
			refuse(w, err)
			return
		}
	}
	l.forward.ServeHTTP(w, r)
}

// foreignBearer is the token of a request that is not one of ours; empty where there is none, and where it is to be
// exchanged as it is.
func foreignBearer(r *http.Request) string {
	bearer := credentialOf(r).Bearer
	if r.URL.Path == tokenPath || strings.Count(bearer, ".") != 2 || token.Recognise(bearer) {
		return ""
	}
	return bearer
}

// exchanging carries the agents' API to the control plane. A token of a trusted issuer means nothing there, where it does
// not say of which workspace it is: it is exchanged for an access token first.
type exchanging struct {
	control   *url.URL
	transport http.RoundTripper
	workspace func() string // slug; empty while it is not known
}

// RoundTrip sends a request on. An exchange that fails is the answer.
func (x exchanging) RoundTrip(r *http.Request) (*http.Response, error) {
	bearer := foreignBearer(r)
	if bearer == "" {
		return x.transport.RoundTrip(r)
	}
	answer, err := x.exchange(r, bearer)
	if err != nil || answer.StatusCode != http.StatusOK {
		closeBody(r)
		return answer, err
	}
	defer func() { _ = answer.Body.Close() }()
	var exchanged struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxExchanged)).Decode(&exchanged); err != nil {
		closeBody(r)
		return nil, fmt.Errorf("read the exchange of a token of an issuer: %w", err)
	}
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+exchanged.AccessToken)
	return x.transport.RoundTrip(r)
}

func (x exchanging) exchange(r *http.Request, bearer string) (*http.Response, error) {
	body, err := json.Marshal(map[string]string{
		"grant_type": "urn:ietf:params:oauth:grant-type:token-exchange", "subject_token": bearer,
		"subject_token_type": "urn:ietf:params:oauth:token-type:jwt", "workspace_slug": x.workspace(),
	})
	if err != nil {
		return nil, fmt.Errorf("exchange a token of an issuer: %w", err)
	}
	asked, err := http.NewRequestWithContext(r.Context(), http.MethodPost, x.control.JoinPath(tokenPath).String(), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("exchange a token of an issuer: %w", err)
	}
	asked.Header.Set("Content-Type", "application/json")
	for _, name := range []string{"X-Forwarded-For", "X-Request-Id"} {
		if value := r.Header.Get(name); value != "" {
			asked.Header.Set(name, value)
		}
	}
	return x.transport.RoundTrip(asked)
}

// closeBody does what a RoundTripper must do with the body of a request that it does not send.
func closeBody(r *http.Request) {
	if r.Body != nil {
		_ = r.Body.Close()
	}
}
