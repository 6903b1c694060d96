package signin_test

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/controlplane"
	"github.com/caracal-gateway/caracal/controlplane/api"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
	"github.com/caracal-gateway/caracal/controlplane/signin"
	"github.com/caracal-gateway/caracal/internal/openid"
	"github.com/caracal-gateway/caracal/internal/pgtest"
)

var cluster = pgtest.Cluster{Prepare: postgres.Migrate}

const (
	setupKey     = "setup-key-of-the-tests-0123456789"
	clientID     = "caracal"
	clientSecret = "secret-of-the-client-at-the-provider"
	password     = "a password of the tests"
)

// world is a control plane with its pages and its REST interface on one port, and an OpenID provider.
type world struct {
	t        *testing.T
	url      string
	appURL   string
	service  *controlplane.Service
	provider *openid.Provider // nil without one
	clock    *clock
	log      *lockedBuffer
	owner    string // API key of the owner of my-team
	ownerID  string
}

// clock is the real time, and what a test has added to it.
type clock struct {
	mu    sync.Mutex
	ahead time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// newWorld starts a deployment whose provider knows the given users, each with the same password.
func newWorld(t *testing.T, users ...openid.User) *world {
	t.Helper()
	provider := openid.Start(t)
	w := newWorldAt(t, &signin.ProviderConfig{Issuer: provider.Issuer, CA: pool(t, provider.CA)})
	w.provider = provider
	provider.AddClient(openid.Client{
		ID: clientID, Secret: clientSecret, RedirectURIs: []string{w.url + "/login/callback"}, PostLogoutRedirectURIs: []string{w.url + "/login"},
	})
	for _, user := range users {
		user.Password = password
		provider.AddUser(user)
	}
	return w
}

func pool(t *testing.T, pem []byte) *x509.CertPool {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		t.Fatal("no certificate")
	}
	return roots
}

// newWorldAt starts a deployment with a provider, or without one.
func newWorldAt(t *testing.T, provider *signin.ProviderConfig) *world {
	t.Helper()
	_, appURL := cluster.New(t)
	store, err := postgres.Open(postgres.Config{URL: appURL, MaxConns: 4})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	server := httptest.NewUnstartedServer(nil)
	w := &world{t: t, url: "http://" + server.Listener.Addr().String(), appURL: appURL, clock: &clock{}, log: &lockedBuffer{}}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the control plane wrote:\n%s", w.log)
		}
	})
	log := slog.New(slog.NewJSONHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	people := controlplane.SignIn{PublicURL: w.url}
	if provider != nil {
		provider.ClientID, provider.ClientSecret = clientID, clientSecret
		provider.Scopes, provider.GroupsClaim = []string{"profile", "email", "groups"}, "groups"
		people.Issuer = provider.Issuer
	}
	if w.service, err = controlplane.New(controlplane.Config{
		Store: store, MasterKey: bytes.Repeat([]byte{7}, 32), SetupKey: setupKey, SignIn: people, Log: log, Now: w.clock.now,
	}); err != nil {
		t.Fatal(err)
	}
	public, err := signin.ParsePublicURL(w.url)
	if err != nil {
		t.Fatal(err)
	}
	pages, err := signin.New(signin.Config{
		Service: w.service, PublicURL: public, Provider: provider, Log: log, Now: w.clock.now,
		Address: func(r *http.Request) netip.Addr { return api.ClientAddress(r, nil) },
	})
	if err != nil {
		t.Fatal(err)
	}
	rest, err := api.New(api.Config{Service: w.service, Log: log, Browser: pages.Credential})
	if err != nil {
		t.Fatal(err)
	}
	server.Config.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if signin.Serves(r.URL.Path) {
			pages.ServeHTTP(rw, r)
			return
		}
		rest.ServeHTTP(rw, r)
	})
	server.Start()
	t.Cleanup(server.Close)
	w.owner, w.ownerID = w.workspace("my-team")
	return w
}

