package controlplane

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
)

// MaxFollowed is how many events FollowEvents answers at most.
const MaxFollowed = 100

// Followed is an event that has just become visible. After names the place behind it, for who goes on from there.
type Followed struct {
	Event authority.Event
	After string
}

// FollowEvents answers the events that became visible after a place, at most MaxFollowed, in the order in which they did,
// and the place from which to go on. Without a place it answers none, and the present. The filter's dates do not count.
//
// Every event is told once, however late a gateway delivers it. It is told without its outcome, which is known later.
func (s *Service) FollowEvents(ctx context.Context, c Caller, f EventFilter, after string) ([]Followed, string, error) {
	op := allowed("stream_events")
	if err := s.permit(ctx, c, op); err != nil {
		return nil, "", err
	}
	from, err := s.openRecording(c, after)
	if err != nil {
		return nil, "", err
	}
	type found struct {
		events []Followed
		last   postgres.Recording
	}
	got, err := read(ctx, s, c, op, func(ctx context.Context, tx *postgres.Tx) (found, error) {
		if after == "" {
			now, err := tx.Now(ctx)
			return found{last: now}, err
		}
		events, err := tx.EventsAfter(ctx, postgres.EventFilter{
			Type: f.Type, PrincipalID: f.PrincipalID, ActorID: f.ActorID, Own: c.ownEvents(),
			MandateID: f.MandateID, DecisionID: f.DecisionID, Resource: f.Resource,
		}, from, MaxFollowed)
		all := found{last: from}
		for _, e := range events {
			place, err := s.sealRecording(c, e.Place)
			if err != nil {
				return found{}, err
			}
			all.events, all.last = append(all.events, Followed{e.Event, place}), e.Place
		}
		if err == nil && len(events) < MaxFollowed {
			all.last, err = tx.Now(ctx) // what the filter leaves out is not read again
		}
		return all, err
	})
	if err != nil {
		return nil, "", err
	}
	next, err := s.sealRecording(c, got.last)
	return got.events, next, err
}

// recorded is the text of a place in the order of recording.
type recorded struct {
	Transaction string `json:"x"`
	Micros      int64  `json:"t,omitempty"`
	Sequence    int64  `json:"s,omitempty"`
	ID          string `json:"i,omitempty"`
}

func recordingScope(c Caller) []byte { return []byte(string(c.workspace) + "\x00stream\x00") }

func (s *Service) sealRecording(c Caller, at postgres.Recording) (string, error) {
	place := recorded{Transaction: at.Transaction, Sequence: at.Sequence, ID: at.ID}
	if !at.Time.IsZero() {
		place.Micros = at.Time.UnixMicro()
	}
	text, err := json.Marshal(place)
	if err != nil {
		return "", fmt.Errorf("make place: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(append(s.cursorMAC(recordingScope(c), text), text...)), nil
}

// openRecording reads a place that the workspace's stream has told; the empty one is the present.
func (s *Service) openRecording(c Caller, text string) (postgres.Recording, error) {
	if text == "" {
		return postgres.Recording{}, nil
	}
	var place recorded
	raw, ok := s.unsealed(recordingScope(c), text)
	if !ok || json.Unmarshal(raw, &place) != nil {
		return postgres.Recording{}, authority.Invalid("Last-Event-ID", "is not the id of an event of this stream")
	}
	at := postgres.Recording{Transaction: place.Transaction, Sequence: place.Sequence, ID: place.ID}
	if place.Micros != 0 {
		at.Time = time.UnixMicro(place.Micros).UTC()
	}
	return at, nil
}
