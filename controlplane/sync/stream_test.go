package sync_test

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/controlplane"
	"github.com/caracal-gateway/caracal/internal/syncpb"
)

func TestAStreamIsForTheProcessThatEnrolled(t *testing.T) {
	p := newPlane(t)
	ours, theirs := p.team("ours"), p.team("theirs")
	g := p.process(ours, p.gatewayKey(ours).APIKey)
	sibling := p.process(ours, p.gatewayKey(ours).APIKey)
	foreign := p.process(theirs, p.gatewayKey(theirs).APIKey)
	const notFound, noProof = "gateway", "proof is not by the gateway's enrolled key"
	for sentence, c := range map[string]struct {
		first   func(*line) *syncpb.GatewayMessage
		code    codes.Code
		message string
	}{
		"not for one of another key of the workspace": {func(l *line) *syncpb.GatewayMessage { return sibling.hello(l) }, codes.NotFound, notFound},
		"not for one of another workspace":            {func(l *line) *syncpb.GatewayMessage { return foreign.hello(l) }, codes.NotFound, notFound},
		"not for one that nobody knows": {func(l *line) *syncpb.GatewayMessage {
			return (&process{private: g.private, id: string(authority.NewID[authority.GatewayID]())}).hello(l)
		}, codes.NotFound, notFound},
		"not with another process's proof": {func(l *line) *syncpb.GatewayMessage {
			return (&process{private: sibling.private, id: g.id}).hello(l)
		}, codes.Unauthenticated, noProof},
		"not with the proof of an earlier stream": {func(*line) *syncpb.GatewayMessage {
			earlier := g.dial(g.key.Reveal())
			earlier.hangUp()
			return g.hello(earlier)
		}, codes.Unauthenticated, noProof},
		"not without a hello": {func(*line) *syncpb.GatewayMessage {
			return &syncpb.GatewayMessage{Message: &syncpb.GatewayMessage_Acknowledged{Acknowledged: &syncpb.Acknowledged{Revision: 1}}}
		}, codes.InvalidArgument, "has to be a hello"},
		"not with a hello twice": {func(l *line) *syncpb.GatewayMessage {
			l.tell(g.hello(l))
			return g.hello(l)
		}, codes.InvalidArgument, "unexpected message"},
	} {
		t.Run(sentence, func(t *testing.T) {
			l := g.dial(g.key.Reveal())
			l.t = t
			l.tell(c.first(l))
			l.wantEnd(c.code, c.message)
		})
	}
}

func TestAGatewayIsSentTheWholeStateOnceAndThenEachChange(t *testing.T) {
	p := newPlane(t)
	ours := p.team("ours")
	g := p.process(ours, p.gatewayKey(ours).APIKey)
	l := g.join()
	first := l.whole()
	if now := l.current(7); now != first {
		t.Errorf("the current revision is %d, the snapshot's %d", now, first)
	}
	p.mandate(ours)
	if next := l.change(); next != first+1 {
		t.Errorf("after a change it is sent revision %d, want %d", next, first+1)
	}
}

func TestAProcessThatComesBackIsSentWhatItMissed(t *testing.T) {
	p := newPlane(t)
	ours := p.team("ours")
	g := p.process(ours, p.gatewayKey(ours).APIKey)
	l := g.join()
	revision := l.whole()
	l.hangUp()

	l = g.join()
	if now := l.current(1); now != revision {
		t.Errorf("the current revision is %d, want %d and no state before it", now, revision)
	}
	l.hangUp()
	p.mandate(ours)
	p.mandate(ours)
	l = g.join()
	for g.trust.Revision < revision+2 {
		l.change()
	}
	l.hangUp()

	// The number may be another history's: what was told under it is not what is enforced.
	sound := g.trust
	g.trust.Digest = bytes.Repeat([]byte{1}, 32)
	l = g.join()
	g.trust = sound
	if again := l.whole(); again != revision+2 {
		t.Errorf("sent %d, want %d", again, revision+2)
	}
	p.mandate(ours)
	if next := l.change(); next != revision+3 {
		t.Errorf("sent %d, want %d", next, revision+3)
	}
}

