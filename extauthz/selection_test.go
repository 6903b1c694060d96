package extauthz_test

import (
	"strings"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/extauthz"
)

func TestTheMandateThatSaysMostCloselyWhatIsAskedIsSelected(t *testing.T) {
	reading := authority.Scope{Resources: []authority.ResourcePattern{"api:echo/all"}, Actions: authority.Actions{authority.Read}}
	w := newTower(t)
	w.State.Mandates = nil
	w.Issue(w.Agent.ID, everything("*"))
	w.Issue(w.Agent.ID, everything("api:*"))
	narrow := w.Issue(w.Agent.ID, everything("api:echo/all"))
	least := w.Issue(w.Agent.ID, reading)
	over := w.Issue(w.Agent.ID, reading)
	w.Revoke(over.ID)
	w.Issue(w.Child.ID, reading)
	w.enforce(t)
	for method, want := range map[string]authority.MandateID{"GET": least.ID, "POST": narrow.ID, "PUT": narrow.ID} {
		w.permission(t, w.forwarded(method, "https://echo.caracal.test:9443/x"))
		if event := w.events.last(t); event.MandateID != want || event.Detail["selected"] != true {
			t.Errorf("%s: %s was selected, want %s", method, event.MandateID, want)
		}
	}
	websocket := w.forwarded("GET", "https://echo.caracal.test:9443/x", pair{"upgrade", "websocket"})
	w.permission(t, websocket)
	if event := w.events.last(t); event.MandateID != narrow.ID {
		t.Errorf("for a websocket %s was selected, want %s, which covers writing too", event.MandateID, narrow.ID)
	}
}

// The policy judges the one that was selected. What it denies is denied, though another mandate might pass.
func TestADenialAfterSelectionIsFinal(t *testing.T) {
	w := newTower(t)
	wide := w.Issue(w.Agent.ID, everything("*"))
	narrow := w.Issue(w.Agent.ID, everything("api:echo/all"))
	w.Govern(`package caracal.policy

deny contains {"code": "no", "message": "Not by this one."} if input.mandate.id == "` + string(narrow.ID) + `"`)
	w.enforce(t)
	request := w.forwarded("POST", "https://echo.caracal.test:9443/x")
	if d := w.denial(t, request); d.Error != string(authority.ReasonPolicyDenied) {
		t.Errorf("got %s", d.Error)
	}
	var told string
	for _, h := range w.check(t, request.check()).GetDeniedResponse().GetHeaders() {
		if h.GetHeader().GetKey() == "x-caracal-selected-mandate" {
			told = h.GetHeader().GetValue()
		}
	}
	if event := w.events.last(t); told != string(narrow.ID) || event.MandateID != narrow.ID || event.Detail["selected"] != true {
		t.Errorf("the client is told of %q, the record of %s", told, event.MandateID)
	}
	named := request.with("proxy-authorization", basic(string(wide.ID), w.Token(w.Agent.ID)))
	w.permission(t, named)
	if event := w.events.last(t); event.MandateID != wide.ID || event.Detail != nil {
		t.Errorf("a mandate that is named: %+v", event)
	}
}

func TestNothingIsSelectedWhereNothingApplies(t *testing.T) {
	w := newTower(t)
	w.State.Mandates = nil
	w.Issue(w.Agent.ID, authority.Scope{Resources: []authority.ResourcePattern{"api:echo/all"}, Actions: authority.Actions{authority.Read}})
	w.enforce(t)
	for name, c := range map[string]struct {
		request asked
		says    string
	}{
		"another action":   {w.forwarded("POST", "https://echo.caracal.test:9443/x"), "No live mandate of agent covers execute on api:echo/all: request one."},
		"another resource": {w.forwarded("GET", "https://echo.caracal.test:9443/admin/x"), "No live mandate of agent covers read on api:echo-admin: request one."},
		"a websocket":      {w.forwarded("GET", "https://echo.caracal.test:9443/x", pair{"upgrade", "websocket"}), "No live mandate of agent covers read, write on api:echo/all: request one."},
		"a public host":    {w.forwarded("GET", "https://pub.test/x"), "No live mandate of agent covers read on host:pub.test:443/x: request one."},
	} {
		t.Run(name, func(t *testing.T) {
			d := w.denial(t, c.request)
			if d.Error != string(authority.ReasonNoMandateApplies) || d.Status != 403 || d.Message != c.says {
				t.Errorf("got %d %s %q, want %q", d.Status, d.Error, d.Message, c.says)
			}
			if event := w.events.last(t); event.MandateID != "" || event.Detail != nil || event.PrincipalID != w.Agent.ID {
				t.Errorf("event %+v", event)
			}
		})
	}
}

