package controlplane_test

import (
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
	"github.com/caracal-gateway/caracal/envoy"
	"github.com/caracal-gateway/caracal/token"
)

// patient is longer than any wait of these tests takes, on a machine that has much else to do.
const patient = 60 * time.Second

// bootClock is a replica's steady clock that the test moves.
type bootClock struct{ at atomic.Int64 }

func (c *bootClock) read() time.Duration     { return time.Duration(c.at.Load()) }
func (c *bootClock) pass(span time.Duration) { c.at.Add(int64(span)) }

// replicaBy is a replica with a steady clock of its own.
func replicaBy(t *testing.T, appURL string, steady func() time.Duration) *controlplane.Service {
	t.Helper()
	store := must(postgres.Open(postgres.Config{URL: appURL, MaxConns: 4}))(t)
	t.Cleanup(store.Close)
	return must(controlplane.New(controlplane.Config{
		Store: store, MasterKey: []byte(strings.Repeat("m", 32)), SetupKey: setupKey,
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Now: time.Now, Steady: steady,
	}))(t)
}

// revocable is a workspace with an agent that has a mandate.
func revocable(t *testing.T) (*world, authority.Principal, authority.Mandate) {
	t.Helper()
	w := newWorld(t)
	agent, _ := w.agent(w.owner, "researcher", authority.Agent)
	w.policy(w.owner, agent, 3)
	return w, agent, w.mandate(w.owner, agent)
}

func gatewaysOf(r controlplane.Receipt) []authority.GatewayID {
	var ids []authority.GatewayID
	for _, g := range r.Gateways {
		ids = append(ids, g.GatewayID)
	}
	return ids
}

func sorted(ids ...authority.GatewayID) []authority.GatewayID {
	return slices.Sorted(slices.Values(ids))
}

func TestAReceiptWaitsForEveryGatewayThatMayDecideAndForNoOther(t *testing.T) {
	w, _, m := revocable(t)
	ctx := t.Context()
	first, second := w.edge(w.owner, "first"), w.edge(w.owner, "second")
	gone := w.edge(w.owner, "gone")
	if err := w.Surrender(ctx, gone.caller, gone.id, 1); err != nil {
		t.Fatal(err)
	}
	w.enrol(w.as(w.edgeKey(w.owner).APIKey), "never leased")

	pending := must(w.RevokeMandate(ctx, w.owner, m.ID, 0))(t)
	r := pending.Value
	if diff := cmp.Diff(sorted(first.id, second.id), gatewaysOf(r)); diff != "" {
		t.Errorf("gateways (-want +got):\n%s", diff)
	}
	if r.State != authority.ReceiptPending || r.EffectiveAt != nil || r.Signature != "" || r.Revision != pending.Revision || r.MandateID != m.ID || r.RequestedBy != w.owner.Principal().ID {
		t.Errorf("receipt %+v", r)
	}
	for _, g := range r.Gateways {
		if g.Lease != 1 || g.FencedUntil == nil || !g.FencedUntil.After(r.RevokedAt.Add(59*time.Second)) || g.EnforcedAt != nil || g.FencedAt != nil {
			t.Errorf("gateway %+v", g)
		}
	}
	acknowledge(t, w.Service, first, r.Revision-1)
	acknowledge(t, w.Service, first, r.Revision)
	if half := must(w.AwaitReceipt(ctx, w.owner, r.ID, time.Second))(t); half.State != authority.ReceiptPending {
		t.Errorf("one of two gateways makes it %s", half.State)
	}
	if err := w.Acknowledge(ctx, second.caller, second.id, controlplane.Acknowledgement{Revision: r.Revision, StreamsCut: 3}); err != nil {
		t.Fatal(err)
	}
	again := must(w.RevokeMandate(ctx, w.owner, m.ID, patient))(t).Value
	if again.ID != r.ID || again.State != authority.ReceiptEnforced || again.Revision != r.Revision || again.StreamsCut != 3 || again.Signature == "" {
		t.Errorf("asked again: %+v", again)
	}
	for _, g := range again.Gateways {
		if g.EnforcedAt == nil || g.EnforcedAt.After(*again.EffectiveAt) {
			t.Errorf("gateway %+v, effective at %s", g, again.EffectiveAt)
		}
	}
	event := must(w.Events(ctx, w.owner, controlplane.EventFilter{Type: authority.EventRevocationEnforced}, controlplane.Page{}))(t).Items
	if len(event) != 1 || event[0].MandateID != m.ID || event[0].Detail["receipt_id"] != string(r.ID) || event[0].Detail["streams_cut"] != 3.0 {
		t.Errorf("events %+v", event)
	}
	if now := must(w.Receipt(ctx, w.owner, r.ID))(t); !cmp.Equal(now, again) {
		t.Errorf("the stored receipt differs:\n%s", cmp.Diff(now, again))
	}
}

