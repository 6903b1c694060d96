package envoy_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	connectionsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/caracal-gateway/caracal/envoy"
)

// hurried has everything that a client is waited for take a twentieth of its time; what is not bounded stays so.
func hurried(resources func(envoy.Local) envoy.Resources) func(envoy.Local) envoy.Resources {
	shorten := func(d *durationpb.Duration) *durationpb.Duration {
		if d == nil {
			return nil
		}
		return durationpb.New(d.AsDuration() / 20)
	}
	return func(l envoy.Local) envoy.Resources {
		r := resources(l)
		editAll(r, func(_ string, m protoreflect.Message) {
			switch m := m.Interface().(type) {
			case *hcmv3.HttpConnectionManager:
				m.RequestHeadersTimeout = shorten(m.GetRequestHeadersTimeout())
				m.CommonHttpProtocolOptions.IdleTimeout = shorten(m.GetCommonHttpProtocolOptions().GetIdleTimeout())
			case *listenerv3.Listener:
				m.ListenerFiltersTimeout = shorten(m.GetListenerFiltersTimeout())
			case *listenerv3.FilterChain:
				m.TransportSocketConnectTimeout = shorten(m.GetTransportSocketConnectTimeout())
			}
		})
		return r
	}
}

// Whoever opens a connection and does not go on loses it.
func TestAConnectionOnWhichNothingIsAskedEnds(t *testing.T) {
	const whole = "GET /health HTTP/1.1\r\nHost: gateway\r\n\r\n"
	connect := func(to func(*rig) string) func(*rig) net.Conn {
		return func(r *rig) net.Conn { return dial(r.t, to(r)) }
	}
	gatewayPort, proxyPort := func(r *rig) string { return r.address }, func(r *rig) string { return r.forward }
	overTLS := func(r *rig) net.Conn {
		return tls.Client(dial(r.t, r.forward), &tls.Config{InsecureSkipVerify: true}) // who answers is not the matter
	}
	plain := startRig(t, setup{local: proxying, resources: hurried(withUpstreams(t))})
	encrypted := startRig(t, setup{
		local: func(l *envoy.Local) {
			proxying(l)
			l.Certificate, l.PrivateKey = authority(t).issue(t, "gateway.test")
		},
		resources: hurried(withUpstreams(t)),
	})
	for _, r := range []*rig{plain, encrypted} {
		r.permitTunnel(envoy.RouteInside)
	}
	var cases sync.WaitGroup
	for sentence, c := range map[string]struct {
		encrypted bool
		open      func(*rig) net.Conn
		sent      string
	}{
		"silence at the gateway port":             {false, connect(gatewayPort), ""},
		"silence at the proxy port":               {false, connect(proxyPort), ""},
		"half a request line":                     {false, connect(proxyPort), "CONNECT api.te"},
		"half a head":                             {false, connect(proxyPort), "CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\nProxy-Auth"},
		"silence after an answer":                 {false, connect(gatewayPort), whole},
		"the preface of HTTP/2 and no more":       {false, connect(proxyPort), "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"},
		"silence inside of a tunnel":              {false, func(r *rig) net.Conn { return r.tunnel(connectTo("api.test:80")) }, ""},
		"half a head inside of a tunnel":          {false, func(r *rig) net.Conn { return r.tunnel(connectTo("api.test:80")) }, "GET / HTTP/1.1\r\nHo"},
		"silence where TLS is spoken":             {true, connect(proxyPort), ""},
		"the beginning of a handshake":            {true, connect(proxyPort), "\x16\x03\x01\x02\x00\x01\x00"},
		"silence after a handshake":               {true, overTLS, ""},
		"half a head after a handshake":           {true, overTLS, "CONNECT api.te"},
		"half a head in plain text, beside TLS":   {true, connect(proxyPort), "CONNECT api.te"},
		"half a handshake inside of a tunnel":     {false, func(r *rig) net.Conn { return r.tunnel(connectTo("api.test:443")) }, "\x16\x03\x01\x02\x00\x01\x00"},
		"silence after an answer, beside TLS":     {true, overTLS, whole},
		"silence at the gateway port, beside TLS": {true, connect(gatewayPort), ""},
	} {
		r := plain
		if c.encrypted {
			r = encrypted
		}
		connection := c.open(r)
		cases.Go(func() { // all at once, for most of a case is to wait
			defer connection.Close()
			if answered, err := lastOf(connection, c.sent); isTimeout(err) {
				t.Errorf("%s: the connection is open after %s, and said %q", sentence, patience, answered)
			} else if errors.Is(err, errHandshake) {
				t.Errorf("%s: %v", sentence, err)
			}
		})
	}
	cases.Wait()
}

