package revocation_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/caracal-gateway/caracal/authority"
)

// live is one stream of a client. What it carries are the times at which the upstream sent them.
type live struct {
	kind  string
	last  atomic.Int64 // when the newest that has arrived was sent
	ended chan struct{}
	why   error // written before ended is closed
}

// caller opens streams through one gateway under one mandate.
type caller struct {
	site    *site
	gateway int
	mandate authority.MandateID
}

func (c caller) headers(host, path string) http.Header {
	return http.Header{
		"Authorization":        {"Bearer " + c.site.agentToken},
		"X-Caracal-Mandate":    {string(c.mandate)},
		"X-Caracal-Target-Url": {c.site.targetURL(host, path)},
	}
}

func (c caller) proxy() string { return "http://" + c.site.addresses[c.gateway] + "/api/proxy" }

// kinds are the streams that agents keep open: what is sent down, what is sent up, both, on HTTP/1.1 and HTTP/2.
func kinds() map[string]func(context.Context, caller, *live) error {
	return map[string]func(context.Context, caller, *live) error{
		"server-sent events, HTTP/1.1": down(http1, "/stream"),
		"server-sent events, HTTP/2":   down(http2Transport, "/stream"),
		"a long download, HTTP/1.1":    down(http1, "/bulk"),
		"a long download, HTTP/2":      down(http2Transport, "/bulk"),
		"an upload, HTTP/1.1":          up(http1),
		"an upload, HTTP/2":            up(http2Transport),
		"a WebSocket":                  webSocket,
		"a gRPC stream":                grpcStream,
	}
}

func http1() http.RoundTripper { return &http.Transport{} }

func http2Transport() http.RoundTripper {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Transport{Protocols: protocols}
}

// read notes each line until the stream ends.
func (l *live) read(from io.Reader) error {
	lines := bufio.NewScanner(from)
	for lines.Scan() {
		text, _, _ := strings.Cut(lines.Text(), " ")
		if sent, err := strconv.ParseInt(text, 10, 64); err == nil {
			l.last.Store(sent)
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return io.EOF
}

func refusedBy(response *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(response.Body, 4<<10))
	return errors.Join(fmt.Errorf("answered %s: %s", response.Status, body), err)
}

// down reads a response that does not end by itself.
func down(transport func() http.RoundTripper, path string) func(context.Context, caller, *live) error {
	return func(ctx context.Context, c caller, l *live) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.proxy(), nil)
		if err != nil {
			return err
		}
		request.Header = c.headers("watched", path)
		response, err := transport().RoundTrip(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return refusedBy(response)
		}
		return l.read(response.Body)
	}
}

// up sends a request that does not end by itself. The upstream counts what arrives, which is told by the times that are
// sent; it answers when the request is over.
func up(transport func() http.RoundTripper) func(context.Context, caller, *live) error {
	return func(ctx context.Context, c caller, l *live) error {
		reader, writer := io.Pipe()
		go func() {
			tick := time.NewTicker(beat)
			defer tick.Stop()
			for {
				if _, err := fmt.Fprintf(writer, "%s %d\n", c.mandate, since()); err != nil {
					return
				}
				select {
				case <-ctx.Done():
					_ = writer.CloseWithError(ctx.Err())
					return
				case <-tick.C:
				}
			}
		}()
		defer reader.Close()
		stop := c.site.arrivals.follow(c.mandate, &l.last)
		defer stop()
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.proxy(), reader)
		if err != nil {
			return err
		}
		request.Header = c.headers("watched", "/upload")
		response, err := transport().RoundTrip(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		return refusedBy(response)
	}
}

func webSocket(ctx context.Context, c caller, l *live) error {
	socket, _, err := websocket.Dial(ctx, c.proxy(), &websocket.DialOptions{HTTPHeader: c.headers("watched", "/socket")}) //nolint:bodyclose // the library owns the response's body
	if err != nil {
		return err
	}
	defer func() { _ = socket.CloseNow() }()
	for {
		_, text, err := socket.Read(ctx)
		if err != nil {
			return err
		}
		sent, err := strconv.ParseInt(string(text), 10, 64)
		if err != nil {
			return err
		}
		l.last.Store(sent)
	}
}

// grpcStream is a bidirectional call by a stock gRPC client, whose every message is answered with a time.
func grpcStream(ctx context.Context, c caller, l *live) error {
	to, err := grpc.NewClient("passthrough:///"+c.site.addresses[c.gateway], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer to.Close()
	for name, values := range c.headers("secure", "/test.Clock/Follow") {
		ctx = metadata.AppendToOutgoingContext(ctx, strings.ToLower(name), values[0])
	}
	stream, err := to.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/api/proxy")
	if err != nil {
		return err
	}
	for {
		if err := stream.SendMsg(wrapperspb.Int64(since())); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		var answer wrapperspb.Int64Value
		if err := stream.RecvMsg(&answer); err != nil {
			return err
		}
		l.last.Store(answer.GetValue())
	}
}

// open starts a stream, which runs until it ends by itself or with ctx.
func (c caller) open(ctx context.Context, kind string, run func(context.Context, caller, *live) error) *live {
	l := &live{kind: kind, ended: make(chan struct{})}
	go func() {
		defer close(l.ended)
		l.why = run(ctx, c, l)
	}()
	return l
}

func (l *live) over() bool {
	select {
	case <-l.ended:
		return true
	default:
		return false
	}
}
