package controlplane_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
)

// asOwner runs a statement past row-level security.
func (w *world) asOwner(statement string, args ...any) {
	w.t.Helper()
	conn := must(pgx.Connect(w.t.Context(), cluster.Superuser(w.t, w.ownerURL)))(w.t)
	defer func() { _ = conn.Close(w.t.Context()) }()
	if _, err := conn.Exec(w.t.Context(), statement, args...); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) stateOf(e edge) controlplane.GatewayState {
	w.t.Helper()
	return must(w.Gateway(w.t.Context(), w.owner, e.id))(w.t).State
}

func TestStatesOfGateways(t *testing.T) {
	for state, c := range map[controlplane.GatewayState]struct {
		sentence string
		do       func(*world, edge)
	}{
		controlplane.GatewayInSync:  {"a lease and the newest revision", func(*world, edge) {}},
		controlplane.GatewayBehind:  {"a lease and an older revision", func(w *world, _ edge) { w.agentWithPolicy() }},
		controlplane.GatewayFenced:  {"a lease that is over", func(w *world, e edge) { w.asOwner("UPDATE gateways SET lease_over = true WHERE id = $1", e.id) }},
		controlplane.GatewayRevoked: {"revoked, with a lease that runs", func(w *world, e edge) { must(w.RevokeGateway(w.t.Context(), w.owner, e.id, 0))(w.t) }},
		controlplane.GatewayGone: {"declared dead", func(w *world, e edge) {
			must(w.ForgetGateway(w.t.Context(), w.owner, e.id, controlplane.Forgetting{Reason: "scrapped"}))(w.t)
		}},
	} {
		t.Run(c.sentence, func(t *testing.T) {
			w := newWorld(t)
			e := w.edge(w.owner, "edge")
			c.do(w, e)
			if got := w.stateOf(e); got != state {
				t.Errorf("it is %s, want %s", got, state)
			}
		})
	}
	t.Run("no lease yet", func(t *testing.T) {
		w := newWorld(t)
		e := w.enrol(w.as(w.edgeKey(w.owner).APIKey), "edge")
		if got := w.stateOf(e); got != controlplane.GatewayFenced {
			t.Errorf("it is %s", got)
		}
	})
	t.Run("fenced, and silent for a day", func(t *testing.T) {
		w := newWorld(t)
		e := w.edge(w.owner, "edge")
		w.asOwner("UPDATE gateways SET lease_over = true, seen_at = now() - interval '25 hours' WHERE id = $1", e.id)
		if got := w.stateOf(e); got != controlplane.GatewayGone {
			t.Errorf("it is %s", got)
		}
		if all := must(w.Gateways(t.Context(), w.owner))(t); len(all) != 0 {
			t.Errorf("it is listed: %+v", all)
		}
	})
	t.Run("silent for a day with a lease that is not known to be over", func(t *testing.T) {
		w := newWorld(t)
		e := w.edge(w.owner, "edge")
		w.asOwner("UPDATE gateways SET seen_at = now() - interval '25 hours' WHERE id = $1", e.id)
		if all := must(w.Gateways(t.Context(), w.owner))(t); len(all) != 1 || all[0].State != controlplane.GatewayInSync || all[0].Connected {
			t.Errorf("they are %+v", all)
		}
	})
}

// A program that knows of no leases decides until it ends: nothing but an operator's word ends the wait for it, neither
// its silence nor another in its place.
func TestAGatewayWithoutLeasesIsWaitedForUntilItIsForgotten(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	agent := w.agentWithPolicy()
	key := w.as(w.edgeKey(w.owner).APIKey)
	old := w.enrol(key, "edge")
	w.asOwner("UPDATE gateways SET formats = '{1}', seen_at = now() - interval '40 days' WHERE id = $1", old.id)
	w.enrol(key, "edge")
	var clock bootClock
	watch := replicaBy(t, w.appURL, clock.read).NewLookout()
	w.look(watch)
	clock.pass(30 * 24 * time.Hour)
	w.look(watch)
	if got := w.stateOf(old); got != controlplane.GatewayBehind {
		t.Errorf("it is %s", got)
	}
	if err := w.Surrender(ctx, old.caller, old.id, 0); err != nil {
		t.Fatal(err)
	}
	r := w.revoke(agent)
	if r.State != authority.ReceiptPending || len(r.Gateways) != 1 || r.Gateways[0].GatewayID != old.id || r.Gateways[0].FencedUntil != nil {
		t.Errorf("the revocation waits for %+v", r.Gateways)
	}
	must(w.ForgetGateway(ctx, w.owner, old.id, controlplane.Forgetting{Reason: "upgraded"}))(t)
	if r := must(w.RevokeMandate(ctx, w.owner, r.MandateID, patient))(t).Value; r.State != authority.ReceiptEnforced {
		t.Errorf("after it was forgotten: %+v", r)
	}
}

