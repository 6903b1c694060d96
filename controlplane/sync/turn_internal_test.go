package sync

import (
	"context"
	"errors"
	gosync "sync"
	"sync/atomic"
	"testing"
)

func TestNoMoreAskThanThereArePlaces(t *testing.T) {
	free := make(places, 2)
	var (
		asking, most atomic.Int64
		all          gosync.WaitGroup
		release      = make(chan struct{})
		inside       = make(chan struct{}, 50)
	)
	for range 50 {
		all.Go(func() {
			_, err := inTurn(t.Context(), free, func() (int, error) {
				now := asking.Add(1)
				defer asking.Add(-1)
				for most.Load() < now && !most.CompareAndSwap(most.Load(), now) {
				}
				inside <- struct{}{}
				<-release
				return 0, nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	<-inside
	<-inside
	close(release)
	all.Wait()
	if n := most.Load(); n != 2 {
		t.Errorf("%d asked at once", n)
	}
}

func TestWhoHasGoneAsksNothing(t *testing.T) {
	free := make(places, 1)
	gone, leave := context.WithCancel(t.Context())
	leave()
	for range 20 { // which of the two it meets first is left to chance
		_, err := inTurn(gone, free, func() (int, error) {
			t.Error("asked for a gateway that has gone")
			return 0, nil
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("answered %v", err)
		}
	}
	free <- struct{}{} // none is left behind: this would wait for ever
}
