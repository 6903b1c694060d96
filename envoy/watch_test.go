package envoy_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	procv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/caracal-gateway/caracal/envoy"
)

// watcher takes the watches that Envoy opens. Until a test says otherwise every request goes on.
type watcher struct {
	procv3.UnimplementedExternalProcessorServer

	mu      sync.Mutex
	begun   int
	ended   int
	first   []*procv3.ProcessingRequest
	answers func(decision string) *procv3.ProcessingResponse // nil: go on; an answer that is nil never comes
	breaks  error                                            // ends each watch before it is answered
	live    map[string]chan error                            // by decision: what ends the stream
}

func newWatcher() *watcher { return &watcher{live: map[string]chan error{}} }

// errCut ends a watch by a word.
var errCut = errors.New("cut")

func (w *watcher) Process(stream procv3.ExternalProcessor_ProcessServer) error {
	ends := make(chan error, 1)
	defer w.forget(ends)
	message, err := stream.Recv()
	if err != nil {
		return err
	}
	answer, err := w.begin(message, ends)
	if err != nil {
		return err
	}
	if answer != nil {
		if err := stream.Send(answer); err != nil {
			return err
		}
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		for {
			m, err := stream.Recv()
			if err != nil {
				return
			}
			if m.GetResponseTrailers() != nil {
				_ = stream.Send(trailersGoOn()) // a stream that is over needs none
			}
		}
	}()
	select {
	case <-over:
		return nil
	case err := <-ends:
		if errors.Is(err, errCut) {
			err = stream.Send(cut())
			<-over
		}
		return err
	}
}

func (w *watcher) begin(message *procv3.ProcessingRequest, ends chan error) (*procv3.ProcessingResponse, error) {
	id := message.GetMetadataContext().GetFilterMetadata()[envoy.MetadataNamespace].GetFields()[envoy.MetadataDecisionID].GetStringValue()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.begun++
	w.first = append(w.first, message)
	w.live[id] = ends
	switch {
	case w.breaks != nil:
		return nil, w.breaks
	case w.answers != nil:
		return w.answers(id), nil
	}
	return goOn(), nil
}

func (w *watcher) forget(ends chan error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended++
	maps.DeleteFunc(w.live, func(_ string, live chan error) bool { return live == ends })
}

func goOn() *procv3.ProcessingResponse {
	return &procv3.ProcessingResponse{Response: &procv3.ProcessingResponse_RequestHeaders{RequestHeaders: &procv3.HeadersResponse{}}}
}

func trailersGoOn() *procv3.ProcessingResponse {
	return &procv3.ProcessingResponse{Response: &procv3.ProcessingResponse_ResponseTrailers{ResponseTrailers: &procv3.TrailersResponse{}}}
}

// cut is what the decision service ends a stream with.
func cut() *procv3.ProcessingResponse {
	return &procv3.ProcessingResponse{Response: &procv3.ProcessingResponse_ImmediateResponse{ImmediateResponse: &procv3.ImmediateResponse{
		Status: &typev3.HttpStatus{Code: typev3.StatusCode_Forbidden},
		Headers: &procv3.HeaderMutation{SetHeaders: []*corev3.HeaderValueOption{
			rawHeader("content-type", "application/json"), rawHeader("cache-control", "no-store"),
		}},
		Body:    []byte(denial),
		Details: envoy.WatchDetails + "mandate_revoked",
	}}}
}

func rawHeader(name, value string) *corev3.HeaderValueOption {
	o := setHeader(name, "")
	o.Header.Value, o.Header.RawValue = "", []byte(value)
	return o
}

// end ends the watch of a decision as err says: errCut with a word, anything else by breaking the stream off.
func (w *watcher) end(decision string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.live[decision] <- err
}

func (w *watcher) set(answers func(decision string) *procv3.ProcessingResponse, breaks error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answers, w.breaks = answers, breaks
}

func (w *watcher) opened() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.begun
}

func (w *watcher) over() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ended
}

func (w *watcher) watches(decision string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.live[decision] != nil
}

func (w *watcher) firsts() []*procv3.ProcessingRequest {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.first)
}