// A gateway whose program is older than what is served is told so, and known to live.
func TestAnOlderProgramIsRefusedAndKnownToLive(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	caller := w.as(w.edgeKey(w.owner).APIKey)
	old := controlplane.Program{Version: "0.1", Formats: []uint32{1}}
	wantError(t, drop(w.EnrolGateway(ctx, caller, controlplane.Enrolment{PublicKey: publicKey(), Program: old})), authority.CodeRefused, "")
	e := w.enrol(caller, "edge")
	w.asOwner("UPDATE gateways SET formats = '{1}', left_at = now(), seen_at = now() - interval '1 hour' WHERE id = $1", e.id)
	wantError(t, drop(w.ConnectGateway(ctx, caller, e.id, "", old)), authority.CodeRefused, "")
	if g := must(w.Gateway(ctx, w.owner, e.id))(t); g.LeftAt != nil || g.Connected || time.Since(g.SeenAt) > time.Minute || g.State != controlplane.GatewayBehind {
		t.Errorf("it is %+v", g)
	}
	// With another program it is granted leases, and decides by these alone.
	must(w.ConnectGateway(ctx, caller, e.id, "", current))(t).Leave()
	if got := w.stateOf(e); got != controlplane.GatewayFenced {
		t.Errorf("upgraded, it is %s", got)
	}
}

func TestARevokedGatewayIsGrantedNothing(t *testing.T) {
	for sentence, revoke := range map[string]func(*world, edge){
		"itself":  func(w *world, e edge) { must(w.RevokeGateway(w.t.Context(), w.owner, e.id, 0))(w.t) },
		"its key": func(w *world, e edge) { must(w.RevokeKey(w.t.Context(), w.owner, e.caller.Key()))(w.t) },
	} {
		t.Run(sentence, func(t *testing.T) {
			w := newWorld(t)
			ctx := t.Context()
			e := w.edge(w.owner, "edge")
			present := must(w.ConnectGateway(ctx, e.caller, e.id, "", current))(t)
			defer present.Leave()
			revoke(w, e)
			select {
			case <-present.Ended.Done():
			case <-time.After(patient):
				t.Error("its stream goes on")
			}
			revision := must(w.Revision(ctx, w.owner))(t)
			wantError(t, drop(w.Renew(ctx, e.caller, e.id, controlplane.Renewal{Revision: revision})), authority.CodeForbidden, "")
			wantError(t, drop(w.OwnGateway(ctx, e.caller, e.id)), authority.CodeForbidden, "")
			if got := w.stateOf(e); got != controlplane.GatewayRevoked {
				t.Errorf("it is %s", got)
			}
			if r := w.revoke(w.agentWithPolicy()); len(r.Gateways) != 1 {
				t.Errorf("a revocation does not wait for the lease that it has: %+v", r.Gateways)
			}
		})
	}
}

// What it acknowledges says that it knows, not that it has ended.
func TestARevokedGatewayIsWaitedForUntilItsLeaseIsOver(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	revoked, other := w.edge(w.owner, "revoked"), w.edge(w.owner, "other")
	r := must(w.RevokeGateway(ctx, w.owner, revoked.id, 0))(t).Value.Receipt
	for _, e := range []edge{revoked, other} {
		if err := w.Acknowledge(ctx, e.caller, e.id, controlplane.Acknowledgement{Revision: r.Revision}); err != nil {
			t.Fatal(err)
		}
	}
	r = must(w.AwaitReceipt(ctx, w.owner, r.ID, time.Millisecond))(t)
	if r.State != authority.ReceiptPending || len(r.Gateways) != 2 {
		t.Fatalf("the receipt is %+v", r)
	}
	for _, g := range r.Gateways {
		if done := g.EnforcedAt != nil || g.FencedAt != nil; done != (g.GatewayID == other.id) {
			t.Errorf("the part of a gateway is %+v", g)
		}
	}
	if err := w.Surrender(ctx, revoked.caller, revoked.id, 1); err != nil {
		t.Fatal(err)
	}
	if r = must(w.AwaitReceipt(ctx, w.owner, r.ID, patient))(t); r.State != authority.ReceiptEnforced {
		t.Errorf("the receipt is %+v", r)
	}
}

