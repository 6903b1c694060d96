package postgres

import (
	"context"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres/internal/query"
)

// Recording is a place in the order in which events became visible.
type Recording struct {
	Transaction string // the number of the transaction that recorded the event
	Time        time.Time
	Sequence    int64
	ID          string
}

// Recorded is an event with its place.
type Recorded struct {
	Event authority.Event
	Place Recording
}

// Now is the place after every event that is visible, and before every one that becomes so later.
func (t *Tx) Now(ctx context.Context) (Recording, error) {
	horizon, err := t.q.Horizon(ctx)
	return Recording{Transaction: horizon}, translate("read horizon", err)
}

// EventsAfter lists at most size events after a place, in the order in which they became visible, each with its outcome
// left out. The dates of the filter do not count.
func (t *Tx) EventsAfter(ctx context.Context, f EventFilter, after Recording, size int32) ([]Recorded, error) {
	rows, err := t.q.FollowEvents(ctx, query.FollowEventsParams{
		WorkspaceID: t.workspace, AfterTransaction: after.Transaction, AfterTime: after.Time, AfterSequence: after.Sequence,
		AfterID: after.ID, WithType: string(f.Type), WithPrincipal: string(f.PrincipalID), WithActor: string(f.ActorID),
		Own: string(f.Own), WithMandate: string(f.MandateID), WithDecision: string(f.DecisionID), WithResource: string(f.Resource),
		Size: size,
	})
	list := make([]Recorded, len(rows))
	for i, row := range rows {
		list[i] = Recorded{row.Record, Recording{row.RecordedIn, row.Time, row.Sequence, string(row.ID)}}
	}
	return list, translate("follow events", err)
}
