package signin_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/caracal-gateway/caracal/controlplane/signin"
)

// liar is a provider that answers what a test tells it to. It is the one part that no provider from a registry can play.
type liar struct {
	*httptest.Server
	key      *ecdsa.PrivateKey
	metadata map[string]any
	nonce    string                                            // of the sign-in under way
	claims   map[string]any                                    // of the next ID token; nil leaves the token out
	sign     func(l *liar, claims []byte) string               // nil signs well
	answer   func(w http.ResponseWriter, r *http.Request) bool // of the token endpoint, in its place
	userInfo map[string]any
}

func startLiar(t *testing.T) *liar {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	l := &liar{key: key}
	mux := http.NewServeMux()
	write := func(w http.ResponseWriter, value any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(value)
	}
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) { write(w, l.metadata) })
	mux.HandleFunc("/jwks", func(w http.ResponseWriter, _ *http.Request) {
		write(w, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k", Algorithm: "ES256", Use: "sig"}}})
	})
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		if l.answer != nil && l.answer(w, r) {
			return
		}
		tokens := map[string]any{"access_token": "an-access-token", "token_type": "Bearer", "expires_in": 60}
		if l.claims != nil {
			text, _ := json.Marshal(l.claims)
			sign := l.sign
			if sign == nil {
				sign = (*liar).signed
			}
			tokens["id_token"] = sign(l, text)
		}
		write(w, tokens)
	})
	mux.HandleFunc("/userinfo", func(w http.ResponseWriter, _ *http.Request) { write(w, l.userInfo) })
	l.Server = httptest.NewTLSServer(mux)
	t.Cleanup(l.Close)
	l.metadata = map[string]any{
		"issuer": l.URL, "authorization_endpoint": l.URL + "/auth", "token_endpoint": l.URL + "/token", "jwks_uri": l.URL + "/jwks",
		"id_token_signing_alg_values_supported": []string{"ES256", "none", "HS256"}, "response_types_supported": []string{"code"},
	}
	return l
}

func (l *liar) config(t *testing.T) *signin.ProviderConfig {
	return &signin.ProviderConfig{
		Issuer: l.URL, CA: pool(t, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: l.Certificate().Raw})),
	}
}

func (l *liar) signed(claims []byte) string {
	return sign(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: l.key, KeyID: "k"}}, claims)
}

func sign(key jose.SigningKey, claims []byte) string {
	signer, err := jose.NewSigner(key, nil)
	if err != nil {
		return ""
	}
	signed, err := signer.Sign(claims)
	if err != nil {
		return ""
	}
	text, _ := signed.CompactSerialize()
	return text
}

// good are the claims of an honest answer.
func (l *liar) good(now time.Time) map[string]any {
	return map[string]any{
		"iss": l.URL, "sub": "u-1", "aud": clientID, "exp": now.Add(time.Minute).Unix(), "iat": now.Unix(), "nonce": l.nonce, "groups": []string{"platform"},
	}
}

// begin starts a sign-in and answers the state that the provider would bring back.
func (l *liar) begin(t *testing.T, b *browser) string {
	t.Helper()
	b.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	p := b.get("/login/start")
	b.client.CheckRedirect = nil
	u, err := url.Parse(p.header.Get("Location"))
	if err != nil || !strings.HasPrefix(u.String(), l.URL+"/auth?") {
		t.Fatalf("%d: the browser goes to %q: %s", p.status, p.header.Get("Location"), p.text)
	}
	q := u.Query()
	for name, want := range map[string]string{"response_type": "code", "client_id": clientID, "code_challenge_method": "S256", "redirect_uri": b.w.url + "/login/callback"} {
		if q.Get(name) != want {
			t.Errorf("%s=%q, want %q", name, q.Get(name), want)
		}
	}
	if len(q.Get("code_challenge")) != 43 || len(q.Get("state")) != 43 || len(q.Get("nonce")) != 43 || strings.Contains(u.String(), clientSecret) {
		t.Errorf("the request is %s", u)
	}
	l.nonce = q.Get("nonce")
	return q.Get("state")
}