func text(value string) *structpb.Value_StringValue {
	return &structpb.Value_StringValue{StringValue: value}
}

// lasting is an upstream whose answers under /stream and /wait do not end by themselves.
func lasting(t *testing.T) *upstream {
	return startUpstream(t, "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		switch q.URL.Path {
		case "/stream":
			w.Header().Set("Content-Type", "text/event-stream")
			for i := 0; q.Context().Err() == nil; i++ {
				fmt.Fprintf(w, "data: %d\n\n", i)
				w.(http.Flusher).Flush()
				select {
				case <-q.Context().Done():
				case <-time.After(5 * time.Millisecond):
				}
			}
		case "/wait":
			<-q.Context().Done()
		case "/trailers":
			w.Header().Set("Trailer", "X-Status")
			fmt.Fprint(w, "body")
			w.Header().Set("X-Status", "0")
		default:
			fmt.Fprint(w, "reached")
		}
	}))
}

// watched is a gateway with one upstream that lasts. Requests go to the path that their X-Path names, under the decision
// that X-Decision names, bound as X-Bound says.
func watched(t *testing.T, between func(socket string) string) (*rig, *upstream) {
	up := lasting(t)
	target := local("api.test", up.port)
	target.Short = 2
	r := startRig(t, setup{resources: withUpstreams(t, target), between: between, local: func(l *envoy.Local) {
		l.Certificate, l.PrivateKey = authority(t).issue(t, "gateway.test")
	}})
	r.authz.answer(func(q *authv3.CheckRequest) *authv3.CheckResponse {
		sent := map[string]string{}
		for _, h := range q.GetAttributes().GetRequest().GetHttp().GetHeaderMap().GetHeaders() {
			sent[h.GetKey()] = string(h.GetRawValue())
		}
		answer := permitBound(target.Route(), sent["x-bound"], map[string]string{":path": sent["x-path"], ":authority": "api.test", ":scheme": "http"})
		answer.DynamicMetadata.Fields[envoy.MetadataDecisionID].Kind = text(sent["x-decision"])
		return answer
	})
	return r, up
}

// open sends a request and gives its response when its headers have come.
func (r *rig) open(client *http.Client, path, decision, bound string) (*http.Response, error) {
	r.t.Helper()
	request, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, "https://gateway.test/api/proxy", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	for name, value := range map[string]string{"X-Path": path, "X-Decision": decision, "X-Bound": bound} {
		if value != "" {
			request.Header.Set(name, value)
		}
	}
	return client.Do(request)
}

