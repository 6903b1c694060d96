package controlplane_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
)

// touched is what a refusal reports, a line for each kind of traffic.
func touched(t *testing.T, err error) (authority.TouchReport, []string) {
	t.Helper()
	var refused *controlplane.ChangesAuthority
	if !errors.As(err, &refused) {
		t.Fatalf("the change ended with %v, want changes_authority", err)
	}
	wantError(t, err, authority.CodeChangesAuthority, "")
	meant := func(m *authority.Meaning) string {
		if m == nil {
			return "refused"
		}
		return m.Resource + fmt.Sprint(m.Actions)
	}
	var lines []string
	for _, d := range refused.Report.Traffic {
		line := strings.Join(d.Methods, ",") + " " + d.URL + ": " + meant(d.Before) + " -> " + meant(d.After)
		for _, m := range d.Mandates {
			line += " " + string(m.Effect)
		}
		lines = append(lines, line)
	}
	return refused.Report, lines
}

// The mandate covers api:external/* to read and to execute.
func TestAChangeThatTouchesLiveMandatesIsAcceptedByItsReport(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	agent, _ := w.agent(w.owner, "researcher", authority.Agent)
	w.policy(w.owner, agent, 0)
	read := map[string]authority.Action{"GET": authority.Read}
	shop := authority.Destination{Name: "shop", Host: "shop.example.com", Rules: []authority.Rule{
		{Path: "/**", Methods: map[string]authority.Action{"GET": authority.Read, "DELETE": authority.Write}, Resource: "api:external/shop"},
		{Path: "/admin", Methods: read, Resource: "db:shop"},
	}}
	made := must(w.CreateDestination(ctx, w.owner, shop))(t).Value
	mandate := w.mandate(w.owner, agent)
	moved := made
	moved.Rules = slices.Clone(made.Rules)
	moved.Rules[0].Resource = "api:external/mall"
	renamed := made
	renamed.Name, renamed.ConnectTo = "mall", "mall.example.com:443"
	renamed = must(w.UpdateDestination(ctx, w.owner, made.ID, renamed))(t).Value

	for sentence, c := range map[string]struct {
		change func(controlplane.Caller) error
		want   []string
	}{
		"a resource gets another name": {
			func(c controlplane.Caller) error { return drop(w.UpdateDestination(ctx, c, made.ID, moved)) },
			[]string{"GET https://shop.example.com/**: api:external/shop[read] -> api:external/mall[read] keeps"},
		},
		"a part is not covered any more": {
			func(c controlplane.Caller) error {
				d := made
				d.Rules = append(slices.Clone(made.Rules), authority.Rule{Path: "/orders/{id}", Methods: read, Resource: "db:orders/{id}"})
				return drop(w.UpdateDestination(ctx, c, made.ID, d))
			},
			[]string{"GET https://shop.example.com/orders/{id}: api:external/shop[read] -> db:orders/{id}[read] loses"},
		},
		"a part is covered that was not": {
			func(c controlplane.Caller) error {
				d := made
				d.Rules = slices.Clone(made.Rules[:1])
				return drop(w.UpdateDestination(ctx, c, made.ID, d))
			},
			[]string{"GET https://shop.example.com/admin: db:shop[read] -> api:external/shop[read] gains"},
		},
		"the destination goes": {
			func(c controlplane.Caller) error { return drop(w.DeleteDestination(ctx, c, made.ID)) },
			[]string{"GET https://shop.example.com/**: api:external/shop[read] -> host:shop.example.com:443/**[read] loses"},
		},
		"another host is covered": {
			func(c controlplane.Caller) error {
				return drop(w.CreateDestination(ctx, c, authority.Destination{Name: "models", Host: "*.models.example.com", Rules: []authority.Rule{
					{Path: "/v1/**", Methods: map[string]authority.Action{"POST": authority.Execute}, Resource: "api:external/models"},
				}}))
			},
			[]string{"POST https://*.models.example.com/v1/**: host:*.models.example.com:443/v1/**[write] -> api:external/models[execute] gains"},
		},
	} {
		report, lines := touched(t, c.change(w.owner))
		if diff := cmp.Diff(c.want, lines); diff != "" {
			t.Errorf("%s: reported (-want +got):\n%s", sentence, diff)
		}
		if report.MandateCount != 1 || report.TrafficCount != 1 || report.Traffic[0].MandateCount != 1 || report.Traffic[0].Mandates[0].MandateID != mandate.ID || report.Traffic[0].Mandates[0].SubjectID != agent.ID {
			t.Errorf("%s: the report is %+v", sentence, report)
		}
		if got := must(w.Destination(ctx, w.owner, made.ID))(t); !cmp.Equal(got.Rules, renamed.Rules) {
			t.Errorf("%s: it was not accepted, and the destination is %+v", sentence, got)
		}
		touched(t, c.change(w.owner.Accepting("another")))
	}

	move := func(c controlplane.Caller) error { return drop(w.UpdateDestination(ctx, c, made.ID, moved)) }
	first, _ := touched(t, move(w.owner))
	second := w.mandate(w.owner, agent)
	if again, _ := touched(t, move(w.owner)); again.Digest != first.Digest || again.MandateCount != 2 {
		t.Errorf("with another mandate of the same subject and scope the report is %+v, before %+v", again, first)
	}
	other, _ := w.agent(w.owner, "other", authority.Agent)
	w.policy(w.owner, other, 0)
	w.mandate(w.owner, other)
	third, _ := touched(t, move(w.owner.Accepting(first.Digest)))
	if third.Digest == first.Digest {
		t.Errorf("with a mandate of another subject the digest is still %s", third.Digest)
	}
	if err := move(w.owner.Accepting(third.Digest)); err != nil {
		t.Fatal(err)
	}
	events := must(w.Events(ctx, w.owner, controlplane.EventFilter{Type: authority.EventDestinationUpdated}, controlplane.Page{Limit: 1}))(t).Items
	accepted, _ := events[0].Detail["accepted"].(map[string]any)
	if accepted["digest"] != third.Digest || fmt.Sprint(accepted["mandate_count"]) != "3" || events[0].Detail["before"] == nil {
		t.Errorf("the event says %v", events[0].Detail)
	}

	for _, m := range []authority.MandateID{mandate.ID, second.ID} {
		must(w.RevokeMandate(ctx, w.owner, m, 0))(t)
	}
	back := moved
	back.Rules = made.Rules
	if report, _ := touched(t, drop(w.UpdateDestination(ctx, w.owner, made.ID, back))); report.MandateCount != 1 {
		t.Errorf("after two were revoked the report is %+v", report)
	}
}