func TestATokenThatDoesNotHoldSignsNobodyIn(t *testing.T) {
	l := startLiar(t)
	w := newWorldAt(t, l.config(t))
	w.groups(w.owner, "my-team", 200, "platform", "admin")
	set := func(name string, value any) func() {
		return func() { l.claims[name] = value }
	}
	without := func(name string) func() {
		return func() { delete(l.claims, name) }
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		lie    func()
		signed bool
	}{
		"nothing is wrong with it":              {func() {}, true},
		"the audience is a list with us alone":  {set("aud", []string{clientID}), true},
		"we are the party it was made for":      {func() { l.claims["aud"], l.claims["azp"] = []string{clientID, "x"}, clientID }, true},
		"the hash of the access token is right": {func() { l.claims["at_hash"] = half("an-access-token") }, true},
		"the nonce is another":                  {set("nonce", strings.Repeat("n", 43)), false},
		"the nonce is absent":                   {without("nonce"), false},
		"the nonce is empty":                    {set("nonce", ""), false},
		"the issuer is another":                 {set("iss", "https://evil.example"), false},
		"the issuer is nearly ours":             {set("iss", l.URL+"/"), false},
		"the audience is another client":        {set("aud", "another"), false},
		"the audience is absent":                {without("aud"), false},
		"it was made for another of two":        {func() { l.claims["aud"], l.claims["azp"] = []string{clientID, "another"}, "another" }, false},
		"it has two audiences and no party":     {set("aud", []string{clientID, "another"}), false},
		"it was made for another party":         {set("azp", "another"), false},
		"it is over":                            {func() { l.claims["exp"] = w.clock.now().Add(-time.Minute).Unix() }, false},
		"it has no end":                         {without("exp"), false},
		"it is not valid yet":                   {func() { l.claims["nbf"] = w.clock.now().Add(time.Hour).Unix() }, false},
		"the subject is absent":                 {without("sub"), false},
		"the subject is empty":                  {set("sub", ""), false},
		"the hash of the access token is wrong": {func() { l.claims["at_hash"] = half("another") }, false},
		"there is none":                         {func() { l.claims = nil }, false},
		"it is signed by somebody else": {func() {
			l.sign = func(_ *liar, claims []byte) string {
				return sign(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: other, KeyID: "k"}}, claims)
			}
		}, false},
		"it is signed with the client's secret": {func() {
			l.sign = func(_ *liar, claims []byte) string {
				return sign(jose.SigningKey{Algorithm: jose.HS256, Key: []byte(clientSecret)}, claims)
			}
		}, false},
		"it is not signed": {func() {
			l.sign = func(_ *liar, claims []byte) string {
				return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + base64.RawURLEncoding.EncodeToString(claims) + "."
			}
		}, false},
		"the provider refuses the code": {func() {
			l.answer = func(w http.ResponseWriter, _ *http.Request) bool {
				w.WriteHeader(http.StatusBadRequest)
				_, _ = w.Write([]byte(`{"error":"invalid_grant","error_description":"canary-of-the-answer"}`))
				return true
			}
		}, false},
		"the provider sends it on elsewhere": {func() {
			l.answer = func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.RawQuery != "" {
					return false // a good answer, from another place
				}
				http.Redirect(w, r, l.URL+"/token?elsewhere", http.StatusTemporaryRedirect)
				return true
			}
		}, false},
		"the provider answers without end": {func() {
			l.answer = func(w http.ResponseWriter, _ *http.Request) bool {
				_, _ = w.Write([]byte(`{"id_token":"` + strings.Repeat("a", 2<<20)))
				return true
			}
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			w.clock.advance(time.Minute) // failures are counted by the minute
			b := w.browser()
			b.client.Transport = l.Client().Transport
			state := l.begin(t, b)
			l.claims, l.sign, l.answer = l.good(w.clock.now()), nil, nil
			c.lie()
			p := b.get("/login/callback?" + url.Values{"code": {"code"}, "state": {state}}.Encode())
			_, status := b.whoami()
			if signed := status == 200; signed != c.signed {
				t.Errorf("signed in: %v, want %v (%d): %s\n%s", signed, c.signed, p.status, p.text, w.log)
			}
			if !c.signed && p.status != 401 {
				t.Errorf("answered %d: %s", p.status, p.text)
			}
		})
	}
	if strings.Contains(w.log.String(), "canary-of-the-answer") {
		t.Error("the log holds what the provider answered")
	}
}