func TestAReceiptIsEnforcedOnceWhatWasLetThroughBeforeHasEnded(t *testing.T) {
	w, _, m := revocable(t)
	ctx := t.Context()
	must(w.CreateDestination(ctx, w.owner, authority.Destination{Name: "quick", Host: "quick.example.com", MaxDurationSeconds: 2}))(t)
	var clock bootClock
	s := replicaBy(t, w.appURL, clock.read)
	e := w.edge(w.owner, "edge")
	r := must(s.RevokeMandate(ctx, w.owner, m.ID, 0))(t).Value
	settling := 2*time.Second + envoy.CheckTimeout
	if got := time.Duration(r.SettlingMS) * time.Millisecond; got != settling {
		t.Fatalf("settling %s, want %s", got, settling)
	}
	clock.pass(time.Hour) // before the acknowledgement no time counts
	look := func() authority.ReceiptState { return must(s.RevokeMandate(ctx, w.owner, m.ID, 0))(t).Value.State }
	if state := look(); state != authority.ReceiptPending {
		t.Fatalf("without an acknowledgement it is %s", state)
	}
	acknowledge(t, s, e, r.Revision)
	if state := look(); state != authority.ReceiptPending {
		t.Errorf("at the acknowledgement it is %s", state)
	}
	clock.pass(settling - time.Nanosecond)
	if state := look(); state != authority.ReceiptPending {
		t.Errorf("before it has settled it is %s", state)
	}
	clock.pass(time.Nanosecond)
	if state := look(); state != authority.ReceiptEnforced {
		t.Errorf("once it has settled it is %s", state)
	}
}

func TestTheSettlingTimeDoesNotForgetWhatAGatewayThatIsBehindMayHaveLetThrough(t *testing.T) {
	w, _, m := revocable(t)
	ctx := t.Context()
	d := must(w.CreateDestination(ctx, w.owner, authority.Destination{Name: "quick", Host: "quick.example.com", MaxDurationSeconds: 2}))(t).Value
	long := must(w.CreateDestination(ctx, w.owner, authority.Destination{Name: "slow", Host: "slow.example.com", MaxDurationSeconds: 5}))(t).Value
	must(w.CreateDestination(ctx, w.owner, authority.Destination{Name: "quicker", Host: "quicker.example.com", MaxDurationSeconds: 1}))(t)
	w.edge(w.owner, "edge")
	must(w.DeleteDestination(ctx, w.owner, d.ID))(t)
	if r := must(w.RevokeMandate(ctx, w.owner, m.ID, 0))(t).Value; r.SettlingMS != 2500 {
		t.Errorf("after the destination is gone the settling time is %d ms, want 2500", r.SettlingMS)
	}
	short := int64(5)
	must(w.UpdateWorkspace(ctx, w.owner, "first", controlplane.WorkspaceChange{Settings: &controlplane.SettingsChange{ShortRequestSeconds: &short}}))(t)
	must(w.DeleteDestination(ctx, w.owner, long.ID))(t)
	short = 0
	must(w.UpdateWorkspace(ctx, w.owner, "first", controlplane.WorkspaceChange{Settings: &controlplane.SettingsChange{ShortRequestSeconds: &short}}))(t)
	agent, _ := w.agent(w.owner, "another", authority.Agent)
	if r := must(w.SuspendPrincipal(ctx, w.owner, agent.ID, 0))(t).Value.Receipt; r.SettlingMS != 5500 {
		t.Errorf("after the limit was raised and lowered the settling time is %d ms, want 5500", r.SettlingMS)
	}
}