// workspace makes a workspace and answers the key and the principal of its owner.
func (w *world) workspace(slug string) (key, owner string) {
	w.t.Helper()
	var made struct {
		APIKey string `json:"api_key"`
		Owner  struct {
			ID string `json:"principal_id"`
		} `json:"owner"`
	}
	w.rest(setupKey, "POST", "workspaces", map[string]any{"name": slug, "slug": slug}, 201, &made)
	return made.APIKey, made.Owner.ID
}

// rest calls the REST interface with a bearer token and demands a status.
func (w *world) rest(bearer, method, path string, body any, status int, into any) {
	w.t.Helper()
	text := []byte(nil)
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			w.t.Fatal(err)
		}
	}
	request, err := http.NewRequestWithContext(w.t.Context(), method, w.url+"/api/v1/"+path, bytes.NewReader(text))
	if err != nil {
		w.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+bearer)
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		w.t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	if response.StatusCode != status {
		w.t.Fatalf("%s %s: %d, want %d: %s", method, path, response.StatusCode, status, answer)
	}
	if into != nil {
		if err := json.Unmarshal(answer, into); err != nil {
			w.t.Fatalf("%s %s: %v: %s", method, path, err, answer)
		}
	}
}

// member adds a member to my-team and answers its principal.
func (w *world) member(name, role string) string {
	w.t.Helper()
	var made struct {
		ID string `json:"principal_id"`
	}
	w.rest(w.owner, "POST", "members", map[string]any{"name": name, "role": role}, 201, &made)
	return made.ID
}

// invite makes an invitation with a key and answers its secret.
func (w *world) invite(key, member string) string {
	w.t.Helper()
	var made struct{ URL string }
	w.rest(key, "POST", "members/"+member+"/invite", nil, 201, &made)
	return fragment(w.t, made.URL)
}

// linkOf makes a one-time link with a key and answers its secret.
func (w *world) linkOf(key string) string {
	w.t.Helper()
	var made struct{ URL string }
	w.rest(key, "POST", "sign-in-links", nil, 201, &made)
	return fragment(w.t, made.URL)
}

func fragment(t *testing.T, link string) string {
	t.Helper()
	u, err := url.Parse(link)
	if err != nil || u.Fragment == "" || u.RawQuery != "" {
		t.Fatalf("%q is no link with its secret behind the #", link)
	}
	return u.Fragment
}

// browser keeps cookies and follows redirects like one.
type browser struct {
	w      *world
	client http.Client
	jar    *cookiejar.Jar
}

func (w *world) browser() *browser {
	w.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	b := &browser{w: w, jar: jar}
	if w.provider != nil {
		b.client = *w.provider.HTTP()
	}
	b.client.Jar, b.client.CheckRedirect = jar, nil
	return b
}

// page is what a browser shows.
type page struct {
	t      *testing.T
	status int
	at     *url.URL
	header http.Header
	text   string
}

func (b *browser) do(request *http.Request) page {
	b.w.t.Helper()
	response, err := b.client.Do(request)
	if err != nil {
		b.w.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		b.w.t.Fatal(err)
	}
	return page{b.w.t, response.StatusCode, response.Request.URL, response.Header, string(text)}
}

