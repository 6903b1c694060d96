package extauthz_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/extauthz"
	"github.com/caracal-gateway/caracal/internal/world"
	"github.com/caracal-gateway/caracal/lease"
)

// However the tunnels of a caller that has its share end, it may open others then; and meanwhile others may.
func TestACallerThatHasItsShareMayOpenMoreOnceSomeHaveEnded(t *testing.T) {
	const share = 3
	for sentence, end := range map[string]func(*testing.T, *tower, []*line){
		"the client closes them": func(_ *testing.T, _ *tower, lines []*line) {
			for _, l := range lines {
				l.leave()
			}
		},
		"their mandate is revoked, and there is another": func(t *testing.T, w *tower, _ []*line) {
			w.Revoke(w.Mandate.ID)
			w.Issue(w.Agent.ID, everything("tunnel:*"))
			w.change(t, extauthz.Change{Mandates: []authority.MandateID{w.Mandate.ID}})
			w.Issue(w.Agent.ID, everything("*"))
			w.enforce(t)
		},
		"the lease is lost, and held again": func(_ *testing.T, w *tower, lines []*line) {
			w.service.Hold(lease.From(w.clocks(), 2, time.Second))
			w.pass(time.Second)
			for _, l := range lines {
				<-l.told
			}
			w.service.Hold(lease.From(w.clocks(), 3, lease.MaxTerm))
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			w := newTower(t, func(c *extauthz.Config) { c.EachCaller = extauthz.Room{Requests: 10, Tunnels: share, Bytes: 1 << 20} })
			connect := w.connecting("echo.caracal.test:9443")
			var lines []*line
			for range share {
				_, l := w.tunnel(t, connect)
				lines = append(lines, l)
			}
			if d := w.denial(t, connect); d.Error != string(authority.ReasonLiveLimit) || d.Status != 429 {
				t.Errorf("one more is answered %d %s", d.Status, d.Error)
			}
			childs := w.connecting("echo.caracal.test:9443")
			childs.headers[1].value = basic("-", w.Token(w.Child.ID))
			w.tunnel(t, childs)
			if got := fmt.Sprint(w.service.Tunnellers(world.EchoHost)); len(w.service.Tunnellers(world.EchoHost)) != 2 {
				t.Errorf("tunnels are open of %s", got)
			}
			end(t, w, lines)
			eventually(t, "it may open one again", func() bool {
				return w.check(t, connect.check()).GetOkResponse() != nil
			})
		})
	}
}