// One replica makes the receipt, gateways speak to another, and a third finishes it: none of them has to live.
func TestAnyReplicaFinishesAReceiptAndOnlyOneSaysSo(t *testing.T) {
	w, _, m := revocable(t)
	ctx := t.Context()
	e := w.edge(w.owner, "edge")
	maker, listener := newService(t, w.appURL), newService(t, w.appURL)
	r := must(maker.RevokeMandate(ctx, w.owner, m.ID, 0))(t).Value
	acknowledge(t, listener, e, r.Revision)
	for range 3 {
		defer w.run(newService(t, w.appURL))()
	}
	eventually(t, "the receipt is finished", func() bool {
		return must(w.Receipt(ctx, w.owner, r.ID))(t).State == authority.ReceiptEnforced
	})
	waited := must(maker.AwaitReceipt(ctx, w.owner, r.ID, patient))(t)
	if again := must(listener.RevokeMandate(ctx, w.owner, m.ID, patient))(t).Value; !cmp.Equal(again, waited) {
		t.Errorf("replicas differ:\n%s", cmp.Diff(waited, again))
	}
	enforced := must(w.Events(ctx, w.owner, controlplane.EventFilter{Type: authority.EventRevocationEnforced}, controlplane.Page{}))(t).Items
	if len(enforced) != 1 {
		t.Errorf("%d events tell it", len(enforced))
	}
}

func TestAWaitSeesWhatOtherReplicasTakeNoteOf(t *testing.T) {
	w, _, m := revocable(t)
	e := w.edge(w.owner, "edge")
	other := newService(t, w.appURL)
	answered := make(chan controlplane.Written[controlplane.Receipt], 1)
	go func() {
		written, err := w.RevokeMandate(t.Context(), w.owner, m.ID, patient)
		if err != nil {
			t.Errorf("revocation: %v", err)
		}
		answered <- written
	}()
	eventually(t, "the revocation is committed", func() bool { return must(w.Mandate(t.Context(), w.owner, m.ID))(t).Revoked })
	acknowledge(t, other, e, must(other.Revision(t.Context(), e.caller))(t))
	if r := (<-answered).Value; r.State != authority.ReceiptEnforced {
		t.Errorf("receipt %+v", r)
	}
}

func TestAGatewayWhoseLeaseIsOverIsFenced(t *testing.T) {
	w, _, m := revocable(t)
	ctx := t.Context()
	e := w.edge(w.owner, "edge")
	r := must(w.RevokeMandate(ctx, w.owner, m.ID, 0))(t).Value
	if err := w.Surrender(ctx, e.caller, e.id, 1); err != nil {
		t.Fatal(err)
	}
	done := must(w.AwaitReceipt(ctx, w.owner, r.ID, patient))(t)
	if g := done.Gateways[0]; done.State != authority.ReceiptEnforced || g.FencedAt == nil || g.EnforcedAt != nil {
		t.Errorf("receipt %+v", done)
	}
	if must(w.Renew(ctx, e.caller, e.id, controlplane.Renewal{Revision: r.Revision - 1}))(t).Number != 0 {
		t.Error("a gateway that does not enforce the revocation is granted a lease")
	}
}

// What gateways say reaches receipts also where whoever took note of it did not write it there, such as an older replica.
func TestAReceiptIsFinishedByHowGatewaysStand(t *testing.T) {
	w, _, m := revocable(t)
	ctx := t.Context()
	heard, silent := w.edge(w.owner, "heard"), w.edge(w.owner, "silent")
	r := must(w.RevokeMandate(ctx, w.owner, m.ID, 0))(t).Value
	w.super("UPDATE gateways SET revision = $1, acknowledged_at = now() WHERE id = $2", r.Revision, heard.id)
	w.super("UPDATE gateways SET lease_over = true WHERE id = $1", silent.id)
	done := must(w.AwaitReceipt(ctx, w.owner, r.ID, patient))(t)
	if done.State != authority.ReceiptEnforced {
		t.Fatalf("receipt %+v", done)
	}
	for _, g := range done.Gateways {
		if g.GatewayID == heard.id && g.EnforcedAt == nil || g.GatewayID == silent.id && g.FencedAt == nil {
			t.Errorf("gateway %+v", g)
		}
	}
}