func (b *browser) request(method, address string, form url.Values) *http.Request {
	b.w.t.Helper()
	if strings.HasPrefix(address, "/") {
		address = b.w.url + address
	}
	request, err := http.NewRequestWithContext(b.w.t.Context(), method, address, strings.NewReader(form.Encode()))
	if err != nil {
		b.w.t.Fatal(err)
	}
	request.Header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
	if method == http.MethodPost {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		request.Header.Set("Origin", b.w.url)
		request.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	return request
}

func (b *browser) get(address string) page {
	b.w.t.Helper()
	return b.do(b.request("GET", address, nil))
}

// post sends a form from one of our own pages.
func (b *browser) post(path string, form url.Values) page {
	b.w.t.Helper()
	return b.do(b.request("POST", path, form))
}

// authenticate fills in the provider's form, which a page has led to; a provider where the browser is signed in already
// asks for nothing.
func (b *browser) authenticate(p page, subject string) page {
	b.w.t.Helper()
	if strings.HasPrefix(p.at.String(), b.w.url) {
		return p
	}
	if !strings.Contains(p.at.Path, "/interaction/") {
		b.w.t.Fatalf("the browser is at %s (%d), not at the provider: %s", p.at, p.status, p.text)
	}
	return b.do(b.request("POST", p.at.String(), url.Values{"login": {subject}, "password": {password}}))
}

// signIn signs a user in from the first page on.
func (b *browser) signIn(subject, next string) page {
	b.w.t.Helper()
	return b.authenticate(b.get("/login/start?next="+url.QueryEscape(next)), subject)
}

// accept opens an invitation and signs in.
func (b *browser) accept(secret, subject string) page {
	b.w.t.Helper()
	p := b.post("/login/invitation", url.Values{"secret": {secret}})
	if p.status != http.StatusOK {
		return p
	}
	return b.authenticate(b.get(p.onward()), subject)
}

// onward is where a page leads to by itself.
func (p page) onward() string {
	p.t.Helper()
	_, to, ok := strings.Cut(p.header.Get("Refresh"), "url=")
	if !ok {
		p.t.Fatalf("%s (%d) leads nowhere: %s", p.at, p.status, p.text)
	}
	return to
}

// shows demands a status and words of a page.
func (p page) shows(status int, words ...string) page {
	p.t.Helper()
	if p.status != status {
		p.t.Fatalf("%s: %d, want %d: %s", p.at, p.status, status, p.text)
	}
	for _, word := range words {
		if !strings.Contains(p.text, word) {
			p.t.Errorf("%s does not show %q: %s", p.at, word, p.text)
		}
	}
	return p
}

var csrfPattern = regexp.MustCompile(`name="csrf_token" value="([^"]+)"`)

// csrf is the token of the forms of a page.
func (p page) csrf() string {
	p.t.Helper()
	found := csrfPattern.FindStringSubmatch(p.text)
	if found == nil {
		p.t.Fatalf("%s has no form: %s", p.at, p.text)
	}
	return found[1]
}

// cookie is the value of the browser's session cookie.
func (b *browser) cookie(name string) string {
	u, err := url.Parse(b.w.url)
	if err != nil {
		b.w.t.Fatal(err)
	}
	for _, c := range b.jar.Cookies(u) {
		if c.Name == name {
			return c.Value
		}
	}
	return ""
}

func (b *browser) setCookie(name, value string) {
	u, err := url.Parse(b.w.url)
	if err != nil {
		b.w.t.Fatal(err)
	}
	b.jar.SetCookies(u, []*http.Cookie{{Name: name, Value: value, Path: "/"}})
}

// identification is what GET /api/v1/session answers.
type identification struct {
	Kind        string
	Name        string
	PersonID    string `json:"person_id"`
	PrincipalID string `json:"principal_id"`
	Memberships []struct {
		Slug string `json:"workspace_slug"`
		Role string
	}
	Session *struct {
		ID        string    `json:"session_id"`
		ExpiresAt time.Time `json:"expires_at"`
	}
	CSRF string `json:"csrf_token"`
}

// whoami asks the REST interface who the browser is; the status tells whether it is somebody.
func (b *browser) whoami() (identification, int) {
	b.w.t.Helper()
	p := b.get("/api/v1/session")
	var id identification
	if p.status == http.StatusOK {
		if err := json.Unmarshal([]byte(p.text), &id); err != nil {
			b.w.t.Fatal(err)
		}
	}
	return id, p.status
}

// nobody is what roles answers of a browser without a session.
const nobody = "nobody"

// roles is what the browser's person may do where, as slug:role.
func (b *browser) roles() string {
	b.w.t.Helper()
	id, status := b.whoami()
	if status == http.StatusUnauthorized {
		return nobody
	}
	if status != http.StatusOK {
		return http.StatusText(status)
	}
	var all []string
	for _, m := range id.Memberships {
		all = append(all, m.Slug+":"+m.Role)
	}
	return strings.Join(all, " ")
}
