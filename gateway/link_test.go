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

// scripted is a stream whose control plane says what it is told to, and nothing more.
type scripted struct {
	syncpb.Sync_StreamClient
	says []*syncpb.ControlMessage
}

func (s *scripted) Recv() (*syncpb.ControlMessage, error) {
	if len(s.says) == 0 {
		return nil, errors.New("the stream is over")
	}
	next := s.says[0]
	s.says = s.says[1:]
	return next, nil
}

func TestAGrantDoesNotWaitForTheStateThatCameBeforeIt(t *testing.T) {
	p := newTenant(t)
	log := slog.New(slog.DiscardHandler)
	applying, granted := make(chan struct{}), make(chan struct{})
	l := &link{
		apply: func(context.Context, *syncpb.ControlMessage) (*syncpb.Acknowledged, *syncpb.Refused, error) {
			close(applying)
			<-granted // for ever, if the grant waited for this
			return &syncpb.Acknowledged{Revision: 8}, nil, nil
		},
		state:  newState(time.Minute, time.Now, func() verdict { return verdict{} }, always, log),
		outbox: newOutbox(), renewals: newRenewals(time.Minute, p.clocks.read), tenure: p.tenure, log: log,
		overdue: never, unsaid: settled,
	}
	l.renewals.begin(7)
	id := asked(t, l.renewals, true)
	arrived := make(chan *syncpb.ControlMessage, 1)
	followed := make(chan error, 1)
	go func() { followed <- l.follow(t.Context(), arrived) }()
	says := []*syncpb.ControlMessage{
		{Message: &syncpb.ControlMessage_Delta{Delta: &syncpb.Delta{From: 7, Revision: 8}}},
		{Message: &syncpb.ControlMessage_Grant{Grant: granting(id, 4, time.Minute)}},
	}
	if err := l.receive(&scripted{says: says[:1]}, arrived); err == nil {
		t.Fatal("the stream goes on")
	}
	<-applying
	if err := l.receive(&scripted{says: says[1:]}, arrived); err == nil {
		t.Fatal("the stream goes on")
	}
	if p.held.Number != 4 {
		t.Errorf("while the state is applied, %+v is held", p.held)
	}
	close(granted)
	close(arrived)
	if err := <-followed; err != nil {
		t.Error(err)
	}
	if _, revision, due := l.renewals.next(); due {
		t.Errorf("a renewal of revision %d is due, and nobody waits for it", revision)
	}
}

func TestWhatIsNotAppliedHoldsUpNobody(t *testing.T) {
	failure := errors.New("too slow")
	log := slog.New(slog.DiscardHandler)
	l := &link{
		apply: func(context.Context, *syncpb.ControlMessage) (*syncpb.Acknowledged, *syncpb.Refused, error) {
			return nil, nil, failure
		},
		state:  newState(time.Minute, time.Now, func() verdict { return verdict{} }, always, log),
		outbox: newOutbox(), renewals: newRenewals(time.Minute, newClocks().read), log: log,
	}
	arrived := make(chan *syncpb.ControlMessage)
	followed := make(chan error, 1)
	go func() { followed <- l.follow(t.Context(), arrived) }()
	for range 3 {
		arrived <- &syncpb.ControlMessage{}
	}
	close(arrived)
	if err := <-followed; !errors.Is(err, failure) {
		t.Errorf("it ends with %v", err)
	}
}

// never and settled are of a gateway that acknowledges whatever it enforces at once.
func never() *syncpb.Acknowledged { return nil }
func settled() bool               { return false }