// super runs a statement as a superuser, whom no policy binds.
func (w *world) super(sql string, args ...any) {
	w.t.Helper()
	conn := must(pgx.Connect(w.t.Context(), cluster.Superuser(w.t, w.ownerURL)))(w.t)
	defer func() { _ = conn.Close(w.t.Context()) }()
	if _, err := conn.Exec(w.t.Context(), sql, args...); err != nil {
		w.t.Fatal(err)
	}
}

func TestWhatIsSaidOfTheEndOfARevocationIsSaidOnce(t *testing.T) {
	w, _, m := revocable(t)
	r := must(w.RevokeMandate(t.Context(), w.owner, m.ID, 0))(t).Value
	if r.State != authority.ReceiptEnforced {
		t.Fatalf("a workspace without gateways waits: %+v", r)
	}
	conn := must(pgx.Connect(t.Context(), cluster.Superuser(t, w.ownerURL)))(t)
	defer func() { _ = conn.Close(t.Context()) }()
	if _, err := conn.Exec(t.Context(), "UPDATE receipts SET effective_at = now()"); err == nil {
		t.Error("a finished receipt changes")
	}
}

func TestAMandateThatEndedWithAnAncestorHasTheAncestorsReceipt(t *testing.T) {
	w, agent, m := revocable(t)
	ctx := t.Context()
	helper, _ := w.agent(w.owner, "helper", authority.Agent)
	w.policy(w.owner, helper, 0)
	child := must(w.DelegateMandate(ctx, w.as(w.apiKeyOf(agent)), controlplane.Delegation{
		ParentMandateID: m.ID, ChildPrincipalID: helper.ID, ResourceScope: []string{"api:external/*"}, ActionScope: []string{"read"}, ValiditySeconds: 60,
	}))(t).Value
	w.edge(w.owner, "edge")
	all := must(w.RevokeMandate(ctx, w.owner, m.ID, 0))(t).Value
	of := must(w.RevokeMandate(ctx, w.owner, child.ID, 0))(t).Value
	if of.ID != all.ID || of.MandateID != child.ID || of.Target.MandateID != m.ID || of.MandateCount != 2 || of.State != authority.ReceiptPending {
		t.Errorf("the child's receipt %+v, the parent's %+v", of, all)
	}
	if diff := cmp.Diff([]authority.MandateID{m.ID, child.ID}, all.Mandates); diff != "" {
		t.Errorf("mandates from the top:\n%s", diff)
	}
}

// apiKeyOf makes another key of an agent.
func (w *world) apiKeyOf(p authority.Principal) string {
	w.t.Helper()
	return must(w.CreateKey(w.t.Context(), w.owner, controlplane.NewKey{Kind: authority.OfPrincipal(p.Type), Name: "another", PrincipalID: p.ID}))(w.t).Value.APIKey
}

// What was revoked before there were receipts gets one when it is asked for, and it waits for whoever may not know yet.
func TestWhatWasTakenAwayBeforeThereWereReceiptsGetsOne(t *testing.T) {
	w, agent, m := revocable(t)
	ctx := t.Context()
	e := w.edge(w.owner, "edge")
	revoked := must(w.RevokeMandate(ctx, w.owner, m.ID, 0))(t).Value
	must(w.SuspendPrincipal(ctx, w.owner, agent.ID, 0))(t)
	w.super("TRUNCATE receipt_gateways, receipts")
	w.super("UPDATE principals SET suspended_revision = NULL")
	w.super("DELETE FROM signing_keys WHERE purpose = 'receipt'")

	again := must(w.RevokeMandate(ctx, w.owner, m.ID, 0))(t).Value
	if again.Revision != revoked.Revision || !again.RevokedAt.Equal(revoked.RevokedAt) || again.MandateCount != 1 || again.State != authority.ReceiptPending || !cmp.Equal(gatewaysOf(again), sorted(e.id)) {
		t.Errorf("receipt %+v", again)
	}
	if third := must(w.RevokeMandate(ctx, w.owner, m.ID, 0))(t).Value; third.ID != again.ID {
		t.Errorf("asked again it is %s, was %s", third.ID, again.ID)
	}
	suspended := must(w.SuspendPrincipal(ctx, w.owner, agent.ID, 0))(t)
	if r := suspended.Value.Receipt; r.Revision != suspended.Revision || r.State != authority.ReceiptPending {
		t.Errorf("receipt %+v at revision %d", r, suspended.Revision)
	}
	acknowledge(t, w.Service, e, suspended.Revision)
	if done := must(w.AwaitReceipt(ctx, w.owner, again.ID, patient))(t); done.State != authority.ReceiptEnforced {
		t.Errorf("receipt %+v", done)
	}
}

