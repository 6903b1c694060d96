package envoy_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secretv3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/caracal-gateway/caracal/envoy"
)

// minter makes certificates of the names that it is asked for.
type minter struct {
	secretv3.UnimplementedSecretDiscoveryServiceServer
	t *testing.T

	mu    sync.Mutex
	names []string
}

func (m *minter) DeltaSecrets(stream secretv3.SecretDiscoveryService_DeltaSecretsServer) error {
	for {
		q, err := stream.Recv()
		if err != nil {
			return err
		}
		for _, name := range q.GetResourceNamesSubscribe() {
			m.mu.Lock()
			m.names = append(m.names, name)
			m.mu.Unlock()
			answer := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: q.GetTypeUrl(), Nonce: "1"}
			if strings.HasSuffix(name, ".test") {
				chain, key := authority(m.t).issue(m.t, name)
				packed, err := anypb.New(&tlsv3.Secret{Name: name, Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{
					CertificateChain: &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: chain}},
					PrivateKey:       &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: key}},
				}}})
				if err != nil {
					return err
				}
				answer.Resources = []*discoveryv3.Resource{{Name: name, Version: "1", Resource: packed}}
			} else {
				answer.RemovedResources = []string{name}
			}
			if err := stream.Send(answer); err != nil {
				return err
			}
		}
	}
}

func (m *minter) asked() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.names)
}

func proxying(l *envoy.Local) { l.Forward = netip.MustParseAddrPort("127.0.0.1:0") }

// proxied is a client that goes through the proxy port.
func (r *rig) proxied(h2 bool) *http.Client {
	client := r.client(h2)
	transport := client.Transport.(*http.Transport)
	transport.Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: r.forward, User: url.UserPassword("-", "secret")})
	transport.DialContext, transport.TLSClientConfig.ServerName = nil, ""
	return client
}

// inspecting permits each CONNECT to go inside, and each request inside to an upstream.
func inspecting(target envoy.Upstream) func(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	return func(_ context.Context, q *authv3.CheckRequest) (*authv3.CheckResponse, error) {
		if q.GetAttributes().GetRequest().GetHttp().GetMethod() == http.MethodConnect {
			return permitBound(envoy.RouteInside, envoy.BoundWatched, nil), nil
		}
		return permitBound(target.Route(), envoy.BoundWatched, nil), nil
	}
}

func TestRequestsInsideOfATunnelAreDecidedOn(t *testing.T) {
	up := startUpstream(t, "127.0.0.1:0", nil)
	target := local("api.test", up.port)
	r := startRig(t, setup{local: proxying, resources: withUpstreams(t, target)})
	for _, h2 := range []bool{false, true} {
		r.authz.answerWith(inspecting(target))
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("https://api.test:%d/a", up.port), nil)
		if err != nil {
			t.Fatal(err)
		}
		got := r.do(r.proxied(h2), request)
		if got.Status != 200 || got.Body != "reached" {
			t.Errorf("got %+v", got)
		}
		if modes := r.authz.beside(envoy.ModeKey); !slices.Equal(modes, []string{envoy.ModeForward, envoy.ModeInside}) {
			t.Errorf("modes %q", modes)
		}
		if outer := r.authz.beside(envoy.OuterKey); !slices.Equal(outer, []string{"-", decisionID}) {
			t.Errorf("outer decisions %q", outer)
		}
		inner := r.authz.asked()[1].GetAttributes()
		if sni := inner.GetTlsSession().GetSni(); sni != "api.test" {
			t.Errorf("the check shows the name %q", sni)
		}
		t.Logf("inner check: %v", inner)
	}
	if names := r.minter.asked(); !slices.Equal(names, []string{"api.test"}) {
		t.Errorf("certificates were made of %q", names)
	}
}

func TestPlainHTTPInsideOfATunnelIsDecidedOn(t *testing.T) {
	r := startRig(t, setup{local: proxying, resources: withUpstreams(t)})
	r.authz.answerWith(func(_ context.Context, q *authv3.CheckRequest) (*authv3.CheckResponse, error) {
		if q.GetAttributes().GetRequest().GetHttp().GetMethod() == http.MethodConnect {
			return permitBound(envoy.RouteInside, envoy.BoundWatched, nil), nil
		}
		return deny(403, denial), nil
	})
	connection := r.tunnel("CONNECT api.test:80 HTTP/1.0\r\n\r\n")
	fmt.Fprint(connection, "GET / HTTP/1.1\r\nHost: api.test\r\n\r\n")
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := response.Body.Close(); err != nil || response.StatusCode != http.StatusForbidden {
		t.Errorf("status %d, %v", response.StatusCode, err)
	}
	if modes := r.authz.beside(envoy.ModeKey); !slices.Equal(modes, []string{envoy.ModeForward, envoy.ModeInside}) {
		t.Errorf("modes %q", modes)
	}
}

