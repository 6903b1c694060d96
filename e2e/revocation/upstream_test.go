package revocation_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/internal/pki"
)

const upstream = "upstream.caracal.test"

// upstreams are the servers that agents reach: in plain text, and over TLS with HTTP/2 for gRPC.
type upstreams struct {
	plain, secure *httptest.Server
	ca            string // PEM
	arrivals      arrivals
}

func newUpstreams(t *testing.T) *upstreams {
	u := &upstreams{}
	u.plain = httptest.NewServer(http.HandlerFunc(u.answer))
	t.Cleanup(u.plain.CloseClientConnections)
	ca := pki.New(t)
	u.ca = ca.PEM()
	u.secure = httptest.NewUnstartedServer(clock())
	u.secure.EnableHTTP2 = true
	u.secure.TLS = &tls.Config{Certificates: []tls.Certificate{ca.Client(t, pki.Usage(x509.ExtKeyUsageServerAuth), pki.DNS("secure."+upstream))}, MinVersion: tls.VersionTLS12}
	u.secure.StartTLS()
	t.Cleanup(u.secure.CloseClientConnections)
	return u
}

// targetURL is how agents name a path of one of the destinations: short, watched or secure.
func (u *upstreams) targetURL(host, path string) string {
	server := u.plain
	scheme := "http"
	if host == "secure" {
		server, scheme = u.secure, "https"
	}
	return (&url.URL{Scheme: scheme, Host: host + "." + upstream + ":" + portOf(server.Listener.Addr().String()), Path: path}).String()
}

// destinations lead to the upstreams. Requests to the short one end by themselves, those to the others are watched.
func (u *upstreams) destinations() []authority.Destination {
	every := map[string]authority.Action{"GET": authority.Read, "*": authority.Write}
	make := func(name string, server *httptest.Server) authority.Destination {
		address := netip.MustParseAddrPort(server.Listener.Addr().String())
		return authority.Destination{
			Name: name, Host: name + "." + upstream, Ports: []uint16{address.Port()}, TLS: authority.TLSNone, ConnectTo: address.String(),
			Addresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, EncodedSlash: authority.EncodedSlashRefuse,
			Rules: []authority.Rule{{Path: "/**", Methods: every, Resource: "api:upstream"}},
		}
	}
	short, watched, secure := make("short", u.plain), make("watched", u.plain), make("secure", u.secure)
	short.MaxDurationSeconds = 1
	secure.TLS, secure.CA = authority.TLSRequired, u.ca
	return []authority.Destination{short, watched, secure}
}

// answer is the plain upstream. /stream sends a line every few milliseconds, or as ?ms says, which tells when it was sent;
// /bulk sends much of it; /upload reads what comes; /socket is a WebSocket; all else is "ok".
func (u *upstreams) answer(w http.ResponseWriter, r *http.Request) {
	switch {
	case strings.HasSuffix(r.URL.Path, "/stream"):
		w.Header().Set("Content-Type", "text/event-stream")
		tell(w, r, "\n")
	case strings.HasSuffix(r.URL.Path, "/slow-stream"):
		w.Header().Set("Content-Type", "text/event-stream")
		if _, err := fmt.Fprintf(w, "%d\n", since()); err == nil && http.NewResponseController(w).Flush() == nil {
			<-r.Context().Done()
		}
	case strings.HasSuffix(r.URL.Path, "/bulk"):
		tell(w, r, " "+strings.Repeat("x", 16<<10)+"\n")
	case strings.HasSuffix(r.URL.Path, "/upload"):
		u.arrivals.read(r.Body)
	case strings.HasSuffix(r.URL.Path, "/socket"):
		tellSocket(w, r)
	default:
		_, _ = io.WriteString(w, "ok")
	}
}

func tell(w http.ResponseWriter, r *http.Request, after string) {
	out := http.NewResponseController(w)
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for {
		if _, err := fmt.Fprintf(w, "%d%s", since(), after); err != nil || out.Flush() != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-tick.C:
		}
	}
}

func tellSocket(w http.ResponseWriter, r *http.Request) {
	socket, err := websocket.Accept(w, r, nil)
	if err != nil {
		return // Accept has answered
	}
	defer func() { _ = socket.CloseNow() }()
	gone := socket.CloseRead(r.Context())
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for {
		if err := socket.Write(gone, websocket.MessageText, []byte(strconv.FormatInt(since(), 10))); err != nil {
			return
		}
		select {
		case <-gone.Done():
			return
		case <-tick.C:
		}
	}
}

// clock is a gRPC server that answers each message with the time at which it does.
func clock() http.Handler {
	return grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		tick := time.NewTicker(beat)
		defer tick.Stop()
		for {
			var asked wrapperspb.Int64Value
			if err := stream.RecvMsg(&asked); err != nil {
				return err
			}
			if err := stream.SendMsg(wrapperspb.Int64(since())); err != nil {
				return err
			}
			select {
			case <-stream.Context().Done():
				return stream.Context().Err()
			case <-tick.C:
			}
		}
	}))
}

// arrivals are the times of what uploads have brought, by the mandate that they name.
type arrivals struct {
	mu     sync.Mutex // guards newest
	newest map[authority.MandateID]*atomic.Int64
}

func (a *arrivals) follow(m authority.MandateID, into *atomic.Int64) (stop func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.newest == nil {
		a.newest = map[authority.MandateID]*atomic.Int64{}
	}
	a.newest[m] = into
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.newest[m] == into {
			delete(a.newest, m)
		}
	}
}

func (a *arrivals) read(from io.Reader) {
	for lines := bufio.NewScanner(from); lines.Scan(); {
		id, text, _ := strings.Cut(lines.Text(), " ")
		sent, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return
		}
		a.mu.Lock()
		if into := a.newest[authority.MandateID(id)]; into != nil {
			into.Store(sent)
		}
		a.mu.Unlock()
	}
}

func portOf(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return port
}
