package gateway

import (
	"log/slog"
	"testing"

	"github.com/caracal-gateway/caracal/authority"
)

func TestAFloodOfDenialsLeavesRoomForTheRecordOfWhatWasAllowed(t *testing.T) {
	s := newShipper(1, slog.New(slog.DiscardHandler))
	for range shipQueue {
		s.Record(authority.Event{Type: authority.EventDenied})
	}
	lost := s.Lost()
	s.Record(authority.Event{Type: authority.EventAllowed})
	if s.Lost() != lost {
		t.Error("the record of an allowed request is lost")
	}
	if lost == 0 || lost == shipQueue {
		t.Errorf("%d of %d denials are lost", lost, shipQueue)
	}
}
