package controlplane_test

import (
	"strings"
	"testing"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
	"github.com/caracal-gateway/caracal/internal/pki"
)

func boundTo(der string) *authority.Confirmation {
	return &authority.Confirmation{Certificate: authority.ThumbprintOf([]byte(der))}
}

func TestABoundMandateHoldsForItsCertificateOnly(t *testing.T) {
	w := newWorld(t)
	agent, asAgent := w.agent(w.owner, "a", authority.Agent)
	_, asService := w.agent(w.owner, "s", authority.Service)
	w.policy(w.owner, agent, 2)
	asked := request(w.owner.Principal().ID, agent.ID)
	asked.Confirmation = boundTo("mine")
	mandate := must(w.RequestMandate(t.Context(), w.owner, asked))(t).Value
	bound := must(w.IssueBoundToken(t.Context(), asAgent, controlplane.TokenTerms{Confirmation: boundTo("mine")}))(t).AccessToken
	plain := must(w.IssueToken(t.Context(), asAgent))(t).AccessToken
	for sentence, c := range map[string]struct {
		caller controlplane.Caller
		change func(*controlplane.Validation)
		want   authority.Reason
	}{
		"a service tells the presenter's certificate": {asService, func(v *controlplane.Validation) {
			v.PresenterID, v.PresenterConfirmation = agent.ID, boundTo("mine")
		}, ""},
		"a service tells another": {asService, func(v *controlplane.Validation) {
			v.PresenterID, v.PresenterConfirmation = agent.ID, boundTo("other")
		}, authority.ReasonBindingMismatch},
		"a service tells none": {asService, func(v *controlplane.Validation) { v.PresenterID = agent.ID }, authority.ReasonBindingMismatch},
		"a service has a bound token and its certificate": {asService, func(v *controlplane.Validation) {
			v.PresenterToken, v.PresenterConfirmation = bound, boundTo("mine")
		}, ""},
		"a service has a bound token and no certificate": {asService, func(v *controlplane.Validation) { v.PresenterToken = bound }, authority.ReasonAuthFailed},
		"a service has a bound token and another certificate": {asService, func(v *controlplane.Validation) {
			v.PresenterToken, v.PresenterConfirmation = bound, boundTo("other")
		}, authority.ReasonAuthFailed},
		"a service has a plain token and the certificate": {asService, func(v *controlplane.Validation) {
			v.PresenterToken, v.PresenterConfirmation = plain, boundTo("mine")
		}, ""},
		"the subject shows the control plane nothing": {asAgent, func(*controlplane.Validation) {}, authority.ReasonBindingMismatch},
		"the subject only tells it":                   {asAgent, func(v *controlplane.Validation) { v.PresenterConfirmation = boundTo("mine") }, authority.ReasonBindingMismatch},
		"an owner inquires":                           {w.owner, func(*controlplane.Validation) {}, ""},
	} {
		t.Run(sentence, func(t *testing.T) {
			v := controlplane.Validation{MandateID: mandate.ID, RequestedAction: "read", RequestedResource: "api:external/x"}
			c.change(&v)
			got := must(w.ValidateMandate(t.Context(), c.caller, v))(t)
			var reason authority.Reason
			if got.DenialReason != nil {
				reason = *got.DenialReason
			}
			if reason != c.want || got.Allowed != (c.want == "") {
				t.Errorf("answered %+v (%q), want %q", got, reason, c.want)
			}
		})
	}
	_, err := w.Authenticate(t.Context(), controlplane.Credential{Bearer: bound})
	wantError(t, err, authority.CodeUnauthenticated, "")
	_, err = w.IssueBoundToken(t.Context(), asAgent, controlplane.TokenTerms{Confirmation: &authority.Confirmation{Certificate: "x"}})
	wantError(t, err, authority.CodeInvalid, "")
	_, err = w.ValidateMandate(t.Context(), asService, controlplane.Validation{
		MandateID: mandate.ID, RequestedAction: "read", RequestedResource: "api:external/x", PresenterID: agent.ID, PresenterConfirmation: &authority.Confirmation{},
	})
	wantError(t, err, authority.CodeInvalid, "")
}

