package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres/internal/query"
)

// maxEventRows is how many events are inserted one by one; more are loaded at once.
const maxEventRows = 200

// AppendEvents adds events that are told by the transaction's own change, in order, each with the workspace's next
// sequence, which it writes into them.
func (t *Tx) AppendEvents(ctx context.Context, events []authority.Event) error {
	if len(events) == 0 {
		return nil
	}
	last, err := t.q.TakeEventSequences(ctx, query.TakeEventSequencesParams{WorkspaceID: t.workspace, Count: int64(len(events))})
	if err != nil {
		return translate("take event sequences", err)
	}
	for i := range events {
		events[i].Sequence = last - int64(len(events)-1-i)
	}
	if len(events) > maxEventRows {
		return t.copyEvents(ctx, events)
	}
	rows := make([]query.InsertEventsParams, len(events))
	for i, e := range events {
		rows[i] = query.InsertEventsParams{
			WorkspaceID: t.workspace, ID: e.ID, Time: e.Time, Sequence: e.Sequence, Type: e.Type, ActorID: e.ActorID,
			PrincipalID: e.PrincipalID, MandateID: e.MandateID, DecisionID: e.DecisionID, Resource: e.Resource, Record: e,
		}
	}
	var failed error
	t.q.InsertEvents(ctx, rows).Exec(func(_ int, err error) { failed = errors.Join(failed, err) })
	return translate("append events", failed)
}

// EventFilter narrows Events; a zero field does not, but for Until, which is always the end. Own is the principal whose
// events the caller may see.
type EventFilter struct {
	ID          authority.EventID
	Type        authority.EventType
	From        time.Time
	Until       time.Time
	PrincipalID authority.PrincipalID
	ActorID     authority.PrincipalID
	Own         authority.PrincipalID
	MandateID   authority.MandateID
	DecisionID  authority.DecisionID
	Resource    authority.Resource
}

// Events lists events by time, each with its outcome where that is known.
func (t *Tx) Events(ctx context.Context, f EventFilter, p Page) ([]authority.Event, error) {
	asked := query.EventsParams{
		WorkspaceID: t.workspace, WithID: string(f.ID), WithDecision: string(f.DecisionID), WithType: string(f.Type),
		WithPrincipal: string(f.PrincipalID), WithActor: string(f.ActorID), Own: string(f.Own),
		WithMandate: string(f.MandateID), WithResource: string(f.Resource), FromTime: f.From, UntilTime: f.Until,
		AfterID: p.AfterID, AfterTime: p.AfterTime, AfterSequence: p.AfterSequence, Size: p.Size,
	}
	if !p.Order.Ascending {
		rows, err := t.q.Events(ctx, asked)
		return recorded(rows), translate("list events", err)
	}
	oldest, err := t.q.EventsFromOldest(ctx, query.EventsFromOldestParams(asked))
	rows := make([]query.EventsRow, len(oldest))
	for i, row := range oldest {
		rows[i] = query.EventsRow(row)
	}
	return recorded(rows), translate("list events", err)
}

func recorded(rows []query.EventsRow) []authority.Event {
	list := make([]authority.Event, len(rows))
	for i, row := range rows {
		list[i] = row.Record
		if row.Outcome != nil {
			list[i].Outcome = row.Outcome
		}
	}
	return list
}

// Batch is a run of consecutive decision events of one gateway process. The gateway's word has been checked: the events
// are numbered First to Last. With only outcomes both are 0.
type Batch struct {
	GatewayID authority.GatewayID
	KeyID     authority.KeyID
	Epoch     uint64
	First     uint64
	Last      uint64
	Events    []authority.Event
	Outcomes  map[authority.DecisionID]authority.Outcome
}

