package extauthz_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	procv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/envoy"
	"github.com/caracal-gateway/caracal/extauthz"
	"github.com/caracal-gateway/caracal/lease"
	"github.com/caracal-gateway/caracal/token"
)

// tower is a bench whose service is served on its socket, with clocks that the test moves, and an Envoy's side of watches.
type tower struct {
	*bench
	boot, wall atomic.Int64 // nanoseconds since the start
	client     procv3.ExternalProcessorClient
}

func newTower(t *testing.T, edits ...func(*extauthz.Config)) *tower {
	t.Helper()
	w := &tower{}
	w.bench = newBench(t, append(edits, func(c *extauthz.Config) {
		c.Clock = extauthz.NewClock(func() time.Duration { return time.Duration(w.boot.Load()) }, func() time.Time { return start })
		c.Read = w.clocks
		c.Log = slog.New(slog.DiscardHandler)
	})...)
	w.State.Workspace.Settings.ShortRequestSeconds = 2
	w.service.Hold(lease.From(w.clocks(), 1, lease.MaxTerm))
	path, _ := w.serve(t)
	w.client = procv3.NewExternalProcessorClient(dial(t, path))
	w.enforce(t)
	return w
}

func (w *tower) clocks() lease.Reading {
	return lease.Reading{Boot: time.Duration(w.boot.Load()), Wall: start.Add(time.Duration(w.wall.Load()))}
}

// pass moves the clocks on.
func (w *tower) pass(d time.Duration) {
	w.boot.Add(int64(d))
	w.wall.Add(int64(d))
}

// change makes the service decide from the world as it is now, and gives how many streams that has cut.
func (w *tower) change(t testing.TB, c extauthz.Change) int {
	t.Helper()
	snapshot, err := extauthz.NewSnapshot(context.Background(), w.Reader())
	if err != nil {
		t.Fatal(err)
	}
	return w.service.Enforce(snapshot, c)
}

// access is an access token that holds for d from the start.
func (b *bench) access(subject authority.PrincipalID, d time.Duration) token.Access {
	keys := b.KeySet()
	return token.Access{
		Deployment: keys.Deployment, Workspace: keys.Workspace, Subject: subject, ID: "tok", IssuedAt: start, ExpiresAt: start.Add(d),
	}
}

// byChild is the request that Child makes by the mandate that was delegated to it.
func (b *bench) byChild() asked {
	request := b.proxied().with("authorization", "Bearer "+b.Token(b.Child.ID)).with("x-caracal-mandate", string(b.Delegated.ID))
	request.method = "GET"
	return request
}

// permission asks for a decision until the machine is fast enough for the policy's deadline.
func (w *tower) permission(t testing.TB, request asked) permission {
	t.Helper()
	for range 20 {
		answer := w.check(t, request.check())
		if !strings.Contains(answer.GetDeniedResponse().GetBody(), string(authority.ReasonPolicyTimeout)) {
			return wantPermission(t, answer)
		}
	}
	t.Fatal("the policy does not answer in time")
	return permission{}
}

// permitted asks for a decision and gives its id.
func (w *tower) permitted(t testing.TB, request asked) string {
	t.Helper()
	p := w.permission(t, request)
	if got := p.set[envoy.BoundHeader]; got != envoy.BoundWatched {
		t.Fatalf("the request is %q, want %q", got, envoy.BoundWatched)
	}
	return p.metadata[envoy.MetadataDecisionID]
}

// line is Envoy's end of a watch. As Envoy does, it ends the stream once it is told to end the request.
type line struct {
	stream procv3.ExternalProcessor_ProcessClient
	leave  context.CancelFunc
	// told is what ended the request; it is closed when the stream is over.
	told chan denied
	// over is the error that the stream ended with. It may be read when told is closed.
	over error
	left atomic.Bool
}

// register opens a watch for a decision. The request goes on, or the denial says why not.
func (w *tower) register(t testing.TB, decision string) (*line, *denied) {
	t.Helper()
	l := w.open(t, describing(decision))
	answer, err := l.stream.Recv()
	if err != nil {
		t.Fatalf("the watch was not answered: %v", err)
	}
	if answer.GetRequestHeaders() != nil {
		go l.follow()
		return l, nil
	}
	refused := denialIn(t, answer)
	if err := l.stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.stream.Recv(); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a watch that was refused ended with %v", err)
	}
	return nil, &refused
}

