package controlplane

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
	"github.com/caracal-gateway/caracal/token"
)

const (
	// gatewayMemory is after how long of silence a gateway is taken to be gone for good.
	gatewayMemory = 24 * time.Hour
	// heartbeat is how often a replica notes which gateways are connected to it; beyond staleAfter nobody has.
	heartbeat  = 15 * time.Second
	staleAfter = 3 * heartbeat

	maxInstance     = 253
	maxFormats      = 64
	maxEnvoyRefusal = 1000
)

// Gateway is one enrolled process of a gateway.
type Gateway = postgres.Gateway

// Enrolment registers one process of a gateway. The sync server has verified that the process holds the private key.
type Enrolment struct {
	PublicKey []byte // Ed25519
	// Instance names the place where the process runs, for people. One process at a time runs at a place under one
	// gateway key: a later one takes the place of an earlier that is not connected, which a revocation then no longer
	// waits for.
	Instance string
	Version  string // of the gateway's program
	Formats  []uint32
}

// Enrolled is what a gateway process starts with.
type Enrolled struct {
	Gateway    Gateway
	Deployment string
	Timeline   string
	// KeySet is sealed by the workspace's root key, whose fingerprint is in the gateway key.
	KeySet string
}

// EnrolGateway registers a process. A public key that is enrolled already under the same gateway key answers the
// gateway that it is.
func (s *Service) EnrolGateway(ctx context.Context, c Caller, e Enrolment) (Enrolled, error) {
	op := allowed("enrol_gateway").quietly()
	c.once = once{} // the public key makes it repeatable
	written, err := write(ctx, s, c, op, func(ctx context.Context, tx *postgres.Tx, ch *change) (Enrolled, error) {
		if len(e.PublicKey) != ed25519.PublicKeySize {
			return Enrolled{}, authority.Invalid("public_key", "is %d bytes", ed25519.PublicKeySize)
		}
		if len(e.Formats) > maxFormats {
			return Enrolled{}, authority.Invalid("formats", "lists more than %d", maxFormats)
		}
		keys, err := s.openKeys(ctx, tx, c.workspace)
		if err != nil {
			return Enrolled{}, err
		}
		enrolled := Enrolled{Deployment: keys.set.Deployment, Timeline: keys.set.Timeline}
		if enrolled.KeySet, err = token.SealKeySet(keys.root, keys.set); err != nil {
			return Enrolled{}, err
		}
		enrolled.Gateway, err = tx.GatewayByPublicKey(ctx, c.key, e.PublicKey)
		if err == nil {
			ch.unchanged = true
			return enrolled, nil
		}
		if !errors.Is(err, postgres.ErrNotFound) {
			return Enrolled{}, err
		}
		enrolled.Gateway = Gateway{
			ID: authority.NewID[authority.GatewayID](), WorkspaceID: c.workspace, KeyID: c.key, PublicKey: e.PublicKey,
			Instance: clean(e.Instance, maxInstance), Version: clean(e.Version, maxInstance),
			Formats: append([]uint32{}, e.Formats...), EnrolledAt: ch.at, SeenAt: ch.at,
		}
		if err := tx.InsertGateway(ctx, enrolled.Gateway); err != nil {
			return Enrolled{}, err
		}
		ch.tell(authority.Event{
			Type: authority.EventGatewayEnrolled,
			Detail: map[string]any{
				"gateway_id": enrolled.Gateway.ID, "instance": enrolled.Gateway.Instance, "version": enrolled.Gateway.Version,
			},
		})
		return enrolled, tx.SupersedeGateways(ctx, enrolled.Gateway, ch.at, ch.at.Add(-staleAfter))
	})
	return written.Value, err
}

// clean makes a gateway's own words fit to be shown.
func clean(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if unprintable(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, " "))
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "")
	}
	return s
}

// Gateways lists the enrolled processes that were heard of within a day, those that left last.
func (s *Service) Gateways(ctx context.Context, c Caller) ([]Gateway, error) {
	return read(ctx, s, c, allowed("list_gateways"), func(ctx context.Context, tx *postgres.Tx) ([]Gateway, error) {
		now := s.now()
		all, err := tx.Gateways(ctx, now.Add(-gatewayMemory))
		for i := range all {
			all[i].Connected = all[i].Connected && all[i].SeenAt.After(now.Add(-staleAfter))
		}
		return all, err
	})
}

