package extauthz_test

import (
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	procv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/extauthz"
	"github.com/caracal-gateway/caracal/lease"
)

// However many tunnels look for another mandate at once, what ends meanwhile is ended between two of them, and not after all.
func TestALeaseThatEndsWhileTunnelsAreRenewedEndsThem(t *testing.T) {
	const many = 64
	w := &tower{}
	var looked atomic.Int64 // how often the clock was read since the first mandate ended
	lost := func() bool { return looked.Load() > 2 }
	w.bench = newBench(t, func(c *extauthz.Config) {
		c.Clock = extauthz.NewClock(func() time.Duration {
			if w.boot.Load() >= int64(time.Hour) {
				looked.Add(1)
			}
			return time.Duration(w.boot.Load())
		}, func() time.Time { return start })
		c.Read = func() lease.Reading {
			reading := w.clocks()
			if lost() {
				reading.Boot += 2 * lease.MaxTerm
			}
			return reading
		}
		c.Log = slog.New(slog.DiscardHandler)
	})
	w.service.Hold(lease.From(w.clocks(), 1, lease.MaxTerm))
	path, _ := w.serve(t)
	w.client = procv3.NewExternalProcessorClient(dial(t, path))
	longer := w.Issue(w.Agent.ID, everything("api:echo/all"))
	w.enforce(t)
	lines := make([]*line, many)
	for i := range lines {
		_, lines[i] = w.tunnel(t, w.connecting("echo.caracal.test:9443"))
	}
	longer.ValidUntil = start.Add(3 * time.Hour)
	w.Add(longer)
	w.change(t, extauthz.Change{Mandates: []authority.MandateID{longer.ID}})
	w.pass(time.Hour)
	for _, l := range lines {
		l.wantEnd(t, authority.ReasonLeaseExpired)
	}
	if n := looked.Load(); n > many/2 {
		t.Errorf("the clock was read %d times until the lease was seen to be over", n)
	}
}