func (r *rig) fetch(path, decision, bound string) answer {
	r.t.Helper()
	response, err := r.open(r.client(false), path, decision, bound)
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

func TestOnlyAWatchedRequestOpensAWatch(t *testing.T) {
	r, up := watched(t, nil)
	for name, c := range map[string]struct {
		bound   string
		status  int
		watches int
	}{
		"a short request opens none":                               {envoy.Short(2), 200, 0},
		"one for longer than the destination says goes no further": {envoy.Short(60), 503, 1},
		"a watched request opens one":                              {envoy.BoundWatched, 200, 1},
		"one that is neither goes no further":                      {"", 503, 1},
		"one that is something else goes no further":               {"forever", 503, 1},
	} {
		t.Run(name, func(t *testing.T) {
			before, reached := r.watcher.opened(), len(up.seen())
			if got := r.fetch("/x", "d", c.bound); got.Status != c.status {
				t.Errorf("got %+v, want status %d", got, c.status)
			}
			if n := r.watcher.opened() - before; n != c.watches {
				t.Errorf("%d watches were opened, want %d", n, c.watches)
			}
			if n := len(up.seen()) - reached; n != 1 && c.status == 200 || n != 0 && c.status != 200 {
				t.Errorf("%d requests reached the upstream", n)
			}
		})
	}
	before := r.watcher.opened()
	r.authz.answer(func(*authv3.CheckRequest) *authv3.CheckResponse { return deny(403, denial) })
	if got := r.fetch("/x", "d", ""); got.Status != 403 {
		t.Errorf("got %+v", got)
	}
	r.authz.answer(func(*authv3.CheckRequest) *authv3.CheckResponse { return permitBound(envoy.RouteSelf, "", nil) })
	if got := r.get("/health"); got.Status != 200 {
		t.Errorf("got %+v", got)
	}
	if n := r.watcher.opened() - before; n != 0 {
		t.Errorf("%d watches were opened for what was denied, or for the gateway itself", n)
	}
}

// The limit that a decision sets counts from when the upstream is connected to.
func TestAShortRequestEndsWhereverItIs(t *testing.T) {
	reached := make(chan struct{})
	port := startBroken(t, func(c net.Conn) {
		// The handshake waits for an answer until the gateway gives the connection up.
		_, _ = io.Copy(io.Discard, c)
		close(reached)
	})
	target := localTLS("slow.test", port, string(authority(t).pem))
	target.Short = 1
	r := startRig(t, setup{resources: withUpstreams(t, target)})
	r.authz.answer(func(*authv3.CheckRequest) *authv3.CheckResponse {
		return permitBound(target.Route(), envoy.Short(1), map[string]string{":authority": "slow.test", "x-envoy-upstream-stream-duration-ms": "1000"})
	})
	if got := r.raw("GET /api/proxy HTTP/1.1\r\nHost: gateway.test\r\n\r\n").refusal(t); got != (refusal{504, "upstream_timeout", decisionID}) {
		t.Errorf("got %+v", got)
	}
	eventually(t, "the access log tells what ended it", func() bool {
		entries := r.authz.logged()
		return len(entries) == 1 && entries[0].GetResponse().GetResponseCodeDetails() == "max_duration_timeout"
	})
	<-reached
}

func TestAWatchHearsOfTheDecisionAndNothingElse(t *testing.T) {
	r, _ := watched(t, nil)
	r.fetch("/x", "d-1", envoy.BoundWatched)
	first := r.watcher.firsts()[0]
	if got := first.GetMetadataContext().GetFilterMetadata()[envoy.MetadataNamespace].GetFields()[envoy.MetadataDecisionID].GetStringValue(); got != "d-1" {
		t.Errorf("the decision is %q", got)
	}
	if headers := first.GetRequestHeaders().GetHeaders().GetHeaders(); len(headers) != 0 {
		t.Errorf("headers were sent: %v", headers)
	}
}

func TestARequestGoesNowhereUntilItsWatchLetsItGo(t *testing.T) {
	r, up := watched(t, nil)
	for name, c := range map[string]struct {
		answers func(string) *procv3.ProcessingResponse
		breaks  error
		want    refusal
	}{
		"refused by a word":              {func(string) *procv3.ProcessingResponse { return cut() }, nil, refusal{403, "mandate_revoked", decisionID}},
		"never answered":                 {func(string) *procv3.ProcessingResponse { return nil }, nil, refusal{503, "decision_unavailable", "d"}},
		"refused by breaking off":        {nil, status.Error(codes.PermissionDenied, "no"), refusal{503, "decision_unavailable", "d"}},
		"answered by what was not asked": {func(string) *procv3.ProcessingResponse { return trailersGoOn() }, nil, refusal{500, "internal_error", "d"}},
	} {
		t.Run(name, func(t *testing.T) {
			r.watcher.set(c.answers, c.breaks)
			got := r.fetch("/x", "d", envoy.BoundWatched)
			if got := got.refusal(t); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
	if seen := up.seen(); len(seen) != 0 {
		t.Errorf("reached the upstream: %+v", seen)
	}
	t.Run("nobody takes watches", func(t *testing.T) {
		r.watcher.set(nil, status.Error(codes.Unimplemented, "unknown method"))
		if got := r.fetch("/x", "d", envoy.BoundWatched).refusal(t); got.Error != "decision_unavailable" || len(up.seen()) != 0 {
			t.Errorf("got %+v", got)
		}
	})
}

func TestALiveStreamEndsWithItsWatch(t *testing.T) {
	r, _ := watched(t, nil)
	for name, err := range map[string]error{"by a word": errCut, "by breaking off": status.Error(codes.PermissionDenied, "no")} {
		for protocol, h2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
			t.Run(name+" on "+protocol, func(t *testing.T) {
				client := r.client(h2)
				ended, live := r.events(client, "ended"), r.events(client, "live")
				r.watcher.end("ended", err)
				if n, err := io.Copy(io.Discard, ended); err == nil {
					t.Errorf("the stream ended after %d bytes as if it were whole", n)
				}
				for range 3 { // the other one goes on, on the same connection where it is HTTP/2
					if _, err := live.ReadString('\n'); err != nil {
						t.Fatal(err)
					}
				}
				r.watcher.end("live", errCut)
				_, _ = io.Copy(io.Discard, live)
			})
		}
	}
	t.Run("before the response has begun", func(t *testing.T) {
		done := make(chan answer, 1)
		go func() { done <- r.fetch("/wait", "waiting", envoy.BoundWatched) }()
		eventually(t, "the watch is open", func() bool { return r.watcher.watches("waiting") })
		r.watcher.end("waiting", errCut)
		if got := (<-done).refusal(t); got != (refusal{403, "mandate_revoked", decisionID}) {
			t.Errorf("got %+v", got)
		}
	})
	eventually(t, "the access log tells what ended them", func() bool {
		for _, e := range r.authz.logged() {
			if e.GetResponse().GetResponseCodeDetails() == envoy.WatchDetails+"mandate_revoked" && e.GetResponse().GetResponseCode().GetValue() == 200 {
				return true
			}
		}
		return false
	})
}

func TestAResponseWithTrailersEndsItsWatch(t *testing.T) {
	r, _ := watched(t, nil)
	response, err := r.open(r.client(true), "/trailers", "d", envoy.BoundWatched)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); err != nil || string(body) != "body" {
		t.Errorf("got %q, %v", body, err)
	}
	eventually(t, "the watch is over", func() bool { return r.watcher.over() == r.watcher.opened() })
}

// events opens an event stream and reads its first event.
func (r *rig) events(client *http.Client, decision string) *bufio.Reader {
	r.t.Helper()
	response, err := r.open(client, "/stream", decision, envoy.BoundWatched)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = response.Body.Close() })
	reader := bufio.NewReader(response.Body)
	if line, err := reader.ReadString('\n'); err != nil || line != "data: 0\n" {
		r.t.Fatalf("%q, %v", line, err)
	}
	return reader
}

