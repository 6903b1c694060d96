package controlplane_test

import (
	"context"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
)

// bound exchanges a caller's key for a token that is bound to a mandate.
func (w *world) bound(c controlplane.Caller, id authority.MandateID, seconds int64) controlplane.AccessToken {
	w.t.Helper()
	return must(w.IssueBoundToken(w.t.Context(), c, controlplane.TokenTerms{MandateID: id, LifetimeSeconds: seconds}))(w.t)
}

func TestATokenIsBoundToALiveMandateOfItsBearer(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	agent, asAgent := w.agent(w.owner, "agent", authority.Agent)
	helper, asHelper := w.agent(w.owner, "helper", authority.Agent)
	w.policy(w.owner, agent, 1)
	w.policy(w.owner, helper, 0)
	mine := w.mandate(w.owner, agent)
	child := must(w.DelegateMandate(ctx, asAgent, controlplane.Delegation{
		ParentMandateID: mine.ID, ChildPrincipalID: helper.ID, ResourceScope: []string{"api:external/x"}, ActionScope: []string{"read"}, ValiditySeconds: 60,
	}))(t).Value
	helpers := w.mandate(w.owner, helper)
	revoked := w.mandate(w.owner, agent)
	must(w.RevokeMandate(ctx, w.owner, revoked.ID, 0))(t)
	scheduled := request(w.owner.Principal().ID, agent.ID)
	scheduled.ValidFrom = new(time.Now().Add(time.Hour).Truncate(time.Second))
	later := must(w.RequestMandate(ctx, w.owner, scheduled))(t).Value
	for sentence, c := range map[string]struct {
		by     controlplane.Caller
		terms  controlplane.TokenTerms
		code   authority.Code
		reason authority.Reason
	}{
		"another's mandate, which the caller may know":    {asAgent, controlplane.TokenTerms{MandateID: child.ID}, authority.CodeRefused, authority.ReasonSubjectMismatch},
		"another's mandate, which the caller may not":     {asHelper, controlplane.TokenTerms{MandateID: mine.ID}, authority.CodeNotFound, ""},
		"a mandate that has nothing to do with it":        {asAgent, controlplane.TokenTerms{MandateID: helpers.ID}, authority.CodeNotFound, ""},
		"a mandate that nobody has":                       {asAgent, controlplane.TokenTerms{MandateID: authority.NewID[authority.MandateID]()}, authority.CodeNotFound, ""},
		"what is no mandate":                              {asAgent, controlplane.TokenTerms{MandateID: "x"}, authority.CodeInvalid, ""},
		"a mandate that is revoked":                       {asAgent, controlplane.TokenTerms{MandateID: revoked.ID}, authority.CodeRefused, authority.ReasonMandateRevoked},
		"a mandate that begins later":                     {asAgent, controlplane.TokenTerms{MandateID: later.ID}, authority.CodeRefused, authority.ReasonNotYetValid},
		"a time before now":                               {asAgent, controlplane.TokenTerms{MandateID: mine.ID, LifetimeSeconds: -1}, authority.CodeInvalid, ""},
		"more than a day":                                 {asAgent, controlplane.TokenTerms{MandateID: mine.ID, LifetimeSeconds: 86401}, authority.CodeInvalid, ""},
		"more than 15 minutes without a mandate":          {asAgent, controlplane.TokenTerms{LifetimeSeconds: 901}, authority.CodeInvalid, ""},
		"an access token, whatever it is exchanged for":   {w.as(must(w.IssueToken(ctx, asAgent))(t).AccessToken), controlplane.TokenTerms{MandateID: mine.ID}, authority.CodeForbidden, ""},
		"a token that is bound to that very mandate":      {w.as(w.bound(asAgent, mine.ID, 0).AccessToken), controlplane.TokenTerms{MandateID: mine.ID}, authority.CodeForbidden, ""},
		"a token that is bound to it, for an unbound one": {w.as(w.bound(asAgent, mine.ID, 0).AccessToken), controlplane.TokenTerms{}, authority.CodeForbidden, ""},
	} {
		t.Run(sentence, func(t *testing.T) {
			wantError(t, drop(w.IssueBoundToken(ctx, c.by, c.terms)), c.code, c.reason)
		})
	}
	_, err := w.later(2*time.Hour).IssueBoundToken(ctx, asAgent, controlplane.TokenTerms{MandateID: mine.ID})
	wantError(t, err, authority.CodeRefused, authority.ReasonExpired)
	must(w.RevokeMandate(ctx, asAgent, mine.ID, 0))(t)
	_, err = w.IssueBoundToken(ctx, asHelper, controlplane.TokenTerms{MandateID: child.ID})
	wantError(t, err, authority.CodeRefused, authority.ReasonMandateRevoked)
}

func TestABoundTokenLastsAsLongAsItIsAskedButNoLongerThanItsMandateOrKey(t *testing.T) {
	w := newWorld(t)
	agent, asAgent := w.agent(w.owner, "agent", authority.Agent)
	w.policy(w.owner, agent, 1)
	hour := w.mandate(w.owner, agent)
	asked := request(w.owner.Principal().ID, agent.ID)
	asked.ValiditySeconds = 86400
	day := must(w.RequestMandate(t.Context(), w.owner, asked))(t).Value
	soon := time.Now().Add(2 * time.Hour)
	ending := w.as(must(w.CreateKey(t.Context(), w.owner, controlplane.NewKey{Kind: authority.KeyAgent, Name: "soon", PrincipalID: agent.ID, ExpiresAt: &soon}))(t).Value.APIKey)
	for sentence, c := range map[string]struct {
		by      controlplane.Caller
		mandate authority.MandateID
		seconds int64
		want    int64
	}{
		"unless told, 15 minutes":               {asAgent, day.ID, 0, 900},
		"an hour":                               {asAgent, day.ID, 3600, 3600},
		"to the mandate's end":                  {asAgent, hour.ID, 86400, 3600},
		"to the key's end":                      {ending, day.ID, 86400, 7200},
		"a minute without a mandate":            {asAgent, "", 60, 60},
		"as long as a token without one may be": {asAgent, "", 900, 900},
	} {
		t.Run(sentence, func(t *testing.T) {
			got := w.bound(c.by, c.mandate, c.seconds).ExpiresIn
			if got > c.want || got < c.want-30 {
				t.Errorf("it lasts %d seconds, want %d", got, c.want)
			}
		})
	}
}

