// Package openid runs a real OpenID provider for tests: the certified npm package oidc-provider, over TLS on loopback,
// with clients, users and keys that a test chooses. It needs Node.js and npm; the package is installed from the
// lockfile once, into the cache.
package openid

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/internal/echo"
)

const (
	tokenPath    = "/token"
	answerBound  = 64 << 10
	requestBound = 20 * time.Second
)

// Provider is an OpenID provider that runs until its test ends. Its signing algorithms are RS256, ES256, PS256 and
// EdDSA, with a key of each at a time unless a rotation is under way. It demands PKCE of every authorization, answers
// with the iss parameter, and offers refresh tokens (scope offline_access), RP-initiated logout, and client_credentials
// with the parameter resource, whose value becomes the audience of a JWT access token.
//
// Its sign-in page is a form with the fields login (the user's Subject) and password. It asks for no consent.
type Provider struct {
	// Issuer is the provider's URL: https://localhost:<port>, without a path.
	Issuer string
	// CA is the PEM certificate to trust for its TLS.
	CA []byte

	t      testing.TB
	mu     sync.Mutex // one change at a time
	in     io.Writer
	out    *bufio.Reader
	client *http.Client
}

// Client is a registration at the provider.
type Client struct {
	ID     string `json:"client_id"`
	Secret string `json:"client_secret,omitempty"` // empty for a public client
	// RedirectURIs are needed for authorization_code; a client without one gets client_credentials only.
	RedirectURIs           []string `json:"redirect_uris"`
	PostLogoutRedirectURIs []string `json:"post_logout_redirect_uris,omitempty"`
	// Algorithm signs the client's ID tokens and JWT access tokens; empty means RS256.
	Algorithm string `json:"id_token_signed_response_alg,omitempty"`
	// TokenLifetime is that of client_credentials tokens; zero means ten minutes.
	TokenLifetime time.Duration `json:"-"`
}

// User is somebody who can sign in.
type User struct {
	Subject       string   `json:"subject"` // the claim sub, and the name at the sign-in page
	Password      string   `json:"password"`
	Name          string   `json:"name,omitempty"`
	Email         string   `json:"email,omitempty"`
	EmailVerified bool     `json:"email_verified"`
	Groups        []string `json:"groups,omitempty"` // the claim groups, of the scope groups
}

// Start runs a provider without clients or users until the test ends.
func Start(t testing.TB) *Provider {
	t.Helper()
	node, program, err := install(t.Context())
	if err != nil {
		t.Fatalf("install the OpenID provider: %v", err)
	}
	ca, err := echo.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	key, certificate, err := leaf(ca)
	if err != nil {
		t.Fatal(err)
	}
	p := &Provider{CA: ca.PEM(), t: t, client: trusting(ca.PEM())}
	p.run(node, program)
	p.change("begin", map[string]any{"key": key, "certificate": certificate})
	return p
}

// run starts the program, which ends with its standard input and so with the test, however that ends.
func (p *Provider) run(node, program string) {
	ctx, cancel := context.WithCancel(context.Background())
	command := exec.CommandContext(ctx, node, program)
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := command.StdinPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	out, err := command.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	var complaints strings.Builder
	command.Stderr = &complaints
	started, ended := make(chan error), make(chan struct{})
	go func() {
		// The death signal is sent when the thread that started the program ends.
		runtime.LockOSThread()
		defer close(ended)
		started <- command.Start()
		<-ctx.Done()
		_ = command.Wait() // it is killed
	}()
	if err := <-started; err != nil {
		p.t.Fatalf("start the OpenID provider: %v", err)
	}
	p.in, p.out = in, bufio.NewReader(out)
	p.t.Cleanup(func() {
		cancel()
		<-ended
		if p.t.Failed() && complaints.Len() > 0 {
			p.t.Logf("the OpenID provider wrote:\n%s", complaints.String())
		}
	})
}

// change asks the program for one change and waits until it is in force.
func (p *Provider) change(what string, terms map[string]any) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	asked := map[string]any{"do": what}
	for name, value := range terms {
		asked[name] = value
	}
	line, err := json.Marshal(asked)
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.in.Write(append(line, '\n')); err != nil {
		p.t.Fatalf("OpenID provider: %s: %v", what, err)
	}
	for {
		text, err := p.out.ReadString('\n')
		if err != nil {
			p.t.Fatalf("OpenID provider: %s: %v", what, err)
		}
		var answer struct{ Issuer, Error string }
		if json.Unmarshal([]byte(text), &answer) != nil {
			continue // a notice of the package
		}
		if answer.Error != "" {
			p.t.Fatalf("OpenID provider: %s: %s", what, answer.Error)
		}
		p.Issuer = answer.Issuer
		return
	}
}