// tunnel opens one with a request as it is, and gives the connection behind it.
func (r *rig) tunnel(request string) net.Conn {
	r.t.Helper()
	connection, err := net.Dial("tcp", r.forward)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = connection.Close() })
	fmt.Fprint(connection, request)
	reader := bufio.NewReader(connection)
	response, err := http.ReadResponse(reader, &http.Request{Method: http.MethodConnect})
	if err != nil {
		r.t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		var body bytes.Buffer
		_, _ = body.ReadFrom(response.Body)
		r.t.Fatalf("the tunnel is answered with %d: %s", response.StatusCode, &body)
	}
	return connection
}

func TestATunnelEndsWithItsWatch(t *testing.T) {
	up := startUpstream(t, "127.0.0.1:0", nil)
	target := local("api.test", up.port)
	r := startRig(t, setup{local: proxying, resources: withUpstreams(t, target)})
	r.authz.answerWith(inspecting(target))
	connection := r.tunnel("CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n\r\n")
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority(t).pem)
	secure := tls.Client(connection, &tls.Config{RootCAs: roots, ServerName: "api.test"})
	if err := secure.Handshake(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the tunnel is watched", func() bool { return r.watcher.watches(decisionID) })
	r.watcher.end(decisionID, errCut)
	if n, err := secure.Read(make([]byte, 1)); err == nil {
		t.Errorf("%d bytes came", n)
	}
}

func TestACertificateIsMadeOnlyWhereTheGatewayProcessMakesOne(t *testing.T) {
	r := startRig(t, setup{local: proxying, resources: withUpstreams(t)})
	r.authz.answerWith(inspecting(envoy.Upstream{TLS: true}))
	for _, name := range []string{"evil.example", ""} {
		secure := tls.Client(r.tunnel("CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n\r\n"), &tls.Config{InsecureSkipVerify: true, ServerName: name})
		if err := secure.Handshake(); err == nil || !strings.Contains(err.Error(), "handshake failure") {
			t.Errorf("%q: %v", name, err)
		}
	}
	if names := r.minter.asked(); !slices.Equal(names, []string{"evil.example", envoy.NoName}) {
		t.Errorf("asked for %q", names)
	}
}

// What is inside of one tunnel is never taken for what is inside of another, however many are opened at once.
func TestTheDecisionOnATunnelGoesWithItsOwnPayload(t *testing.T) {
	r := startRig(t, setup{local: proxying, resources: withUpstreams(t)})
	var mu sync.Mutex
	crossed := map[string]string{} // by the host asked for inside, the decision that came along
	r.authz.answerWith(func(ctx context.Context, q *authv3.CheckRequest) (*authv3.CheckResponse, error) {
		asked := q.GetAttributes().GetRequest().GetHttp()
		if asked.GetMethod() == http.MethodConnect {
			answer := permitBound(envoy.RouteInside, envoy.BoundWatched, nil)
			answer.DynamicMetadata.Fields[envoy.MetadataDecisionID] = structpb.NewStringValue("decision of " + asked.GetHost())
			return answer, nil
		}
		beside, _ := metadata.FromIncomingContext(ctx)
		mu.Lock()
		defer mu.Unlock()
		crossed[asked.GetHost()] = strings.Join(beside.Get(envoy.OuterKey), ",")
		return deny(403, denial), nil
	})
	const tunnels = 200
	want := map[string]string{}
	var all sync.WaitGroup
	for port := range tunnels {
		host := fmt.Sprintf("api.test:%d", 1000+port)
		want[host] = "decision of " + host
		all.Go(func() { r.lookInside(t, host) })
	}
	all.Wait()
	mu.Lock()
	defer mu.Unlock()
	if diff := cmp.Diff(want, crossed); diff != "" {
		t.Errorf("what came along (-want +got):\n%s", diff)
	}
}

// lookInside opens a tunnel and sends a request through it at once.
func (r *rig) lookInside(t *testing.T, host string) {
	connection, err := net.Dial("tcp", r.forward)
	if err != nil {
		t.Error(err)
		return
	}
	defer connection.Close()
	fmt.Fprintf(connection, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", host, host)
	reader := bufio.NewReader(connection)
	for range 2 {
		response, err := http.ReadResponse(reader, &http.Request{Method: http.MethodConnect})
		if err != nil {
			t.Error(err)
			return
		}
		_ = response.Body.Close()
		fmt.Fprintf(connection, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", host)
	}
}
