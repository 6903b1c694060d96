package extauthz_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/envoy"
	"github.com/caracal-gateway/caracal/extauthz"
	"github.com/caracal-gateway/caracal/lease"
	"github.com/caracal-gateway/caracal/token"
)

// Which of the live streams of TestAChangeEndsWhatItDenies a change ends.
const (
	byAgent = 1 << iota // by the mandate of Agent
	byChild             // by the one that was cut from it for Child
	another             // by another one of Agent's
)

func TestAChangeEndsWhatItDenies(t *testing.T) {
	everything := extauthz.Change{All: true}
	of := func(ids ...authority.MandateID) extauthz.Change { return extauthz.Change{Mandates: ids} }
	who := func(ids ...authority.PrincipalID) extauthz.Change { return extauthz.Change{Principals: ids} }
	for name, c := range map[string]struct {
		change func(*tower) extauthz.Change
		ends   int
		want   authority.Reason
	}{
		"a mandate is revoked, and what was cut from it with it": {
			func(w *tower) extauthz.Change { w.Revoke(w.Mandate.ID); return of(w.Mandate.ID) }, byAgent | byChild, authority.ReasonMandateRevoked,
		},
		"a mandate that was cut from another is revoked": {
			func(w *tower) extauthz.Change { w.Revoke(w.Delegated.ID); return of(w.Delegated.ID) }, byChild, authority.ReasonMandateRevoked,
		},
		"a mandate is not in the state any more": {func(w *tower) extauthz.Change {
			w.State.Mandates = slices.DeleteFunc(w.State.Mandates, func(m authority.Mandate) bool { return m.ID == w.Delegated.ID })
			return of(w.Delegated.ID)
		}, byChild, authority.ReasonMandateNotFound},
		"a subject is suspended": {
			func(w *tower) extauthz.Change { w.Suspend(w.Child.ID); return who(w.Child.ID) }, byChild, authority.ReasonSuspended,
		},
		"an ancestor's subject is suspended": {
			func(w *tower) extauthz.Change { w.Suspend(w.Agent.ID); return who(w.Agent.ID) }, byAgent | byChild | another, authority.ReasonSuspended,
		},
		"the root's issuer is suspended": {
			func(w *tower) extauthz.Change { w.Suspend(w.Owner.ID); return who(w.Owner.ID) }, byAgent | byChild | another, authority.ReasonSuspended,
		},
		"somebody else is suspended": {
			func(w *tower) extauthz.Change { w.Suspend(w.Service.ID); return who(w.Service.ID) }, 0, "",
		},
		"a mandate is issued": {func(w *tower) extauthz.Change {
			return of(w.Issue(w.Agent.ID, authority.Scope{Resources: w.Mandate.ResourceScope, Actions: w.Mandate.ActionScope}).ID)
		}, 0, ""},
		"a policy denies what one of them does": {func(w *tower) extauthz.Change {
			w.Govern("package caracal.policy\nimport rego.v1\ndeny contains {\"code\": \"no_posts\", \"message\": \"No posts.\"} if input.request.method == \"POST\"\n")
			return everything
		}, byAgent | another, authority.ReasonPolicyDenied},
		"a policy asks for approval": {func(w *tower) extauthz.Change {
			w.Govern("package caracal.policy\nimport rego.v1\napprove contains {\"code\": \"ask\", \"message\": \"Ask.\"} if input.request.method == \"GET\"\n")
			return everything
		}, byChild, authority.ReasonApprovalRequired},
		"a policy denies nothing": {func(w *tower) extauthz.Change {
			w.Govern("package caracal.policy\nimport rego.v1\ndeny contains {\"code\": \"x\", \"message\": \"x\"} if input.request.method == \"PUT\"\n")
			return everything
		}, 0, ""},
		"the destination lists their path no more": {func(w *tower) extauthz.Change {
			w.State.Destinations[0].Rules = w.State.Destinations[0].Rules[:1]
			w.State.Destinations[0].Rules[0].Path = "/elsewhere"
			return everything
		}, byAgent | byChild | another, authority.ReasonTargetNotAllowed},
		"the destination is somewhere else": {func(w *tower) extauthz.Change {
			w.State.Destinations[0].ConnectTo = "127.0.0.1:9444"
			return everything
		}, byAgent | byChild | another, authority.ReasonTargetNotAllowed},
		"the key that signed their tokens is revoked": {func(w *tower) extauthz.Change {
			w.TokenKey = token.NewSigningKey(token.PurposeToken, start, start.Add(time.Hour))
			return everything
		}, byAgent | byChild | another, authority.ReasonAuthFailed},
		"the key that signed their mandates is revoked": {func(w *tower) extauthz.Change {
			w.MandateKey = token.NewSigningKey(token.PurposeMandate, start, start.Add(time.Hour))
			return everything
		}, byAgent | byChild | another, authority.ReasonChainInvalid},
		"the workspace is deleted": {func(w *tower) extauthz.Change {
			w.State.Workspace.DeletedAt = &w.Now
			return everything
		}, byAgent | byChild | another, authority.ReasonWorkspaceDeleted},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTower(t)
			spare := w.Issue(w.Agent.ID, authority.Scope{Resources: w.Mandate.ResourceScope, Actions: w.Mandate.ActionScope})
			w.enforce(t)
			lines := map[int]*line{
				byAgent: w.live(t, w.proxied()),
				byChild: w.live(t, w.byChild()),
				another: w.live(t, w.proxied().with("x-caracal-mandate", string(spare.ID))),
			}
			cut := w.change(t, c.change(w))
			count := 0
			for which, l := range lines {
				if c.ends&which == 0 {
					l.wantAlive(t)
					continue
				}
				count++
				if !l.left.Load() {
					t.Error("the change was said to be enforced before Envoy had ended the stream")
				}
				l.wantEnd(t, c.want)
			}
			if cut != count || w.service.Figures().LiveWatches != 3-count {
				t.Errorf("%d cut, %d live; want %d cut of 3", cut, w.service.Figures().LiveWatches, count)
			}
		})
	}
}

