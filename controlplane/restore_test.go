package controlplane_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/controlplane"
	"github.com/caracal-gateway/caracal/lease"
	"github.com/caracal-gateway/caracal/token"
)

// loss is a workspace that took authority away after its backup was made, and what a gateway knows of that.
type loss struct {
	*world                             // as it goes on with the backup
	key        controlplane.CreatedKey // of gateways
	gateway    edge
	claim      controlplane.Claim
	knows      controlplane.Beyond
	trust      bundle.Trust
	kept       authority.Mandate // nothing happened to it
	revoked    authority.Mandate
	delegated  authority.Mandate // from revoked
	suspended  authority.Principal
	keyOfAgent authority.KeyID // that was revoked
}

// lose makes a workspace, backs it up, takes authority away, and goes on with the backup.
func lose(t *testing.T) *loss {
	t.Helper()
	ctx := t.Context()
	w := newWorld(t)
	agent, _ := w.agent(w.owner, "agent", authority.Agent)
	child, asChild := w.agent(w.owner, "child", authority.Agent)
	suspended, _ := w.agent(w.owner, "suspended", authority.Agent)
	for _, p := range []authority.Principal{agent, child, suspended} {
		w.policy(w.owner, p, 2)
	}
	l := &loss{world: w, key: w.edgeKey(w.owner), suspended: suspended}
	l.gateway = w.enrol(w.as(l.key.APIKey), "edge")
	l.kept, l.revoked = w.mandate(w.owner, agent), w.mandate(w.owner, agent)
	l.delegated = must(w.DelegateMandate(ctx, w.owner, controlplane.Delegation{
		ParentMandateID: l.revoked.ID, ChildPrincipalID: child.ID, ResourceScope: []string{"api:external/x"}, ActionScope: []string{"read"}, ValiditySeconds: 60,
	}))(t).Value
	l.keyOfAgent = asChild.Key()
	w.asOwner("UPDATE api_keys SET created_at = created_at - interval '1 hour'")

	lost := w.appURL
	w.ownerURL, w.appURL = cluster.Copy(t, w.ownerURL)
	w.Service = newService(t, lost) // the sessions of the other were ended
	must(w.RevokeMandate(ctx, w.owner, l.revoked.ID, 0))(t)
	must(w.SuspendPrincipal(ctx, w.owner, suspended.ID, 0))(t)
	must(w.RevokeKey(ctx, w.owner, l.keyOfAgent))(t)
	b := whole(t, w.Service, l.gateway.caller)
	state, keys, err := bundle.Open(b.Sealed, bundle.Trust{Root: must(token.ParseAPIKey(l.key.APIKey))(t).Root})
	if err != nil {
		t.Fatal(err)
	}
	l.trust = bundle.Trust{Root: must(token.ParseAPIKey(l.key.APIKey))(t).Root}.Enforced(state, keys)
	l.claim = controlplane.Claim{
		Position: controlplane.Position{Timeline: state.Timeline, Revision: state.Revision, Digest: state.Digest[:]}, Issued: state.IssuedAt,
	}
	l.knows = controlplane.Beyond{
		Timeline: state.Timeline, Revision: state.Revision, Evidence: bundle.EvidenceOf(b.Sealed),
		Revoked:   []string{string(l.revoked.ID), string(l.delegated.ID), string(authority.NewID[authority.MandateID]())},
		Suspended: []string{string(suspended.ID)}, Whole: true,
	}
	for _, k := range state.AgentKeys {
		l.knows.AgentKeys = append(l.knows.AgentKeys, string(k.ID))
	}
	l.Service = newService(t, l.appURL)
	return l
}

func (l *loss) doubts(claim controlplane.Claim) bool {
	l.t.Helper()
	ask, _, err := l.Doubt(l.t.Context(), l.gateway.caller, claim)
	if err != nil {
		l.t.Fatal(err)
	}
	return ask
}

func (l *loss) report(b controlplane.Beyond) error {
	return l.Report(l.t.Context(), l.gateway.caller, l.gateway.id, b)
}