// A provider that takes a code twice does not make an answer work twice, not even with the cookie of the sign-in.
func TestAnAnswerWorksOnceWhateverTheProviderTakes(t *testing.T) {
	l := startLiar(t)
	w := newWorldAt(t, l.config(t))
	w.groups(w.owner, "my-team", 200, "platform", "admin")
	b, thief := w.browser(), w.browser()
	b.client.Transport, thief.client.Transport = l.Client().Transport, l.Client().Transport
	state := l.begin(t, b)
	thief.setCookie(attempt, b.cookie(attempt))
	l.claims = l.good(w.clock.now())
	answer := "/login/callback?" + url.Values{"code": {"code"}, "state": {state}}.Encode()
	b.get(answer).shows(200, "admin")
	thief.get(answer).shows(401, "completed already")
	if _, status := thief.whoami(); status != 401 {
		t.Errorf("the thief is somebody: %d", status)
	}
}

func TestASignInThatTakesTooLongIsOver(t *testing.T) {
	l := startLiar(t)
	w := newWorldAt(t, l.config(t))
	w.groups(w.owner, "my-team", 200, "platform", "admin")
	for wait, status := range map[time.Duration]int{9 * time.Minute: 200, 10 * time.Minute: 401} {
		b := w.browser()
		b.client.Transport = l.Client().Transport
		state := l.begin(t, b)
		w.clock.advance(wait)
		l.claims = l.good(w.clock.now())
		b.get("/login/callback?" + url.Values{"code": {"code"}, "state": {state}}.Encode()).shows(status)
	}
}

// half is the at_hash of an access token.
func half(token string) string {
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

func TestGroupsThatAreNotInTheTokenAreAskedFor(t *testing.T) {
	l := startLiar(t)
	l.metadata["userinfo_endpoint"] = l.URL + "/userinfo"
	w := newWorldAt(t, l.config(t))
	w.groups(w.owner, "my-team", 200, "platform", "admin")
	for name, c := range map[string]struct {
		claims, userInfo map[string]any
		want             string
	}{
		"the token tells none, the userinfo does":     {map[string]any{"groups": nil}, map[string]any{"sub": "u-1", "groups": []string{"platform"}}, "my-team:admin"},
		"the userinfo is about somebody else":         {map[string]any{"groups": nil}, map[string]any{"sub": "u-2", "groups": []string{"platform"}}, nobody},
		"the userinfo tells none":                     {map[string]any{"groups": nil}, map[string]any{"sub": "u-1"}, nobody},
		"the token tells an empty list":               {map[string]any{"groups": []string{}}, map[string]any{"sub": "u-1", "groups": []string{"platform"}}, nobody},
		"the token tells one name":                    {map[string]any{"groups": "platform"}, nil, "my-team:admin"},
		"the token tells something that is no group":  {map[string]any{"groups": map[string]any{"platform": true}}, nil, nobody},
		"the token tells a list with other things in": {map[string]any{"groups": []any{"platform", 1}}, nil, nobody},
	} {
		t.Run(name, func(t *testing.T) {
			b := w.browser()
			b.client.Transport = l.Client().Transport
			state := l.begin(t, b)
			l.claims, l.userInfo = l.good(w.clock.now()), c.userInfo
			maps.Copy(l.claims, c.claims)
			if l.claims["groups"] == nil {
				delete(l.claims, "groups")
			}
			b.get("/login/callback?" + url.Values{"code": {"code"}, "state": {state}}.Encode())
			if got := b.roles(); got != c.want {
				t.Errorf("%s, want %s\n%s", got, c.want, w.log)
			}
		})
	}
}

func TestAProviderThatDescribesItselfWronglyIsNotUsed(t *testing.T) {
	for name, lie := range map[string]func(*liar){
		"as another issuer":                    func(l *liar) { l.metadata["issuer"] = "https://evil.example" },
		"with a token endpoint in clear":       func(l *liar) { l.metadata["token_endpoint"] = "http://provider.example/token" },
		"with a sign-in page in clear":         func(l *liar) { l.metadata["authorization_endpoint"] = "http://provider.example/auth" },
		"with a sign-in page that is a script": func(l *liar) { l.metadata["authorization_endpoint"] = "javascript:alert(1)" },
		"without end":                          func(l *liar) { l.metadata["padding"] = strings.Repeat("a", 2<<20) },
	} {
		t.Run(name, func(t *testing.T) {
			l := startLiar(t)
			lie(l)
			w := newWorldAt(t, l.config(t))
			w.browser().get("/login/start").shows(503, "cannot be reached")
		})
	}
	l := startLiar(t)
	config := l.config(t)
	config.CA = nil
	w := newWorldAt(t, config)
	w.browser().get("/login/start").shows(503, "cannot be reached")
}
