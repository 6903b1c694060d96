package sync_test

import (
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/internal/syncpb"
)

// tooMuch is more than a gateway may ask at once.
const tooMuch = 1000

// A gateway that asks again and again makes no more work than its allowance, on however many streams.
func TestAGatewayThatAsksWithoutEndIsRefused(t *testing.T) {
	another := &syncpb.GatewayMessage{Message: &syncpb.GatewayMessage_Acknowledged{Acknowledged: &syncpb.Acknowledged{Digest: []byte("another")}}}
	for sentence, ask := range map[string]func(*line, uint64) error{
		"for leases": func(l *line, n uint64) error { return l.Send(renewal(n, l.of.trust.Revision)) },
		"for what is new": func(l *line, n uint64) error {
			return l.Send(&syncpb.GatewayMessage{Message: &syncpb.GatewayMessage_Sync{Sync: &syncpb.SyncRequest{Id: n}}})
		},
		"by acknowledging the same": func(l *line, _ uint64) error {
			return l.Send(&syncpb.GatewayMessage{Message: &syncpb.GatewayMessage_Acknowledged{Acknowledged: &syncpb.Acknowledged{
				Revision: l.of.trust.Revision, Digest: l.of.trust.Digest,
			}}})
		},
		"for the whole state, having another": func(l *line, _ uint64) error {
			another.GetAcknowledged().Revision = l.of.trust.Revision
			if err := l.Send(another); err != nil {
				return err
			}
			_, err := l.Recv()
			return err
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			p := newPlane(t)
			ours := p.team("ours")
			key := p.gatewayKey(ours).APIKey
			g, sibling := p.process(ours, key), p.process(ours, key)
			l := g.join()
			l.whole()
			for n := range uint64(tooMuch) {
				if ask(l, n+1) != nil {
					break
				}
			}
			l.wantEnd(codes.ResourceExhausted, "rate_limited: this gateway asks for more")
			if !g.isRefused(3) {
				t.Error("it is served on another stream")
			}
			other := sibling.join()
			revision := other.whole()
			other.acknowledge(revision)
			other.tell(renewal(1, revision))
			if m := other.next(); m.GetGrant().GetLease() != 1 {
				t.Errorf("another process of its key is answered %v", m)
			}
		})
	}
}

func TestAGatewayThatConnectsWithoutEndIsRefused(t *testing.T) {
	p := newPlane(t)
	ours := p.team("ours")
	g := p.process(ours, p.gatewayKey(ours).APIKey)
	if !g.isRefused(tooMuch) {
		t.Error("it is served each time")
	}
}

// isRefused connects so often at most, each time to be sent the whole state, and reports whether that is too often.
func (g *process) isRefused(tries int) bool {
	g.t.Helper()
	g.trust = bundle.Trust{Root: g.key.Root}
	for range tries {
		l := g.join()
		_, err := l.Recv()
		l.hangUp()
		if err != nil {
			wantStatus(g.t, err, codes.ResourceExhausted, "rate_limited: this gateway asks for more")
			return true
		}
	}
	return false
}