// A token that has expired since, or a key that has retired, ends no stream: who made the request is known.
func TestAStreamOutlivesTheCredentialThatItWasMadeWith(t *testing.T) {
	w := newTower(t)
	l := w.live(t, w.byChild())
	w.pass(20 * time.Minute)
	if cut := w.change(t, extauthz.Change{All: true}); cut != 0 {
		t.Errorf("%d streams were cut", cut)
	}
	l.wantAlive(t)
	if d := wantDenial(t, w.check(t, w.byChild().check())); d.Error != string(authority.ReasonAuthFailed) {
		t.Errorf("a request with the token: %+v", d)
	}
}

func TestAnEnvoyThatDoesNotListenHoldsUpNobody(t *testing.T) {
	w := newTower(t)
	deaf := w.open(t, describing(w.permitted(t, w.proxied())))
	if answer, err := deaf.stream.Recv(); err != nil || answer.GetRequestHeaders() == nil {
		t.Fatal(answer, err)
	}
	heeding := w.live(t, w.proxied())
	w.Revoke(w.Mandate.ID)
	if cut := w.change(t, extauthz.Change{Mandates: []authority.MandateID{w.Mandate.ID}}); cut != 2 {
		t.Errorf("%d streams were cut, want 2", cut)
	}
	heeding.wantEnd(t, authority.ReasonMandateRevoked)
	if answer, err := deaf.stream.Recv(); err != nil || answer.GetImmediateResponse() == nil {
		t.Fatal(answer, err)
	}
	if answer, err := deaf.stream.Recv(); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a stream that Envoy does not end goes on: %v, %v", answer, err)
	}
}

