package api_test

import (
	"crypto/rand"
	"testing"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/controlplane"
)

// edge is a gateway process that holds a lease, as far as the control plane can tell.
type edge struct {
	id      authority.GatewayID
	caller  controlplane.Caller
	service *controlplane.Service
}

var program = controlplane.Program{Version: "1", Formats: []uint32{bundle.Format}}

// enrol makes a process of the team's gateway key.
func (m *team) enrol(t testing.TB, instance string) edge {
	t.Helper()
	s := m.world.service
	caller, err := s.Authenticate(t.Context(), controlplane.Credential{Bearer: m.gatewayKey})
	if err != nil {
		t.Fatal(err)
	}
	public := make([]byte, 32)
	rand.Read(public)
	enrolled, err := s.EnrolGateway(t.Context(), caller, controlplane.Enrolment{PublicKey: public, Instance: instance, Program: program})
	if err != nil {
		t.Fatal(err)
	}
	return edge{enrolled.GatewayID, caller, s}
}

// edge enrols a process that is connected and holds a lease at the present revision.
func (m *team) edge(t *testing.T, instance string) edge {
	t.Helper()
	e := m.enrol(t, instance)
	present, err := e.service.ConnectGateway(t.Context(), e.caller, e.id, "", program)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(present.Leave)
	e.renew(t)
	return e
}

// renew has the process granted a lease at the present revision.
func (e edge) renew(t *testing.T) {
	t.Helper()
	revision, err := e.service.Revision(t.Context(), e.caller)
	if err != nil {
		t.Fatal(err)
	}
	granted, err := e.service.Renew(t.Context(), e.caller, e.id, controlplane.Renewal{Revision: revision, Report: controlplane.Report{Address: "0.0.0.0:8443"}})
	if err != nil || granted.Number == 0 {
		t.Fatalf("granted %+v: %v", granted, err)
	}
}

func (e edge) acknowledge(t *testing.T, revision uint64) {
	t.Helper()
	if err := e.service.Acknowledge(t.Context(), e.caller, e.id, controlplane.Acknowledgement{Revision: revision}); err != nil {
		t.Fatal(err)
	}
}

func TestGateways(t *testing.T) {
	m := newWorld(t).newTeam(t, "my-team")
	e := m.edge(t, "edge-1")
	path := "/api/v1/gateways/" + string(e.id)
	g := into[controlplane.Gateway](m.own("GET", path, nil).ok(200))
	if g.State != controlplane.GatewayInSync || g.Lease == nil || g.Lease.Number != 1 || g.Lease.TermSeconds != 60 || g.Address != "0.0.0.0:8443" || !g.Connected {
		t.Errorf("the gateway is %+v", g)
	}
	m.issue()
	if g := into[controlplane.Gateway](m.own("GET", path, nil).ok(200)); g.State != controlplane.GatewayBehind {
		t.Errorf("after a change it is %s", g.State)
	}
	m.own("GET", "/api/v1/gateways/gtw_aaaaaaaaaaaaaaaaaaaaaaaaaa", nil).refused(404, "not_found", "", "")
	m.call(t, m.agentKey, "GET", path, nil).refused(403, "forbidden", "", "")

	m.own("POST", path+"/forget", map[string]any{}).refused(400, "invalid_request", "reason", "")
	m.own("POST", path+"/forget", map[string]any{"reason": "  "}).refused(400, "invalid_request", "reason", "")
	m.call(t, m.agentKey, "POST", path+"/forget", map[string]any{"reason": "scrapped"}).refused(403, "forbidden", "", "")
	forgotten := into[controlplane.Gateway](m.own("POST", path+"/forget", map[string]any{"reason": "the machine was scrapped"}).ok(200))
	if forgotten.State != controlplane.GatewayGone || forgotten.ForgottenAt == nil || forgotten.Lease.OverAt == nil {
		t.Errorf("forgotten, it is %+v", forgotten)
	}
	m.own("POST", path+"/forget", map[string]any{"reason": "again"}).ok(200)
	told := m.own("GET", m.at("events")+"?event_type=gateway_forgotten", nil).ok(200)
	if events := into[[]authority.Event](told); len(events) != 1 || events[0].Message != "the machine was scrapped" || events[0].Detail["gateway_id"] != string(e.id) {
		t.Errorf("the events are %s", told.body)
	}
}

func TestARevokedGatewayDecidesUntilItsLeaseIsOver(t *testing.T) {
	m := newWorld(t).newTeam(t, "my-team")
	e, other := m.edge(t, "edge-1"), m.edge(t, "edge-2")
	path := "/api/v1/gateways/" + string(e.id) + "/revoke"
	m.own("POST", path, map[string]any{"wait": 121}).refused(400, "invalid_request", "wait", "")
	pending := into[controlplane.RevokedGateway](m.own("POST", path, map[string]any{"wait": 0}).ok(202))
	if pending.State != controlplane.GatewayRevoked || pending.Receipt.State != authority.ReceiptPending || len(pending.Receipt.Gateways) != 2 {
		t.Errorf("the answer is %+v", pending)
	}
	other.acknowledge(t, pending.Receipt.Revision)
	again := into[controlplane.RevokedGateway](m.own("POST", path, map[string]any{"wait": 0}).ok(202))
	if again.Receipt.ID != pending.Receipt.ID {
		t.Errorf("asking again answers %+v", again.Receipt)
	}
	if err := e.service.Surrender(t.Context(), e.caller, e.id, pending.Lease.Number); err != nil {
		t.Fatal(err)
	}
	enforced := into[controlplane.RevokedGateway](m.own("POST", path, nil).ok(200))
	if enforced.Receipt.State != authority.ReceiptEnforced || enforced.Receipt.Revision != pending.Receipt.Revision {
		t.Errorf("after it surrendered: %+v", enforced.Receipt)
	}
}

func TestLeaseSettings(t *testing.T) {
	m := newWorld(t).newTeam(t, "my-team")
	path := "/api/v1/workspaces/my-team"
	for sentence, c := range map[string]struct {
		settings map[string]any
		field    string
	}{
		"a term of no time":                   {map[string]any{"lease_seconds": 0}, "settings.lease_seconds"},
		"a term of less than five seconds":    {map[string]any{"lease_seconds": 4}, "settings.lease_seconds"},
		"a term of more than a day":           {map[string]any{"lease_seconds": 86401}, "settings.lease_seconds"},
		"short requests of less than no time": {map[string]any{"short_request_seconds": -1}, "settings.short_request_seconds"},
		"short requests of over a minute":     {map[string]any{"short_request_seconds": 61}, "settings.short_request_seconds"},
	} {
		t.Run(sentence, func(t *testing.T) {
			m.call(t, m.ownerKey, "PATCH", path, map[string]any{"settings": c.settings}).refused(400, "invalid_request", c.field, "")
		})
	}
	changed := into[authority.Workspace](m.own("PATCH", path, map[string]any{"settings": map[string]any{"lease_seconds": 5, "short_request_seconds": 0}}).ok(200))
	if changed.Settings.LeaseSeconds != 5 || changed.Settings.ShortRequestSeconds != 0 || changed.Settings.EventRetentionDays != 90 {
		t.Errorf("the settings are %+v", changed.Settings)
	}
}
