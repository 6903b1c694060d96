package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/internal/syncpb"
	"github.com/caracal-gateway/caracal/rego"
)

func TestABundleThatTheHostWasTooSlowForIsAskedForAgain(t *testing.T) {
	for sentence, c := range map[string]struct {
		failure error
		again   bool
	}{
		"one that is applied":              {nil, false},
		"one that is at fault":             {errors.New("not well-formed"), false},
		"one that was too slow to compile": {fmt.Errorf("snapshot: %w", rego.ErrTimeout), true},
	} {
		t.Run(sentence, func(t *testing.T) {
			log := slog.New(slog.DiscardHandler)
			l := &link{
				apply:  func(context.Context, bundle.Sealed) error { return c.failure },
				state:  newState(time.Minute, time.Now, func() verdict { return verdict{} }, log),
				outbox: newOutbox(), log: log,
			}
			if err := l.take(t.Context(), &syncpb.Bundle{Revision: 7}); (err != nil) != c.again {
				t.Errorf("the stream ends with %v", err)
			}
		})
	}
}