func TestASuspensionHasAReceiptThatIsWithdrawnWhenItIsUndoneTooEarly(t *testing.T) {
	w, agent, _ := revocable(t)
	ctx := t.Context()
	e := w.edge(w.owner, "edge")
	first := must(w.SuspendPrincipal(ctx, w.owner, agent.ID, 0))(t).Value
	if r := first.Receipt; !first.Suspended || r.Kind != authority.ReceiptOfPrincipal || r.Target.PrincipalID != agent.ID || r.MandateCount != 0 || r.State != authority.ReceiptPending {
		t.Fatalf("suspension %+v", first)
	}
	if again := must(w.SuspendPrincipal(ctx, w.owner, agent.ID, 0))(t).Value; again.Receipt.ID != first.Receipt.ID {
		t.Errorf("asked again it is %+v", again.Receipt)
	}
	resumed := must(w.ResumePrincipal(ctx, w.owner, agent.ID))(t)
	acknowledge(t, w.Service, e, resumed.Revision)
	if r := must(w.AwaitReceipt(ctx, w.owner, first.Receipt.ID, patient))(t); r.State != authority.ReceiptWithdrawn || r.WithdrawnAt == nil || r.EffectiveAt != nil || r.Signature != "" {
		t.Errorf("resumed while it was pending: %+v", r)
	}
	second := must(w.SuspendPrincipal(ctx, w.owner, agent.ID, 0))(t).Value.Receipt
	if second.ID == first.Receipt.ID || second.Revision <= first.Receipt.Revision {
		t.Errorf("another suspension has the receipt %+v", second)
	}
	acknowledge(t, w.Service, e, second.Revision)
	enforced := must(w.AwaitReceipt(ctx, w.owner, second.ID, patient))(t)
	must(w.ResumePrincipal(ctx, w.owner, agent.ID))(t)
	if r := must(w.Receipt(ctx, w.owner, second.ID))(t); enforced.State != authority.ReceiptEnforced || !cmp.Equal(r, enforced) {
		t.Errorf("a suspension that was in force and is over says %+v, said %+v", r, enforced)
	}
	suspended := must(w.Events(ctx, w.owner, controlplane.EventFilter{Type: authority.EventPrincipalSuspended}, controlplane.Page{}))(t).Items
	if len(suspended) != 2 || suspended[0].Detail["receipt_id"] != string(second.ID) {
		t.Errorf("events %+v", suspended)
	}
}

func TestADeletionHasAReceipt(t *testing.T) {
	w, _, _ := revocable(t)
	ctx := t.Context()
	e := w.edge(w.owner, "edge")
	first := must(w.DeleteWorkspace(ctx, w.owner, "first", 0))(t).Value
	if first.State != authority.ReceiptPending || first.Receipt.Kind != authority.ReceiptOfWorkspace || first.Receipt.Target.WorkspaceID != first.Workspace.ID || len(first.Gateways) != 1 {
		t.Fatalf("deletion %+v", first)
	}
	must(w.RestoreWorkspace(ctx, w.owner, "first"))(t)
	if r := must(w.Receipt(ctx, w.owner, first.Receipt.ID))(t); r.State != authority.ReceiptWithdrawn {
		t.Errorf("restored while it was pending: %+v", r)
	}
	second := must(w.DeleteWorkspace(ctx, w.owner, "first", 0))(t).Value
	acknowledge(t, w.Service, e, second.Revision)
	again := must(w.DeleteWorkspace(ctx, w.owner, "first", patient))(t).Value
	if again.Receipt.ID != second.Receipt.ID || again.State != authority.ReceiptEnforced || again.EffectiveAt == nil {
		t.Errorf("asked again: %+v", again)
	}
}