func TestARevokedGatewayEnrolsNoMoreWithItsKeyPair(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	caller := w.as(w.edgeKey(w.owner).APIKey)
	enrolment := controlplane.Enrolment{PublicKey: publicKey(), Instance: "edge", Program: current}
	first := must(w.EnrolGateway(ctx, caller, enrolment))(t)
	must(w.RevokeGateway(ctx, w.owner, first.GatewayID, 0))(t)
	wantError(t, drop(w.EnrolGateway(ctx, caller, enrolment)), authority.CodeForbidden, "")
	w.enrol(caller, "another")
}

func TestAForgottenGatewayComesBackByEnrollingAnew(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	agent := w.agentWithPolicy()
	caller := w.as(w.edgeKey(w.owner).APIKey)
	enrolment := controlplane.Enrolment{PublicKey: publicKey(), Instance: "edge", Program: current}
	e := edge{must(w.EnrolGateway(ctx, caller, enrolment))(t).GatewayID, caller}
	w.hold(e)
	present := must(w.ConnectGateway(ctx, e.caller, e.id, "", current))(t)
	defer present.Leave()
	behind := must(w.Revision(ctx, w.owner))(t)
	must(w.ForgetGateway(ctx, w.owner, e.id, controlplane.Forgetting{Reason: "scrapped"}))(t)
	if r := w.revoke(agent); len(r.Gateways) != 0 {
		t.Errorf("a revocation waits for %+v", r.Gateways)
	}
	select {
	case <-present.Ended.Done():
	case <-time.After(patient):
		t.Error("its stream goes on")
	}
	wantError(t, drop(w.Renew(ctx, caller, e.id, controlplane.Renewal{Revision: behind})), authority.CodeNotFound, "")
	wantError(t, drop(w.OwnGateway(ctx, caller, e.id)), authority.CodeNotFound, "")
	if again := must(w.EnrolGateway(ctx, caller, enrolment))(t); again.GatewayID != e.id {
		t.Errorf("it is %s, and was %s", again.GatewayID, e.id)
	}
	// It lives, so that it may still have the lease which it was taken to have lost.
	if r := w.revoke(w.agentWithPolicy()); len(r.Gateways) != 1 {
		t.Errorf("a revocation waits for %+v", r.Gateways)
	}
	if granted := must(w.Renew(ctx, caller, e.id, controlplane.Renewal{Revision: behind}))(t); granted.Number != 0 {
		t.Errorf("behind what was revoked meanwhile it is granted %+v", granted)
	}
	if granted := w.hold(e); granted.Number != 2 {
		t.Errorf("it is granted %+v", granted)
	}
}

func TestAKeyForASingleUseEnrolsOneProcess(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	key := must(w.CreateKey(ctx, w.owner, controlplane.NewKey{Kind: authority.KeyGateway, Name: "edge", SingleUse: true}))(t).Value
	if !key.SingleUse {
		t.Errorf("the key is %+v", key.Key)
	}
	caller := w.as(key.APIKey)
	var enrolled, refused int
	var mu sync.Mutex
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			_, err := w.EnrolGateway(ctx, caller, controlplane.Enrolment{PublicKey: publicKey(), Instance: "edge", Program: current})
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				enrolled++
			} else {
				refused++
				wantError(t, err, authority.CodeForbidden, "")
			}
		})
	}
	all.Wait()
	if enrolled != 1 || refused != 7 {
		t.Errorf("%d processes enrolled and %d were refused", enrolled, refused)
	}
	wantError(t, drop(w.CreateKey(ctx, w.owner, controlplane.NewKey{Kind: authority.KeyAgent, Name: "a", SingleUse: true})), authority.CodeInvalid, "")
	rotated := must(w.RotateKey(ctx, w.owner, key.ID, controlplane.Rotation{}))(t).Value
	if !rotated.SingleUse {
		t.Error("its successor enrols any number")
	}
	w.enrol(w.as(rotated.APIKey), "edge")
}

