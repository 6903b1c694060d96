// Package client calls the control plane's REST interface from Go. It is what the command line uses.
package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/caracal-gateway/caracal/authority"
)

const (
	// timeout covers the longest wait that a revocation can ask for.
	timeout   = 150 * time.Second
	maxAnswer = 64 << 20
	pageSize  = 200
)

// Config says which control plane, which workspace and whose key.
type Config struct {
	// URL of the control plane. Plain http is for loopback addresses only, unless AllowPlain is set.
	URL string
	// Key goes along as the bearer: an API key or an access token.
	Key string
	// Workspace is the slug of the workspace; empty for that of the key.
	Workspace string
	// CA holds PEM certificates that the control plane may chain to, beside the system's roots.
	CA []byte
	// AllowPlain sends the key over a network without TLS, for a control plane behind a proxy or in a closed network.
	AllowPlain bool
}

// Client calls one control plane. It is safe for concurrent use.
type Client struct {
	base      *url.URL
	key       string
	workspace string
	http      *http.Client
	streams   *http.Client   // for answers that may take as long as they like
	written   *atomic.Uint64 // the highest revision that holds a change of this client's
	accepts   string         // digest of the report that its changes of the catalog accept
}

// New makes a client. It does not call the control plane yet.
func New(cfg Config) (*Client, error) {
	base, err := url.Parse(cfg.URL)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, fmt.Errorf("the control plane's URL %q is not of the form https://host[:port]", cfg.URL)
	}
	if base.Scheme == "http" && !cfg.AllowPlain && !loopback(base.Hostname()) {
		return nil, fmt.Errorf("the control plane's URL %q would send the key unencrypted: use https, or CARACAL_ALLOW_PLAIN=true in a closed network", cfg.URL)
	}
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: timeout,
		IdleConnTimeout:       time.Minute,
		ForceAttemptHTTP2:     true,
	}
	if transport.TLSClientConfig, err = TLSConfig(cfg.CA); err != nil {
		return nil, err
	}
	// A redirect would carry the key to wherever it points.
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Client{
		base: base, key: cfg.Key, workspace: cfg.Workspace, written: new(atomic.Uint64),
		http:    &http.Client{Transport: transport, Timeout: timeout, CheckRedirect: stay},
		streams: &http.Client{Transport: transport, CheckRedirect: stay},
	}, nil
}

// TLSConfig is how a control plane is verified: by the system's roots and the PEM certificates of ca, if there are any.
func TLSConfig(ca []byte) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(ca) == 0 {
		return config, nil
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("reading the system's roots: %w", err)
	}
	if !roots.AppendCertsFromPEM(ca) {
		return nil, errors.New("the CA file holds no PEM certificate")
	}
	config.RootCAs = roots
	return config, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Error is a refusal by the control plane.
type Error struct {
	Status   int       `json:"status"`
	Code     string    `json:"code"`
	Title    string    `json:"title"`
	Detail   string    `json:"detail"`
	Field    string    `json:"field"`
	Reason   string    `json:"reason"`
	Problems []Problem `json:"problems"`
	// Changes is what a change of the catalog would touch, where the code is changes_authority.
	Changes   *authority.TouchReport `json:"changes"`
	RequestID string                 `json:"request_id"`
}