// What was told to end and has not ended yet is waited for by whoever says that it is over, whatever it was told first.
func TestAStreamThatIsAboutToEndHasNotEnded(t *testing.T) {
	for sentence, c := range map[string]struct {
		first, then func(*testing.T, *tower)
	}{
		"its time is over, and a change denies it": {
			func(_ *testing.T, w *tower) { w.pass(30 * time.Minute) },
			func(t *testing.T, w *tower) {
				w.Revoke(w.Delegated.ID)
				w.change(t, extauthz.Change{Mandates: []authority.MandateID{w.Delegated.ID}})
			},
		},
		"the lease is over, and a change denies it": {
			func(_ *testing.T, w *tower) { w.service.Hold(lease.Lease{}) },
			func(t *testing.T, w *tower) {
				w.Revoke(w.Mandate.ID)
				w.change(t, extauthz.Change{All: true})
			},
		},
		"the lease is over, and the gateway stops": {
			func(_ *testing.T, w *tower) { w.service.Hold(lease.Lease{}) },
			func(_ *testing.T, w *tower) { w.service.End(authority.ReasonNoDecision) },
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			w := newTower(t)
			deaf := w.open(t, describing(w.permitted(t, w.byChild())))
			if answer, err := deaf.stream.Recv(); err != nil || answer.GetRequestHeaders() == nil {
				t.Fatal(answer, err)
			}
			c.first(t, w)
			if answer, err := deaf.stream.Recv(); err != nil || answer.GetImmediateResponse() == nil {
				t.Fatal(answer, err)
			}
			c.then(t, w)
			if n := w.service.Figures().LiveWatches; n != 0 {
				t.Errorf("it is said to be over, and %d streams live", n)
			}
		})
	}
}

func TestStreamsEndWithTheirTime(t *testing.T) {
	w := newTower(t)
	short, long := w.live(t, w.byChild()), w.live(t, w.proxied())
	w.pass(30 * time.Minute) // what was cut from the mandate holds half as long
	short.wantEnd(t, authority.ReasonExpired)
	long.wantAlive(t)
	w.pass(30 * time.Minute)
	long.wantEnd(t, authority.ReasonExpired)
}

func TestStreamsEndWithTheLease(t *testing.T) {
	for name, end := range map[string]func(*tower){
		"when it is given up": func(w *tower) { w.service.Hold(lease.Lease{}) },
		"when its time is over, by the clock that nobody sets": func(w *tower) { w.boot.Add(int64(time.Minute)) },
		"when its time is over, by the wall clock":             func(w *tower) { w.wall.Add(int64(time.Minute)) },
		"when it is granted anew after it was over": func(w *tower) {
			w.pass(time.Minute)
			w.service.Hold(lease.From(w.clocks(), 3, time.Minute))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTower(t)
			w.service.Hold(lease.From(w.clocks(), 2, time.Minute))
			l := w.live(t, w.proxied())
			end(w)
			l.wantEnd(t, authority.ReasonLeaseExpired)
			eventually(t, "the watch is forgotten", func() bool { return w.service.Figures().LiveWatches == 0 })
		})
	}
	t.Run("but not while it is renewed", func(t *testing.T) {
		w := newTower(t)
		l := w.live(t, w.proxied())
		for number := range uint64(20) {
			w.service.Hold(lease.From(w.clocks(), 2+number, 15*time.Second))
			w.pass(10 * time.Second)
		}
		l.wantAlive(t)
	})
}

func TestStreamsEndWhenTheGatewayStops(t *testing.T) {
	w := newTower(t)
	lines := []*line{w.live(t, w.proxied()), w.live(t, w.byChild())}
	w.service.End(authority.ReasonNoDecision)
	for _, l := range lines {
		if !l.left.Load() {
			t.Error("the end returned before Envoy had ended the stream")
		}
		l.wantEnd(t, authority.ReasonNoDecision)
	}
}

