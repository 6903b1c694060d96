package controlplane_test

import (
	"strings"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
)

func TestDecisionsOfAGatewayAreRecordedOnceWithTheirOutcome(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	gateway := w.as(must(w.CreateKey(ctx, w.owner, controlplane.NewKey{Kind: authority.KeyGateway, Name: "g"}))(t).Value.APIKey)
	other := w.as(must(w.CreateKey(ctx, w.owner, controlplane.NewKey{Kind: authority.KeyGateway, Name: "h"}))(t).Value.APIKey)
	id := w.enrol(gateway, "here").id
	decision := authority.NewID[authority.DecisionID]()
	event := func() authority.Event {
		return authority.Event{
			ID: authority.NewID[authority.EventID](), WorkspaceID: "ws_forged", Type: authority.EventAllowed, Time: time.Now(), Sequence: 99,
			PrincipalID: w.owner.Principal().ID, DecisionID: decision, Resource: "api:x",
			Request: &authority.RequestRecord{Mode: "gateway", Method: "GET", Host: "h", Path: "/p", Query: []string{"q"}},
		}
	}
	batch := controlplane.Batch{GatewayID: id, Epoch: 3, First: 1, Last: 1, Events: []authority.Event{event()}}
	revision := must(w.Revision(ctx, w.owner))(t)
	for range 2 {
		if last := must(w.RecordEvents(ctx, gateway, batch))(t); last != 1 {
			t.Errorf("recorded up to %d", last)
		}
	}
	outcome := authority.Outcome{Status: 204, BytesSent: 7, Details: "via_upstream"}
	must(w.RecordEvents(ctx, gateway, controlplane.Batch{GatewayID: id, Epoch: 3, Outcomes: map[authority.DecisionID]authority.Outcome{decision: outcome}}))(t)
	found := must(w.Events(ctx, w.owner, controlplane.EventFilter{DecisionID: decision}, controlplane.Page{}))(t).Items
	if len(found) != 1 {
		t.Fatalf("%d events of one decision", len(found))
	}
	e := found[0]
	if e.WorkspaceID != w.owner.Workspace() || e.Sequence != 0 || e.ActorKeyID != gateway.Key() || e.Outcome == nil || *e.Outcome != outcome {
		t.Errorf("recorded as %+v", e)
	}
	if e.Gateway == nil || *e.Gateway != (authority.GatewayRecord{ID: id, Epoch: 3, Sequence: 1}) || e.Request.Query[0] != "q" {
		t.Errorf("recorded as %+v, %+v", e.Gateway, e.Request)
	}
	if now := must(w.Revision(ctx, w.owner))(t); now != revision {
		t.Errorf("a decision moved the revision from %d to %d", revision, now)
	}

	forge := func(change func(*authority.Event)) controlplane.Batch {
		e := event()
		change(&e)
		return controlplane.Batch{GatewayID: id, Epoch: 3, First: 2, Last: 2, Events: []authority.Event{e}}
	}
	if last := must(w.RecordEvents(ctx, gateway, forge(func(e *authority.Event) { e.Time = time.Now().AddDate(0, -4, 0) })))(t); last != 2 {
		t.Errorf("an event of four months ago: recorded up to %d", last)
	}
	for name, b := range map[string]controlplane.Batch{
		"an administrative event": forge(func(e *authority.Event) { e.Type = authority.EventKeyCreated }),
		"an event from tomorrow":  forge(func(e *authority.Event) { e.Time = time.Now().AddDate(0, 0, 1) }),
		"an event of long ago":    forge(func(e *authority.Event) { e.Time = time.Time{} }),
		"an event without an id":  forge(func(e *authority.Event) { e.ID = "" }),
		"a decision without one":  forge(func(e *authority.Event) { e.DecisionID = "x" }),
		"numbers with a gap":      {GatewayID: id, Epoch: 3, First: 2, Last: 4, Events: []authority.Event{event()}},
		"a number that is none":   {GatewayID: id, Epoch: 3, First: 0, Last: 0, Events: []authority.Event{event()}},
		"numbers without an end":  {GatewayID: id, Epoch: 1 << 63, First: 2, Last: 2, Events: []authority.Event{event()}},
	} {
		t.Log(name)
		wantError(t, drop(w.RecordEvents(ctx, gateway, b)), authority.CodeInvalid, "")
	}
	batch.First, batch.Last = 2, 2
	wantError(t, drop(w.RecordEvents(ctx, other, batch)), authority.CodeNotFound, "")
}

