package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// signInTimeout is how long a person may take in the browser.
const signInTimeout = 5 * time.Minute

// signIn lets the browser bring the token of a session. The browser is sent to the control plane with the hash of a secret
// (PKCE), and comes back to a port of this machine with a code that is worth something only together with the secret.
func (p *program) signIn(ctx context.Context, t target) (string, error) {
	t.key = "" // the code says it all
	c, err := t.connect()
	if err != nil {
		return "", err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("waiting for the browser: %w", err)
	}
	verifier, state := rand.Text()+rand.Text(), rand.Text()
	challenge := sha256.Sum256([]byte(verifier))
	query := url.Values{
		"cli":       {strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)},
		"challenge": {base64.RawURLEncoding.EncodeToString(challenge[:])},
		"state":     {state},
	}
	page := strings.TrimSuffix(t.url, "/") + "/login?" + query.Encode()
	fmt.Fprintf(p.stderr, "sign in with the browser, within %s:\n  %s\n", duration(signInTimeout), page)
	p.openBrowser(ctx, page)
	code, err := awaitCode(ctx, listener, state)
	if err != nil {
		return "", err
	}
	token, err := c.ExchangeCode(ctx, code, verifier)
	if err != nil {
		return "", &callError{err, t}
	}
	return token, nil
}

// openBrowser opens a page where there is a browser to open it; the person has the address in any case.
func (p *program) openBrowser(ctx context.Context, page string) {
	opener := p.getenv("BROWSER")
	if opener == "" {
		opener = "xdg-open"
	}
	if path, err := exec.LookPath(opener); err == nil && filepath.IsAbs(path) {
		command := exec.CommandContext(context.WithoutCancel(ctx), path, page)
		if command.Start() == nil {
			go func() { _ = command.Wait() }() // how the browser ends is nobody's concern
		}
	}
}

// awaitCode answers the browser until it brings a code under the state that it was sent away with. What comes without the
// state is somebody else's.
func awaitCode(ctx context.Context, listener net.Listener, state string) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, signInTimeout, errors.New("nobody signed in with the browser in time"))
	defer cancel()
	codes := make(chan string, 1)
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Referrer-Policy", "no-referrer")
		if r.Method != http.MethodGet || r.URL.Path != "/" || subtle.ConstantTimeCompare([]byte(query.Get("state")), []byte(state)) != 1 {
			http.Error(w, "this is not the sign-in that the command line waits for", http.StatusBadRequest)
			return
		}
		select {
		case codes <- query.Get("code"):
		default: // there is one already
		}
		_, _ = fmt.Fprintln(w, "You can close this page and go back to the command line.")
	})}
	go func() { _ = server.Serve(listener) }() // which ends when the server is shut down
	defer func() {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = server.Shutdown(grace) // the page has been answered, or nobody reads it
	}()
	select {
	case <-ctx.Done():
		return "", context.Cause(ctx)
	case code := <-codes:
		if code == "" {
			return "", &unauthenticatedError{"the sign-in was declined in the browser"}
		}
		return code, nil
	}
}
