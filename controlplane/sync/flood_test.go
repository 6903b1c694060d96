package sync_test

import (
	"bytes"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/internal/syncpb"
)

// A gateway that its owner has taken over says as much as it likes; the control plane keeps no more of it than it needs.
func TestAGatewayIsListenedToWithinBounds(t *testing.T) {
	long := bytes.Repeat([]byte("x"), 2<<20)
	beyond := func(_ *process, hello *syncpb.Hello) { hello.Timeline, hello.Revision = "elsewhere", 1<<40 }
	for sentence, c := range map[string]struct {
		hello func(*process, *syncpb.Hello)
		then  []*syncpb.GatewayMessage // nil for none
		code  codes.Code
		says  string
	}{
		"a hello with a long timeline": {
			func(_ *process, hello *syncpb.Hello) { hello.Timeline = string(long) }, nil, codes.InvalidArgument, "the hello has",
		},
		"a hello with a long digest": {
			func(_ *process, hello *syncpb.Hello) { hello.Digest = long[:1000] }, nil, codes.InvalidArgument, "a digest has",
		},
		"an acknowledgement with a long digest": {
			func(*process, *syncpb.Hello) {},
			[]*syncpb.GatewayMessage{{Message: &syncpb.GatewayMessage_Acknowledged{Acknowledged: &syncpb.Acknowledged{Digest: long}}}},
			codes.InvalidArgument, "a digest has",
		},
		"much else before a report": {
			beyond,
			[]*syncpb.GatewayMessage{{Message: &syncpb.GatewayMessage_Refused{Refused: &syncpb.Refused{Message: string(long)}}}},
			codes.InvalidArgument, "too much else",
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			p := newPlane(t)
			ours := p.team("ours")
			g := p.process(ours, p.gatewayKey(ours).APIKey)
			l := g.dial(g.key.Reveal())
			hello := g.hello(l)
			c.hello(g, hello.GetHello())
			l.tell(hello)
			for _, m := range c.then {
				l.tell(m)
			}
			l.wantEnd(c.code, c.says)
		})
	}
}

// What is too much of a report is left out, and the report says that it is not whole.
func TestAReportIsTakenWithinBounds(t *testing.T) {
	p := newPlane(t)
	ours := p.team("ours")
	g := p.process(ours, p.gatewayKey(ours).APIKey)
	l := g.dial(g.key.Reveal())
	hello := g.hello(l)
	hello.GetHello().Timeline, hello.GetHello().Revision = "elsewhere", 1<<40
	l.tell(hello)
	for range 5 {
		l.tell(&syncpb.GatewayMessage{Message: &syncpb.GatewayMessage_Beyond{Beyond: &syncpb.BeyondReport{
			Manifest: "made up", Timeline: "elsewhere", Revision: 1 << 40, RevokedMandates: []string{strings.Repeat("x", 8<<20)},
		}}})
	}
	l.tell(&syncpb.GatewayMessage{Message: &syncpb.GatewayMessage_Beyond{Beyond: &syncpb.BeyondReport{Last: true}}})
	l.wantEnd(codes.PermissionDenied, "does not show who made it")
	reports := must(p.Restoration(t.Context()))(t).Reports
	if len(reports) != 1 || reports[0].GatewayID != authority.GatewayID(g.id) || reports[0].Whole {
		t.Errorf("what is kept: %+v", reports)
	}
}
