package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/internal/syncpb"
)

// Bounds of what waits to be shipped. What does not fit is lost, counted, and leaves a gap in the sequence that the
// control plane sees.
//
// Anyone who reaches the port can be denied as often as he likes, so that denials never take the room that the record of
// what was allowed needs.
const (
	shipQueue    = 50_000
	denialQueue  = shipQueue / 2
	shipBatch    = 500
	shipInterval = 500 * time.Millisecond
	shipTimeout  = 5 * time.Second
)

// errNotStorable is a batch that the control plane can read but not store, now or later.
var errNotStorable = errors.New("not storable")

// shipper sends the record of every decision to the control plane: in batches, in order, again with the same numbers
// until they are stored. It never holds up a decision.
type shipper struct {
	epoch uint64
	log   *slog.Logger

	mu       sync.Mutex
	sequence uint64 // of the newest event
	events   []authority.Event
	outcomes map[authority.DecisionID]authority.Outcome
	lost     uint64
	sending  int           // events of the batch that is being stored
	wake     chan struct{} // holds a token when a batch is full
}

func newShipper(epoch uint64, log *slog.Logger) *shipper {
	return &shipper{
		epoch: epoch, log: log,
		outcomes: map[authority.DecisionID]authority.Outcome{},
		wake:     make(chan struct{}, 1),
	}
}

// Record queues an event. It takes the next sequence number whether there is room or not, so that a loss is a gap.
func (s *shipper) Record(e authority.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sequence++
	room := shipQueue
	if e.Type == authority.EventDenied {
		room = denialQueue
	}
	if len(s.events) >= room {
		s.lost++
		return
	}
	e.Gateway = &authority.GatewayRecord{Epoch: s.epoch, Sequence: s.sequence}
	s.events = append(s.events, e)
	if len(s.events) >= shipBatch {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// Outcome queues what came of a decision.
func (s *shipper) Outcome(id authority.DecisionID, o authority.Outcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.outcomes) >= shipQueue {
		s.lost++
		return
	}
	s.outcomes[id] = o
}

// Lost counts the events and outcomes that there was no room for.
func (s *shipper) Lost() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lost
}

// Waiting counts the events that are not stored yet.
func (s *shipper) Waiting() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return uint64(len(s.events) + s.sending)
}

// batch is what one call stores. What was not stored comes again under the same numbers, alone or with what followed.
type batch struct {
	first, last uint64
	events      []authority.Event
	outcomes    map[authority.DecisionID]authority.Outcome
}

// next takes the longest run of queued events without a gap, up to a batch, and the outcomes once no older events
// wait.
func (s *shipper) next() (batch, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b batch
	n := 0
	for n < len(s.events) && n < shipBatch && s.events[n].Gateway.Sequence == s.events[0].Gateway.Sequence+uint64(n) {
		n++
	}
	if n > 0 {
		b.events = s.events[:n:n]
		b.first, b.last = b.events[0].Gateway.Sequence, b.events[n-1].Gateway.Sequence
		s.events = s.events[n:]
	}
	s.sending = n
	if len(s.events) == 0 {
		b.outcomes = s.someOutcomes()
	}
	return b, n > 0 || len(b.outcomes) > 0
}

// someOutcomes takes up to a batch of outcomes. The caller holds the lock.
func (s *shipper) someOutcomes() map[authority.DecisionID]authority.Outcome {
	some := make(map[authority.DecisionID]authority.Outcome, min(len(s.outcomes), shipBatch))
	for id, o := range s.outcomes {
		if len(some) == shipBatch {
			break
		}
		some[id] = o
		delete(s.outcomes, id)
	}
	return some
}

// Run ships until ctx ends, then ships what is left, for a few seconds at most. send stores one request; it is called
// again with the same request until it succeeds.
func (s *shipper) Run(ctx context.Context, send func(context.Context, *syncpb.RecordRequest) error) error {
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return fmt.Errorf("prepare compression of events: %w", err)
	}
	defer encoder.Close()
	tick := time.NewTicker(shipInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return s.flush(encoder, send)
		case <-tick.C:
		case <-s.wake:
		}
		if err := s.drain(ctx, encoder, send); err != nil {
			return err
		}
	}
}

// flush ships what is left when the gateway stops.
func (s *shipper) flush(encoder *zstd.Encoder, send func(context.Context, *syncpb.RecordRequest) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), shipTimeout)
	defer cancel()
	err := s.drain(ctx, encoder, func(ctx context.Context, r *syncpb.RecordRequest) error {
		err := send(ctx, r)
		if errors.Is(err, ErrRefused) {
			cancel() // there is no time left in which that could mend
		}
		return err
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.events) > 0 || s.lost > 0 {
		s.log.Warn("decision events were not shipped", "waiting", len(s.events), "lost", s.lost)
	}
	return nil
}

// drain ships batch after batch until nothing waits or ctx ends.
func (s *shipper) drain(ctx context.Context, encoder *zstd.Encoder, send func(context.Context, *syncpb.RecordRequest) error) error {
	for {
		b, some := s.next()
		if !some {
			return nil
		}
		request, err := s.encode(b, encoder)
		if err != nil {
			return err
		}
		if !s.insist(ctx, b, request, send) {
			s.giveBack(b)
			return nil
		}
	}
}

func (s *shipper) encode(b batch, encoder *zstd.Encoder) (*syncpb.RecordRequest, error) {
	request := &syncpb.RecordRequest{Epoch: s.epoch, First: b.first, Last: b.last}
	if len(b.events) > 0 {
		text, err := json.Marshal(b.events)
		if err != nil {
			return nil, fmt.Errorf("encode events: %w", err)
		}
		request.Events = encoder.EncodeAll(text, nil)
	}
	if len(b.outcomes) > 0 {
		text, err := json.Marshal(b.outcomes)
		if err != nil {
			return nil, fmt.Errorf("encode outcomes: %w", err)
		}
		request.Outcomes = encoder.EncodeAll(text, nil)
	}
	return request, nil
}

// insist sends a request until it is stored; it reports false when ctx ended first.
func (s *shipper) insist(ctx context.Context, b batch, request *syncpb.RecordRequest, send func(context.Context, *syncpb.RecordRequest) error) bool {
	longest := 10 * time.Second
	for pause := shipInterval; ; pause = min(2*pause, longest) {
		attempt, cancel := context.WithTimeout(ctx, shipTimeout)
		err := send(attempt, request)
		cancel()
		if err == nil {
			return true
		}
		if errors.Is(err, errNotStorable) {
			s.drop(b, err)
			return true
		}
		if errors.Is(err, ErrRefused) {
			longest = refusedPause
		}
		s.log.Warn("decision events wait for the control plane", "cause", plain(err), "waiting", len(b.events), "outcomes", len(b.outcomes), "next_try", pause)
		select {
		case <-ctx.Done():
			return false
		case <-time.After(pause):
		}
	}
}

// drop gives up a batch that the control plane will never store, so that it does not hold up those behind it.
func (s *shipper) drop(b batch, cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lost += uint64(len(b.events) + len(b.outcomes))
	s.log.Error("decision events are lost", "first", b.first, "last", b.last, "outcomes", len(b.outcomes), "cause", cause)
}

// giveBack puts a batch that was not stored in front of what came since, under its old numbers.
func (s *shipper) giveBack(b batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events, s.sending = append(b.events, s.events...), 0
	for id, o := range b.outcomes {
		if _, newer := s.outcomes[id]; !newer {
			s.outcomes[id] = o
		}
	}
}