func TestAChildIsBoundLikeItsParentOrToACertificateOfItsOwn(t *testing.T) {
	w := newWorld(t)
	agent, asAgent := w.agent(w.owner, "a", authority.Agent)
	w.policy(w.owner, agent, 2)
	asked := request(w.owner.Principal().ID, agent.ID)
	asked.Confirmation = boundTo("parent's")
	parent := must(w.RequestMandate(t.Context(), w.owner, asked))(t).Value
	for sentence, c := range map[string]struct{ told, want *authority.Confirmation }{
		"it inherits":        {nil, boundTo("parent's")},
		"it brings its own":  {boundTo("child's"), boundTo("child's")},
		"its parent's again": {boundTo("parent's"), boundTo("parent's")},
	} {
		t.Run(sentence, func(t *testing.T) {
			child, _ := w.agent(w.owner, sentence, authority.Agent)
			w.policy(w.owner, child, 0)
			m := must(w.DelegateMandate(t.Context(), asAgent, controlplane.Delegation{
				ParentMandateID: parent.ID, ChildPrincipalID: child.ID, ResourceScope: []string{"api:external/x"}, ActionScope: []string{"read"},
				ValiditySeconds: 60, Confirmation: c.told,
			}))(t).Value
			if m.Confirmation == nil || *m.Confirmation != *c.want {
				t.Errorf("it is bound to %v, want %v", m.Confirmation, c.want)
			}
			if read := must(w.Mandate(t.Context(), asAgent, m.ID))(t); read.Confirmation == nil || *read.Confirmation != *c.want {
				t.Errorf("it is kept as bound to %v", read.Confirmation)
			}
		})
	}
}

func TestClientAuthorities(t *testing.T) {
	w := newWorld(t)
	agent, asAgent := w.agent(w.owner, "a", authority.Agent)
	_, elsewhere := w.workspace("second")
	stranger, _ := w.agent(elsewhere, "b", authority.Agent)
	ca := authority.ClientAuthority{
		Name: "mesh", Roots: pki.New(t).PEM(),
		Bindings: []authority.CertificateBinding{{Kind: authority.NameDNS, Value: "a.example.org", PrincipalID: agent.ID}},
	}
	made := must(w.CreateClientAuthority(t.Context(), w.owner, ca))(t).Value
	gateway, trust := w.gatewayKey()
	_, trust = w.enforce(gateway, trust)
	for sentence, c := range map[string]struct {
		change func(*authority.ClientAuthority)
		code   authority.Code
	}{
		"a name that is taken":             {func(*authority.ClientAuthority) {}, authority.CodeConflict},
		"a principal of another workspace": {func(a *authority.ClientAuthority) { a.Bindings[0].PrincipalID = stranger.ID }, authority.CodeInvalid},
		"a user":                           {func(a *authority.ClientAuthority) { a.Bindings[0].PrincipalID = w.owner.Principal().ID }, authority.CodeInvalid},
		"roots that are none":              {func(a *authority.ClientAuthority) { a.Roots = strings.ReplaceAll(a.Roots, "A", "B") }, authority.CodeInvalid},
		"a principal's id that is not there": {func(a *authority.ClientAuthority) {
			a.Bindings[0].PrincipalID = authority.NewID[authority.PrincipalID]()
		}, authority.CodeInvalid},
	} {
		t.Run(sentence, func(t *testing.T) {
			wrong := ca
			wrong.Bindings = append([]authority.CertificateBinding{}, ca.Bindings...)
			if sentence != "a name that is taken" {
				wrong.Name = "other"
			}
			c.change(&wrong)
			_, err := w.CreateClientAuthority(t.Context(), w.owner, wrong)
			wantError(t, err, c.code, "")
		})
	}
	_, err := w.CreateClientAuthority(t.Context(), asAgent, ca)
	wantError(t, err, authority.CodeForbidden, "")
	_, err = w.ClientAuthority(t.Context(), elsewhere, made.ID)
	wantError(t, err, authority.CodeNotFound, "")
	_, err = w.UpdateClientAuthority(t.Context(), w.owner.IfMatch("stale"), made.ID, ca)
	wantError(t, err, authority.CodePrecondition, "")
	ca.Bindings = nil
	changed := must(w.UpdateClientAuthority(t.Context(), w.owner.IfMatch(controlplane.Tag(made)), made.ID, ca))(t)
	if again := must(w.UpdateClientAuthority(t.Context(), w.owner, made.ID, ca))(t); again.Revision != changed.Revision || len(again.Value.Bindings) != 0 {
		t.Errorf("the same once more: %+v", again)
	}
	must(w.DeleteClientAuthority(t.Context(), w.owner, made.ID))(t)
	if left := must(w.ClientAuthorities(t.Context(), w.owner))(t); len(left) != 0 {
		t.Errorf("left are %+v", left)
	}
	w.enforce(gateway, trust)
	for _, kind := range []authority.EventType{authority.EventClientAuthorityCreated, authority.EventClientAuthorityUpdated, authority.EventClientAuthorityDeleted} {
		events := must(w.Events(t.Context(), w.owner, controlplane.EventFilter{Type: kind}, controlplane.Page{}))(t).Items
		if len(events) != 1 || events[0].ActorID != w.owner.Principal().ID ||
			(events[0].Detail["before"] == nil) != (kind == authority.EventClientAuthorityCreated) || (events[0].Detail["after"] == nil) != (kind == authority.EventClientAuthorityDeleted) {
			t.Errorf("%s: the ledger tells %+v", kind, events)
		}
	}
}
