package gateway

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caracal-gateway/caracal/internal/syncpb"
)

// contents empties an outbox into words.
func contents(o *outbox) []string {
	var words []string
	for m := o.take(); m != nil; m = o.take() {
		switch m := m.GetMessage().(type) {
		case *syncpb.GatewayMessage_Acknowledged:
			words = append(words, "acknowledged "+time.Duration(m.Acknowledged.GetRevision()).String())
		case *syncpb.GatewayMessage_Refused:
			words = append(words, "refused "+m.Refused.GetCode())
		case *syncpb.GatewayMessage_Envoy:
			words = append(words, "envoy "+m.Envoy.GetMessage())
		case *syncpb.GatewayMessage_Sync:
			words = append(words, "sync")
		}
	}
	return words
}

func TestTheNewestOfEachKindIsToldHoweverSlowTheStream(t *testing.T) {
	for sentence, c := range map[string]struct {
		told func(*outbox)
		want []string
	}{
		"a thousand acknowledgements that nobody took": {func(o *outbox) {
			for revision := range uint64(1000) {
				o.acknowledge(&syncpb.Acknowledged{Revision: revision})
				o.ask(revision)
				o.tellEnvoy(&syncpb.EnvoyStatus{Revision: revision})
			}
		}, []string{"acknowledged 999ns", "envoy ", "sync"}},
		"a refusal beside an acknowledgement": {func(o *outbox) {
			o.refuse(&syncpb.Refused{Code: "bundle_older"})
			o.acknowledge(&syncpb.Acknowledged{Revision: 1})
		}, []string{"acknowledged 1ns", "refused bundle_older"}},
		"what was for another stream is not for the next": {func(o *outbox) {
			o.acknowledge(&syncpb.Acknowledged{Revision: 1})
			o.refuse(&syncpb.Refused{Code: "bundle_older"})
			o.ask(1)
			o.reset()
		}, nil},
		"what Envoy said is for the next stream too": {func(o *outbox) {
			o.tellEnvoy(&syncpb.EnvoyStatus{Message: "refused"})
			contents(o)
			o.reset()
		}, []string{"envoy refused"}},
		"what Envoy says again is not told again": {func(o *outbox) {
			o.tellEnvoy(&syncpb.EnvoyStatus{Accepted: true})
			contents(o)
			o.tellEnvoy(&syncpb.EnvoyStatus{Accepted: true})
		}, nil},
	} {
		t.Run(sentence, func(t *testing.T) {
			o := newOutbox()
			c.told(o)
			if c.want != nil {
				<-o.ready
			}
			if diff := cmp.Diff(c.want, contents(o)); diff != "" {
				t.Errorf("told (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAQuestionIsNotAskedWithoutEnd(t *testing.T) {
	var now time.Duration
	l := &link{outbox: newOutbox(), questions: newQuestions(func() time.Duration { return now })}
	l.questions.begin()
	for now = 0; now <= answerTimeout; now += time.Second {
		if err := l.look(); err != nil {
			t.Fatalf("after %s: %v", now, err)
		}
	}
	if n := len(l.questions.waiting); n != 1 {
		t.Errorf("%d questions wait, want the one that was not answered", n)
	}
	if err := l.look(); err == nil {
		t.Error("the control plane has not answered for too long, and is believed to be there")
	}
}

func TestASyncEndsWithItsAnswerItsStreamOrItsCaller(t *testing.T) {
	for sentence, c := range map[string]struct {
		then func(*link, context.CancelFunc)
		want error
	}{
		"its answer":             {func(l *link, _ context.CancelFunc) { l.questions.answer(1) }, nil},
		"the answer to a newer":  {func(l *link, _ context.CancelFunc) { l.questions.answer(7) }, nil},
		"its stream":             {func(l *link, _ context.CancelFunc) { l.questions.end() }, errNotConnected},
		"its caller's patience":  {func(_ *link, cancel context.CancelFunc) { cancel() }, context.Canceled},
		"no stream to ask it on": {nil, errNotConnected},
	} {
		t.Run(sentence, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			l := &link{outbox: newOutbox(), questions: newQuestions(func() time.Duration { return 0 })}
			if c.then != nil {
				l.questions.begin()
			}
			ended := make(chan error, 1)
			go func() { ended <- l.Sync(ctx) }()
			if c.then != nil {
				<-l.outbox.ready
				c.then(l, cancel)
			}
			if err := <-ended; !errors.Is(err, c.want) {
				t.Errorf("ended with %v, want %v", err, c.want)
			}
			if n := len(l.questions.waiting); n != 0 {
				t.Errorf("%d questions are left", n)
			}
		})
	}
}

func TestTheRoundTripCountsFromTheQuestion(t *testing.T) {
	now := time.Hour
	q := newQuestions(func() time.Duration { return now })
	q.begin()
	id, _ := q.ask()
	now += 3 * time.Second // asleep or not
	if trip, known := q.roundTrip(id); !known || trip != 3*time.Second {
		t.Errorf("round trip %s, known: %t", trip, known)
	}
	q.answer(id)
	if _, known := q.roundTrip(id); known {
		t.Error("an answer that comes twice counts twice")
	}
}