// RecordBatch stores what of a batch is not stored yet, and returns the highest sequence up to which nothing of the
// epoch is missing. It waits for nobody but other batches of the same process.
func (t *Tx) RecordBatch(ctx context.Context, b Batch) (uint64, error) {
	there, err := t.q.HasGateway(ctx, query.HasGatewayParams{WorkspaceID: t.workspace, KeyID: b.KeyID, ID: b.GatewayID})
	if err == nil && !there {
		err = ErrNotFound
	}
	if err != nil {
		return 0, translate("find gateway", err)
	}
	if err := t.q.LockRecord(ctx, query.LockRecordParams{ID: string(b.GatewayID)}); err != nil {
		return 0, translate("wait for the batch before", err)
	}
	stored, err := t.q.Batches(ctx, query.BatchesParams{WorkspaceID: t.workspace, GatewayID: b.GatewayID, Epoch: b.Epoch})
	if err != nil {
		return 0, translate("read batches", err)
	}
	var fresh []authority.Event
	for _, gap := range gaps(stored, b.First, b.Last) {
		fresh = append(fresh, b.Events[gap.First-b.First:gap.Last-b.First+1]...)
		err := t.q.InsertBatch(ctx, query.InsertBatchParams{
			WorkspaceID: t.workspace, GatewayID: b.GatewayID, Epoch: b.Epoch, First: gap.First, Last: gap.Last,
		})
		if err != nil {
			return 0, translate("insert batch", err)
		}
		stored = append(stored, gap)
	}
	if err := t.copyEvents(ctx, fresh); err != nil {
		return 0, err
	}
	if err := t.insertOutcomes(ctx, b.Outcomes); err != nil {
		return 0, err
	}
	return unbroken(stored), nil
}

// gaps are the parts of first to last that no stored run covers; none for an empty range. Stored runs are in order and
// apart from each other.
func gaps(stored []query.BatchesRow, first, last uint64) []query.BatchesRow {
	var missing []query.BatchesRow
	if first == 0 {
		return nil
	}
	for _, run := range stored {
		if run.Last < first || run.First > last {
			continue
		}
		if run.First > first {
			missing = append(missing, query.BatchesRow{First: first, Last: run.First - 1})
		}
		first = run.Last + 1
	}
	if first <= last {
		missing = append(missing, query.BatchesRow{First: first, Last: last})
	}
	return missing
}

// unbroken is the end of the run that begins at 1, whatever the order of the parts.
func unbroken(stored []query.BatchesRow) uint64 {
	end := make(map[uint64]uint64, len(stored))
	for _, run := range stored {
		end[run.First] = run.Last
	}
	var last uint64
	for next, ok := end[1]; ok; next, ok = end[last+1] {
		last = next
	}
	return last
}

// copyEvents loads events by COPY. PostgreSQL has no COPY into a table under row-level security, so that they pass a
// table of the transaction's own and the policy checks them on the way out of it.
func (t *Tx) copyEvents(ctx context.Context, events []authority.Event) error {
	if len(events) == 0 {
		return nil
	}
	_, err := t.tx.Exec(ctx, `CREATE TEMPORARY TABLE staged_events (id text, time timestamptz, sequence bigint, type text, actor_id text,
		principal_id text, mandate_id text, decision_id text, resource text, record json) ON COMMIT DROP`)
	if err != nil {
		return translate("stage events", err)
	}
	columns := []string{"id", "time", "sequence", "type", "actor_id", "principal_id", "mandate_id", "decision_id", "resource", "record"}
	_, err = t.tx.CopyFrom(ctx, pgx.Identifier{"staged_events"}, columns, pgx.CopyFromSlice(len(events), func(i int) ([]any, error) {
		e := events[i]
		record, err := json.Marshal(e)
		if err != nil {
			return nil, fmt.Errorf("event %s: %w", e.ID, err)
		}
		return []any{
			string(e.ID), e.Time, e.Sequence, string(e.Type), string(e.ActorID), string(e.PrincipalID), string(e.MandateID),
			string(e.DecisionID), string(e.Resource), record,
		}, nil
	}))
	if err != nil {
		return translate("copy events", err)
	}
	// A plan that is kept would name the staging table of an earlier transaction.
	_, err = t.tx.Exec(ctx, `INSERT INTO events (workspace_id, id, time, sequence, type, actor_id, principal_id,
			mandate_id, decision_id, resource, record)
		SELECT $1, id, time, sequence, type, actor_id, principal_id, mandate_id, decision_id, resource, record FROM staged_events`,
		pgx.QueryExecModeExec, string(t.workspace))
	return translate("insert events", err)
}

func (t *Tx) insertOutcomes(ctx context.Context, outcomes map[authority.DecisionID]authority.Outcome) error {
	if len(outcomes) == 0 {
		return nil
	}
	rows := make([]query.InsertOutcomesParams, 0, len(outcomes))
	for id, outcome := range outcomes {
		rows = append(rows, query.InsertOutcomesParams{WorkspaceID: t.workspace, DecisionID: id, Outcome: &outcome})
	}
	var failed error
	t.q.InsertOutcomes(ctx, rows).Exec(func(_ int, err error) { failed = errors.Join(failed, err) })
	return translate("insert outcomes", failed)
}