var errHandshake = errors.New("shake hands")

// lastOf sends something and gives all that comes until the connection ends, or is open for too long.
func lastOf(connection net.Conn, sent string) ([]byte, error) {
	if err := connection.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	if client, ok := connection.(*tls.Conn); ok {
		if err := client.Handshake(); err != nil {
			return nil, fmt.Errorf("%w: %w", errHandshake, err)
		}
	}
	if _, err := io.WriteString(connection, sent); err != nil {
		return nil, err
	}
	return io.ReadAll(connection)
}

func isTimeout(err error) bool {
	var late net.Error
	return errors.As(err, &late) && late.Timeout()
}

// As many connections as one port takes leave room at the other.
func TestConnectionsThatUseUpOnePortLeaveTheOther(t *testing.T) {
	const part = 2000 // of the connections that there may be, as many times fewer
	var total, each []int
	r := startRig(t, setup{local: proxying, resources: withUpstreams(t), bootstrap: func(b *bootstrapv3.Bootstrap) {
		edit(b.ProtoReflect(), "", func(_ string, m protoreflect.Message) {
			if m, ok := m.Interface().(*connectionsv3.DownstreamConnectionsConfig); ok {
				m.MaxActiveDownstreamConnections /= part
				total = append(total, int(m.GetMaxActiveDownstreamConnections()))
			}
		})
		for _, layer := range b.GetLayeredRuntime().GetLayers() {
			for name, limit := range layer.GetStaticLayer().GetFields() {
				each = append(each, int(limit.GetNumberValue())/part)
				layer.GetStaticLayer().Fields[name] = structpb.NewNumberValue(limit.GetNumberValue() / part)
			}
		}
	}})
	if len(total) != 1 || len(each) != 2 || slices.Max(each) >= total[0] {
		t.Fatalf("there may be %v connections, and at one port %v", total, each)
	}
	for port, addresses := range map[string][2]string{"the proxy port": {r.forward, r.address}, "the gateway port": {r.address, r.forward}} {
		t.Run(port, func(t *testing.T) {
			before := r.overflown()
			var open []net.Conn
			for range 3 * total[0] {
				open = append(open, dial(t, addresses[0]))
			}
			eventually(t, "the port is full", func() bool { return r.overflown() >= before+len(open)-each[0] })
			response, err := http.Get("http://" + addresses[1] + "/health")
			if err != nil {
				t.Fatalf("the other port: %v", err)
			}
			_ = response.Body.Close()
			for _, connection := range open {
				_ = connection.Close()
			}
			eventually(t, "it takes connections again", func() bool {
				response, err := http.Get("http://" + addresses[0] + "/health")
				return err == nil && response.Body.Close() == nil
			})
		})
	}
}

// overflown is how many connections listeners have closed because they had too many.
func (r *rig) overflown() (all int) {
	r.t.Helper()
	text, err := r.admin(http.MethodGet, "/stats?filter=^listener.*\\.downstream_cx_overflow$")
	if err != nil {
		r.t.Fatal(err)
	}
	for line := range strings.Lines(text) {
		_, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		n, err := strconv.Atoi(value)
		if err != nil {
			r.t.Fatalf("%q: %v", line, err)
		}
		all += n
	}
	return all
}