// AddClient registers a client, or changes it.
func (p *Provider) AddClient(c Client) {
	p.t.Helper()
	type registration struct {
		Client
		Grants         []string `json:"grant_types"`
		Responses      []string `json:"response_types"`
		Authentication string   `json:"token_endpoint_auth_method,omitempty"`
	}
	r := registration{Client: c, Grants: []string{"authorization_code", "refresh_token"}, Responses: []string{"code"}}
	if c.Secret == "" {
		r.Authentication = "none"
	} else {
		r.Grants = append(r.Grants, "client_credentials")
	}
	if len(c.RedirectURIs) == 0 {
		r.Grants, r.Responses, r.RedirectURIs = []string{"client_credentials"}, []string{}, []string{}
	}
	p.change("client", map[string]any{"client": r, "lifetime": int(c.TokenLifetime.Seconds())})
}

// AddUser makes somebody who can sign in, or changes what is told of them.
func (p *Provider) AddUser(u User) {
	p.t.Helper()
	p.change("user", map[string]any{"user": u})
}

// RemoveUser ends a user, whose refresh tokens open nothing from then on.
func (p *Provider) RemoveUser(subject string) {
	p.t.Helper()
	p.change("no_user", map[string]any{"subject": subject})
}

// PublishNextKeys begins a rotation: a second key of each algorithm is in the key set, and signs nothing yet.
func (p *Provider) PublishNextKeys() { p.t.Helper(); p.change("publish", nil) }

// SignWithNextKeys lets the keys that were published sign; the former ones stay in the key set.
func (p *Provider) SignWithNextKeys() { p.t.Helper(); p.change("sign", nil) }

// WithdrawFormerKeys ends a rotation: the former keys leave the key set.
func (p *Provider) WithdrawFormerKeys() { p.t.Helper(); p.change("withdraw", nil) }

// AnswerKeys makes the provider answer requests for its key set with this status and body, until Recover.
func (p *Provider) AnswerKeys(status int, body string) {
	p.t.Helper()
	p.change("jwks", map[string]any{"status": status, "body": body})
}

// Recover ends what AnswerKeys began. The key set is answered with this Cache-Control; empty means none.
func (p *Provider) Recover(cacheControl string) {
	p.t.Helper()
	p.change("jwks", map[string]any{"cache_control": cacheControl})
}

// Stop makes the provider unreachable until Resume, which serves at the same address again.
func (p *Provider) Stop() { p.t.Helper(); p.change("stop", nil) }

// Resume ends what Stop began.
func (p *Provider) Resume() { p.t.Helper(); p.change("start", nil) }

// HTTP is a client without cookies that trusts the provider's certificate.
func (p *Provider) HTTP() *http.Client { return p.client }

// Token asks for a client_credentials token: a JWT whose sub is the client's id and whose aud is the audience.
func (p *Provider) Token(c Client, audience string) string {
	p.t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "resource": {audience}}
	request, err := http.NewRequestWithContext(p.t.Context(), http.MethodPost, p.Issuer+tokenPath, strings.NewReader(form.Encode()))
	if err != nil {
		p.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.SetBasicAuth(url.QueryEscape(c.ID), url.QueryEscape(c.Secret))
	text, err := answer(p.client, request)
	if err != nil {
		p.t.Fatalf("ask the OpenID provider for a token: %v", err)
	}
	var granted struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal(text, &granted); err != nil || granted.AccessToken == "" {
		p.t.Fatalf("the OpenID provider answered no token: %s", text)
	}
	return granted.AccessToken
}

func answer(client *http.Client, request *http.Request) ([]byte, error) {
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, answerBound))
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", response.Status, text)
	}
	return text, nil
}

func trusting(ca []byte) *http.Client {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	return &http.Client{
		Timeout:   requestBound,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}},
	}
}

// leaf makes the server's certificate, as PEM.
func leaf(ca *echo.CA) (key, certificate string, err error) {
	made, err := ca.Leaf("localhost", "127.0.0.1")
	if err != nil {
		return "", "", err
	}
	private, err := x509.MarshalPKCS8PrivateKey(made.PrivateKey)
	if err != nil {
		return "", "", err
	}
	if len(made.Certificate) == 0 {
		return "", "", errors.New("make a certificate: none was made")
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})),
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: made.Certificate[0]})), nil
}
