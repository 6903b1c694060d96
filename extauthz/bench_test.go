package extauthz_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/extauthz"
	"github.com/caracal-gateway/caracal/internal/world"
	"github.com/caracal-gateway/caracal/lease"
)

type nobody struct{}

func (nobody) Record(authority.Event)                          {}
func (nobody) Outcome(authority.DecisionID, authority.Outcome) {}

// BenchmarkCheck is one permitted request by a delegated mandate, without gRPC: about what a decision costs.
func BenchmarkCheck(b *testing.B) {
	w := world.New(b, start)
	bench := &bench{World: w}
	service := extauthz.New(extauthz.Config{
		Clock:    extauthz.NewClock(extauthz.BootTime, func() time.Time { return start }),
		Recorder: nobody{}, Credentials: extauthz.NewCredentials("", func(string) (string, bool) { return "", false }),
		Routes: func(string) bool { return true }, Read: extauthz.ReadClocks, Log: slog.New(slog.DiscardHandler),
	})
	snapshot, err := extauthz.NewSnapshot(context.Background(), w.Reader())
	if err != nil {
		b.Fatal(err)
	}
	service.Enforce(snapshot, extauthz.Change{All: true})
	service.Hold(lease.From(extauthz.ReadClocks(), 1, lease.MaxTerm))
	request := bench.proxied().with("authorization", "Bearer "+w.Token(w.Child.ID)).with("x-caracal-mandate", string(w.Delegated.ID))
	request.method = "GET"
	check := request.check()
	b.ReportAllocs()
	for b.Loop() {
		answer, err := service.Check(context.Background(), check)
		if err != nil || answer.GetOkResponse() == nil {
			b.Fatal(answer, err)
		}
	}
}
