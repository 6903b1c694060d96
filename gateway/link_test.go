package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caracal-gateway/caracal/internal/syncpb"
	"github.com/caracal-gateway/caracal/rego"
)

func TestWhatCameOfAMessageIsTold(t *testing.T) {
	slow := fmt.Errorf("snapshot: %w", rego.ErrTimeout)
	for sentence, c := range map[string]struct {
		acknowledged *syncpb.Acknowledged
		refused      *syncpb.Refused
		failure      error
		told         []string
	}{
		"a state that is enforced":           {acknowledged: &syncpb.Acknowledged{Revision: 7}, told: []string{"acknowledged 7ns"}},
		"one that is at fault":               {refused: &syncpb.Refused{Code: "bundle_invalid"}, told: []string{"refused bundle_invalid"}},
		"a piece of one":                     {},
		"one that the host was too slow for": {refused: &syncpb.Refused{Code: "bundle_invalid"}, failure: slow, told: []string{"refused bundle_invalid"}},
	} {
		t.Run(sentence, func(t *testing.T) {
			log := slog.New(slog.DiscardHandler)
			l := &link{
				apply: func(context.Context, *syncpb.ControlMessage) (*syncpb.Acknowledged, *syncpb.Refused, error) {
					return c.acknowledged, c.refused, c.failure
				},
				state:  newState(time.Minute, time.Now, func() verdict { return verdict{} }, always, log),
				outbox: newOutbox(), renewals: newRenewals(time.Minute, newClocks().read), log: log,
			}
			if err := l.take(t.Context(), &syncpb.ControlMessage{}); !errors.Is(err, c.failure) {
				t.Errorf("the stream ends with %v", err)
			}
			if diff := cmp.Diff(c.told, contents(l.outbox)); diff != "" {
				t.Errorf("told (-want +got):\n%s", diff)
			}
		})
	}
}
