package sync_test

import (
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/controlplane"
	"github.com/caracal-gateway/caracal/internal/syncpb"
)

func renewal(id, revision uint64) *syncpb.GatewayMessage {
	return &syncpb.GatewayMessage{Message: &syncpb.GatewayMessage_Renewal{Renewal: &syncpb.Renewal{
		Id: id, Revision: revision, Report: &syncpb.Report{Address: "0.0.0.0:8443", DecisionsPerSecond: 3, LiveWatches: 2, EnvoyCurrent: true},
	}}}
}

func TestARenewalIsAnsweredByALease(t *testing.T) {
	p := newPlane(t)
	ours := p.team("ours")
	g := p.process(ours, p.gatewayKey(ours).APIKey)
	l := g.join()
	revision := l.whole()
	l.acknowledge(revision)
	for number := uint64(1); number <= 2; number++ {
		l.tell(renewal(40+number, revision))
		grant := l.next().GetGrant()
		if grant.GetRenewal() != 40+number || grant.GetLease() != number || grant.GetTerm().AsDuration() != time.Minute {
			t.Errorf("renewal %d is answered %v", 40+number, grant)
		}
	}
	if got := p.gateway(ours, g.id); got.Address != "0.0.0.0:8443" || got.LiveWatches != 2 || !got.EnvoyCurrent || got.State != controlplane.GatewayInSync {
		t.Errorf("the gateway is %+v", got)
	}
}

// The answer that withholds a lease comes after the state that the gateway lacks.
func TestALeaseIsWithheldUntilTheStateThatFencesIsEnforced(t *testing.T) {
	p := newPlane(t)
	ours := p.team("ours")
	mandate := p.mandate(ours)
	g := p.process(ours, p.gatewayKey(ours).APIKey)
	l := g.join()
	before := l.whole()
	l.acknowledge(before)
	l.tell(renewal(1, before))
	if m := l.next(); m.GetGrant().GetLease() != 1 {
		t.Fatalf("got %v", m)
	}
	must(p.RevokeMandate(t.Context(), ours.owner, mandate.ID, 0))(t)
	l.tell(renewal(2, before))
	revision := l.change()
	withheld := l.next().GetWithheld()
	if withheld.GetRenewal() != 2 || withheld.GetRevision() != revision || withheld.GetMessage() == "" {
		t.Errorf("it is answered %v", withheld)
	}
	l.acknowledge(revision)
	l.tell(renewal(3, revision))
	if m := l.next(); m.GetGrant().GetLease() != 2 {
		t.Errorf("it is answered %v", m)
	}
}

func TestAStreamThatEndsSurrendersNothing(t *testing.T) {
	for sentence, end := range map[string]func(*line){
		"closed by the gateway": func(l *line) { _ = l.CloseSend(); l.wantEnd(codes.Unknown, "EOF") },
		"broken":                func(l *line) { l.hangUp() },
	} {
		t.Run(sentence, func(t *testing.T) {
			p := newPlane(t)
			ours := p.team("ours")
			g := p.process(ours, p.gatewayKey(ours).APIKey)
			l := g.join()
			revision := l.whole()
			l.acknowledge(revision)
			l.tell(renewal(1, revision))
			l.next()
			end(l)
			eventually(t, "the control plane notices", func() bool { return !p.gateway(ours, g.id).Connected })
			if got := p.gateway(ours, g.id); got.Lease.OverAt != nil || got.LeftAt != nil || got.State != controlplane.GatewayInSync {
				t.Errorf("the gateway is %+v", got)
			}
		})
	}
}

// A gateway surrenders what it was granted on the stream, even where the grant did not reach it.
func TestASurrenderCoversAGrantThatIsOnItsWay(t *testing.T) {
	p := newPlane(t)
	ours := p.team("ours")
	g := p.process(ours, p.gatewayKey(ours).APIKey)
	l := g.join()
	revision := l.whole()
	l.acknowledge(revision)
	for id := range uint64(2) {
		l.tell(renewal(id+1, revision))
		l.next()
	}
	l.tell(&syncpb.GatewayMessage{Message: &syncpb.GatewayMessage_Surrender{Surrender: &syncpb.Surrender{Lease: 1}}})
	l.wantEnd(codes.Unknown, "EOF")
	if got := p.gateway(ours, g.id); got.Lease.Number != 2 || got.Lease.OverAt == nil || got.LeftAt == nil || got.State != controlplane.GatewayGone {
		t.Errorf("the gateway is %+v", got)
	}
}

func TestARevokedGatewaysStreamEndsAndItsProofsAreRefused(t *testing.T) {
	p := newPlane(t)
	ours := p.team("ours")
	key := p.gatewayKey(ours)
	g, sibling := p.process(ours, key.APIKey), p.process(ours, key.APIKey)
	l, other := g.join(), sibling.join()
	revision := l.whole()
	other.whole()
	must(p.RevokeGateway(t.Context(), ours.owner, p.gateway(ours, g.id).ID, 0))(t)
	l.wantEnd(codes.PermissionDenied, "this gateway is revoked")
	again := g.dial(g.key.Reveal())
	again.tell(g.hello(again))
	again.wantEnd(codes.PermissionDenied, "this gateway is revoked")
	_, err := g.record(&syncpb.RecordRequest{Epoch: 1, First: 1, Last: 1, Events: pack(t, decisions(1, 1, 1))})
	wantStatus(t, err, codes.PermissionDenied, "this gateway is revoked")
	_, err = p.client.Enrol(bearing(t.Context(), key.APIKey), g.enrolment(ours.slug))
	wantStatus(t, err, codes.PermissionDenied, "this gateway is revoked")

	next := other.change()
	other.acknowledge(next)
	other.tell(renewal(1, next))
	if m := other.next(); m.GetGrant().GetLease() != 1 || next <= revision {
		t.Errorf("another process of its key is answered %v", m)
	}
}

func TestAForgottenGatewayIsToldToEnrolAnew(t *testing.T) {
	p := newPlane(t)
	ours := p.team("ours")
	key := p.gatewayKey(ours)
	g := p.process(ours, key.APIKey)
	l := g.join()
	l.whole()
	must(p.ForgetGateway(t.Context(), ours.owner, p.gateway(ours, g.id).ID, controlplane.Forgetting{Reason: "scrapped"}))(t)
	l.wantEnd(codes.NotFound, "gateway")
	again := must(p.client.Enrol(bearing(t.Context(), key.APIKey), g.enrolment(ours.slug)))(t)
	if again.GetGatewayId() != g.id {
		t.Errorf("it is %s, and was %s", again.GetGatewayId(), g.id)
	}
	g.join().change() // from the state that it has
}

func TestAGatewayThatReadsAnotherFormatIsToldToBeUpgraded(t *testing.T) {
	p := newPlane(t)
	ours := p.team("ours")
	key := p.gatewayKey(ours)
	g := p.process(ours, key.APIKey)
	older := g.enrolment(ours.slug)
	older.Formats = []uint32{bundle.Format - 1}
	_, err := p.client.Enrol(bearing(t.Context(), key.APIKey), older)
	wantStatus(t, err, codes.FailedPrecondition, "upgrade the gateway")
	l := g.dial(key.APIKey)
	hello := g.hello(l)
	hello.GetHello().Formats = nil
	l.tell(hello)
	l.wantEnd(codes.FailedPrecondition, "upgrade the gateway")
}
