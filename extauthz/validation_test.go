package extauthz_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/extauthz"
)

func TestAQuestionGetsTheAnswerThatARequestWouldGet(t *testing.T) {
	cases := map[string]struct {
		workspace func(*bench)
		caller    func(*bench) authority.Principal
		question  func(*bench, *extauthz.Question)
		reason    authority.Reason
		code      string
		inquiry   bool
		noSubject bool
	}{
		"the subject about its own mandate": {},
		"in a deleted workspace": {
			workspace: deleted, reason: authority.ReasonWorkspaceDeleted,
		},
		"a service that tells who presented the mandate": {
			caller:   func(b *bench) authority.Principal { return b.Service },
			question: func(b *bench, q *extauthz.Question) { q.PresenterID = b.Agent.ID },
		},
		"a service that was given the presenter's token": {
			caller:   func(b *bench) authority.Principal { return b.Service },
			question: func(b *bench, q *extauthz.Question) { q.PresenterToken = b.Token(b.Agent.ID) },
		},
		"a service, about a mandate that somebody else presented": {
			caller:   func(b *bench) authority.Principal { return b.Service },
			question: func(b *bench, q *extauthz.Question) { q.PresenterID = b.Child.ID },
			reason:   authority.ReasonSubjectMismatch, noSubject: true,
		},
		"the issuer asks": {caller: func(b *bench) authority.Principal { return b.Owner }, inquiry: true},
		"the issuer of a delegation asks": {
			question: func(b *bench, q *extauthz.Question) {
				q.MandateID, q.Action, q.Resource = b.Delegated.ID, authority.Read, "api:echo/x"
			}, inquiry: true,
		},
		"somebody whom it does not concern": {
			caller: func(b *bench) authority.Principal { return b.Child }, reason: authority.ReasonSubjectMismatch, noSubject: true,
		},
		"a mandate that nobody knows": {
			question: func(_ *bench, q *extauthz.Question) { q.MandateID = authority.NewID[authority.MandateID]() },
			reason:   authority.ReasonMandateNotFound, noSubject: true,
		},
		"a revoked mandate": {workspace: func(b *bench) { b.Revoke(b.Mandate.ID) }, reason: authority.ReasonMandateRevoked},
		"a resource outside the scope": {
			question: func(_ *bench, q *extauthz.Question) { q.Resource = "db:other" }, reason: authority.ReasonNotInScope,
		},
		"a policy that denies": {
			workspace: func(b *bench) {
				b.Govern("package caracal.policy\n\ndeny contains {\"code\": \"no\", \"message\": \"No.\"} if input.request.mode == \"validate\"")
			}, reason: authority.ReasonPolicyDenied, code: "no",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			if c.workspace != nil {
				c.workspace(b)
			}
			b.enforce(t)
			caller := b.Agent
			if c.caller != nil {
				caller = c.caller(b)
			}
			question := extauthz.Question{MandateID: b.Mandate.ID, Action: authority.Execute, Resource: "api:model"}
			if c.question != nil {
				c.question(b, &question)
			}
			got, err := b.service.Validate(context.Background(), extauthz.Caller{Principal: caller}, question)
			if err != nil {
				t.Fatal(err)
			}
			want := extauthz.Validation{
				Allowed: c.reason == "", Decision: "allowed", MandateID: question.MandateID, Inquiry: c.inquiry, PolicyCode: c.code,
				DecisionID: got.DecisionID, Message: got.Message,
			}
			if c.reason != "" {
				want.Decision, want.DenialReason = "denied", &c.reason
			}
			if m, known := b.service.Snapshot().Mandate(question.MandateID); known && !c.noSubject {
				want.SubjectID = m.SubjectID
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
			e := b.events.last(t)
			wantType := authority.EventValidated
			if c.reason != "" {
				wantType = authority.EventDenied
			}
			if e.Type != wantType || e.Reason != c.reason || e.DecisionID != got.DecisionID || e.ActorID != caller.ID || e.Request != nil {
				t.Errorf("recorded %+v", e)
			}
		})
	}
}

