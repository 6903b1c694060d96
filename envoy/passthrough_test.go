package envoy_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/caracal-gateway/caracal/envoy"
	"github.com/caracal-gateway/caracal/internal/nameserver"
)

// opaque is an upstream of tunnels that nobody looks into, at a port of this machine.
func opaque(host string, port uint16) envoy.Upstream {
	return envoy.Upstream{Host: host, Port: port, ConnectTo: net.JoinHostPort("127.0.0.1", portText(port)), Addresses: loopback, Tunnel: true}
}

// permitTunnel permits every request on the route of a tunnel.
func (r *rig) permitTunnel(route string) {
	r.authz.answer(func(*authv3.CheckRequest) *authv3.CheckResponse { return permit(route, nil) })
}

// ask sends a request to the proxy port as it is, and gives the answer and the connection behind it.
func (r *rig) ask(request string) (answer, net.Conn) {
	r.t.Helper()
	connection, err := net.Dial("tcp", r.forward)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = connection.Close() })
	if err := connection.SetDeadline(time.Now().Add(patience)); err != nil {
		r.t.Fatal(err)
	}
	fmt.Fprint(connection, request)
	return r.read(connection), connection
}

// read takes the answer to a request, or to a CONNECT that may open a tunnel, from a connection.
func (r *rig) read(connection net.Conn) answer {
	r.t.Helper()
	response, err := http.ReadResponse(bufio.NewReader(connection), &http.Request{Method: http.MethodConnect})
	if err != nil {
		r.t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusOK {
		return answer{Status: response.StatusCode, Header: response.Header}
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, string(body)}
}

func connectTo(authority string) string {
	return "CONNECT " + authority + " HTTP/1.1\r\nHost: " + authority + "\r\n\r\n"
}

func TestAnOpaqueTunnelLeadsToItsDestinationUnseen(t *testing.T) {
	up := startUpstream(t, "127.0.0.1:0", nil, "private.test")
	target := opaque("private.test", up.port)
	r := startRig(t, setup{local: proxying, resources: withUpstreams(t, target)})
	r.permitTunnel(target.Route())
	got, connection := r.ask(connectTo("private.test:443"))
	if got.Status != http.StatusOK {
		t.Fatalf("got %+v", got)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority(t).pem)
	secure := tls.Client(connection, &tls.Config{RootCAs: roots, ServerName: "private.test"})
	fmt.Fprint(secure, "GET /within HTTP/1.1\r\nHost: private.test\r\nX-Caracal-Mandate: m\r\n\r\n")
	if got := r.read(secure); got.Status != http.StatusOK {
		t.Errorf("got %+v", got)
	}
	if seen := up.seen(); len(seen) != 1 || seen[0].URI != "/within" || seen[0].Header.Get("X-Caracal-Mandate") != "m" {
		t.Errorf("the upstream saw %+v", seen)
	}
	if asked := len(r.authz.asked()); asked != 1 || r.minter.asked() != nil {
		t.Errorf("%d decisions, certificates of %q", asked, r.minter.asked())
	}
	if !r.watcher.watches(decisionID) {
		t.Error("the tunnel is not watched")
	}
	r.watcher.end(decisionID, errCut)
	if n, err := connection.Read(make([]byte, 1)); err == nil {
		t.Errorf("%d bytes came after the end", n)
	}
}

func TestATunnelReachesTheAddressesOfItsDestinationOnly(t *testing.T) {
	up := startUpstream(t, "127.0.0.1:0", nil)
	dns := nameserver.Start(t, map[string][]string{"here.test": {"127.0.0.1"}})
	listed := envoy.Upstream{Host: "here.test", Port: up.port, Addresses: ranges("127.0.0.0/8"), Tunnel: true}
	elsewhere := envoy.Upstream{Host: "here.test", Port: up.port, Addresses: ranges("10.0.0.0/8"), Tunnel: true}
	public := envoy.Upstream{Host: "moved.test", Port: 443, ConnectTo: "here.test:" + portText(up.port), Tunnel: true}
	r := startRig(t, setup{
		local: func(l *envoy.Local) {
			proxying(l)
			l.Resolvers = []netip.AddrPort{dns}
		},
		resources: withUpstreams(t, listed, elsewhere, public),
	})
	try := func(u envoy.Upstream) answer {
		r.permitTunnel(u.Route())
		got, _ := r.ask(connectTo("here.test:" + portText(up.port)))
		return got
	}
	eventually(t, "the name is resolved", func() bool { return try(listed).Status == http.StatusOK })
	for name, u := range map[string]envoy.Upstream{"another range": elsewhere, "public addresses only": public} {
		before := up.connected(t)
		eventually(t, "the name is resolved", func() bool { return try(u).Status != http.StatusServiceUnavailable })
		if got := try(u).refusal(t); got != (refusal{403, "target_not_allowed", decisionID}) {
			t.Errorf("%s: %+v", name, got)
		}
		if made := up.connected(t) - before; made != 0 {
			t.Errorf("%s: %d connections were made", name, made)
		}
	}
}

func TestATunnelTakesNoRouteOfRequestsNorTheReverse(t *testing.T) {
	up := startUpstream(t, "127.0.0.1:0", nil)
	tunnel, requests := opaque("private.test", up.port), local("private.test", up.port)
	r := startRig(t, setup{local: proxying, resources: withUpstreams(t, tunnel, requests)})
	r.permitTunnel(requests.Route())
	if got, _ := r.ask(connectTo("private.test:443")); got.refusal(t) != (refusal{503, "route_not_ready", decisionID}) {
		t.Errorf("CONNECT on the route of requests: %+v", got)
	}
	for _, route := range []string{tunnel.Route(), envoy.RoutePublicTunnel, envoy.RouteInside} {
		r.permitTunnel(route)
		if got, _ := r.ask("GET http://private.test/ HTTP/1.1\r\nHost: private.test\r\n\r\n"); got.refusal(t) != (refusal{503, "route_not_ready", decisionID}) {
			t.Errorf("a request on %s: %+v", route, got)
		}
	}
	r.authz.answer(func(*authv3.CheckRequest) *authv3.CheckResponse {
		return permitBound(tunnel.Route(), envoy.Short(1), nil)
	})
	if got, _ := r.ask(connectTo("private.test:443")); got.refusal(t) != (refusal{503, "route_not_ready", decisionID}) {
		t.Errorf("a tunnel that nobody watches: %+v", got)
	}
	if made := up.connected(t); made != 0 {
		t.Errorf("%d connections were made", made)
	}
}
