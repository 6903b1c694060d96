package controlplane_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
	"github.com/caracal-gateway/caracal/controlplane/replica"
	"github.com/caracal-gateway/caracal/internal/redistest"
)

// running starts a replica that looks for changes of others each so often by itself. It ends with the test.
func (w *world) running(redisURL string, poll time.Duration) *controlplane.Service {
	w.t.Helper()
	log := slog.New(slog.DiscardHandler)
	store := must(postgres.Open(postgres.Config{URL: w.appURL, MaxConns: 6}))(w.t)
	shared := must(replica.Open(replica.Config{RedisURL: redisURL, Log: log, Now: time.Now}))(w.t)
	s := must(controlplane.New(controlplane.Config{
		Store: store, Replica: shared, MasterKey: []byte(strings.Repeat("m", 32)), SetupKey: setupKey, Log: log, Now: time.Now,
	}))(w.t)
	s.PollEvery(poll)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Error(err)
		}
		store.Close()
	})
	return s
}

// A change at one replica reaches the gateways of another: at once by Redis, and without it when the other looks.
func TestAChangeReachesTheGatewaysOfOtherReplicas(t *testing.T) {
	const never = 24 * time.Hour
	for sentence, c := range map[string]struct {
		redis func(*testing.T) string
		poll  time.Duration
	}{
		"by Redis":            {func(t *testing.T) string { return redistest.New(t).URL() }, never},
		"without Redis":       {func(*testing.T) string { return "" }, time.Second},
		"while Redis is away": {func(t *testing.T) string { s := redistest.New(t); s.Kill(t); return s.URL() }, time.Second},
		"while Redis is frozen": {func(t *testing.T) string {
			s := redistest.New(t)
			s.Pause(t)
			t.Cleanup(func() { s.Resume(t) })
			return s.URL()
		}, time.Second},
	} {
		t.Run(sentence, func(t *testing.T) {
			w := newWorld(t)
			url := c.redis(t)
			here, there := w.running(url, c.poll), w.running(url, c.poll)
			key := must(here.CreateKey(t.Context(), w.owner, controlplane.NewKey{Kind: authority.KeyGateway, Name: "gateway"}))(t).Value.APIKey
			gateway := mirrorOf(t, there, key)
			gateway.take(next(t, gateway.feed))
			// A wake-up may be lost while replicas find Redis: with the next change they have.
			before := gateway.trust.Revision
			eventually(t, "a change reaches the other replica's gateway", func() bool {
				must(here.RegisterPrincipal(t.Context(), w.owner, controlplane.NewPrincipal{Name: "a", Type: authority.Agent}))(t)
				return gateway.feed.Next() != nil || gateway.trust.Revision > before
			})
		})
	}
}
