package controlplane_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
)

func TestARequestIsTriedWithoutBeingMade(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	agent, _ := w.agent(w.owner, "researcher", authority.Agent)
	other, _ := w.agent(w.owner, "other", authority.Agent)
	w.policy(w.owner, agent, 1)
	narrow := request(w.owner.Principal().ID, agent.ID)
	narrow.ResourceScope, narrow.ActionScope = []string{"api:external/shop"}, []string{"read"}
	wide := w.mandate(w.owner, agent)
	close := must(w.RequestMandate(ctx, w.owner, narrow))(t).Value
	shop := must(w.CreateDestination(ctx, w.owner, authority.Destination{
		Name: "shop", Host: "shop.internal", Ports: []uint16{8443}, Addresses: []netip.Prefix{netip.MustParsePrefix("10.1.2.0/24")}, ConnectTo: "10.1.2.3:8443",
		Credential: &authority.Credential{Name: "shop", Header: "x-api-key"}, ClientCertificate: "ours", MaxDurationSeconds: 30,
		Rules: []authority.Rule{{Path: "/items/{id}", Methods: map[string]authority.Action{"GET": authority.Write}, Resource: "api:external/shop"}},
	}))(t).Value
	changed := shop
	changed.Rules = []authority.Rule{{Path: "/items/{id}", Methods: map[string]authority.Action{"GET": authority.Read, "POST": authority.Execute}, Resource: "api:external/shop"}}
	report, _ := touched(t, drop(w.UpdateDestination(ctx, w.owner, shop.ID, changed)))
	must(w.UpdateDestination(ctx, w.owner.Accepting(report.Digest), shop.ID, changed))(t)
	must(w.CreateDestination(ctx, w.owner, authority.Destination{Name: "opaque", Host: "opaque.example.com", Tunnel: authority.TunnelPassthrough}))(t)
	must(w.CreateDestination(ctx, w.owner, authority.Destination{Name: "closed", Host: "closed.example.com", Tunnel: authority.TunnelRefuse}))(t)
	revision := must(w.Revision(ctx, w.owner))(t)

	// told is what a trial answers, without what is the same for all of one route.
	type told struct {
		Reached             bool
		Reason              authority.Reason
		Resource            authority.Resource
		Actions             string
		Destination, Rule   string
		Tunnel              authority.Tunnel
		Route               string
		Mandate             authority.MandateID
		Selected, Permitted bool
	}
	for sentence, c := range map[string]struct {
		trial controlplane.Trial
		want  told
	}{
		"the catalog alone": {
			controlplane.Trial{URL: "https://shop.internal:8443/items/7"},
			told{Reached: true, Resource: "api:external/shop", Actions: "read", Destination: "shop", Rule: "/items/{id}", Tunnel: authority.TunnelInspect, Route: "private"},
		},
		"the closest mandate is selected": {
			controlplane.Trial{URL: "https://shop.internal:8443/items/7", PrincipalID: agent.ID},
			told{Reached: true, Resource: "api:external/shop", Actions: "read", Destination: "shop", Rule: "/items/{id}", Tunnel: authority.TunnelInspect, Route: "private", Mandate: close.ID, Selected: true, Permitted: true},
		},
		"a wider one covers the action": {
			controlplane.Trial{URL: "https://shop.internal:8443/items/7", Method: "POST", PrincipalID: agent.ID},
			told{Reached: true, Resource: "api:external/shop", Actions: "execute", Destination: "shop", Rule: "/items/{id}", Tunnel: authority.TunnelInspect, Route: "private", Mandate: wide.ID, Selected: true, Permitted: true},
		},
		"the mandate that is named does not": {
			controlplane.Trial{URL: "https://shop.internal:8443/items/7", Method: "POST", PrincipalID: agent.ID, MandateID: close.ID},
			told{Reached: true, Reason: authority.ReasonActionNotInScope, Resource: "api:external/shop", Actions: "execute", Destination: "shop", Rule: "/items/{id}", Tunnel: authority.TunnelInspect, Route: "private", Mandate: close.ID},
		},
		"a mandate whose subject is not told": {
			controlplane.Trial{URL: "https://shop.internal:8443/items/7", MandateID: close.ID},
			told{Reached: true, Resource: "api:external/shop", Actions: "read", Destination: "shop", Rule: "/items/{id}", Tunnel: authority.TunnelInspect, Route: "private", Mandate: close.ID, Permitted: true},
		},
		"somebody else's mandate": {
			controlplane.Trial{URL: "https://shop.internal:8443/items/7", PrincipalID: other.ID, MandateID: close.ID},
			told{Reached: true, Reason: authority.ReasonSubjectMismatch, Resource: "api:external/shop", Actions: "read", Destination: "shop", Rule: "/items/{id}", Tunnel: authority.TunnelInspect, Route: "private", Mandate: close.ID},
		},
		"somebody without a mandate": {
			controlplane.Trial{URL: "https://shop.internal:8443/items/7", PrincipalID: other.ID},
			told{Reached: true, Reason: authority.ReasonNoMandateApplies, Resource: "api:external/shop", Actions: "read", Destination: "shop", Rule: "/items/{id}", Tunnel: authority.TunnelInspect, Route: "private"},
		},
		"a path that no rule lists": {
			controlplane.Trial{URL: "https://shop.internal:8443/admin", PrincipalID: agent.ID},
			told{Reason: authority.ReasonTargetNotAllowed, Destination: "shop", Tunnel: authority.TunnelInspect},
		},
		"a port that no destination has": {
			controlplane.Trial{URL: "https://shop.internal/items/7"},
			told{Reason: authority.ReasonTargetNotAllowed, Tunnel: authority.TunnelRefuse},
		},
		"a host without a destination": {
			controlplane.Trial{URL: "https://a.example.org/x", PrincipalID: agent.ID},
			told{Reached: true, Reason: authority.ReasonNoMandateApplies, Resource: "host:a.example.org:443/x", Actions: "read", Tunnel: authority.TunnelInspect, Route: "public"},
		},
		"a tunnel that is looked into": {
			controlplane.Trial{URL: "shop.internal:8443", Method: "CONNECT", PrincipalID: agent.ID},
			told{Reached: true, Destination: "shop", Tunnel: authority.TunnelInspect, Route: "private"},
		},
		"an opaque tunnel": {
			controlplane.Trial{URL: "opaque.example.com:443", Method: "CONNECT", PrincipalID: agent.ID},
			told{Reached: true, Reason: authority.ReasonNoMandateApplies, Resource: "tunnel:opaque.example.com:443", Actions: "execute,read,write", Destination: "opaque", Tunnel: authority.TunnelPassthrough, Route: "public"},
		},
		"a tunnel that is refused": {
			controlplane.Trial{URL: "closed.example.com:443", Method: "CONNECT", PrincipalID: agent.ID},
			told{Reason: authority.ReasonTargetNotAllowed, Destination: "closed", Tunnel: authority.TunnelRefuse},
		},
	} {
		a := must(w.TestDestination(ctx, w.owner, c.trial))(t)
		got := told{Reached: a.Reached, Resource: a.Resource, Tunnel: a.Tunnel, Mandate: a.MandateID, Selected: a.Selected, Permitted: a.Permitted != nil && *a.Permitted}
		if a.Reason != nil {
			got.Reason = *a.Reason
		}
		for i, action := range a.Actions {
			if i > 0 {
				got.Actions += ","
			}
			got.Actions += string(action)
		}
		if a.Destination != nil {
			got.Destination = a.Destination.Name
		}
		if a.Rule != nil {
			got.Rule = a.Rule.Path
		}
		if a.Route != nil {
			got.Route = a.Route.Kind
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", sentence, diff)
		}
		if decided := a.Reached && a.Resource != "" && c.trial.PrincipalID+authority.PrincipalID(c.trial.MandateID) != ""; (a.Permitted != nil) != decided || (a.Reason != nil) != (a.Message != "") && a.Resource != "" {
			t.Errorf("%s: permitted %v, reason %v, %q", sentence, a.Permitted, a.Reason, a.Message)
		}
	}
	private := must(w.TestDestination(ctx, w.owner, controlplane.Trial{URL: "https://shop.internal:8443/items/7"}))(t)
	want := &controlplane.TrialRoute{
		Kind: "private", TLS: authority.TLSRequired, ConnectTo: "10.1.2.3:8443", Addresses: shop.Addresses, Credential: "shop", ClientCertificate: "ours", MaxDurationSeconds: 30,
	}
	if diff := cmp.Diff(want, private.Route, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("the route (-want +got):\n%s", diff)
	}
	for _, bad := range []controlplane.Trial{{URL: "shop.internal/"}, {URL: "https://shop.internal/", Method: "CONNECT"}, {URL: "https://10.0.0.1/"}, {}} {
		if err := drop(w.TestDestination(ctx, w.owner, bad)); err == nil {
			t.Errorf("%+v is answered", bad)
		}
	}
	wantError(t, drop(w.TestDestination(ctx, w.owner, controlplane.Trial{URL: "https://shop.internal:8443/items/7", PrincipalID: authority.NewID[authority.PrincipalID]()})), authority.CodeNotFound, "")
	if now := must(w.Revision(ctx, w.owner))(t); now != revision {
		t.Errorf("trying moved the revision from %d to %d", revision, now)
	}
}

func TestATrialOfAMethodThatNoRequestHasIsRefused(t *testing.T) {
	w := newWorld(t)
	_, err := w.TestDestination(t.Context(), w.owner, controlplane.Trial{URL: "https://shop.example.com/", Method: strings.Repeat("M", 33)})
	var refusal *authority.Error
	if !errors.As(err, &refusal) || refusal.Code != authority.CodeInvalid || refusal.Field != "method" {
		t.Errorf("got %v, want invalid_request of method", err)
	}
}