func TestAChangeThatTouchesNoLiveMandateIsMadeAtOnce(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	agent, _ := w.agent(w.owner, "researcher", authority.Agent)
	w.policy(w.owner, agent, 0)
	mandate := w.mandate(w.owner, agent)
	all := map[string]authority.Action{"*": authority.Write} // which the mandate does not cover
	d := must(w.CreateDestination(ctx, w.owner, authority.Destination{Name: "shop", Host: "shop.example.com", Rules: []authority.Rule{
		{Path: "/**", Methods: all, Resource: "api:external/shop"}, {Path: "/a", Methods: map[string]authority.Action{"GET": authority.Read}, Resource: "api:shop"},
	}}))(t).Value
	d.Rules = d.Rules[1:]
	must(w.UpdateDestination(ctx, w.owner, d.ID, d))(t)
	must(w.DeleteDestination(ctx, w.owner, d.ID))(t)

	openai := must(w.Destinations(ctx, w.owner, controlplane.DestinationFilter{Host: "api.openai.com"}, controlplane.Page{}))(t).Items[0]
	touched(t, drop(w.DeleteDestination(ctx, w.owner, openai.ID)))
	must(w.RevokeMandate(ctx, w.owner, mandate.ID, 0))(t)
	must(w.DeleteDestination(ctx, w.owner, openai.ID))(t)
}

// However much is touched, the report tells the first of it and counts the rest.
func TestAReportIsBounded(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	agent, _ := w.agent(w.owner, "researcher", authority.Agent)
	w.policy(w.owner, agent, 0)
	d := authority.Destination{Name: "shop", Host: "shop.example.com"}
	for i := range 60 {
		d.Rules = append(d.Rules, authority.Rule{Path: fmt.Sprintf("/%d", i), Methods: map[string]authority.Action{"GET": authority.Read}, Resource: fmt.Sprintf("api:external/%d", i)})
	}
	made := must(w.CreateDestination(ctx, w.owner, d))(t).Value
	for range 12 {
		w.mandate(w.owner, agent)
	}
	report, _ := touched(t, drop(w.DeleteDestination(ctx, w.owner, made.ID)))
	if len(report.Traffic) != 50 || report.TrafficCount != 60 || report.MandateCount != 12 || len(report.Traffic[0].Mandates) != 10 || report.Traffic[0].MandateCount != 12 {
		t.Errorf("the report has %d of %d kinds of traffic, and %d mandates with %d of the first", len(report.Traffic), report.TrafficCount, report.MandateCount, len(report.Traffic[0].Mandates))
	}
	if !slices.IsSortedFunc(report.Traffic[0].Mandates, func(a, b authority.TouchedMandate) int {
		return strings.Compare(string(a.MandateID), string(b.MandateID))
	}) {
		t.Errorf("the mandates are %v", report.Traffic[0].Mandates)
	}
}
