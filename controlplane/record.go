package controlplane

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
)

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
