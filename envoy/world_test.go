package envoy_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/caracal-gateway/caracal/envoy"
)

// certifier signs the certificates of the tests.
type certifier struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	pem         []byte
}

var newCertifier = sync.OnceValues(func() (*certifier, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	return &certifier{certificate, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}, err
})

func authority(t *testing.T) *certifier {
	t.Helper()
	c, err := newCertifier()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// issue gives a certificate for names and addresses, as PEM.
func (c *certifier) issue(t *testing.T, names ...string) (chain, key []byte) {
	t.Helper()
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: names[0]},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, c.certificate, own.Public(), c.key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(own)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
}

// received is a request as an upstream saw it.
type received struct {
	Method, Host, URI, Proto string
	Header                   http.Header
	Body                     string
}

// upstream is a server that remembers what reached it.
type upstream struct {
	port     uint16
	address  string
	mu       sync.Mutex
	requests []received
	clients  []string // the address that each connection came from, in the order of arrival
}

// startUpstream serves on the address; with names over TLS, HTTP/2 and HTTP/1.1.
func startUpstream(t *testing.T, address string, handler http.Handler, names ...string) *upstream {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	u := &upstream{port: listener.Addr().(*net.TCPAddr).AddrPort().Port(), address: listener.Addr().String()}
	if handler == nil {
		handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "reached") })
	}
	server := &http.Server{
		ReadHeaderTimeout: patience,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			u.remember(q)
			handler.ServeHTTP(w, q)
		}),
		ConnState: func(c net.Conn, state http.ConnState) {
			if state == http.StateNew {
				u.mu.Lock()
				defer u.mu.Unlock()
				u.clients = append(u.clients, c.RemoteAddr().String())
			}
		},
	}
	if len(names) > 0 {
		chain, key := authority(t).issue(t, names...)
		certificate, err := tls.X509KeyPair(chain, key)
		if err != nil {
			t.Fatal(err)
		}
		server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{certificate}}
		go func() { _ = server.ServeTLS(listener, "", "") }() // until the test closes it
	} else {
		go func() { _ = server.Serve(listener) }() // until the test closes it
	}
	t.Cleanup(func() { _ = server.Close() })
	return u
}

func (u *upstream) remember(q *http.Request) {
	seen := received{Method: q.Method, Host: q.Host, URI: q.RequestURI, Proto: q.Proto, Header: q.Header.Clone()}
	if q.Method == http.MethodPost {
		body, _ := io.ReadAll(q.Body)
		seen.Body = string(body)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.requests = append(u.requests, seen)
}

func (u *upstream) seen() []received {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.requests)
}

// connected counts the connections that others have made. A server may be told of one long after it is made, but of all in
// their order: what was made before a connection of the test's own is counted once that one is.
func (u *upstream) connected(t *testing.T) int {
	t.Helper()
	last, err := net.Dial("tcp", u.address)
	if err != nil {
		t.Fatal(err)
	}
	defer last.Close()
	before := -1
	eventually(t, "the server is told of the last connection", func() bool {
		u.mu.Lock()
		defer u.mu.Unlock()
		before = slices.Index(u.clients, last.LocalAddr().String())
		return before >= 0
	})
	u.mu.Lock()
	defer u.mu.Unlock()
	u.clients = slices.Delete(u.clients, before, before+1)
	return before
}

// permit is an answer of the decision service: forward on this route, watched, with these headers.
func permit(route string, headers map[string]string, remove ...string) *authv3.CheckResponse {
	return permitBound(route, envoy.BoundWatched, headers, remove...)
}

// permitBound is permit for a request that this ends.
func permitBound(route, bound string, headers map[string]string, remove ...string) *authv3.CheckResponse {
	ok := &authv3.OkHttpResponse{HeadersToRemove: remove}
	if route != "" {
		ok.Headers = append(ok.Headers, setHeader(envoy.RouteHeader, route))
	}
	if bound != "" {
		ok.Headers = append(ok.Headers, setHeader(envoy.BoundHeader, bound))
	}
	for name, value := range headers {
		ok.Headers = append(ok.Headers, setHeader(name, value))
	}
	return &authv3.CheckResponse{
		Status:          &rpcstatus.Status{Code: int32(codes.OK)},
		HttpResponse:    &authv3.CheckResponse_OkResponse{OkResponse: ok},
		DynamicMetadata: decisionMetadata(),
	}
}

func setHeader(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: name, Value: value},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}

const decisionID = "decision_test"

func decisionMetadata() *structpb.Struct {
	return &structpb.Struct{Fields: map[string]*structpb.Value{envoy.MetadataDecisionID: structpb.NewStringValue(decisionID)}}
}

// denial is the body that the decision service gives its denials.
const denial = `{"error":"mandate_revoked","message":"The mandate was revoked.","decision_id":"decision_test"}`

func deny(status int, body string) *authv3.CheckResponse {
	return &authv3.CheckResponse{
		Status: &rpcstatus.Status{Code: int32(codes.PermissionDenied)},
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
			Status:  &typev3.HttpStatus{Code: typev3.StatusCode(status)},
			Headers: []*corev3.HeaderValueOption{setHeader("content-type", "application/json")},
			Body:    body,
		}},
		DynamicMetadata: decisionMetadata(),
	}
}

// client speaks HTTP to the gateway port of a rig.
func (r *rig) client(h2 bool) *http.Client {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority(r.t).pem)
	transport := &http.Transport{
		TLSClientConfig:    &tls.Config{RootCAs: roots, ServerName: "gateway.test"},
		ForceAttemptHTTP2:  h2,
		DisableCompression: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, r.address)
		},
	}
	r.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{
		Transport: transport, Timeout: patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// answer is a response as the client saw it.
type answer struct {
	Status int
	Header http.Header
	Body   string
}

func (r *rig) do(client *http.Client, request *http.Request) answer {
	r.t.Helper()
	response, err := client.Do(request)
	if err != nil {
		r.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, string(body)}
}

func (r *rig) get(path string) answer {
	r.t.Helper()
	request, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, "http://gateway.test"+path, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return r.do(r.client(false), request)
}

// raw sends bytes as they are and reads one response.
func (r *rig) raw(request string) answer {
	r.t.Helper()
	connection, err := net.Dial("tcp", r.address)
	if err != nil {
		r.t.Fatal(err)
	}
	defer connection.Close()
	if err := connection.SetDeadline(time.Now().Add(patience)); err != nil {
		r.t.Fatal(err)
	}
	if _, err := fmt.Fprint(connection, request); err != nil {
		r.t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	if err != nil {
		r.t.Fatalf("after %.80q: %v", request, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, string(body)}
}

// refusal is the contract's denial.
type refusal struct {
	Status     int
	Error      string
	DecisionID any
}

// refusal reads an answer as the contract's denial.
func (a answer) refusal(t *testing.T) refusal {
	t.Helper()
	var body struct {
		Error, Message *string
		DecisionID     any `json:"decision_id"`
	}
	decoder := json.NewDecoder(bytes.NewBufferString(a.Body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&body); err != nil || body.Error == nil || body.Message == nil || *body.Message == "" {
		t.Fatalf("status %d, want the contract's JSON, got %q (%v)", a.Status, a.Body, err)
	}
	if got := a.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("content-type is %q, want application/json", got)
	}
	return refusal{a.Status, *body.Error, body.DecisionID}
}

func portText(port uint16) string { return strconv.Itoa(int(port)) }
