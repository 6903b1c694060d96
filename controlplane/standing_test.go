package controlplane_test

import (
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
	"github.com/caracal-gateway/caracal/lease"
)

// renew asks for a lease at a replica.
func renew(t *testing.T, s *controlplane.Service, e edge, r controlplane.Renewal) controlplane.Granted {
	t.Helper()
	return must(s.Renew(t.Context(), e.caller, e.id, r))(t)
}

// A gateway keeps its id over a restart, and may start from an older state than it has acknowledged.
func TestAGatewayThatCameBackWithLessThanItAcknowledgedIsGrantedNothing(t *testing.T) {
	w := newWorld(t)
	agent := w.agentWithPolicy()
	e := w.edge(w.owner, "edge")
	other := newService(t, w.appURL)
	revoked := w.revoke(agent)
	acknowledge(t, w.Service, e, revoked.Revision)
	if r := must(w.RevokeMandate(t.Context(), w.owner, revoked.MandateID, patient))(t).Value; r.State != authority.ReceiptEnforced {
		t.Fatalf("the receipt is %+v", r)
	}
	for _, s := range []*controlplane.Service{w.Service, other} {
		for _, revision := range []uint64{0, revoked.Revision - 1} {
			if granted := renew(t, s, e, controlplane.Renewal{Revision: revision, Held: 1}); granted.Number != 0 || granted.After != revoked.Revision {
				t.Errorf("at revision %d, having acknowledged %d, it is answered %+v", revision, revoked.Revision, granted)
			}
		}
	}
	if granted := renew(t, other, e, controlplane.Renewal{Revision: revoked.Revision, Held: 1}); granted.Number != 2 {
		t.Errorf("back where it was it is answered %+v", granted)
	}
}

// A grant of a shorter term may never arrive: the gateway then goes on under the longer lease that it has.
func TestALeaseOfALongerTermIsWaitedForUntilTheGatewayHoldsAShorterOne(t *testing.T) {
	w := newWorld(t)
	const long, short = time.Hour, 5 * time.Second
	w.setTerm(long)
	agent := w.agentWithPolicy()
	e := w.edge(w.owner, "edge")
	w.setTerm(short)
	other := newService(t, w.appURL)
	revision := must(w.Revision(t.Context(), w.owner))(t)
	for range 2 {
		if granted := renew(t, other, e, controlplane.Renewal{Revision: revision, Held: 1}); granted.Term != short {
			t.Fatalf("it is granted %+v", granted)
		}
	}
	var clock bootClock
	watch := replicaBy(t, w.appURL, clock.read).NewLookout()
	w.look(watch)
	revoked := w.revoke(agent)
	if until := revoked.Gateways[0].FencedUntil; until == nil || until.Before(revoked.RevokedAt.Add(long)) {
		t.Errorf("the receipt says that the gateway is fenced by %v", until)
	}
	clock.pass(long + lease.Margin(long) - 1)
	if w.look(watch); w.isOver(e) {
		t.Error("it is over while the gateway may decide by its first lease")
	}
	renew(t, w.Service, e, controlplane.Renewal{Revision: revoked.Revision, Held: 3})
	w.look(watch)
	clock.pass(short + lease.Margin(short) - 1)
	if w.look(watch); w.isOver(e) {
		t.Error("it is over before its term and margin")
	}
	clock.pass(1)
	if w.look(watch); !w.isOver(e) {
		t.Error("the first lease is waited for although the gateway holds the third")
	}
}

// Renewals of one process that come in together are granted leases of their own, and what each says to be held counts.
func TestRenewalsThatComeTogetherAreAnsweredOneByOne(t *testing.T) {
	w := newWorld(t)
	w.setTerm(time.Hour)
	e := w.edge(w.owner, "edge")
	w.setTerm(5 * time.Second)
	revision := must(w.Revision(t.Context(), w.owner))(t)
	granted := must(w.GrantAll(t.Context(), e.caller, e.id,
		controlplane.Renewal{Revision: revision, Held: 1}, controlplane.Renewal{Revision: revision + 1, Held: 1}, controlplane.Renewal{Revision: revision, Held: 1}))(t)
	for i, want := range []uint64{2, 0, 3} {
		if granted[i].Number != want {
			t.Errorf("renewal %d is answered %+v, want the lease %d", i, granted[i], want)
		}
	}
	seen := must(w.Running(t.Context()))(t)
	if len(seen) != 1 || seen[0].Number != 3 || seen[0].Wait != time.Hour {
		t.Errorf("the lease is %+v, want the third, to be waited for an hour", seen)
	}
}

// A lease that is granted while a replica reads them is not seen before it began: the clock is read afterwards.
func TestAReplicaReadsItsClockAfterTheDatabaseHasAnswered(t *testing.T) {
	w := newWorld(t)
	const term = 5 * time.Second
	w.setTerm(term)
	e := w.edge(w.owner, "edge")
	var clock bootClock
	meanwhile := func() {}
	watch := replicaBy(t, w.appURL, func() time.Duration {
		now := clock.read()
		meanwhile()
		return now
	}).NewLookout()
	meanwhile = func() {
		meanwhile = func() {}
		clock.pass(time.Second)
		w.hold(e)
	}
	w.look(watch)
	clock.pass(term + lease.Margin(term) - time.Second)
	if w.look(watch); w.isOver(e) {
		t.Error("the lease that was granted after the clock was read is over a second too soon")
	}
}

// The same holds for acknowledgements: what a receipt settles after is not what was acknowledged later.
func TestAReceiptSettlesFromAfterItsGatewaysWereRead(t *testing.T) {
	w, _, m := revocable(t)
	ctx := t.Context()
	e := w.edge(w.owner, "edge")
	var clock bootClock
	meanwhile := func() {}
	s := replicaBy(t, w.appURL, func() time.Duration {
		now := clock.read()
		meanwhile()
		return now
	})
	r := must(s.RevokeMandate(ctx, w.owner, m.ID, 0))(t).Value
	settling := time.Duration(r.SettlingMS) * time.Millisecond
	meanwhile = func() {
		meanwhile = func() {}
		clock.pass(settling)
		acknowledge(t, w.Service, e, r.Revision)
	}
	look := func() authority.ReceiptState { return must(s.RevokeMandate(ctx, w.owner, m.ID, 0))(t).Value.State }
	if state := look(); state != authority.ReceiptPending {
		t.Fatalf("as it is acknowledged it is %s", state)
	}
	if state := look(); state != authority.ReceiptPending {
		t.Errorf("right after it was acknowledged it is %s", state)
	}
	clock.pass(settling)
	if state := look(); state != authority.ReceiptEnforced {
		t.Errorf("once it has settled it is %s", state)
	}
}
