package gateway

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/caracal-gateway/caracal/envoy"
	"github.com/caracal-gateway/caracal/internal/syncpb"
	"github.com/caracal-gateway/caracal/lease"
)

// policies are what the simulated control plane goes by: the rules of production, or of a mutant.
type policies struct {
	grantable func(enforced, fence uint64) bool
	holdsUp   func(lease.Standing, uint64) bool
	over      func(lease.Sight, time.Duration, time.Duration) bool
	ended     func(lease.Standing, uint64) lease.Standing
	settling  func(answer, short time.Duration) time.Duration
}

// database is what the replicas share. Each method is a transaction.
type database struct {
	policies policies
	term     time.Duration

	mu        sync.Mutex
	revision  uint64
	fence     uint64
	standings map[string]lease.Standing
	receipts  []*receipt
	changed   chan struct{} // closed and replaced with each revision
}

// receipt is of the revocation of one mandate.
type receipt struct {
	revision  uint64
	gateways  []string // that hold it up
	effective time.Time
}

func newDatabase(term time.Duration, p policies) *database {
	return &database{policies: p, term: term, revision: first, standings: map[string]lease.Standing{}, changed: make(chan struct{})}
}

// advance makes the next revision, which is the revocation of a mandate if it is one of those that are.
func (d *database) advance() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.revision++
	if _, fences := revokes(d.revision); fences {
		d.fence = d.revision
		r := &receipt{revision: d.revision}
		for id, s := range d.standings {
			if d.policies.holdsUp(s, d.revision) {
				r.gateways = append(r.gateways, id)
			}
		}
		d.receipts = append(d.receipts, r)
	}
	close(d.changed)
	d.changed = make(chan struct{})
}

// present is the newest revision, and what is closed when there is a newer one.
func (d *database) present() (uint64, <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.revision, d.changed
}

func (d *database) acknowledge(id string, revision uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.standings[id]
	s.Enforced = max(s.Enforced, revision)
	d.standings[id] = s
}

// renew grants a lease, or names the revision that has to be enforced first.
func (d *database) renew(id string, r *syncpb.Renewal) (number, wanted uint64) {
	d.acknowledge(id, r.GetRevision())
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.policies.grantable(r.GetRevision(), d.fence) {
		return 0, d.fence
	}
	s := d.standings[id].Granted(r.GetLease(), d.term)
	d.standings[id] = s
	return s.Lease, 0
}

// end writes down that a lease is over.
func (d *database) end(id string, number uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.standings[id] = d.policies.ended(d.standings[id], number)
}

// all gives the standing of each gateway.
func (d *database) all() map[string]lease.Standing {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := make(map[string]lease.Standing, len(d.standings))
	for id, s := range d.standings {
		all[id] = s
	}
	return all
}

// waiting gives the receipts that are pending, each with the standings that it waits for.
func (d *database) waiting() map[*receipt][]lease.Standing {
	d.mu.Lock()
	defer d.mu.Unlock()
	waiting := map[*receipt][]lease.Standing{}
	for _, r := range d.receipts {
		if r.effective.IsZero() {
			listed := []lease.Standing{}
			for _, id := range r.gateways {
				listed = append(listed, d.standings[id])
			}
			waiting[r] = listed
		}
	}
	return waiting
}

// finish says that a revocation is in effect.
func (d *database) finish(r *receipt) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if r.effective.IsZero() {
		r.effective = time.Now()
	}
}

// controller is one replica of the control plane.
type controller struct {
	syncpb.UnimplementedSyncServer
	database *database
	process  passage // held up while the replica stands still
	slow     func() time.Duration
	port     *port

	mu       sync.Mutex
	sights   map[string]lease.Sight
	progress map[*receipt]lease.Progress
}

func (c *controller) run(ctx context.Context) {
	server := grpc.NewServer()
	syncpb.RegisterSyncServer(server, c)
	go func() { _ = server.Serve(c.port) }() // it ends with the port
	c.forget()
	for c.step(ctx) {
		c.look(ctx)
		elapse(200 * time.Millisecond)
	}
	server.Stop()
}