// Of /api/proxy nothing is selected: who knows of mandates names one.
func TestOnlyUnmodifiedClientsHaveAMandateSelected(t *testing.T) {
	b := newBench(t)
	b.enforce(t)
	if d := wantDenial(t, b.check(t, b.proxied().without("x-caracal-mandate").check())); d.Error != string(authority.ReasonMissingMandate) {
		t.Errorf("got %s", d.Error)
	}
}

// A stream goes on by the mandate that was selected for it, and never by another.
func TestAStreamStaysWithItsMandate(t *testing.T) {
	w := newTower(t)
	w.State.Mandates = nil
	wide := w.Issue(w.Agent.ID, everything("*"))
	w.enforce(t)
	line := w.live(t, w.forwarded("GET", "https://echo.caracal.test:9443/x"))
	w.Issue(w.Agent.ID, everything("api:echo/all"))
	w.change(t, extauthz.Change{All: true})
	line.wantAlive(t)
	w.Revoke(wide.ID)
	w.change(t, extauthz.Change{Mandates: []authority.MandateID{wide.ID}})
	line.wantEnd(t, authority.ReasonMandateRevoked)
}

// A token that is bound to a mandate presents that one, and does nothing else by any way.
func TestATokenThatIsBoundToAMandatePresentsThatOneOnly(t *testing.T) {
	b := newBench(t)
	other := b.Issue(b.Agent.ID, everything("*"))
	b.enforce(t)
	bound := "Bearer " + b.boundToken(b.Agent.ID, b.Mandate.ID)
	mandates := "/api/v1/workspaces/my-team/mandates"
	self := func(method, path string) asked {
		return asked{mode: "gateway", method: method, path: path, host: "localhost:8443", headers: []pair{{"authorization", bound}}}
	}
	for name, c := range map[string]struct {
		request asked
		reason  authority.Reason // empty where the request passes
	}{
		"presenting it":                 {request: b.proxied().with("authorization", bound)},
		"presenting another":            {request: b.proxied().with("authorization", bound).with("x-caracal-mandate", string(other.ID)), reason: authority.ReasonTokenBound},
		"presenting none":               {request: b.proxied().with("authorization", bound).without("x-caracal-mandate"), reason: authority.ReasonMissingMandate},
		"naming a target that is none":  {request: b.proxied().with("authorization", bound).with("x-caracal-target-url", "https://1/"), reason: authority.ReasonInvalidTarget},
		"asking for another":            {request: self("POST", mandates), reason: authority.ReasonTokenBound},
		"asking for another, shorter":   {request: self("POST", "/api/v1/mandates"), reason: authority.ReasonTokenBound},
		"asking for a token":            {request: self("POST", "/api/v1/token"), reason: authority.ReasonTokenBound},
		"delegating it":                 {request: self("POST", "/api/v1/mandates/"+string(b.Mandate.ID)+"/delegate"), reason: authority.ReasonTokenBound},
		"revoking it":                   {request: self("POST", "/api/v1/mandates/"+string(b.Mandate.ID)+"/revoke"), reason: authority.ReasonTokenBound},
		"listing what there is":         {request: self("GET", mandates), reason: authority.ReasonTokenBound},
		"reading another":               {request: self("GET", "/api/v1/mandates/"+string(other.ID)), reason: authority.ReasonTokenBound},
		"reading it":                    {request: self("GET", "/api/v1/mandates/"+string(b.Mandate.ID))},
		"reading it, with its path":     {request: self("GET", mandates+"/"+string(b.Mandate.ID))},
		"asking what it covers":         {request: self("POST", mandates+"/validate")},
		"asking how the gateway is":     {request: self("GET", "/health")},
		"asking for it with its string": {request: self("GET", mandates+"?x=/mandates/"+string(b.Mandate.ID)), reason: authority.ReasonTokenBound},
	} {
		t.Run(name, func(t *testing.T) {
			answer := b.check(t, c.request.check())
			if c.reason == "" {
				wantPermission(t, answer)
			} else if d := wantDenial(t, answer); d.Error != string(c.reason) {
				t.Errorf("got %s (%s), want %s", d.Error, d.Message, c.reason)
			}
		})
	}

	caller, err := b.service.Identify(extauthz.Credential{Bearer: strings.TrimPrefix(bound, "Bearer ")})
	if err != nil || caller.Mandate != b.Mandate.ID {
		t.Fatalf("identified %+v, %v", caller, err)
	}
	question := extauthz.Question{MandateID: b.Mandate.ID, Action: authority.Read, Resource: "api:echo/all"}
	if answer, err := b.service.Validate(t.Context(), caller, question); err != nil || !answer.Allowed {
		t.Errorf("its own: %+v, %v", answer, err)
	}
	question.MandateID = other.ID
	if answer, err := b.service.Validate(t.Context(), caller, question); !isDenial(err, authority.ReasonTokenBound) {
		t.Errorf("another: %+v, %v", answer, err)
	}
	byService := extauthz.Caller{Principal: b.Service}
	question.PresenterToken = b.boundToken(b.Agent.ID, b.Mandate.ID)
	if answer, err := b.service.Validate(t.Context(), byService, question); err == nil {
		t.Errorf("another, presented to a service: %+v", answer)
	}
	question.MandateID = b.Mandate.ID
	if answer, err := b.service.Validate(t.Context(), byService, question); err != nil || !answer.Allowed {
		t.Errorf("its own, presented to a service: %+v, %v", answer, err)
	}
}