// refuses checks that nobody is served.
func (l *loss) refuses() {
	l.t.Helper()
	ctx := l.t.Context()
	for name, err := range map[string]error{
		"a look":      drop(l.Mandate(ctx, l.owner, l.kept.ID)),
		"a list":      drop(l.Mandates(ctx, l.owner, controlplane.MandateFilter{}, controlplane.Page{})),
		"a change":    drop(l.RevokeMandate(ctx, l.owner, l.kept.ID, 0)),
		"a lease":     drop(l.Renew(ctx, l.gateway.caller, l.gateway.id, controlplane.Renewal{Revision: 1})),
		"a sight":     drop(l.ConnectGateway(ctx, l.gateway.caller, l.gateway.id, "", current)),
		"a workspace": drop(l.CreateWorkspace(ctx, l.as(setupKey), controlplane.NewWorkspace{Name: "new", Slug: "new"})),
	} {
		var told *authority.Error
		if !errors.As(err, &told) || told.Code != authority.CodeRestored {
			l.t.Errorf("%s: %v, want %s", name, err, authority.CodeRestored)
		}
	}
}

// refusesOnly checks that the gateway is not served, and everybody else is.
func (l *loss) refusesOnly(err error, code authority.Code) {
	l.t.Helper()
	wantError(l.t, err, code, "")
	if _, err := l.Mandate(l.t.Context(), l.owner, l.kept.ID); err != nil {
		l.t.Errorf("the workspace is served no more: %v", err)
	}
}

func TestADatabaseThatIsBehindServesNobodyUntilThatIsAccepted(t *testing.T) {
	l := lose(t)
	ctx := t.Context()
	if !l.doubts(l.claim) {
		t.Fatal("a gateway beyond the database is not asked")
	}
	wantError(t, l.report(l.knows), authority.CodeRestored, "")
	l.refuses()
	l.Service = newService(t, l.appURL) // it is in the database
	l.refuses()
	if !l.doubts(l.claim) {
		t.Error("the gateway is not asked once more")
	}

	now := must(l.Restoration(ctx))(t)
	if len(now.Reports) != 1 || now.Since == nil || now.Reports[0].RevokedMandates != 2 || now.Reports[0].Suspended != 1 || now.Reports[0].RevokedKeys != 1 {
		t.Errorf("what is reported: %+v", now)
	}
	accepted := must(l.AcceptRestore(ctx, 0))(t)
	if len(accepted.Workspaces) != 1 || accepted.Timeline == l.claim.Timeline || accepted.Workspaces[0].Revision <= l.claim.Revision {
		t.Errorf("accepted %+v, beyond %+v", accepted, l.claim)
	}
	for id, want := range map[authority.MandateID]bool{l.kept.ID: false, l.revoked.ID: true, l.delegated.ID: true} {
		if m := must(l.Mandate(ctx, l.owner, id))(t); m.Revoked != want {
			t.Errorf("mandate %s: revoked %t, want %t", id, m.Revoked, want)
		}
	}
	if p := must(l.Principal(ctx, l.owner, l.suspended.ID))(t); !p.Suspended {
		t.Error("the principal is not suspended again")
	}
	if k := must(l.Key(ctx, l.owner, l.keyOfAgent))(t); k.RevokedAt == nil {
		t.Error("the key is not revoked again")
	}
	if _, err := l.AcceptRestore(ctx, 0); !errors.Is(err, controlplane.ErrRelied) {
		t.Errorf("accepting it once more: %v", err)
	}
}

func TestGatewaysMoveOnToTheSuccessorAndNeverBack(t *testing.T) {
	l := lose(t)
	ctx := t.Context()
	wantError(t, l.report(l.knows), authority.CodeRestored, "")
	must(l.AcceptRestore(ctx, 0))(t)
	b := whole(t, l.Service, l.gateway.caller)
	state, keys, err := bundle.Open(b.Sealed, l.trust)
	if err != nil {
		t.Fatalf("the gateway does not move on: %v", err)
	}
	if state.Timeline == l.claim.Timeline || len(keys.Succeeds) != 1 || keys.Succeeds[0] != l.claim.Timeline {
		t.Errorf("timeline %s succeeds %v, before it was %s", state.Timeline, keys.Succeeds, l.claim.Timeline)
	}
	old := controlplane.Claim{Position: controlplane.Position{Timeline: l.claim.Timeline, Revision: 1}}
	if !l.doubts(old) {
		t.Error("a gateway of the timeline before is not asked what it knows")
	}
	present := controlplane.Claim{Position: controlplane.Position{Timeline: state.Timeline, Revision: state.Revision}, Issued: state.IssuedAt}
	if l.doubts(present) {
		t.Error("a gateway that has moved on is doubted")
	}
}

// Leases that were granted since the backup are not known, and neither is to whom.
func TestRevocationsAfterARestoreWaitForLeasesThatWereLost(t *testing.T) {
	l := lose(t)
	ctx := t.Context()
	wantError(t, l.report(l.knows), authority.CodeRestored, "")
	must(l.AcceptRestore(ctx, 0))(t)
	receipt := must(l.RevokeMandate(ctx, l.owner, l.kept.ID, 0))(t).Value
	if receipt.State != authority.ReceiptPending || len(receipt.Gateways) != 2 {
		t.Errorf("the receipt is %s and waits for %d, want it pending for the gateway and for those that are unknown", receipt.State, len(receipt.Gateways))
	}
}