func (w *tower) open(t testing.TB, first *procv3.ProcessingRequest) *line {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	stream, err := w.client.Process(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(first); err != nil {
		t.Fatal(err)
	}
	return &line{stream: stream, leave: cancel, told: make(chan denied, 1)}
}

// live opens a watch whose request goes on.
func (w *tower) live(t testing.TB, request asked) *line {
	t.Helper()
	l, refused := w.register(t, w.permitted(t, request))
	if refused != nil {
		t.Fatalf("the watch was refused: %+v", refused)
	}
	return l
}

// follow takes what is said on a live watch.
func (l *line) follow() {
	defer close(l.told)
	for {
		answer, err := l.stream.Recv()
		if err != nil {
			l.over = err
			return
		}
		if answer.GetImmediateResponse() == nil {
			continue
		}
		var d denied
		_ = json.Unmarshal(answer.GetImmediateResponse().GetBody(), &d) // what is no denial stays empty
		d.Status = int(answer.GetImmediateResponse().GetStatus().GetCode())
		l.told <- d
		l.left.Store(true)
		_ = l.stream.CloseSend() // a stream that is over is closed
	}
}

// wantEnd waits until the request is ended.
func (l *line) wantEnd(t testing.TB, reason authority.Reason) {
	t.Helper()
	d, told := <-l.told
	if !told {
		t.Fatalf("the stream broke off without a word: %v", l.over)
	}
	if d.Error != string(reason) || d.Status != reason.Status() {
		t.Errorf("ended by %+v, want %s", d, reason)
	}
	if _, again := <-l.told; again {
		t.Error("ended twice")
	}
	if errors.Is(l.over, io.EOF) {
		t.Error("the stream ended with the status OK, which lets a request go on unwatched")
	}
}

// wantAlive holds that nothing has been said to end the request, as of what the service has done before.
func (l *line) wantAlive(t testing.TB) {
	t.Helper()
	select {
	case d, told := <-l.told:
		t.Errorf("the request was ended: %+v %t %v", d, told, l.over)
	default:
	}
}

// describing is how Envoy opens the watch of a decision.
func describing(decision string) *procv3.ProcessingRequest {
	fields := map[string]*structpb.Value{envoy.MetadataDecisionID: structpb.NewStringValue(decision)}
	return &procv3.ProcessingRequest{
		Request: &procv3.ProcessingRequest_RequestHeaders{RequestHeaders: &procv3.HttpHeaders{}},
		MetadataContext: &corev3.Metadata{
			FilterMetadata: map[string]*structpb.Struct{envoy.MetadataNamespace: {Fields: fields}},
		},
	}
}

// denialIn reads the denial that answers a watch.
func denialIn(t testing.TB, answer *procv3.ProcessingResponse) denied {
	t.Helper()
	response := answer.GetImmediateResponse()
	if response == nil {
		t.Fatalf("neither goes on nor ends: %v", answer)
	}
	d := denied{Status: int(response.GetStatus().GetCode())}
	if err := json.Unmarshal(response.GetBody(), &d); err != nil {
		t.Fatalf("the body %q: %v", response.GetBody(), err)
	}
	headers := map[string]string{}
	for _, h := range response.GetHeaders().GetSetHeaders() {
		headers[h.GetHeader().GetKey()] = string(h.GetHeader().GetRawValue())
	}
	if headers["content-type"] != "application/json" || headers["cache-control"] != "no-store" {
		t.Errorf("headers of the denial: %v", headers)
	}
	if response.GetDetails() != envoy.WatchDetails+d.Error {
		t.Errorf("details %q", response.GetDetails())
	}
	return d
}

// eventually waits for a condition that nothing announces.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline, tick := time.After(20*time.Second), time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline:
			t.Fatalf("waited in vain: %s", what)
		case <-tick.C:
		}
	}
}

func TestWhatDoesNotEndByItselfIsWatched(t *testing.T) {
	const model = "https://api.model.test/v1/chat"
	for name, c := range map[string]struct {
		duration, short int64 // of the destination, and the workspace's limit
		upgrade         bool
		target          string
		want            string
	}{
		"a destination without a duration":           {0, 2, false, "", envoy.BoundWatched},
		"a duration above the limit":                 {3, 2, false, "", envoy.BoundWatched},
		"a duration at the limit":                    {2, 2, false, "", envoy.Short(2)},
		"a duration below the limit":                 {1, 2, false, "", envoy.Short(1)},
		"a workspace without short requests":         {1, 0, false, "", envoy.BoundWatched},
		"an upgrade, which outlives what it answers": {1, 2, true, "", envoy.BoundWatched},
		"another destination's duration":             {1, 2, false, model, envoy.BoundWatched},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTower(t)
			w.State.Workspace.Settings.ShortRequestSeconds = c.short
			w.State.Destinations[0].MaxDurationSeconds = c.duration
			w.enforce(t)
			request := w.proxied()
			if c.upgrade {
				request = request.with("upgrade", "websocket")
				request.method = "GET"
			}
			if c.target != "" {
				request = request.with("x-caracal-target-url", c.target)
			}
			p := w.permission(t, request)
			if got := p.set[envoy.BoundHeader]; got != c.want {
				t.Errorf("bound by %q, want %q", got, c.want)
			}
			_, refused := w.register(t, p.metadata[envoy.MetadataDecisionID])
			if watched := refused == nil; watched != (c.want == envoy.BoundWatched) {
				t.Errorf("registered: %t", watched)
			}
		})
	}
}

