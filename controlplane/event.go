package controlplane

import (
	"time"

	"github.com/caracal-gateway/caracal/authority"
)

// EventFilter narrows a list of events; a zero field does not. An agent's list holds its own only.
type EventFilter struct {
	Type        authority.EventType
	From        time.Time // inclusive
	Until       time.Time // exclusive
	PrincipalID authority.PrincipalID
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