// A term may have been longer for a while since the backup: only an operator knows that none was.
func TestLeasesThatWereLostAreWaitedForAsLongAsTheyCanLast(t *testing.T) {
	for sentence, c := range map[string]struct {
		stated, want time.Duration
	}{
		"where nobody says":                           {0, lease.MaxTerm},
		"where an operator knows better":              {2 * time.Hour, 2 * time.Hour},
		"but never less than what the database shows": {5 * time.Second, time.Minute},
	} {
		t.Run(sentence, func(t *testing.T) {
			l := lose(t)
			ctx := t.Context()
			wantError(t, l.report(l.knows), authority.CodeRestored, "")
			for _, longest := range []time.Duration{-1, lease.MinTerm - 1, lease.MaxTerm + 1} {
				_, err := l.AcceptRestore(ctx, longest)
				wantError(t, err, authority.CodeInvalid, "")
			}
			must(l.AcceptRestore(ctx, c.stated))(t)
			running := must(l.Running(ctx))(t)
			for _, r := range running {
				if r.Wait != c.want {
					t.Errorf("%+v is waited for, want %v", r, c.want)
				}
			}
			if len(running) != 2 {
				t.Errorf("those that are waited for are %+v", running)
			}
		})
	}
}

// The first gateway key may have been made after the backup.
func TestProcessesOfAKeyThatTheBackupDoesNotKnowAreWaitedFor(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	must(w.Distrust(ctx))(t)
	must(w.AcceptRestore(ctx, 0))(t)
	if r := w.revoke(w.agentWithPolicy()); r.State != authority.ReceiptPending || len(r.Gateways) != 1 {
		t.Errorf("the receipt is %s and waits for %+v", r.State, r.Gateways)
	}
	for _, k := range must(w.Keys(ctx, w.owner, controlplane.KeyFilter{Kind: authority.KeyGateway}, controlplane.Page{}))(t).Items {
		if k.RevokedAt == nil {
			t.Errorf("a key that opens something was made: %+v", k)
		}
	}
}

func TestAGatewayThatWasAwayIsServedOnceWhatItKnowsIsAccepted(t *testing.T) {
	l := lose(t)
	ctx := t.Context()
	must(l.Distrust(ctx))(t)
	l.refuses()
	must(l.AcceptRestore(ctx, 0))(t) // before the gateway is back
	l.refusesOnly(l.report(l.knows), authority.CodeRestored)
	if m := must(l.Mandate(ctx, l.owner, l.revoked.ID))(t); m.Revoked {
		t.Error("a gateway revokes mandates without an operator")
	}
	accepted := must(l.AcceptRestore(ctx, 0))(t)
	if accepted.Timeline != "" || len(accepted.Workspaces) != 1 || accepted.Workspaces[0].Mandates != 2 {
		t.Errorf("accepted late: %+v", accepted)
	}
	if err := l.report(l.knows); err != nil {
		t.Errorf("the gateway is not served: %v", err)
	}
}

// Gateways come again and again until they are served, also while an operator accepts what they say.
func TestWhatIsAcceptedStaysAcceptedWhileGatewaysGoOnTelling(t *testing.T) {
	l := lose(t)
	ctx := t.Context()
	wantError(t, l.report(l.knows), authority.CodeRestored, "")
	telling, stop := context.WithCancel(ctx)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for telling.Err() == nil {
				_ = l.report(l.knows) // it is refused until it is accepted
			}
		})
	}
	for range 5 {
		must(l.AcceptRestore(ctx, 0))(t)
		eventually(t, "what was on its way has been told", func() bool { return l.report(l.knows) == nil })
		if now := must(l.Restoration(ctx))(t); now.Since != nil || len(now.Reports) != 0 {
			t.Fatalf("after it was accepted: %+v", now)
		}
		must(l.Distrust(ctx))(t)
	}
	stop()
	all.Wait()
}