// Problem is one thing that is wrong in a pushed Rego policy.
type Problem struct {
	File    string `json:"file"`
	Row     int    `json:"row"`
	Column  int    `json:"col"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

func (e *Error) Error() string {
	code := e.Code
	if e.Reason != "" {
		code = e.Reason
	}
	if e.Detail == "" {
		return code + ": " + e.Title
	}
	return code + ": " + e.Detail
}

// collection is the path of a collection of the client's workspace.
func (c *Client) collection(name string) string {
	if c.workspace == "" {
		return "/api/v1/" + name
	}
	return "/api/v1/workspaces/" + url.PathEscape(c.workspace) + "/" + name
}

// single is the path of one thing and of what is done to it.
func single[ID ~string](collection string, id ID, verb string) string {
	path := "/api/v1/" + collection + "/" + url.PathEscape(string(id))
	if verb != "" {
		path += "/" + verb
	}
	return path
}

// Request is one call of an operation.
type Request struct {
	Method string
	Path   string // with its query
	// IdempotencyKey makes a write happen once however often it is sent; empty for one that is made up, so that a write
	// whose answer is lost can be sent again.
	IdempotencyKey string
	// IfMatch lets a write happen only while the thing is as an answer with this tag told it; empty for always.
	IfMatch string
	In      any     // sent as JSON; nil for no body
	Out     any     // what the JSON answer is read into; nil to ignore it
	Tag     *string // takes the tag of the thing in the answer; nil to ignore it
}

// Do makes one call. A refusal is an *Error.
func (c *Client) Do(ctx context.Context, r Request) error {
	response, err := c.send(ctx, c.http, r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if r.Tag != nil {
		*r.Tag = response.Header.Get("ETag")
	}
	if r.Out == nil {
		return nil
	}
	return decode(response.Body, r.Out)
}

// call sends in as JSON, unless it is nil, and reads the answer.
func call[T any](ctx context.Context, c *Client, method, path string, in any) (out T, err error) {
	err = c.Do(ctx, Request{Method: method, Path: path, In: in, Out: &out})
	return out, err
}

func get[T any](ctx context.Context, c *Client, path string) (T, error) {
	return call[T](ctx, c, http.MethodGet, path, nil)
}

func post[T any](ctx context.Context, c *Client, path string, in any) (T, error) {
	return call[T](ctx, c, http.MethodPost, path, in)
}

// edit reads a thing, lets change say what becomes of it, and sends that, to count only if nobody else has changed the
// thing in between.
func edit[T, C any](ctx context.Context, c *Client, method, path string, change func(T) (C, error)) (out T, err error) {
	var now T
	var tag string
	if err := c.Do(ctx, Request{Method: http.MethodGet, Path: path, Out: &now, Tag: &tag}); err != nil {
		return out, err
	}
	in, err := change(now)
	if err != nil {
		return out, err
	}
	err = c.Do(ctx, Request{Method: method, Path: path, IfMatch: tag, In: in, Out: &out})
	return out, err
}

func decode(body io.Reader, out any) error {
	if err := json.NewDecoder(io.LimitReader(body, maxAnswer)).Decode(out); err != nil {
		return fmt.Errorf("reading the control plane's answer: %w", err)
	}
	return nil
}

// send returns a successful response, whose body the caller closes. A call whose connection breaks before the answer is
// made once more: it reads, or carries an idempotency key.
func (c *Client) send(ctx context.Context, by *http.Client, r Request) (*http.Response, error) {
	if r.Method != http.MethodGet && r.IdempotencyKey == "" {
		r.IdempotencyKey = rand.Text()
	}
	response, err := c.attempt(ctx, by, r)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) {
		response, err = c.attempt(ctx, by, r)
	}
	return response, err
}

func (c *Client) attempt(ctx context.Context, by *http.Client, r Request) (*http.Response, error) {
	request, err := c.request(ctx, r)
	if err != nil {
		return nil, err
	}
	response, err := by.Do(request)
	if err != nil {
		return nil, fmt.Errorf("calling the control plane: %w", err)
	}
	if response.StatusCode >= http.StatusMultipleChoices {
		defer response.Body.Close()
		return nil, refusal(response)
	}
	if revision, err := strconv.ParseUint(response.Header.Get("X-Caracal-Revision"), 10, 64); err == nil {
		c.wrote(revision)
	}
	return response, nil
}

func (c *Client) request(ctx context.Context, r Request) (*http.Request, error) {
	var body io.Reader = http.NoBody
	if r.In != nil {
		text, err := json.Marshal(r.In)
		if err != nil {
			return nil, fmt.Errorf("encoding the request of %s: %w", r.Path, err)
		}
		body = bytes.NewReader(text)
	}
	path := r.Path
	if c.accepts != "" && r.Method != http.MethodGet {
		path += "?" + url.Values{"accept_changes": {c.accepts}}.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, r.Method, strings.TrimSuffix(c.base.String(), "/")+path, body)
	if err != nil {
		return nil, fmt.Errorf("making the request of %s: %w", r.Path, err)
	}
	if r.In != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	for name, value := range map[string]string{"Idempotency-Key": r.IdempotencyKey, "If-Match": r.IfMatch} {
		if value != "" {
			request.Header.Set(name, value)
		}
	}
	if c.key != "" {
		request.Header.Set("Authorization", "Bearer "+c.key)
	}
	return request, nil
}

// CodeUnexpected is the code of an answer that is none of a control plane's, such as a proxy's.
const CodeUnexpected = "unexpected_answer"

// refusal reads a problem; an answer that is none, such as a proxy's, is one of its status.
func refusal(response *http.Response) error {
	e := &Error{}
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err == nil {
		err = json.Unmarshal(text, e)
	}
	if err != nil || e.Code == "" {
		*e = Error{Code: CodeUnexpected, Title: "the server answered " + response.Status + ", which is not an answer of a control plane"}
	}
	e.Status = response.StatusCode
	return e
}
