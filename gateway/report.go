package gateway

import (
	"sync"
	"time"

	"github.com/caracal-gateway/caracal/extauthz"
	"github.com/caracal-gateway/caracal/internal/syncpb"
)

// reporter says how the gateway is, for people to look at.
type reporter struct {
	address string // of the gateway port
	service *extauthz.Service
	xds     *xds
	shipper *shipper
	elapsed func() time.Duration

	mu        sync.Mutex
	decisions uint64        // at the last report
	at        time.Duration // of the last report
}

// report counts decisions from the report before.
func (r *reporter) report() *syncpb.Report {
	figures, now := r.service.Figures(), r.elapsed()
	r.mu.Lock()
	defer r.mu.Unlock()
	rate := 0.0
	if r.at != 0 && now > r.at {
		rate = float64(figures.Decisions-r.decisions) / (now - r.at).Seconds()
	}
	r.decisions, r.at = figures.Decisions, now
	return &syncpb.Report{
		Address: r.address, DecisionsPerSecond: rate, LiveWatches: uint64(max(figures.LiveWatches, 0)),
		EnvoyCurrent: r.xds.Verdict().current, QueuedEvents: r.shipper.Waiting(),
	}
}
