package controlplane_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/controlplane"
	"github.com/caracal-gateway/caracal/token"
)

func TestTheMainJob(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	agent, asAgent := w.agent(w.owner, "researcher", authority.Agent)
	child, asChild := w.agent(w.owner, "helper", authority.Agent)
	w.policy(w.owner, agent, 2)
	w.policy(w.owner, child, 0)

	issued := must(w.RequestMandate(ctx, asAgent, request(w.owner.Principal().ID, agent.ID)))(t)
	m := issued.Value
	if m.Consent != authority.ConsentStanding || m.Signature == "" {
		t.Fatalf("mandate %+v", m)
	}
	again := must(w.Mandate(ctx, asAgent, m.ID))(t)
	if diff := cmp.Diff(m, again); diff != "" {
		t.Errorf("the mandate that is read differs from the one issued:\n%s", diff)
	}
	ask := controlplane.Validation{MandateID: m.ID, RequestedAction: "execute", RequestedResource: "api:external/openai"}
	if a := must(w.ValidateMandate(ctx, asAgent, ask))(t); !a.Allowed || a.SubjectID != agent.ID || a.DenialReason != nil {
		t.Errorf("validation %+v", a)
	}
	delegated := must(w.DelegateMandate(ctx, asAgent, controlplane.Delegation{
		ParentMandateID: m.ID, ChildPrincipalID: child.ID, ResourceScope: []string{"api:external/openai"},
		ActionScope: []string{"read"}, ValiditySeconds: 600,
	}))(t)
	_, err := w.DelegateMandate(ctx, asAgent, controlplane.Delegation{
		ParentMandateID: m.ID, ChildPrincipalID: child.ID, ResourceScope: []string{"api:*"},
		ActionScope: []string{"read"}, ValiditySeconds: 600,
	})
	wantError(t, err, authority.CodeRefused, authority.ReasonScopeExceedsParent)

	receipt := must(w.RevokeMandate(ctx, asAgent, m.ID, 0))(t)
	if receipt.Value.State != authority.ReceiptEnforced || len(receipt.Value.Mandates) != 2 {
		t.Errorf("receipt %+v", receipt)
	}
	if receipt.Revision != delegated.Revision+1 {
		t.Errorf("the revocation has revision %d after %d", receipt.Revision, delegated.Revision)
	}
	ask = controlplane.Validation{MandateID: delegated.Value.ID, RequestedAction: "read", RequestedResource: "api:external/openai"}
	a := must(w.ValidateMandate(ctx, asChild, ask))(t)
	if a.Allowed || *a.DenialReason != authority.ReasonMandateRevoked {
		t.Errorf("validation of a revoked child %+v", a)
	}
	event := must(w.Event(ctx, asChild, string(a.DecisionID)))(t)
	if event.Type != authority.EventDenied || event.Reason != authority.ReasonMandateRevoked || event.MandateID != delegated.Value.ID {
		t.Errorf("event %+v", event)
	}

	key := must(w.CreateKey(ctx, w.owner, controlplane.NewKey{Kind: authority.KeyGateway, Name: "gateway"}))(t).Value
	asGateway := w.as(key.APIKey)
	sealed := whole(t, w.Service, asGateway)
	apiKey := must(token.ParseAPIKey(key.APIKey))(t)
	enrolled := must(w.EnrolGateway(ctx, asGateway, controlplane.Enrolment{PublicKey: make([]byte, 32), Instance: "here", Program: current}))(t)
	snapshot, set, err := bundle.Open(sealed.Sealed, bundle.Trust{
		Root: apiKey.Root, Workspace: asGateway.Workspace(), Deployment: enrolled.Deployment, Timeline: enrolled.Timeline,
	})
	if err != nil {
		t.Fatal(err)
	}
	if snapshot.Revision != sealed.Revision || len(snapshot.Mandates) != 2 || len(snapshot.AgentKeys) != 2 || len(snapshot.Envoy) == 0 {
		t.Errorf("snapshot at %d with %d mandates", snapshot.Revision, len(snapshot.Mandates))
	}
	for _, m := range snapshot.Mandates {
		if err := set.VerifyMandate(m); err != nil {
			t.Errorf("mandate %s: %v", m.ID, err)
		}
	}
}

