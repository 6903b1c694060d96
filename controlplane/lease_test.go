package controlplane_test

import (
	"slices"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
	"github.com/caracal-gateway/caracal/lease"
)

// setTerm chooses the term of leases.
func (w *world) setTerm(term time.Duration) {
	w.t.Helper()
	seconds := int64(term / time.Second)
	must(w.UpdateWorkspace(w.t.Context(), w.owner, "first", controlplane.WorkspaceChange{Settings: &controlplane.SettingsChange{LeaseSeconds: &seconds}}))(w.t)
}

// agentWithPolicy makes somebody whom mandates can be given.
func (w *world) agentWithPolicy() authority.Principal {
	w.t.Helper()
	agent, _ := w.agent(w.owner, "agent", authority.Agent)
	w.policy(w.owner, agent, 0)
	return agent
}

// revoke revokes a fresh mandate of an agent's and answers the receipt as it is at once.
func (w *world) revoke(agent authority.Principal) controlplane.Receipt {
	w.t.Helper()
	return must(w.RevokeMandate(w.t.Context(), w.owner, w.mandate(w.owner, agent).ID, 0))(w.t).Value
}

func (w *world) look(o *controlplane.Lookout) {
	w.t.Helper()
	if err := o.Look(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) isOver(e edge) bool {
	w.t.Helper()
	g := must(w.Gateway(w.t.Context(), w.owner, e.id))(w.t)
	return g.Lease != nil && g.Lease.OverAt != nil
}

func TestALeaseIsWithheldUntilTheGatewayEnforcesWhatTookAuthorityAway(t *testing.T) {
	w := newWorld(t)
	agent := w.agentWithPolicy()
	e := w.edge(w.owner, "edge")
	before := must(w.Revision(t.Context(), w.owner))(t)
	w.mandate(w.owner, agent)
	if granted := must(w.Renew(t.Context(), e.caller, e.id, controlplane.Renewal{Revision: before}))(t); granted.Number != 2 {
		t.Errorf("what gives authority withholds a lease: %+v", granted)
	}
	revoked := w.revoke(agent)
	for range 2 {
		withheld := must(w.Renew(t.Context(), e.caller, e.id, controlplane.Renewal{Revision: revoked.Revision - 1}))(t)
		if withheld.Number != 0 || withheld.After != revoked.Revision || withheld.Message == "" {
			t.Errorf("behind the revocation it is answered %+v", withheld)
		}
	}
	w.mandate(w.owner, agent)
	acknowledge(t, w.Service, e, revoked.Revision)
	if granted := must(w.Renew(t.Context(), e.caller, e.id, controlplane.Renewal{Revision: revoked.Revision}))(t); granted.Number != 3 || granted.Term != time.Minute {
		t.Errorf("once it has acknowledged the revocation it is answered %+v", granted)
	}
}

func TestNoLeaseOutlastsTheGatewayKey(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	e := w.edge(w.owner, "edge")
	ends := func(in time.Duration) {
		w.asOwner("UPDATE api_keys SET expires_at = $2 WHERE id = $1", e.caller.Key(), time.Now().Add(in))
	}
	renew := func() (controlplane.Granted, error) {
		return w.Renew(ctx, e.caller, e.id, controlplane.Renewal{Revision: must(w.Revision(ctx, w.owner))(t), Held: 1})
	}
	ends(time.Hour)
	if granted := must(renew())(t); granted.Term != time.Minute {
		t.Errorf("with an hour left it is granted %+v", granted)
	}
	ends(20 * time.Second)
	if granted := must(renew())(t); granted.Number == 0 || granted.Term > 20*time.Second || granted.Term < 10*time.Second {
		t.Errorf("with 20 seconds left it is granted %+v", granted)
	}
	ends(900 * time.Millisecond)
	if granted, err := renew(); err == nil && (granted.Number != 0 || granted.Message == "") {
		t.Errorf("with less than a second left it is granted %+v", granted)
	}
	ends(0)
	wantError(t, drop(renew()), authority.CodeUnauthenticated, "")
}

// What a renewal says counts like an acknowledgement, and like one it counts only as far as the workspace has come.
func TestARenewalAcknowledges(t *testing.T) {
	w := newWorld(t)
	agent := w.agentWithPolicy()
	e := w.edge(w.owner, "edge")
	revoked := w.revoke(agent)
	granted, err := w.Renew(t.Context(), e.caller, e.id, controlplane.Renewal{Revision: revoked.Revision + 1000})
	if granted.Number != 0 {
		t.Errorf("a revision that there is not brings a lease: %+v", granted)
	}
	wantError(t, err, authority.CodeConflict, "")
	if granted := must(w.Renew(t.Context(), e.caller, e.id, controlplane.Renewal{Revision: revoked.Revision}))(t); granted.Number == 0 {
		t.Errorf("enforcing the revocation it is answered %+v", granted)
	}
	again := must(w.RevokeMandate(t.Context(), w.owner, revoked.MandateID, 5*time.Second))(t).Value
	if again.State != authority.ReceiptEnforced || again.Gateways[0].EnforcedAt == nil {
		t.Errorf("the receipt is %+v", again)
	}
}

func TestALeaseIsOverAfterItsTermAndMarginOnTheReplicasOwnClock(t *testing.T) {
	w := newWorld(t)
	const term = 5 * time.Second
	w.setTerm(term)
	agent := w.agentWithPolicy()
	e := w.edge(w.owner, "edge")
	revoked := w.revoke(agent)
	var clock bootClock
	clock.pass(time.Hour)
	watch := replicaBy(t, w.appURL, clock.read).NewLookout()
	whole := term + lease.Margin(term)
	w.look(watch)
	clock.pass(whole - 1)
	if w.look(watch); w.isOver(e) {
		t.Error("it is over before its term and margin")
	}
	clock.pass(1)
	if w.look(watch); !w.isOver(e) {
		t.Error("it is not over after its term and margin")
	}
	r := must(w.RevokeMandate(t.Context(), w.owner, revoked.MandateID, 5*time.Second))(t).Value
	if r.State != authority.ReceiptEnforced || r.Gateways[0].FencedAt == nil || r.Gateways[0].EnforcedAt != nil {
		t.Errorf("the receipt is %+v", r)
	}
	// It is fenced, and what took authority away withholds the next lease however late it asks.
	if g := must(w.Gateway(t.Context(), w.owner, e.id))(t); g.State != controlplane.GatewayFenced {
		t.Errorf("it is %s", g.State)
	}
	if granted := must(w.Renew(t.Context(), e.caller, e.id, controlplane.Renewal{Revision: revoked.Revision - 1}))(t); granted.Number != 0 {
		t.Errorf("it comes back behind the revocation and is granted %+v", granted)
	}
	if next := w.revoke(agent); len(next.Gateways) != 0 {
		t.Errorf("the next revocation waits for %+v", next.Gateways)
	}
	if g := w.hold(e); g.Number != 2 {
		t.Errorf("it is granted %+v", g)
	}
	if w.isOver(e) {
		t.Error("the new lease is over from the beginning")
	}
}

func TestARenewalStartsTheWaitAnew(t *testing.T) {
	w := newWorld(t)
	const term = 5 * time.Second
	w.setTerm(term)
	e := w.edge(w.owner, "edge")
	var clock bootClock
	watch := replicaBy(t, w.appURL, clock.read).NewLookout()
	for range 3 {
		w.look(watch)
		clock.pass(term)
		w.hold(e)
	}
	w.look(watch)
	if w.isOver(e) {
		t.Error("a gateway that renews is over")
	}
}

// A replica that starts has seen nothing: it waits for as long as if every lease had been granted just now.
func TestAReplicaThatStartsWaitsAnew(t *testing.T) {
	w := newWorld(t)
	const term = 5 * time.Second
	w.setTerm(term)
	e := w.edge(w.owner, "edge")
	var clock bootClock
	replica := replicaBy(t, w.appURL, clock.read)
	w.look(replica.NewLookout())
	clock.pass(term + lease.Margin(term) - 1)
	restarted := replica.NewLookout()
	w.look(restarted)
	clock.pass(1)
	if w.look(restarted); w.isOver(e) {
		t.Error("it takes over the wait of the one before")
	}
}

// A replica that was paused after it looked has an old number in its hands by the time that it writes.
func TestAPausedReplicaEndsNoLeaseThatWasRenewedMeanwhile(t *testing.T) {
	w := newWorld(t)
	e := w.edge(w.owner, "edge")
	var clock bootClock
	paused := replicaBy(t, w.appURL, clock.read)
	seen := must(paused.Running(t.Context()))(t)
	if len(seen) != 1 || seen[0].Number != 1 || seen[0].Wait != time.Minute {
		t.Fatalf("it saw %+v", seen)
	}
	w.hold(e)
	if err := paused.Conclude(t.Context(), seen); err != nil {
		t.Fatal(err)
	}
	if w.isOver(e) {
		t.Error("a lease that nobody watched is over")
	}
	if err := paused.Conclude(t.Context(), must(paused.Running(t.Context()))(t)); err != nil {
		t.Fatal(err)
	}
	if !w.isOver(e) {
		t.Error("the lease of the number that was seen is not over")
	}
}

func TestSurrenderEndsTheLeaseThatItNamesAndNoOther(t *testing.T) {
	w := newWorld(t)
	e := w.edge(w.owner, "edge")
	second := w.hold(e)
	for _, number := range []uint64{0, second.Number - 1, second.Number + 1, 1<<64 - 1} {
		if err := w.Surrender(t.Context(), e.caller, e.id, number); err != nil {
			t.Fatal(err)
		}
		if g := must(w.Gateway(t.Context(), w.owner, e.id))(t); g.Lease.OverAt != nil || g.State != controlplane.GatewayInSync {
			t.Errorf("surrendering %d ended the lease %d: %+v", number, second.Number, g)
		}
	}
	if err := w.Surrender(t.Context(), e.caller, e.id, second.Number); err != nil {
		t.Fatal(err)
	}
	if g := must(w.Gateway(t.Context(), w.owner, e.id))(t); g.Lease.OverAt == nil || g.State != controlplane.GatewayGone || g.LeftAt == nil {
		t.Errorf("surrendered, it is %+v", g)
	}
	must(w.ConnectGateway(t.Context(), e.caller, e.id, "", current))(t).Leave()
	w.hold(e)
	if g := must(w.Gateway(t.Context(), w.owner, e.id))(t); g.State != controlplane.GatewayInSync || g.LeftAt != nil {
		t.Errorf("back again, it is %+v", g)
	}
}

func TestATermHoldsFromTheNextGrantOn(t *testing.T) {
	w := newWorld(t)
	w.setTerm(time.Hour)
	e := w.edge(w.owner, "edge")
	w.setTerm(5 * time.Second)
	var clock bootClock
	watch := replicaBy(t, w.appURL, clock.read).NewLookout()
	w.look(watch)
	clock.pass(time.Hour)
	if w.look(watch); w.isOver(e) {
		t.Error("a lease of an hour is over by the term that was chosen after it was granted")
	}
	if granted := w.hold(e); granted.Term != 5*time.Second {
		t.Errorf("the next lease is %+v", granted)
	}
}

// An idle workspace never lapses: what a gateway enforces stays the newest, however long nothing happens.
func TestAnIdleWorkspaceIsGrantedLeasesForEver(t *testing.T) {
	w := newWorld(t)
	w.revoke(w.agentWithPolicy())
	e := w.edge(w.owner, "edge")
	for range 5 {
		w.hold(e)
	}
}

func TestOperationsThatTakeAuthorityAwayFence(t *testing.T) {
	taking := []string{
		"delete_client_authority", "delete_issuer", "delete_workspace", "forget_gateway", "remove_member", "replace_client_authority", "replace_issuer",
		"revoke_gateway", "revoke_key", "revoke_mandate", "revoke_mandates", "revoke_signing_key", "set_group_roles", "suspend_principal", "update_member",
	}
	if got := controlplane.Fencing(); !slices.Equal(got, taking) {
		t.Errorf("those that fence are %v, want %v", got, taking)
	}
	w := newWorld(t)
	ctx := t.Context()
	agent := w.agentWithPolicy()
	e := w.edge(w.owner, "edge")
	key := must(w.CreateKey(ctx, w.owner, controlplane.NewKey{Kind: authority.KeyAgent, Name: "second", PrincipalID: agent.ID}))(t).Value
	for _, c := range []struct {
		name   string
		fences bool
		do     func()
	}{
		{"issuing a mandate", false, func() { w.mandate(w.owner, agent) }},
		{"suspending", true, func() { must(w.SuspendPrincipal(ctx, w.owner, agent.ID, 0))(t) }},
		{"resuming", false, func() { must(w.ResumePrincipal(ctx, w.owner, agent.ID))(t) }},
		{"revoking a key", true, func() { must(w.RevokeKey(ctx, w.owner, key.ID))(t) }},
		{"a new policy", false, func() { w.policy(w.owner, agent, 0) }},
		{"revoking a mandate", true, func() { w.revoke(agent) }},
	} {
		before := must(w.Revision(ctx, w.owner))(t)
		w.hold(e)
		c.do()
		granted := must(w.Renew(ctx, e.caller, e.id, controlplane.Renewal{Revision: before}))(t)
		if withheld := granted.Number == 0; withheld != c.fences {
			t.Errorf("after %s a gateway that is behind is answered %+v", c.name, granted)
		}
	}
}