func TestAGatewayThatHasAnotherStateIsSentTheWhole(t *testing.T) {
	for sentence, say := range map[string]func(*line, uint64){
		"as its acknowledgement says": func(l *line, revision uint64) {
			l.tell(&syncpb.GatewayMessage{Message: &syncpb.GatewayMessage_Acknowledged{Acknowledged: &syncpb.Acknowledged{Revision: revision, Digest: []byte("another")}}})
		},
		"as it refuses a change": func(l *line, revision uint64) {
			l.tell(&syncpb.GatewayMessage{Message: &syncpb.GatewayMessage_Refused{Refused: &syncpb.Refused{Revision: revision, Code: string(bundle.CodeInvalid)}}})
		},
		"as it asks for it": func(l *line, _ uint64) {
			l.tell(&syncpb.GatewayMessage{Message: &syncpb.GatewayMessage_Refused{Refused: &syncpb.Refused{Revision: 1, Code: string(bundle.CodeGap)}}})
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			p := newPlane(t)
			ours := p.team("ours")
			g := p.process(ours, p.gatewayKey(ours).APIKey)
			l := g.join()
			l.whole()
			p.mandate(ours)
			revision := l.change()
			say(l, revision)
			if again := l.whole(); again != revision {
				t.Errorf("sent %d, want %d", again, revision)
			}
			p.mandate(ours)
			if next := l.change(); next != revision+1 {
				t.Errorf("sent %d, want %d", next, revision+1)
			}
		})
	}
}

func TestAProcessThatStopsTellsItsGatewaysToConnectAgain(t *testing.T) {
	p := newPlane(t)
	ours := p.team("ours")
	g := p.process(ours, p.gatewayKey(ours).APIKey)
	streams := []*line{g.join()}
	streams[0].whole()
	for range 2 {
		l := g.join()
		l.current(1)
		streams = append(streams, l)
	}
	p.stop()
	for _, l := range streams {
		l.wantEnd(codes.Unavailable, "the control plane stops")
	}
}

func TestARevokedGatewayKeyEndsItsStreamAtOnce(t *testing.T) {
	p := newPlane(t)
	ours := p.team("ours")
	key := p.gatewayKey(ours)
	g := p.process(ours, key.APIKey)
	l := g.join()
	l.whole()
	must(p.RevokeKey(t.Context(), ours.owner, key.ID))(t)
	l.wantEnd(codes.Unauthenticated, "revoked")
	_, err := g.record(&syncpb.RecordRequest{Epoch: 1, First: 1, Last: 1, Events: pack(t, decisions(1, 1, 1))})
	wantStatus(t, err, codes.Unauthenticated, "revoked")
}

// Nothing changes in the workspace when a key ends by itself.
func TestAGatewayKeyThatEndsEndsItsStreamThen(t *testing.T) {
	p := newPlane(t)
	ours := p.team("ours")
	end := time.Now().Add(4 * time.Second)
	key := must(p.CreateKey(t.Context(), ours.owner, controlplane.NewKey{Kind: authority.KeyGateway, Name: "edge", ExpiresAt: &end}))(t).Value
	g := p.process(ours, key.APIKey)
	l := g.join()
	l.whole()
	l.current(1)
	l.wantEnd(codes.Unauthenticated, "expired")
	if late := time.Since(end); late < 0 || late > 3*time.Second {
		t.Errorf("the stream ends %s after the key", late)
	}
}

func TestARevisionThatThereIsNotCannotBeAcknowledged(t *testing.T) {
	p := newPlane(t)
	ours := p.team("ours")
	g := p.process(ours, p.gatewayKey(ours).APIKey)
	l := g.join()
	revision := l.whole()
	l.acknowledge(revision + 1)
	l.wantEnd(codes.InvalidArgument, "the workspace is at revision")
	if got := p.gateway(ours, g.id); got.AcknowledgedAt != nil {
		t.Errorf("it is recorded: %+v", got)
	}
}

