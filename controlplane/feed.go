package controlplane

import (
	"context"

	"github.com/caracal-gateway/caracal/bundle"
)

// Position is how far a gateway is: the state that its decisions enforce. The zero Position is that of one that has none.
type Position struct {
	Timeline string
	Revision uint64
	Digest   []byte // of the state
}

// Message is one step of a feed: the whole state, or a change of the state that the gateway was given before.
type Message struct {
	// From is the revision that a delta applies to; 0 for the whole state.
	From     uint64
	Revision uint64
	Sealed   []byte
}

// Feed brings one gateway from where it is to the present, and keeps it there. It is for one goroutine, but for Mismatch.
type Feed struct {
	service *Service
	caller  Caller
	given   uint64
	wake    <-chan struct{}
	cancel  func()
}

// Follow begins a feed for a gateway that is at a position. The caller must call Close.
func (s *Service) Follow(ctx context.Context, c Caller, from Position) (*Feed, error) {
	if err := s.permit(ctx, c, allowed("snapshot")); err != nil {
		return nil, err
	}
	f := &Feed{service: s, caller: c, given: from.Revision}
	f.wake, f.cancel = s.Subscribe(c)
	return f, nil
}

// Close ends the feed.
func (f *Feed) Close() { f.cancel() }

// Wake is sent to when there may be something next.
func (f *Feed) Wake() <-chan struct{} { return f.wake }

// Given is the revision that the gateway has been given.
func (f *Feed) Given() uint64 { return f.given }

// Look has the present state be read now, whether there was a wake-up or not.
func (f *Feed) Look(context.Context) error { return nil }

// Next is the next step; nil where the gateway has been given all that there is.
func (f *Feed) Next(ctx context.Context) (*Message, error) {
	revision, err := f.service.Revision(ctx, f.caller)
	if err != nil || revision == f.given {
		return nil, err
	}
	var b Bundle
	if b, err = f.service.Snapshot(ctx, f.caller); err != nil {
		return nil, err
	}
	f.given = b.Revision
	return &Message{Revision: b.Revision, Sealed: []byte(bundle.Sealed(b.Sealed))}, nil
}

// Mismatch says that the gateway does not enforce what it was given, and has it be given the whole state.
func (f *Feed) Mismatch() {}