func TestAReceiptIsVerifiedOffline(t *testing.T) {
	w, _, m := revocable(t)
	ctx := t.Context()
	e := w.edge(w.owner, "edge")
	r := must(w.RevokeMandate(ctx, w.owner, m.ID, 0))(t).Value
	acknowledge(t, w.Service, e, r.Revision)
	r = must(w.AwaitReceipt(ctx, w.owner, r.ID, patient))(t)
	set := must(w.KeySet(ctx, w.owner))(t)
	keys := must(token.OpenKeySet(set.Sealed, set.Root))(t)
	if err := keys.VerifyReceipt(r.Receipt, r.Gateways); err != nil {
		t.Fatal(err)
	}
	if !cmp.Equal(r.MandatesDigest, token.MandatesDigest([]authority.MandateID{m.ID})) {
		t.Error("the digest is of other mandates")
	}
	var read controlplane.Receipt
	if err := json.Unmarshal(must(json.Marshal(r))(t), &read); err != nil {
		t.Fatal(err)
	}
	if err := keys.VerifyReceipt(read.Receipt, read.Gateways); err != nil {
		t.Errorf("after it was written and read: %v", err)
	}
	for sentence, change := range map[string]func(*controlplane.Receipt){
		"another revision":    func(r *controlplane.Receipt) { r.Revision++ },
		"another mandate":     func(r *controlplane.Receipt) { r.Target.MandateID = "mdt_other" },
		"more mandates":       func(r *controlplane.Receipt) { r.MandateCount++ },
		"other mandates":      func(r *controlplane.Receipt) { r.MandatesDigest = token.MandatesDigest(nil) },
		"earlier":             func(r *controlplane.Receipt) { at := r.EffectiveAt.Add(-time.Microsecond); r.EffectiveAt = &at },
		"an earlier gateway":  func(r *controlplane.Receipt) { at := r.RevokedAt; r.Gateways[0].EnforcedAt = &at },
		"no gateways":         func(r *controlplane.Receipt) { r.Gateways = nil },
		"another settling":    func(r *controlplane.Receipt) { r.SettlingMS = 0 },
		"not enforced":        func(r *controlplane.Receipt) { r.State = authority.ReceiptPending },
		"another workspace's": func(r *controlplane.Receipt) { r.WorkspaceID = "ws_other" },
	} {
		var forged controlplane.Receipt
		if err := json.Unmarshal(must(json.Marshal(r))(t), &forged); err != nil {
			t.Fatal(err)
		}
		change(&forged)
		if keys.VerifyReceipt(forged.Receipt, forged.Gateways) == nil {
			t.Errorf("%s: it verifies", sentence)
		}
	}
}

func TestTheKeyOfAReceiptStaysForAsLongAsTheReceiptDoes(t *testing.T) {
	w, _, m := revocable(t)
	ctx := t.Context()
	must(w.RevokeMandate(ctx, w.owner, m.ID, 0))(t)
	w.super("UPDATE signing_keys SET not_before = now() - interval '2 years', retire_at = now() - interval '1 year' WHERE purpose <> 'root'")
	stateOf := func(purpose token.Purpose) controlplane.SigningKeyState {
		all := must(w.SigningKeys(ctx, w.owner))(t)
		slices.Reverse(all)
		return all[slices.IndexFunc(all, func(k controlplane.SigningKey) bool { return k.Purpose == purpose })].State
	}
	defer w.run(newService(t, w.appURL))()
	eventually(t, "the old bundle key is withdrawn", func() bool { return stateOf(token.PurposeBundle) == controlplane.SigningKeyWithdrawn })
	if state := stateOf(token.PurposeReceipt); state != controlplane.SigningKeyRetired {
		t.Errorf("the key that a receipt is verified with is %s", state)
	}
}
