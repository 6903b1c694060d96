package sync_test

import (
	"bytes"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
	"github.com/caracal-gateway/caracal/internal/syncpb"
)

func (p *plane) denials(m team) []authority.Event {
	p.t.Helper()
	return must(p.Events(p.t.Context(), m.owner, controlplane.EventFilter{Type: authority.EventDenied}, controlplane.Page{Limit: controlplane.MaxPage}))(p.t).Items
}

func TestABatchThatComesAgainIsStoredOnce(t *testing.T) {
	p := newPlane(t)
	ours := p.team("ours")
	g := p.process(ours, p.gatewayKey(ours).APIKey)
	events := decisions(9, 1, 5)
	outcome := map[authority.DecisionID]authority.Outcome{events[0].DecisionID: {Status: 403, BytesSent: 12}}
	for sentence, c := range map[string]struct {
		request *syncpb.RecordRequest
		last    uint64
	}{
		"a batch":                              {&syncpb.RecordRequest{Epoch: 9, First: 1, Last: 3, Events: pack(t, events[:3]), Outcomes: pack(t, outcome)}, 3},
		"the same with what followed":          {&syncpb.RecordRequest{Epoch: 9, First: 1, Last: 5, Events: pack(t, events)}, 5},
		"an outcome alone":                     {&syncpb.RecordRequest{Epoch: 9, Outcomes: pack(t, outcome)}, 0},
		"what follows a gap, of another epoch": {&syncpb.RecordRequest{Epoch: 10, First: 4, Last: 4, Events: pack(t, decisions(10, 4, 1))}, 0},
	} {
		for range 2 {
			answer, err := g.record(c.request)
			if err != nil {
				t.Fatalf("%s: %v", sentence, err)
			}
			if c.last != 0 && answer.GetLast() < c.last {
				t.Errorf("%s: stored without a gap up to %d, want %d", sentence, answer.GetLast(), c.last)
			}
		}
	}
	if stored := p.denials(ours); len(stored) != 6 {
		t.Errorf("%d events are stored, want 6", len(stored))
	}
	joined := must(p.Event(t.Context(), ours.owner, string(events[0].DecisionID)))(t)
	if joined.Outcome == nil || joined.Outcome.Status != 403 || joined.Gateway.ID != authority.GatewayID(g.id) {
		t.Errorf("event %+v", joined)
	}
}

func TestABatchThatIsNotWhatItSaysIsRefused(t *testing.T) {
	p := newPlane(t)
	ours, theirs := p.team("ours"), p.team("theirs")
	g := p.process(ours, p.gatewayKey(ours).APIKey)
	sibling := p.process(ours, p.gatewayKey(ours).APIKey)
	foreign := p.process(theirs, p.gatewayKey(theirs).APIKey)
	two := func() *syncpb.RecordRequest {
		return &syncpb.RecordRequest{Epoch: 1, First: 1, Last: 2, Events: pack(t, decisions(1, 1, 2))}
	}
	events := func(change func([]authority.Event)) *syncpb.RecordRequest {
		list := decisions(1, 1, 2)
		change(list)
		return g.sign(&syncpb.RecordRequest{Epoch: 1, First: 1, Last: 2, Events: pack(t, list)})
	}
	signed := func(change func(*syncpb.RecordRequest)) *syncpb.RecordRequest {
		r := two()
		change(r)
		return g.sign(r)
	}
	const noProof, range2 = "proof is not by the gateway's enrolled key", "the range does not hold 2 events"
	for sentence, c := range map[string]struct {
		request *syncpb.RecordRequest
		code    codes.Code
		message string
	}{
		"of a process of another key":           {sibling.sign(two()), codes.NotFound, "gateway"},
		"of a process of another workspace":     {foreign.sign(two()), codes.NotFound, "gateway"},
		"changed after it was signed":           {func() *syncpb.RecordRequest { r := g.sign(two()); r.Epoch = 2; return r }(), codes.Unauthenticated, noProof},
		"signed by another process":             {func() *syncpb.RecordRequest { r := sibling.sign(two()); r.GatewayId = g.id; return r }(), codes.Unauthenticated, noProof},
		"with a gap at its end":                 {signed(func(r *syncpb.RecordRequest) { r.Last = 3 }), codes.InvalidArgument, range2},
		"with a gap at its beginning":           {signed(func(r *syncpb.RecordRequest) { r.First = 0 }), codes.InvalidArgument, range2},
		"with a range that goes round":          {signed(func(r *syncpb.RecordRequest) { r.First, r.Last = 1<<64-1, 0 }), codes.InvalidArgument, "is not number 18446744073709551615"},
		"with a gap inside":                     {events(func(l []authority.Event) { l[1].Gateway.Sequence = 3 }), codes.InvalidArgument, "event 1 is not number 2"},
		"with an event of another epoch":        {events(func(l []authority.Event) { l[1].Gateway.Epoch = 2 }), codes.InvalidArgument, "event 1 is not number 2 of epoch 1"},
		"with an event that has no number":      {events(func(l []authority.Event) { l[0].Gateway = nil }), codes.InvalidArgument, "event 0 is not number 1"},
		"with an event that is no decision":     {events(func(l []authority.Event) { l[0].Type = authority.EventRevoked }), codes.InvalidArgument, "not a decision's"},
		"with an event larger than any":         {events(func(l []authority.Event) { l[0].Message = strings.Repeat("x", 64<<10) }), codes.InvalidArgument, "member 0: larger than"},
		"with a range and no events":            {signed(func(r *syncpb.RecordRequest) { r.Events = nil }), codes.InvalidArgument, "a range without events"},
		"with events that are not compressed":   {signed(func(r *syncpb.RecordRequest) { r.Events = []byte("[]") }), codes.InvalidArgument, "events: "},
		"with events that are no list":          {signed(func(r *syncpb.RecordRequest) { r.Events = compress(t, []byte("{}")) }), codes.InvalidArgument, "does not begin with ["},
		"with text after its events":            {signed(func(r *syncpb.RecordRequest) { r.Events = compress(t, []byte("[] []")) }), codes.InvalidArgument, "text after the end"},
		"with more events than any gateway has": {signed(func(r *syncpb.RecordRequest) { r.Events = compress(t, many("{},", 30_000)) }), codes.InvalidArgument, "more than 20000"},
		"that unpacks to more than there is room for": {signed(func(r *syncpb.RecordRequest) {
			r.Events = compress(t, append([]byte(`["`), bytes.Repeat([]byte(" "), 80<<20)...))
		}), codes.InvalidArgument, "events: "},
		"with the outcome of something else": {signed(func(r *syncpb.RecordRequest) { r.Outcomes = compress(t, []byte(`{"x":{}}`)) }), codes.InvalidArgument, "outcomes: member 0"},
	} {
		t.Run(sentence, func(t *testing.T) {
			_, err := p.client.Record(bearing(t.Context(), g.key.Reveal()), c.request)
			wantStatus(t, err, c.code, c.message)
		})
	}
	if stored := p.denials(ours); len(stored) != 0 {
		t.Errorf("%d events are stored", len(stored))
	}
}

// many is a list of n members, the last of them closed.
func many(member string, n int) []byte {
	return []byte("[" + strings.TrimSuffix(strings.Repeat(member, n), ",") + "]")
}
