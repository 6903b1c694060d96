package controlplane

import (
	"context"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
)

// EventFilter narrows a list of events; a zero field does not. An agent's list holds its own only.
type EventFilter struct {
	Type        authority.EventType
	From        time.Time             // inclusive
	Until       time.Time             // exclusive
	PrincipalID authority.PrincipalID // whom it is about, or who acted
	ActorID     authority.PrincipalID // who acted
	MandateID   authority.MandateID
	DecisionID  authority.DecisionID
	Resource    authority.Resource
}

// Days sets the filter to whole days of UTC, both ends inclusive, each written as 2006-01-02; an empty end is open.
func (f *EventFilter) Days(start, end string) error {
	if start != "" {
		day, err := time.Parse(time.DateOnly, start)
		if err != nil {
			return authority.Invalid("start_date", "a date is written as 2006-01-02")
		}
		f.From = day
	}
	if end != "" {
		day, err := time.Parse(time.DateOnly, end)
		if err != nil {
			return authority.Invalid("end_date", "a date is written as 2006-01-02")
		}
		f.Until = day.AddDate(0, 0, 1)
	}
	return nil
}

// endOfTime is after every event.
func endOfTime() time.Time { return time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC) }

// Events lists events, the newest first unless sorted by time.
func (s *Service) Events(ctx context.Context, c Caller, f EventFilter, p Page) (List[authority.Event], error) {
	op := allowed("list_events")
	filter := postgres.EventFilter{
		Type: f.Type, From: f.From, Until: f.Until, PrincipalID: f.PrincipalID, Own: c.ownEvents(),
		ActorID: f.ActorID, MandateID: f.MandateID, DecisionID: f.DecisionID, Resource: f.Resource,
	}
	if filter.Until.IsZero() {
		filter.Until = endOfTime()
	}
	return listing[authority.Event]{
		op: op, filter: filter, keys: []postgres.Key{postgres.ByTime},
		look: func(ctx context.Context, tx *postgres.Tx, page postgres.Page) ([]authority.Event, error) {
			return tx.Events(ctx, filter, page)
		},
		end: func(e authority.Event, _ postgres.Key) place { return at(e.Time, e.Sequence, string(e.ID)) },
	}.read(ctx, s, c, p)
}

// MayExport reports as an error why the caller may not take events away as text, all at once.
func (s *Service) MayExport(ctx context.Context, c Caller) error {
	return s.permit(ctx, c, allowed("export_events"))
}

// ownEvents is the principal whose events alone the caller may see; empty for those who may see all.
func (c Caller) ownEvents() authority.PrincipalID {
	if c.isAgent() {
		return c.principal.ID
	}
	return ""
}

// Event finds an event by its own id or by the id of its decision.
func (s *Service) Event(ctx context.Context, c Caller, id string) (authority.Event, error) {
	op := allowed("get_event")
	filter := postgres.EventFilter{Until: endOfTime(), Own: c.ownEvents()}
	if decision, err := authority.ParseID[authority.DecisionID](id); err == nil {
		filter.DecisionID = decision
	} else if event, err := authority.ParseID[authority.EventID](id); err == nil {
		filter.ID = event
	} else {
		return authority.Event{}, authority.NotFound("event")
	}
	return read(ctx, s, c, op, func(ctx context.Context, tx *postgres.Tx) (authority.Event, error) {
		found, err := tx.Events(ctx, filter, postgres.Page{Size: 1})
		if err != nil {
			return authority.Event{}, err
		}
		if len(found) == 0 {
			return authority.Event{}, authority.NotFound("event")
		}
		return found[0], nil
	})
}