// A mandate of any number of others is found, and in the end the one that ends last.
func TestSelectionIsNotMoreThanTheMandatesSay(t *testing.T) {
	w := newTower(t)
	w.State.Mandates = nil
	for range 20 {
		w.Issue(w.Agent.ID, everything("api:echo/all"))
	}
	last := w.Issue(w.Agent.ID, everything("api:echo/all"))
	last.ValidUntil = start.Add(2 * time.Hour)
	last = w.Add(last)
	w.enforce(t)
	w.permission(t, w.forwarded("GET", "https://echo.caracal.test:9443/x"))
	if got := w.events.last(t).MandateID; got != last.ID {
		t.Errorf("%s was selected, want %s, which ends last", got, last.ID)
	}
}

// A mandate that does not say what was signed is none: another that does is selected.
func TestAMandateThatIsNotGenuineIsPassedOver(t *testing.T) {
	w := newTower(t)
	w.State.Mandates = nil
	wide := w.Issue(w.Agent.ID, everything("*"))
	for range 3 {
		narrow := w.Issue(w.Agent.ID, everything("api:model"))
		w.Change(narrow.ID, func(m *authority.Mandate) { m.ResourceScope = []authority.ResourcePattern{"api:echo/all"} })
	}
	w.enforce(t)
	w.permission(t, w.forwarded("GET", "https://echo.caracal.test:9443/x"))
	if got := w.events.last(t).MandateID; got != wide.ID {
		t.Errorf("%s was selected, want %s", got, wide.ID)
	}
}

func TestADenialBeforeAnyMandateIsJudgedIsRecordedUnderTheTokensOwn(t *testing.T) {
	b := newBench(t)
	b.enforce(t)
	nowhere := b.proxied().with("authorization", "Bearer "+b.boundToken(b.Agent.ID, b.Mandate.ID)).with("x-caracal-target-url", "https://1/")
	if d := wantDenial(t, b.check(t, nowhere.check())); d.Error != string(authority.ReasonInvalidTarget) {
		t.Fatalf("got %s (%s)", d.Error, d.Message)
	}
	if all := b.events.all(); len(all) != 1 || all[0].MandateID != b.Mandate.ID {
		t.Errorf("recorded %+v", all)
	}
}