// Gateway finds an enrolled process of the caller's own gateway key, for the sync server.
func (s *Service) Gateway(ctx context.Context, c Caller, id authority.GatewayID) (Gateway, error) {
	return read(ctx, s, c, allowed("find_gateway"), func(ctx context.Context, tx *postgres.Tx) (Gateway, error) {
		g, err := tx.Gateway(ctx, id)
		if err == nil && g.KeyID != c.key {
			err = postgres.ErrNotFound
		}
		return g, orNotFound("gateway", err)
	})
}

// ConnectGateway marks the process connected until the returned function is called. Left says that the process ended
// its stream on purpose and decides no more; a revocation does not wait for it then.
func (s *Service) ConnectGateway(ctx context.Context, c Caller, id authority.GatewayID) (disconnect func(left bool), err error) {
	err = s.note(ctx, c, "connect_gateway", func(ctx context.Context, tx *postgres.Tx) error {
		return tx.ConnectGateway(ctx, c.key, id, s.now())
	})
	if err != nil {
		return nil, err
	}
	release := s.connected.add(connection{c.workspace, id})
	return func(left bool) {
		if !release() {
			return // another stream of the same process is open
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), refusalTimeout)
		defer cancel()
		err := s.store.Write(ctx, c.workspace, func(ctx context.Context, tx *postgres.Tx) error {
			now := s.now()
			if left {
				return tx.DisconnectGateway(ctx, id, now, &now)
			}
			return tx.DisconnectGateway(ctx, id, now, nil)
		})
		if err != nil {
			s.log.Warn("disconnection of a gateway not recorded", "gateway", id, "cause", err)
		}
		s.acks.wake(c.workspace)
	}, nil
}

// Acknowledge records that the process's decisions enforce a revision. One that the workspace does not have is an
// invalid_request; one that is older than the last is no news.
func (s *Service) Acknowledge(ctx context.Context, c Caller, id authority.GatewayID, revision uint64) error {
	err := s.note(ctx, c, "acknowledge", func(ctx context.Context, tx *postgres.Tx) error {
		recorded, err := tx.Acknowledge(ctx, postgres.Acknowledgement{GatewayID: id, KeyID: c.key, Revision: revision, At: s.now()})
		if err != nil || recorded {
			return err
		}
		w, err := tx.Workspace(ctx)
		if err == nil && revision > w.Revision {
			err = authority.Invalid("revision", "the workspace is at revision %d", w.Revision)
		}
		return err
	})
	if err == nil {
		s.acks.wake(c.workspace)
	}
	return err
}

// ReportEnvoy records what the process's Envoy said of its configuration; empty means that it accepted it.
func (s *Service) ReportEnvoy(ctx context.Context, c Caller, id authority.GatewayID, refusal string) error {
	return s.note(ctx, c, "report_envoy", func(ctx context.Context, tx *postgres.Tx) error {
		return tx.SetEnvoyRefusal(ctx, c.key, id, clean(refusal, maxEnvoyRefusal), s.now())
	})
}

// note writes what a gateway says of itself: no change of the workspace, so neither revision nor event.
func (s *Service) note(ctx context.Context, c Caller, name string, write func(context.Context, *postgres.Tx) error) error {
	op := allowed(name)
	if err := s.permit(ctx, c, op); err != nil {
		return err
	}
	return s.tell(ctx, orNotFound("gateway", s.store.Write(ctx, c.workspace, write)))
}

// connection is one gateway process that is connected to this replica.
type connection struct {
	workspace authority.WorkspaceID
	gateway   authority.GatewayID
}

// connections counts the streams of each process. The zero value is ready.
type connections struct {
	mu   sync.Mutex // guards open
	open map[connection]int
}

// add counts a stream. The returned function ends it and reports whether it was the last of its process.
func (cs *connections) add(c connection) (release func() bool) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.open == nil {
		cs.open = map[connection]int{}
	}
	cs.open[c]++
	return func() bool {
		cs.mu.Lock()
		defer cs.mu.Unlock()
		cs.open[c]--
		if cs.open[c] > 0 {
			return false
		}
		delete(cs.open, c)
		return true
	}
}

func (cs *connections) all() map[connection]int {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return maps.Clone(cs.open)
}

