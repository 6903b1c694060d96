package controlplane_test

import (
	"io"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/controlplane"
)

// sealed is a snapshot as a gateway is sent it.
type sealed struct {
	Revision uint64
	Sealed   bundle.Sealed
}

// whole is what a gateway is sent that has nothing.
func whole(t *testing.T, s *controlplane.Service, gateway controlplane.Caller) sealed {
	t.Helper()
	s.ForgetImages()
	feed := must(s.Follow(t.Context(), gateway, controlplane.Position{}))(t)
	defer feed.Close()
	m := next(t, feed)
	if m.Whole == nil {
		t.Fatalf("a gateway that has nothing is sent a change from %d", m.From)
	}
	return read(t, m)
}

// read reads a whole state.
func read(t *testing.T, m *controlplane.Message) sealed {
	t.Helper()
	content := must(io.ReadAll(io.NewSectionReader(m.Whole, 0, m.Whole.Size())))(t)
	if err := m.Whole.Close(); err != nil {
		t.Error(err)
	}
	return sealed{m.Revision, content}
}

// next waits for the next step of a feed.
func next(t *testing.T, feed *controlplane.Feed) *controlplane.Message {
	t.Helper()
	over := time.After(20 * time.Second)
	for {
		if m := feed.Next(); m != nil {
			return m
		}
		select {
		case <-feed.Wake():
		case <-over:
			t.Fatal("a gateway is sent nothing for 20 s")
		}
	}
}