// forget is what a replica knows after it has started.
func (c *controller) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sights, c.progress = map[string]lease.Sight{}, map[*receipt]lease.Progress{}
}

// step is where a replica may be slow or stand still; false when it ends.
func (c *controller) step(ctx context.Context) bool {
	elapse(c.slow())
	return c.process.wait(ctx.Done()) && ctx.Err() == nil
}

// look concludes what it can about leases and receipts.
func (c *controller) look(ctx context.Context) {
	for id, s := range c.database.all() {
		if !c.step(ctx) {
			return
		}
		now := elapsed()
		c.mu.Lock()
		c.sights[id] = c.sights[id].See(s.Lease, now)
		sight := c.sights[id]
		c.mu.Unlock()
		if !s.Over && c.database.policies.over(sight, now, s.Wait) && c.step(ctx) {
			c.database.end(id, sight.Lease)
		}
	}
	settling := c.database.policies.settling(envoy.CheckTimeout, shortTime)
	for r, listed := range c.database.waiting() {
		if !c.step(ctx) {
			return
		}
		now := elapsed()
		c.mu.Lock()
		c.progress[r] = c.progress[r].See(r.revision, listed, now)
		effective := c.progress[r].Effective(now, settling)
		c.mu.Unlock()
		if effective {
			c.database.finish(r)
		}
	}
}

// Stream is the control plane's side of a gateway's stream.
func (c *controller) Stream(stream syncpb.Sync_StreamServer) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	var sending sync.Mutex
	send := func(m *syncpb.ControlMessage) error {
		if !c.step(ctx) {
			return ctx.Err()
		}
		sending.Lock()
		defer sending.Unlock()
		m.Time = timestamppb.Now()
		return stream.Send(m)
	}
	if err := send(&syncpb.ControlMessage{Message: &syncpb.ControlMessage_Challenge{Challenge: &syncpb.Challenge{Nonce: make([]byte, 16)}}}); err != nil {
		return err
	}
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	hello := first.GetHello()
	go c.push(ctx, hello.GetRevision(), send)
	for {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		if !c.step(ctx) {
			return ctx.Err()
		}
		if answer := c.hear(ctx, hello.GetGatewayId(), m); answer != nil {
			if err := send(answer); err != nil {
				return err
			}
		}
	}
}

// push sends each revision once it is newer than what the gateway has.
func (c *controller) push(ctx context.Context, sent uint64, send func(*syncpb.ControlMessage) error) {
	for ctx.Err() == nil {
		revision, changed := c.database.present()
		if revision > sent {
			if err := send(&syncpb.ControlMessage{Message: &syncpb.ControlMessage_Bundle{Bundle: &syncpb.Bundle{Revision: revision}}}); err != nil {
				return
			}
			sent = revision
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// hear does what a message asks, and gives the answer.
func (c *controller) hear(ctx context.Context, id string, m *syncpb.GatewayMessage) *syncpb.ControlMessage {
	switch m := m.GetMessage().(type) {
	case *syncpb.GatewayMessage_Acknowledged:
		c.database.acknowledge(id, m.Acknowledged.GetRevision())
	case *syncpb.GatewayMessage_Surrender:
		c.database.end(id, m.Surrender.GetLease())
	case *syncpb.GatewayMessage_Sync:
		revision, _ := c.database.present()
		return &syncpb.ControlMessage{Message: &syncpb.ControlMessage_Current{Current: &syncpb.Current{Id: m.Sync.GetId(), Revision: revision}}}
	case *syncpb.GatewayMessage_Renewal:
		number, wanted := c.database.renew(id, m.Renewal)
		if !c.step(ctx) { // between the commit and the answer
			return nil
		}
		if number == 0 {
			return &syncpb.ControlMessage{Message: &syncpb.ControlMessage_Withheld{Withheld: &syncpb.Withheld{Renewal: m.Renewal.GetId(), Revision: wanted}}}
		}
		granted := &syncpb.Grant{Renewal: m.Renewal.GetId(), Lease: number, Term: durationpb.New(c.database.term)}
		return &syncpb.ControlMessage{Message: &syncpb.ControlMessage_Grant{Grant: granted}}
	}
	return nil
}