// Batch holds consecutive decision events of one gateway process: First to Last without gaps, and what became of
// decisions that may be in this or an earlier batch. With outcomes alone, First and Last are 0.
type Batch struct {
	GatewayID authority.GatewayID
	Epoch     uint64
	First     uint64
	Last      uint64
	Events    []authority.Event
	Outcomes  map[authority.DecisionID]authority.Outcome
}

const (
	maxBatchEvents = 20_000
	// What a gateway may say of when something happened: not after now, allowing for its clock, and not so long ago
	// that no gateway can have kept it.
	maxEventAhead = 5 * time.Minute
	maxEventAge   = 366 * 24 * time.Hour
)

// RecordEvents stores a batch once, and answers the highest sequence stored without a gap for this gateway and epoch.
func (s *Service) RecordEvents(ctx context.Context, c Caller, b Batch) (uint64, error) {
	if err := s.admitBatch(c, &b); err != nil {
		return 0, err
	}
	if err := s.permit(ctx, c, allowed("record_events")); err != nil {
		return 0, err
	}
	for _, month := range months(b.Events) {
		// Those of now are made ahead of time; a gateway that was cut off for long brings older ones.
		if err := s.store.EnsureEventPartitions(ctx, month); err != nil {
			return 0, s.tell(ctx, err)
		}
	}
	var last uint64
	err := s.note(ctx, c, "record_events", func(ctx context.Context, tx *postgres.Tx) error {
		var err error
		last, err = tx.RecordBatch(ctx, postgres.Batch{
			GatewayID: b.GatewayID, KeyID: c.key, Epoch: b.Epoch, First: b.First, Last: b.Last,
			Events: b.Events, Outcomes: b.Outcomes,
		})
		return err
	})
	return last, err
}

// months are the first days of the months that events are of.
func months(events []authority.Event) []time.Time {
	var all []time.Time
	for _, e := range events {
		month := time.Date(e.Time.Year(), e.Time.Month(), 1, 0, 0, 0, 0, time.UTC)
		if !slices.Contains(all, month) {
			all = append(all, month)
		}
	}
	return all
}

// admitBatch checks what a gateway says, and writes into its events what it does not get to say.
func (s *Service) admitBatch(c Caller, b *Batch) error {
	if len(b.Events) > maxBatchEvents || len(b.Outcomes) > maxBatchEvents {
		return authority.Invalid("events", "a batch has at most %d", maxBatchEvents)
	}
	numbered := b.First >= 1 && b.Last >= b.First && b.Last-b.First+1 == uint64(len(b.Events))
	empty := b.First == 0 && b.Last == 0 && len(b.Events) == 0
	if !numbered && !empty {
		return authority.Invalid("first", "first and last number the events without gaps")
	}
	if b.Last > maxSequence || b.Epoch > maxSequence {
		return authority.Invalid("last", "out of range")
	}
	now := s.now()
	for i := range b.Events {
		if err := admitEvent(c, b, i, now); err != nil {
			return authority.Within(fmt.Sprintf("events[%d]", i), err)
		}
	}
	return nil
}

// maxSequence is what the database can count to.
const maxSequence = 1<<63 - 1

func admitEvent(c Caller, b *Batch, i int, now time.Time) error {
	e := &b.Events[i]
	e.Time = e.Time.UTC().Truncate(time.Microsecond)
	switch e.Type {
	case authority.EventAllowed, authority.EventDenied, authority.EventValidated:
	default:
		return authority.Invalid("event_type", "%q is not a decision's", clean(string(e.Type), 40))
	}
	if _, err := authority.ParseID[authority.EventID](string(e.ID)); err != nil {
		return authority.Within("event_id", err)
	}
	if _, err := authority.ParseID[authority.DecisionID](string(e.DecisionID)); err != nil {
		return authority.Within("decision_id", err)
	}
	if e.Time.After(now.Add(maxEventAhead)) || e.Time.Before(now.Add(-maxEventAge)) {
		return authority.Invalid("time", "%s is not when a decision can have been made", e.Time.Format(time.RFC3339))
	}
	e.WorkspaceID, e.Sequence = c.workspace, 0
	e.ActorKeyID = c.key
	e.Gateway = &authority.GatewayRecord{ID: b.GatewayID, Epoch: b.Epoch, Sequence: b.First + uint64(i)}
	return nil
}