// Nothing that a gateway of one workspace says touches one of another.
func TestGatewaysOfAnotherWorkspaceAreOutOfReach(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	_, theirs := w.workspace("second")
	ours, foreign := w.edge(w.owner, "edge"), w.edge(theirs, "edge")
	sibling := w.edge(w.owner, "sibling") // of the same workspace, with another key
	for sentence, other := range map[string]edge{"of another workspace": foreign, "of another key": sibling} {
		wantError(t, drop(w.OwnGateway(ctx, other.caller, ours.id)), authority.CodeNotFound, "")
		wantError(t, drop(w.ConnectGateway(ctx, other.caller, ours.id, "", current)), authority.CodeNotFound, "")
		wantError(t, w.Surrender(ctx, other.caller, ours.id, 1), authority.CodeNotFound, "")
		if w.isOver(ours) {
			t.Errorf("a gateway %s surrendered the lease", sentence)
		}
		granted, err := w.Renew(ctx, other.caller, ours.id, controlplane.Renewal{Revision: 1, Report: controlplane.Report{Address: "theirs"}})
		if err == nil {
			t.Errorf("a gateway %s is granted %+v", sentence, granted)
		}
		if err := w.Acknowledge(ctx, other.caller, ours.id, controlplane.Acknowledgement{Revision: 1}); err != nil {
			t.Error(err)
		}
		if g := must(w.Gateway(ctx, w.owner, ours.id))(t); g.Address != "" || g.Lease.Number != 1 {
			t.Errorf("a gateway %s wrote %+v", sentence, g)
		}
	}
	wantError(t, drop(w.Gateway(ctx, theirs, ours.id)), authority.CodeNotFound, "")
	wantError(t, drop(w.RevokeGateway(ctx, theirs, ours.id, 0)), authority.CodeNotFound, "")
	wantError(t, drop(w.ForgetGateway(ctx, theirs, ours.id, controlplane.Forgetting{Reason: "x"})), authority.CodeNotFound, "")
	if r := w.revoke(w.agentWithPolicy()); fmt.Sprint(sorted(gatewaysOf(r)...)) != fmt.Sprint(sorted(ours.id, sibling.id)) {
		t.Errorf("a revocation waits for %+v", r.Gateways)
	}
	var clock bootClock
	watch := replicaBy(t, w.appURL, clock.read).NewLookout()
	w.look(watch)
	w.hold(ours)
	clock.pass(24 * time.Hour)
	w.look(watch)
	if w.isOver(ours) || !w.isOver(sibling) || must(w.Gateway(ctx, theirs, foreign.id))(t).Lease.OverAt == nil {
		t.Error("the end of leases is not concluded for each by itself")
	}
}

func TestWhatAGatewayReportsIsShownToPeople(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	e := w.edge(w.owner, "edge")
	report := controlplane.Report{Address: "0.0.0.0:8443\n", DecisionsPerSecond: 12.5, LiveWatches: 1 << 63, QueuedEvents: 3, EnvoyCurrent: true}
	must(w.Renew(ctx, e.caller, e.id, controlplane.Renewal{Revision: must(w.Revision(ctx, e.caller))(t), Report: report}))(t)
	if err := w.ReportEnvoy(ctx, e.caller, e.id, controlplane.EnvoyStatus{Revision: 4}); err != nil {
		t.Fatal(err)
	}
	if err := w.ReportEnvoy(ctx, e.caller, e.id, controlplane.EnvoyStatus{Revision: 5, Refusal: "no such cluster"}); err != nil {
		t.Fatal(err)
	}
	g := must(w.Gateway(ctx, w.owner, e.id))(t)
	if g.Address != "0.0.0.0:8443 " || g.DecisionsPerSecond != 12.5 || g.LiveWatches != 1<<63-1 || g.QueuedEvents != 3 || !g.EnvoyCurrent || g.ReportedAt == nil {
		t.Errorf("it is %+v", g)
	}
	if g.EnvoyRevision != 4 || g.EnvoyRefusal != "no such cluster" {
		t.Errorf("of Envoy it says %d %q", g.EnvoyRevision, g.EnvoyRefusal)
	}
}