// Workspaces are accepted one after the other: a gateway may come in between.
func TestAReportThatComesTooLateIsDoneWithOnceNothingOfItIsLeft(t *testing.T) {
	l := lose(t)
	ctx := t.Context()
	wantError(t, l.report(l.knows), authority.CodeRestored, "")
	must(l.AcceptRestore(ctx, 0))(t)
	l.asOwner("UPDATE beyond_reports SET accepted_at = NULL")
	if now := must(l.Restoration(ctx))(t); len(now.Reports) != 1 {
		t.Fatalf("what is reported: %+v", now)
	}
	if err := l.report(l.knows); err != nil {
		t.Errorf("the gateway is not served: %v", err)
	}
	if now := must(l.Restoration(ctx))(t); len(now.Reports) != 0 {
		t.Errorf("what is left of it: %+v", now)
	}
}

// A gateway that its owner has taken over holds a valid key of a gateway and of its process, and nothing more.
func TestAGatewayThatLiesStopsNobodyButItself(t *testing.T) {
	l := lose(t)
	for name, lie := range map[string]func(*loss, *controlplane.Beyond){
		"a revision without evidence":      func(_ *loss, b *controlplane.Beyond) { b.Evidence = bundle.Evidence{} },
		"a higher revision than it shows":  func(_ *loss, b *controlplane.Beyond) { b.Revision += 1 << 40 },
		"a timeline that it does not show": func(_ *loss, b *controlplane.Beyond) { b.Timeline = "another" },
		"evidence of another root": func(l *loss, b *controlplane.Beyond) {
			root := token.NewRoot()
			key := token.NewSigningKey(token.PurposeBundle, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
			set := token.KeySet{Deployment: "dpl", Workspace: l.owner.Workspace(), Timeline: b.Timeline, Version: 9, Keys: []token.VerifyingKey{key.Public()}}
			b.Evidence.KeySet = must(token.SealKeySet(root, set))(l.t)
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := l.knows
			lie(l, &b)
			l.refusesOnly(l.report(b), authority.CodeForbidden)
			now := must(l.Restoration(t.Context()))(t)
			if now.Since != nil || len(now.Reports) == 0 {
				t.Errorf("what comes of the lie: %+v", now)
			}
			for _, r := range now.Reports {
				if r.Proven || r.RevokedMandates+r.Suspended+r.RevokedKeys != 0 {
					t.Errorf("what is kept of the lie: %+v", r)
				}
			}
		})
	}
}

// Nor does it fill the database with what it says.
func TestOfWhatIsNotShownOneThingIsKept(t *testing.T) {
	l := lose(t)
	for _, timeline := range []string{"one", "another", l.knows.Timeline} {
		b := l.knows
		b.Timeline, b.Evidence = timeline, bundle.Evidence{}
		l.refusesOnly(l.report(b), authority.CodeForbidden)
	}
	now := must(l.Restoration(t.Context()))(t)
	if now.Since != nil || len(now.Reports) != 1 || now.Reports[0].Timeline != "" {
		t.Errorf("what is kept: %+v", now)
	}
}

// The numbers that were lost are given again before the gateway is back.
func TestARevisionThatWasGivenTwiceIsFoundOut(t *testing.T) {
	l := lose(t)
	ctx := t.Context()
	for l.revision(l.owner) <= l.claim.Revision {
		name := "n" + strings.Repeat("n", int(l.revision(l.owner)))
		must(l.UpdateWorkspace(ctx, l.owner, "first", controlplane.WorkspaceChange{Name: &name}))(t)
	}
	if l.doubts(l.claim) {
		t.Error("two revisions of the same seconds are told apart by their time")
	}
	l.asOwner("UPDATE revisions SET revised_at = revised_at + interval '1 minute'")
	if !l.doubts(l.claim) {
		t.Fatal("a state that was sealed before its revision was taken is not doubted")
	}
	wantError(t, l.report(l.knows), authority.CodeRestored, "")
	l.refuses()
}

// Somebody else has accepted a restore. Gateways that come before this replica knows are told what is so.
func TestStreamsOfTheTimelineBeforeEndWithoutAWordOfARestore(t *testing.T) {
	w := newWorld(t)
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- w.Run(ctx) }()
	defer func() {
		stop()
		if err := <-ran; err != nil {
			t.Error(err)
		}
	}()
	eventually(t, "the replica knows the timeline", func() bool { return w.LastRestoration().Timeline != "" })
	e := w.edge(w.owner, "edge")
	presence := must(w.ConnectGateway(t.Context(), e.caller, e.id, "", current))(t)
	defer presence.Leave()
	w.asOwner("UPDATE deployment SET timeline = gen_random_uuid()::text, past = ARRAY[timeline]")
	eventually(t, "the stream ends", func() bool { return presence.Ended.Err() != nil })
	wantError(t, context.Cause(presence.Ended), authority.CodeUnavailable, "")
}
