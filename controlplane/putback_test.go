package controlplane_test

import (
	"errors"
	"testing"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/controlplane"
	"github.com/caracal-gateway/caracal/token"
)

func isRestored(err error) bool {
	var told *authority.Error
	return errors.As(err, &told) && told.Code == authority.CodeRestored
}

// A standby that lagged takes over under replicas that go on running, and whose gateways stay connected: no gateway says
// anew what it enforces. Whatever the number is that the database has come to by then, the replica knows better.
func TestAReplicaFindsOutThatItsDatabaseWasPutBack(t *testing.T) {
	for sentence, since := range map[string]int{
		"while nothing has happened since":           0,
		"after as much has happened as was lost":     1,
		"after more has happened than what was lost": 2,
	} {
		t.Run(sentence, func(t *testing.T) {
			ctx := t.Context()
			w := newWorld(t)
			agent := w.agentWithPolicy()
			revoked := w.mandate(w.owner, agent)
			key := w.edgeKey(w.owner)
			backup, _ := cluster.Copy(t, w.ownerURL)
			w.Service = newService(t, w.appURL) // the sessions of the other were ended

			gateway := mirrorOf(t, w.Service, key.APIKey)
			gateway.reach(must(w.RevokeMandate(ctx, w.owner, revoked.ID, 0))(t).Revision)
			cluster.PutBack(t, w.ownerURL, backup)
			other := newService(t, w.appURL) // which has seen nothing of it
			for range since {
				must(other.RequestMandate(ctx, w.owner, request(w.owner.Principal().ID, agent.ID)))(t)
			}
			if now := must(other.Restoration(ctx))(t); now.Since != nil {
				t.Fatalf("found out by nobody who could: %+v", now)
			}

			eventually(t, "the replica finds out", func() bool {
				_, err := gateway.feed.Look(ctx)
				return isRestored(err)
			})
			if m := gateway.feed.Next(); m != nil {
				t.Errorf("the gateway is told something of that database: %+v", m)
			}
			if _, err := other.Mandate(ctx, w.owner, revoked.ID); !isRestored(err) {
				t.Errorf("another replica serves: %v", err)
			}
			if accepted := must(w.AcceptRestore(ctx, 0))(t); accepted.Timeline == "" {
				t.Errorf("accepted %+v", accepted)
			}
			if _, err := gateway.feed.Look(ctx); err != nil {
				t.Errorf("the replica does not go on: %v", err)
			}
		})
	}
}

// An operator has to know who has answered, and who has not.
func TestEveryGatewayIsAskedWhileTheDatabaseIsKnownToBeRestored(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	e := w.enrol(w.as(w.edgeKey(w.owner).APIKey), "edge")
	b := whole(t, w.Service, e.caller)
	trust := bundle.Trust{Root: must(token.ParseAPIKey(w.edgeKey(w.owner).APIKey))(t).Root}
	state, _, err := bundle.Open(b.Sealed, trust)
	if err != nil {
		t.Fatal(err)
	}
	claim := controlplane.Claim{
		Position: controlplane.Position{Timeline: state.Timeline, Revision: state.Revision, Digest: state.Digest[:]}, Issued: state.IssuedAt,
	}
	if ask, _, err := w.Doubt(ctx, e.caller, claim); ask || err != nil {
		t.Fatalf("before that it is asked: %t %v", ask, err)
	}
	must(w.Distrust(ctx))(t)
	if ask, _, err := w.Doubt(ctx, e.caller, claim); !ask || err != nil {
		t.Errorf("it is asked: %t %v", ask, err)
	}
	wantError(t, w.Report(ctx, e.caller, e.id, controlplane.Beyond{
		Timeline: state.Timeline, Revision: state.Revision, Evidence: bundle.EvidenceOf(b.Sealed), Whole: true,
	}), authority.CodeRestored, "")
	now := must(w.Restoration(ctx))(t)
	if len(now.Reports) != 1 || now.Reports[0].GatewayID != e.id || !now.Reports[0].Proven || now.Reports[0].RevokedMandates != 0 {
		t.Errorf("what is shown: %+v", now.Reports)
	}
	must(w.AcceptRestore(ctx, 0))(t)
	if now := must(w.Restoration(ctx))(t); now.Since != nil || len(now.Reports) != 0 {
		t.Errorf("once it is accepted: %+v", now)
	}
}