func TestWithoutALeaseEverythingIsDenied(t *testing.T) {
	w := newTower(t)
	key := w.Key(w.Agent.ID)
	w.enforce(t)
	question := extauthz.Question{MandateID: w.Mandate.ID, Action: authority.Read, Resource: "api:echo/v1"}
	w.service.Hold(lease.Lease{})
	if d := wantDenial(t, w.check(t, w.proxied().check())); d.Error != string(authority.ReasonLeaseExpired) || d.Status != 503 {
		t.Errorf("a request: %+v", d)
	}
	if e := w.events.last(t); e.Type != authority.EventDenied || e.Reason != authority.ReasonLeaseExpired {
		t.Errorf("the record: %+v", e)
	}
	if _, err := w.service.Validate(t.Context(), extauthz.Caller{Principal: w.Agent}, question); !isDenial(err, authority.ReasonLeaseExpired) {
		t.Errorf("a question: %v", err)
	}
	if _, err := w.service.Identify(extauthz.Credential{Bearer: key.Reveal()}); !isDenial(err, authority.ReasonLeaseExpired) {
		t.Errorf("an agent: %v", err)
	}
	health := asked{mode: envoy.ModeGateway, method: "GET", path: "/health", host: "localhost:8443"}
	wantPermission(t, w.check(t, health.check()))

	w.service.Hold(lease.From(w.clocks(), 2, time.Minute))
	w.permission(t, w.proxied())
	if answer, err := w.service.Validate(t.Context(), extauthz.Caller{Principal: w.Agent}, question); err != nil || !answer.Allowed {
		t.Errorf("%+v, %v", answer, err)
	}
}

func isDenial(err error, reason authority.Reason) bool {
	var denial *extauthz.Denial
	return errors.As(err, &denial) && denial.Reason == reason
}

// Whatever comes first, the registration or the revocation, no stream lives on.
func TestNoStreamSlipsThroughAnExchange(t *testing.T) {
	w := newTower(t)
	var mandates []authority.MandateID
	for range 40 {
		mandates = append(mandates, w.Issue(w.Agent.ID, authority.Scope{Resources: w.Mandate.ResourceScope, Actions: w.Mandate.ActionScope}).ID)
	}
	w.enforce(t)
	for i, id := range mandates {
		request := w.proxied().with("x-caracal-mandate", string(id))
		decisions := make([]string, 4)
		for i := range decisions {
			decisions[i] = w.permitted(t, request)
		}
		lines := make([]*line, len(decisions))
		var group sync.WaitGroup
		for i, decision := range decisions {
			group.Go(func() { lines[i], _ = w.register(t, decision) })
		}
		w.Revoke(id)
		change := extauthz.Change{Mandates: []authority.MandateID{id}}
		if i%2 == 1 {
			change = extauthz.Change{All: true}
		}
		w.change(t, change)
		group.Wait()
		for _, l := range lines {
			if l != nil {
				l.wantEnd(t, authority.ReasonMandateRevoked)
			}
		}
		if n := w.service.Figures().LiveWatches; n != 0 {
			t.Fatalf("%d streams live on", n)
		}
	}
}

// Decisions, registrations and exchanges go on beside each other; in the end nothing is left.
func TestExchangesUnderLoad(t *testing.T) {
	w := newTower(t)
	request := w.proxied()
	check := request.check()
	ctx, stop := context.WithCancel(t.Context())
	var group sync.WaitGroup
	var permitted atomic.Int64
	for range 4 {
		group.Go(func() {
			for ctx.Err() == nil {
				answer, err := w.service.Check(ctx, check)
				if err != nil {
					t.Error(err)
				}
				if answer.GetOkResponse() == nil {
					continue // the machine may be too slow for the policy's deadline
				}
				permitted.Add(1)
				l, _ := w.register(t, answer.GetDynamicMetadata().GetFields()[envoy.MetadataDecisionID].GetStringValue())
				if l != nil {
					l.leave()
				}
			}
		})
	}
	for i := range 50 {
		w.service.Hold(lease.From(w.clocks(), uint64(i+2), lease.MaxTerm))
		w.change(t, extauthz.Change{All: i%2 == 0, Principals: []authority.PrincipalID{w.Agent.ID}})
	}
	last := w.live(t, request)
	w.Revoke(w.Mandate.ID)
	w.change(t, extauthz.Change{Mandates: []authority.MandateID{w.Mandate.ID}})
	stop()
	group.Wait()
	last.wantEnd(t, authority.ReasonMandateRevoked)
	if permitted.Load() == 0 {
		t.Error("nothing was permitted meanwhile")
	}
	eventually(t, "nothing is watched", func() bool { return w.service.Figures().LiveWatches == 0 })
}