func TestAShortRequestIsWatchedUntilEnvoyHasAWayForIt(t *testing.T) {
	w := newTower(t)
	w.State.Destinations[0].MaxDurationSeconds = 2
	w.enforce(t)
	w.routes = func(way string) bool { return strings.HasSuffix(way, " "+envoy.BoundWatched) }
	w.permitted(t, w.byChild())
	w.routes = func(string) bool { return false }
	if d := wantDenial(t, w.check(t, w.byChild().check())); d.Error != string(authority.ReasonRouteNotReady) {
		t.Errorf("got %+v", d)
	}
}

func TestTheFrozenAreCutWithinWhatIsWaitedFor(t *testing.T) {
	if envoy.FreezeTimeout > lease.Stall {
		t.Errorf("Envoy ends the streams of a process that stands still after %s; a lease is waited for %s longer than it lasts", envoy.FreezeTimeout, lease.Stall)
	}
}

func TestARequestIsRegisteredOnceAndOnlyWhenItIsPermittedStill(t *testing.T) {
	for name, c := range map[string]struct {
		// between is what happens from the permission to the registration; it gives the id that is registered.
		between func(*testing.T, *tower, string) string
		want    authority.Reason
	}{
		"an id that nobody gave": {
			func(*testing.T, *tower, string) string { return string(authority.NewID[authority.DecisionID]()) }, authority.ReasonNoDecision,
		},
		"no id": {func(*testing.T, *tower, string) string { return "" }, authority.ReasonNoDecision},
		"an id that was registered before": {func(t *testing.T, w *tower, id string) string {
			if _, refused := w.register(t, id); refused != nil {
				t.Fatalf("%+v", refused)
			}
			return id
		}, authority.ReasonNoDecision},
		"the id of a denial": {func(t *testing.T, w *tower, _ string) string {
			return wantDenial(t, w.check(t, w.proxied().without("x-caracal-mandate").check())).DecisionID
		}, authority.ReasonNoDecision},
		"an id that has waited for too long": {func(_ *testing.T, w *tower, id string) string {
			w.pass(5 * time.Second)
			return id
		}, authority.ReasonNoDecision},
		"the mandate was revoked": {func(t *testing.T, w *tower, id string) string {
			w.Revoke(w.Delegated.ID)
			w.change(t, extauthz.Change{Mandates: []authority.MandateID{w.Delegated.ID}})
			return id
		}, authority.ReasonMandateRevoked},
		"the mandate that it was cut from was revoked": {func(t *testing.T, w *tower, id string) string {
			w.Revoke(w.Mandate.ID)
			w.change(t, extauthz.Change{Mandates: []authority.MandateID{w.Mandate.ID}})
			return id
		}, authority.ReasonMandateRevoked},
		"a principal was suspended": {func(t *testing.T, w *tower, id string) string {
			w.Suspend(w.Owner.ID)
			w.change(t, extauthz.Change{Principals: []authority.PrincipalID{w.Owner.ID}})
			return id
		}, authority.ReasonSuspended},
		"it was revoked by a change that did not say so": {func(t *testing.T, w *tower, id string) string {
			w.Revoke(w.Delegated.ID)
			w.change(t, extauthz.Change{})
			return id
		}, authority.ReasonMandateRevoked},
		"the lease was given up": {func(_ *testing.T, w *tower, id string) string {
			w.service.Hold(lease.Lease{})
			return id
		}, authority.ReasonLeaseExpired},
		"the lease was over by the wall clock": {func(_ *testing.T, w *tower, id string) string {
			w.wall.Add(int64(lease.MaxTerm))
			return id
		}, authority.ReasonLeaseExpired},
		"the gateway stops": {func(_ *testing.T, w *tower, id string) string {
			w.service.End(authority.ReasonNoDecision)
			return id
		}, authority.ReasonNoDecision},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTower(t)
			id := c.between(t, w, w.permitted(t, w.byChild()))
			before := w.service.Figures().LiveWatches
			l, refused := w.register(t, id)
			if l != nil {
				t.Fatal("the request goes on")
			}
			if refused.Error != string(c.want) || refused.Status != c.want.Status() || refused.DecisionID != id {
				t.Errorf("refused by %+v, want %s", refused, c.want)
			}
			if n := w.service.Figures().LiveWatches; n != before {
				t.Errorf("%d watches are live, want %d", n, before)
			}
		})
	}
}