// What a token is bound to ends with the key that signed it at the earliest, also when that key is replaced meanwhile.
func TestABoundTokenOutlastsTheReplacementOfItsKey(t *testing.T) {
	w := newWorld(t)
	agent, asAgent := w.agent(w.owner, "agent", authority.Agent)
	w.policy(w.owner, agent, 1)
	asked := request(w.owner.Principal().ID, agent.ID)
	asked.ValiditySeconds = 86400
	day := must(w.RequestMandate(t.Context(), w.owner, asked))(t).Value
	long := w.bound(asAgent, day.ID, 86400).AccessToken
	w.rotate(1)
	if _, err := w.later(23*time.Hour).Authenticate(t.Context(), controlplane.Credential{Bearer: long}); err != nil {
		t.Errorf("a token of 24 hours after 23: %v", err)
	}
}

func TestABoundTokenSpeaksForItsMandateAlone(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	agent, asAgent := w.agent(w.owner, "agent", authority.Agent)
	helper, asHelper := w.agent(w.owner, "helper", authority.Agent)
	_, asService := w.agent(w.owner, "service", authority.Service)
	w.policy(w.owner, agent, 2)
	w.policy(w.owner, helper, 0)
	mine, other := w.mandate(w.owner, agent), w.mandate(w.owner, agent)
	bound := w.bound(asAgent, mine.ID, 0).AccessToken
	as := w.as(bound)

	scope := controlplane.Delegation{ParentMandateID: mine.ID, ChildPrincipalID: helper.ID, ResourceScope: []string{"api:external/x"}, ActionScope: []string{"read"}, ValiditySeconds: 60}
	for sentence, do := range map[string]func(context.Context) error{
		"issue": func(ctx context.Context) error {
			return drop(w.RequestMandate(ctx, as, request(w.owner.Principal().ID, agent.ID)))
		},
		"delegate":       func(ctx context.Context) error { return drop(w.DelegateMandate(ctx, as, scope)) },
		"revoke its own": func(ctx context.Context) error { return drop(w.RevokeMandate(ctx, as, mine.ID, 0)) },
		"revoke many": func(ctx context.Context) error {
			return drop(w.RevokeMandates(ctx, as, controlplane.RevocationFilter{SubjectID: agent.ID}, 0))
		},
		"list mandates": func(ctx context.Context) error {
			return drop(w.Mandates(ctx, as, controlplane.MandateFilter{}, controlplane.Page{}))
		},
		"list events": func(ctx context.Context) error {
			return drop(w.Events(ctx, as, controlplane.EventFilter{}, controlplane.Page{}))
		},
		"exchange itself": func(ctx context.Context) error { return drop(w.IssueToken(ctx, as)) },
	} {
		t.Run("it does not "+sentence, func(t *testing.T) { wantError(t, do(ctx), authority.CodeForbidden, "") })
	}
	if got := must(w.Mandate(ctx, as, mine.ID))(t); got.ID != mine.ID {
		t.Errorf("it shows %s", got.ID)
	}
	wantError(t, drop(w.Mandate(ctx, as, other.ID)), authority.CodeNotFound, "")

	for sentence, c := range map[string]struct {
		by     controlplane.Caller
		ask    controlplane.Validation
		reason authority.Reason
	}{
		"its bearer presents the mandate":             {as, controlplane.Validation{MandateID: mine.ID}, ""},
		"its bearer presents another of its own":      {as, controlplane.Validation{MandateID: other.ID}, authority.ReasonMandateNotFound},
		"a service was presented the mandate with it": {asService, controlplane.Validation{MandateID: mine.ID, PresenterToken: bound}, ""},
		"a service was presented another with it":     {asService, controlplane.Validation{MandateID: other.ID, PresenterToken: bound}, authority.ReasonAuthFailed},
		"somebody else's child is nothing to it":      {as, controlplane.Validation{MandateID: must(w.DelegateMandate(ctx, asAgent, scope))(t).Value.ID}, authority.ReasonMandateNotFound},
	} {
		t.Run(sentence, func(t *testing.T) {
			c.ask.RequestedAction, c.ask.RequestedResource = "read", "api:external/x"
			got := must(w.ValidateMandate(ctx, c.by, c.ask))(t)
			var reason authority.Reason
			if got.DenialReason != nil {
				reason = *got.DenialReason
			}
			if reason != c.reason || got.Allowed != (c.reason == "") {
				t.Errorf("answered %+v (%q), want %q", got, reason, c.reason)
			}
		})
	}
	must(w.RevokeMandate(ctx, asAgent, mine.ID, 0))(t)
	got := must(w.ValidateMandate(ctx, as, controlplane.Validation{MandateID: mine.ID, RequestedAction: "read", RequestedResource: "api:external/x"}))(t)
	if got.Allowed || *got.DenialReason != authority.ReasonMandateRevoked {
		t.Errorf("after the mandate's end: %+v", got)
	}
	must(w.Mandates(ctx, asHelper, controlplane.MandateFilter{}, controlplane.Page{}))(t)
}