func TestLiveStreamsEndWithTheGatewayProcess(t *testing.T) {
	t.Run("when it dies", func(t *testing.T) {
		r, _ := watched(t, nil)
		stream := r.events(r.client(true), "d")
		r.stopDecisions()
		if _, err := io.Copy(io.Discard, stream); err == nil {
			t.Error("the stream ended as if it were whole")
		}
	})
	t.Run("when it stands still", func(t *testing.T) {
		frozen := make(chan struct{})
		r, _ := watched(t, func(socket string) string { return relay(t, socket, frozen) })
		stream := r.events(r.client(true), "d")
		close(frozen)
		if _, err := io.Copy(io.Discard, stream); err == nil {
			t.Error("the stream ended as if it were whole")
		}
	})
}

// relay stands between Envoy and a socket, and carries nothing more once it is frozen: to Envoy that is a process that
// stands still. It gives the socket for Envoy and leaves the other's path as it is.
func relay(t *testing.T, behind string, frozen <-chan struct{}) string {
	t.Helper()
	front := behind + ".relay"
	listener, err := net.Listen("unix", front)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	carry := func(to, from net.Conn) {
		buffer := make([]byte, 64<<10)
		for {
			n, err := from.Read(buffer)
			select {
			case <-frozen:
				return
			default:
			}
			if _, failed := to.Write(buffer[:n]); err != nil || failed != nil {
				_, _ = to.Close(), from.Close()
				return
			}
		}
	}
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return // the test is over
			}
			to, err := net.Dial("unix", behind)
			if err != nil {
				_ = connection.Close()
				continue
			}
			t.Cleanup(func() { _, _ = to.Close(), connection.Close() })
			go carry(to, connection)
			go carry(connection, to)
		}
	}()
	return front
}