func TestARegistrationThatOutlivesItsMandateIsRefused(t *testing.T) {
	w := newTower(t)
	w.pass(30*time.Minute - time.Second)
	request := w.byChild().with("authorization", "Bearer "+w.SignToken(w.TokenKey, w.access(w.Child.ID, time.Hour)))
	id := w.permitted(t, request)
	w.pass(time.Second)
	if _, refused := w.register(t, id); refused == nil || refused.Error != string(authority.ReasonExpired) {
		t.Errorf("got %+v", refused)
	}
}

func TestAWatchStartsWithItsRequest(t *testing.T) {
	w := newTower(t)
	id := w.permitted(t, w.byChild())
	first := describing(id)
	first.Request = &procv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: &procv3.HttpHeaders{}}
	if answer, err := w.open(t, first).stream.Recv(); status.Code(err) != codes.InvalidArgument {
		t.Errorf("%v, %v", answer, err)
	}
}

// A stream that ended with the status OK would leave its request unwatched.
func TestAWatchEndsWithoutAnErrorOnlyAfterEnvoyHasEndedIt(t *testing.T) {
	for name, c := range map[string]struct {
		say *procv3.ProcessingRequest
	}{
		"Envoy has ended it":           {nil},
		"Envoy says what is not asked": {&procv3.ProcessingRequest{Request: &procv3.ProcessingRequest_RequestBody{RequestBody: &procv3.HttpBody{}}}},
		"Envoy says nothing":           {&procv3.ProcessingRequest{}},
		"Envoy says too much": {&procv3.ProcessingRequest{Request: &procv3.ProcessingRequest_ResponseTrailers{ResponseTrailers: &procv3.HttpTrailers{
			Trailers: &corev3.HeaderMap{Headers: []*corev3.HeaderValue{{Key: "x", Value: strings.Repeat("x", 5<<20)}}},
		}}}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTower(t)
			l := w.live(t, w.byChild())
			if c.say == nil {
				_ = l.stream.CloseSend()
			} else if err := l.stream.Send(c.say); err != nil {
				t.Fatal(err)
			}
			<-l.told
			if errors.Is(l.over, io.EOF) {
				l.over = nil
			}
			if got := status.Code(l.over); (got == codes.OK) != (c.say == nil) {
				t.Errorf("ended with %v", l.over)
			}
			eventually(t, "the watch is forgotten", func() bool { return w.service.Figures().LiveWatches == 0 })
		})
	}
}

func TestAWatchThatEnvoyBreaksOffIsForgotten(t *testing.T) {
	w := newTower(t)
	for range 50 {
		w.live(t, w.byChild()).leave()
	}
	eventually(t, "the watches are forgotten", func() bool { return w.service.Figures().LiveWatches == 0 })
}

func TestTheTrailersOfAResponseGoOn(t *testing.T) {
	w := newTower(t)
	l := w.open(t, describing(w.permitted(t, w.byChild())))
	if answer, err := l.stream.Recv(); err != nil || answer.GetRequestHeaders() == nil {
		t.Fatal(answer, err)
	}
	trailers := &procv3.ProcessingRequest{Request: &procv3.ProcessingRequest_ResponseTrailers{ResponseTrailers: &procv3.HttpTrailers{}}}
	if err := l.stream.Send(trailers); err != nil {
		t.Fatal(err)
	}
	if answer, err := l.stream.Recv(); err != nil || answer.GetResponseTrailers() == nil {
		t.Fatal(answer, err)
	}
}

func TestARequestThatIsTooLargeToBeKeptIsDenied(t *testing.T) {
	w := newTower(t)
	request := w.byChild().plus("accept", strings.Repeat("x", 16<<10))
	if d := wantDenial(t, w.check(t, request.check())); d.Error != string(authority.ReasonMalformedHeader) {
		t.Errorf("got %+v", d)
	}
	w.State.Destinations[0].MaxDurationSeconds = 1
	w.enforce(t)
	w.permission(t, request)
	w.State.Destinations[0].MaxDurationSeconds = 0
	w.enforce(t)
	// What a request is not judged by is not kept.
	w.permitted(t, w.byChild().plus("x-own", strings.Repeat("x", 30<<10)))
}