func TestARevocationWaitsForTheGatewaysThatMayStillDecide(t *testing.T) {
	for sentence, c := range map[string]struct {
		end     func(*process, *line) // nil: it stays
		pending bool
	}{
		"one that acknowledges": {nil, false},
		"not for one that left in order": {func(_ *process, l *line) {
			l.tell(&syncpb.GatewayMessage{Message: &syncpb.GatewayMessage_Surrender{Surrender: &syncpb.Surrender{Lease: 1}}})
			l.wantEnd(codes.Unknown, "EOF")
		}, false},
		"in vain for one whose connection broke": {func(_ *process, l *line) { l.hangUp() }, true},
	} {
		t.Run(sentence, func(t *testing.T) {
			p := newPlane(t)
			ours := p.team("ours")
			mandate := p.mandate(ours)
			g := p.process(ours, p.gatewayKey(ours).APIKey)
			l := g.join()
			l.acknowledge(l.whole())
			l.tell(&syncpb.GatewayMessage{Message: &syncpb.GatewayMessage_Renewal{Renewal: &syncpb.Renewal{Id: 1, Revision: g.trust.Revision}}})
			if m := l.next(); m.GetGrant().GetLease() != 1 {
				t.Fatalf("got %v, want the first lease", m)
			}
			if c.end != nil {
				c.end(g, l)
				eventually(t, "the control plane notices", func() bool { return !p.gateway(ours, g.id).Connected })
			}
			receipts := make(chan controlplane.Receipt, 1)
			go func() {
				r, err := p.RevokeMandate(context.Background(), ours.owner, mandate.ID, patience/5)
				if err != nil {
					t.Error(err)
				}
				receipts <- r.Value
			}()
			if c.end == nil {
				revision := l.change()
				if len(receipts) > 0 {
					t.Fatalf("answered %+v before the acknowledgement", <-receipts)
				}
				l.acknowledge(revision)
			}
			r := <-receipts
			if pending := r.State == authority.ReceiptPending; pending != c.pending {
				t.Errorf("receipt %+v", r)
			}
			if c.pending && (len(r.Gateways) != 1 || string(r.Gateways[0].GatewayID) != g.id || r.Gateways[0].EnforcedAt != nil) {
				t.Errorf("the receipt does not name who is waited for: %+v", r)
			}
		})
	}
}

func TestWhatAGatewayRefusesIsSaidAtTheControlPlane(t *testing.T) {
	p := newPlane(t)
	ours := p.team("ours")
	g := p.process(ours, p.gatewayKey(ours).APIKey)
	l := g.join()
	revision := l.whole()
	l.tell(&syncpb.GatewayMessage{Message: &syncpb.GatewayMessage_Refused{Refused: &syncpb.Refused{
		Revision: revision, Code: "bundle_older", Message: "it is older\nlevel=ERROR msg=forged " + strings.Repeat("x", 5000),
	}}})
	l.tell(&syncpb.GatewayMessage{Message: &syncpb.GatewayMessage_Envoy{Envoy: &syncpb.EnvoyStatus{Revision: revision, Message: "no such\ncluster"}}})
	l.current(1)
	log := p.log.String()
	if !strings.Contains(log, "gateway refused a bundle") || !strings.Contains(log, "code=bundle_older") || strings.Contains(log, "\nlevel=ERROR msg=forged") || len(log) > 5000 {
		t.Errorf("the log says %s", log)
	}
	got := p.gateway(ours, g.id)
	if got.AcknowledgedAt != nil || !got.Connected || got.EnvoyRefusal != "no such cluster" {
		t.Errorf("gateway %+v", got)
	}
}

func TestAGatewayIsShownUnderTheNameThatItStartedWith(t *testing.T) {
	p := newPlane(t)
	ours := p.team("ours")
	g := p.process(ours, p.gatewayKey(ours).APIKey)
	for _, c := range []struct{ says, shown string }{
		{"", "host"}, // as a program of before says it
		{"edge-1", "edge-1"},
		{"two\nlines", "two lines"},
		{"", "two lines"},
	} {
		l := g.dial(g.key.Reveal())
		hello := g.hello(l)
		hello.GetHello().Instance = c.says
		l.tell(hello)
		l.next()
		if got := p.gateway(ours, g.id); got.Instance != c.shown {
			t.Errorf("having said %q it is shown as %q, want %q", c.says, got.Instance, c.shown)
		}
		l.hangUp()
	}
}