func wantError(t *testing.T, err error, code authority.Code, reason authority.Reason) {
	t.Helper()
	var told *authority.Error
	if !errors.As(err, &told) {
		t.Errorf("error %v, want %s %s", err, code, reason)
	} else if told.Code != code || told.Reason != reason {
		t.Errorf("error %s %q (%s), want %s %q", told.Code, told.Reason, told.Message, code, reason)
	}
}

func TestTheSameRevisionIsTheSameBundleHoweverMuchLaterItIsSealed(t *testing.T) {
	w := newWorld(t)
	agent, _ := w.agent(w.owner, "researcher", authority.Agent)
	w.policy(w.owner, agent, 0)
	w.mandate(w.owner, agent)
	key := must(w.CreateKey(t.Context(), w.owner, controlplane.NewKey{Kind: authority.KeyGateway, Name: "gateway"}))(t).Value
	now := whole(t, w.Service, w.as(key.APIKey))

	later := serviceAt(t, w.appURL, func() time.Time { return time.Now().Add(72 * time.Hour) })
	caller := must(later.Authenticate(t.Context(), controlplane.Credential{Bearer: key.APIKey}))(t)
	then := whole(t, later, caller)
	if now.Revision != then.Revision || !bytes.Equal(now.Sealed.Digest(), then.Sealed.Digest()) {
		t.Error("after the mandate's end the same revision has another content, which gateways refuse")
	}
}

func TestARevocationGoesOnWaitingWhenTheDatabaseIsAwayForAMoment(t *testing.T) {
	w := newWorld(t)
	agent, _ := w.agent(w.owner, "researcher", authority.Agent)
	w.policy(w.owner, agent, 0)
	m := w.mandate(w.owner, agent)
	key := must(w.CreateKey(t.Context(), w.owner, controlplane.NewKey{Kind: authority.KeyGateway, Name: "gateway"}))(t).Value
	asGateway := w.as(key.APIKey)
	e := w.enrol(asGateway, "here")
	w.hold(e)
	// Nobody can close the database that it is connected to.
	config := must(pgx.ParseConfig(cluster.Superuser(t, w.ownerURL)))(t)
	database := config.Database
	config.Database = "postgres"
	super := must(pgx.ConnectConfig(t.Context(), config))(t)
	t.Cleanup(func() { _ = super.Close(context.Background()) })
	allow := func(connections bool) {
		name := pgx.Identifier{database}.Sanitize() //nolint:misspell // the name is pgx's
		if _, err := super.Exec(t.Context(), fmt.Sprintf("ALTER DATABASE %s ALLOW_CONNECTIONS %t", name, connections)); err != nil {
			t.Fatal(err)
		}
	}

	answered := make(chan controlplane.Written[controlplane.Receipt], 1)
	go func() {
		receipt, err := w.RevokeMandate(context.Background(), w.owner, m.ID, 30*time.Second)
		if err != nil {
			t.Errorf("revocation: %v", err)
		}
		answered <- receipt
	}()
	eventually(t, "the revocation is committed", func() bool { return must(w.Mandate(t.Context(), w.owner, m.ID))(t).Revoked })
	allow(false)
	if _, err := super.Exec(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", database); err != nil {
		t.Fatal(err)
	}
	for range 3 { // each as long as a look at the acknowledgements, or longer
		if err := w.Ping(t.Context()); err == nil {
			t.Fatal("the database is there")
		}
		select {
		case early := <-answered:
			t.Fatalf("the revocation was answered while the database was away: %+v", early.Value)
		case <-time.After(300 * time.Millisecond):
		}
	}
	allow(true)
	eventually(t, "the gateway acknowledges", func() bool {
		revision, err := w.Revision(t.Context(), asGateway)
		return err == nil && w.Acknowledge(t.Context(), asGateway, e.id, controlplane.Acknowledgement{Revision: revision}) == nil
	})
	if receipt := <-answered; receipt.Value.State != authority.ReceiptEnforced {
		t.Errorf("the receipt says %+v", receipt.Value)
	}
}