func TestEventsAreFoundByWhatTheyTell(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	agent, _ := w.agent(w.owner, "agent", authority.Agent)
	policy := w.policy(w.owner, agent, 1)
	m := w.mandate(w.owner, agent)
	today := time.Now().UTC().Format(time.DateOnly)
	yesterday := time.Now().UTC().AddDate(0, 0, -1).Format(time.DateOnly)
	day := func(start, end string) controlplane.EventFilter {
		f := controlplane.EventFilter{Type: authority.EventIssued}
		if err := f.Days(start, end); err != nil {
			t.Fatal(err)
		}
		return f
	}
	cases := map[string]struct {
		filter controlplane.EventFilter
		want   int
	}{
		"by type":                     {controlplane.EventFilter{Type: authority.EventIssued}, 1},
		"by mandate":                  {controlplane.EventFilter{MandateID: m.ID}, 1},
		"by principal":                {controlplane.EventFilter{PrincipalID: agent.ID, Type: authority.EventIssued}, 1},
		"by the principal that acted": {controlplane.EventFilter{PrincipalID: w.owner.Principal().ID, Type: authority.EventIssued}, 1},
		"by another principal":        {controlplane.EventFilter{PrincipalID: authority.NewID[authority.PrincipalID]()}, 0},
		"of today":                    {day(today, today), 1},
		"from today on":               {day(today, ""), 1},
		"of yesterday":                {day(yesterday, yesterday), 0},
		"by SQL":                      {controlplane.EventFilter{Resource: "' OR 1=1 --"}, 0},
	}
	for name, c := range cases {
		if got := must(w.Events(ctx, w.owner, c.filter, controlplane.Page{}))(t).Items; len(got) != c.want {
			t.Errorf("%s: %d events, want %d", name, len(got), c.want)
		}
	}
	var f controlplane.EventFilter
	wantError(t, f.Days("yesterday", ""), authority.CodeInvalid, "")
	wantError(t, f.Days("", "2024-13-01"), authority.CodeInvalid, "")

	created := must(w.Events(ctx, w.owner, controlplane.EventFilter{Type: authority.EventPolicyCreated}, controlplane.Page{}))(t).Items
	if len(created) != 1 || created[0].PolicyID != policy.ID || created[0].ActorID != w.owner.Principal().ID || created[0].ActorKeyID != w.owner.Key() || created[0].Revision == 0 {
		t.Errorf("the creation of the policy is told as %+v", created)
	}
	wantError(t, drop(w.Event(ctx, w.owner, "evt_x")), authority.CodeNotFound, "")
}

// TestNoSecretIsInTheLedgerOrTheTables searches the database for every secret that was told.
func TestNoSecretIsInTheLedgerOrTheTables(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	secrets := []string{}
	created := must(w.CreateWorkspace(ctx, w.as(setupKey).Once("w", []byte("d")), controlplane.NewWorkspace{Name: "Other", Slug: "other"}))(t).Value
	owner := w.as(created.APIKey)
	registered := must(w.RegisterPrincipal(ctx, owner.Once("p", []byte("d")), controlplane.NewPrincipal{Name: "a", Type: authority.Agent}))(t).Value
	gateway := must(w.CreateKey(ctx, owner.Once("g", []byte("d")), controlplane.NewKey{Kind: authority.KeyGateway, Name: "g"}))(t).Value
	for _, key := range []string{created.APIKey, registered.APIKey, gateway.APIKey} {
		secrets = append(secrets, strings.Split(key, "_")[3])
	}
	for _, secret := range append(secrets, setupKey) {
		for _, table := range []string{"events", "idempotency", "api_keys", "workspaces", "principals"} {
			if n := w.count("SELECT count(*) FROM "+table+" r WHERE r::text LIKE '%' || $1 || '%' OR r::text LIKE '%' || encode(convert_to($1, 'UTF8'), 'hex') || '%'", secret); n != 0 {
				t.Errorf("a secret is in %d rows of %s", n, table)
			}
		}
	}
}