func TestAQuestionThatCannotBeAnsweredIsAnError(t *testing.T) {
	b := newBench(t)
	b.enforce(t)
	cases := map[string]struct {
		caller   authority.Principal
		question extauthz.Question
		field    string
		reason   authority.Reason
	}{
		"a pattern for a resource": {b.Agent, extauthz.Question{MandateID: b.Mandate.ID, Action: authority.Read, Resource: "api:*"}, "requested_resource", ""},
		"no resource":              {b.Agent, extauthz.Question{MandateID: b.Mandate.ID, Action: authority.Read}, "requested_resource", ""},
		"an action that is none":   {b.Agent, extauthz.Question{MandateID: b.Mandate.ID, Action: "delete", Resource: "api:model"}, "requested_action", ""},
		"a service that does not say who presented the mandate": {
			b.Service, extauthz.Question{MandateID: b.Mandate.ID, Action: authority.Read, Resource: "api:model"}, "presenter_token", authority.ReasonPresenterRequired,
		},
		"a service with a token that is not valid": {
			b.Service, extauthz.Question{MandateID: b.Mandate.ID, Action: authority.Read, Resource: "api:model", PresenterToken: "x"}, "presenter_token", "",
		},
		"a service that names two presenters": {
			b.Service, extauthz.Question{
				MandateID: b.Mandate.ID, Action: authority.Read, Resource: "api:model", PresenterToken: b.Token(b.Agent.ID), PresenterID: b.Child.ID,
			}, "presenter_token", "",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			answer, err := b.service.Validate(context.Background(), extauthz.Caller{Principal: c.caller}, c.question)
			var refused *authority.Error
			if !errors.As(err, &refused) || refused.Code != authority.CodeInvalid || refused.Field != c.field || refused.Reason != c.reason {
				t.Errorf("got %v, want an invalid_request about %s", err, c.field)
			}
			if answer.Allowed {
				t.Error("the answer allows")
			}
		})
	}
}

func TestWhoBearsACredentialIsKnownOffline(t *testing.T) {
	b := newBench(t)
	key, stale, foreign := b.Key(b.Agent.ID), b.Key(b.Agent.ID), b.Key(b.Agent.ID)
	b.State.AgentKeys[1].ExpiresAt = &start
	b.State.AgentKeys = b.State.AgentKeys[:2]
	suspended := b.Key(b.Child.ID)
	b.Suspend(b.Child.ID)
	b.enforce(t)
	cases := map[string]struct {
		bearer string
		reason authority.Reason
	}{
		"an agent's API key":            {key.Reveal(), ""},
		"an access token":               {b.Token(b.Agent.ID), ""},
		"nothing":                       {"", authority.ReasonAuthRequired},
		"garbage":                       {"x", authority.ReasonAuthFailed},
		"a key that has expired":        {stale.Reveal(), authority.ReasonAuthFailed},
		"a key that nobody knows":       {foreign.Reveal(), authority.ReasonAuthFailed},
		"a key of a suspended agent":    {suspended.Reveal(), authority.ReasonSuspended},
		"a token of a suspended agent":  {b.Token(b.Child.ID), authority.ReasonSuspended},
		"another secret under a key id": {key.Reveal()[:len(key.Reveal())-3] + "aaa", authority.ReasonAuthFailed},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			principal, err := b.service.Identify(extauthz.Credential{Bearer: c.bearer})
			var denial *extauthz.Denial
			switch {
			case c.reason == "" && (err != nil || principal.ID != b.Agent.ID):
				t.Errorf("got %s, %v", principal.ID, err)
			case c.reason != "" && (!errors.As(err, &denial) || denial.Reason != c.reason):
				t.Errorf("got %s, %v, want %s", principal.ID, err, c.reason)
			}
		})
	}
}

func TestWithoutASnapshotNobodyIsIdentifiedAndNothingValidated(t *testing.T) {
	b := newBench(t)
	var denial *extauthz.Denial
	if _, err := b.service.Identify(extauthz.Credential{Bearer: b.Token(b.Agent.ID)}); !errors.As(err, &denial) || denial.Reason != authority.ReasonNoDecision {
		t.Errorf("Identify: %v", err)
	}
	question := extauthz.Question{MandateID: b.Mandate.ID, Action: authority.Read, Resource: "api:model"}
	if answer, err := b.service.Validate(context.Background(), extauthz.Caller{Principal: b.Agent}, question); !errors.As(err, &denial) || denial.Reason != authority.ReasonNoDecision || answer.Allowed {
		t.Errorf("Validate: %+v, %v", answer, err)
	}
}

// A key that is bound to networks is worth nothing elsewhere, nor where the address is not known.
func TestAKeyIsKnownFromItsNetworksOnly(t *testing.T) {
	b := newBench(t)
	key := b.Key(b.Agent.ID)
	b.State.AgentKeys[0].AllowedNetworks = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	b.enforce(t)
	for from, may := range map[string]bool{"192.0.2.1": true, "::ffff:192.0.2.1": true, "192.0.3.1": false, "": false} {
		address, _ := netip.ParseAddr(from)
		_, err := b.service.Identify(extauthz.Credential{Bearer: key.Reveal(), Address: address})
		var denial *extauthz.Denial
		if may && err != nil || !may && (!errors.As(err, &denial) || denial.Reason != authority.ReasonAuthFailed) {
			t.Errorf("from %q: %v", from, err)
		}
	}
}
