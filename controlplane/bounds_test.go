package controlplane_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
)

// heavy is a request for a mandate of some 70 KB.
func heavy(issuer, subject authority.PrincipalID) controlplane.MandateRequest {
	r := request(issuer, subject)
	r.ResourceScope = nil
	for i := range 100 {
		r.ResourceScope = append(r.ResourceScope, fmt.Sprintf("api:external/%03d%s", i, strings.Repeat("x", 490)))
	}
	return r
}

func TestAnAgentCannotFillTheBundleThatCarriesRevocations(t *testing.T) {
	w := newWorld(t)
	agent, caller := w.agent(w.owner, "greedy", authority.Agent)
	w.policy(w.owner, agent, 0)
	for n := 1; ; n++ {
		_, err := w.RequestMandate(t.Context(), caller, heavy(agent.ID, agent.ID))
		var refused *authority.Error
		if errors.As(err, &refused) && refused.Code == authority.CodeLimited {
			break
		}
		if err != nil || n > 70 {
			t.Fatalf("mandate %d: %v", n, err)
		}
	}
	other, _ := w.agent(w.owner, "modest", authority.Agent)
	w.policy(w.owner, other, 0)
	w.mandate(w.owner, other)
	w.mandate(w.owner, agent) // that its owner asks for
}

func TestARevocationIsNotEnforcedWhileThereAreMoreGatewaysThanAReceiptHolds(t *testing.T) {
	w := newWorld(t)
	agent, _ := w.agent(w.owner, "a", authority.Agent)
	w.policy(w.owner, agent, 0)
	key := must(w.CreateKey(t.Context(), w.owner, controlplane.NewKey{Kind: authority.KeyGateway, Name: "g"}))(t).Value
	app := must(pgx.Connect(t.Context(), w.appURL))(t)
	t.Cleanup(func() { _ = app.Close(context.Background()) })
	// All but the oldest acknowledge whatever comes.
	if _, err := app.Exec(t.Context(), "SELECT set_config('caracal.workspace', $1, false)", key.WorkspaceID); err != nil {
		t.Fatal(err)
	}
	_, err := app.Exec(t.Context(), `INSERT INTO gateways (id, workspace_id, key_id, public_key, instance, version, formats,
			revision, acknowledged_at, connected, enrolled_at, seen_at, envoy_refusal)
		SELECT 'gtw_' || n, $1, $2, decode(lpad(n::text, 64, '0'), 'hex'), n::text, '', '{1}', CASE n WHEN 0 THEN 1 ELSE 1000 END,
			now(), true, now() + n * interval '1 second', now(), ''
		FROM generate_series(0, $3::int) n`, key.WorkspaceID, key.ID, postgres.MaxGateways)
	if err != nil {
		t.Fatal(err)
	}
	r := must(w.RevokeMandate(t.Context(), w.owner, w.mandate(w.owner, agent).ID, 0))(t).Value
	if r.State != authority.ReceiptPending || r.EffectiveAt != nil {
		t.Errorf("the receipt is %s although a gateway has not acknowledged", r.State)
	}
}

func TestAPageOfRegoVersionsIsSmall(t *testing.T) {
	w := newWorld(t)
	for n := range 12 {
		must(w.PushRego(t.Context(), w.owner, controlplane.RegoPush{Message: fmt.Sprint(n)}))(t)
	}
	first := must(w.RegoVersions(t.Context(), w.owner, controlplane.RegoFilter{}, controlplane.Page{Limit: controlplane.MaxPage}))(t)
	if len(first.Items) != 10 || first.NextCursor == "" {
		t.Errorf("a page holds %d versions, with %q behind it", len(first.Items), first.NextCursor)
	}
	rest := must(w.RegoVersions(t.Context(), w.owner, controlplane.RegoFilter{}, controlplane.Page{Cursor: first.NextCursor}))(t)
	if len(rest.Items) != 2 || rest.NextCursor != "" || rest.Items[1].Message != "0" {
		t.Errorf("the next page holds %d versions", len(rest.Items))
	}
	_, err := w.RegoVersions(t.Context(), w.owner, controlplane.RegoFilter{}, controlplane.Page{Limit: controlplane.MaxPage + 1})
	wantError(t, err, authority.CodeInvalid, "")
}

func TestAnAccessTokenDoesNotOutliveTheKeyThatItWasExchangedFor(t *testing.T) {
	w := newWorld(t)
	agent, forever := w.agent(w.owner, "a", authority.Agent)
	expires := time.Now().Add(time.Minute)
	soon := must(w.CreateKey(t.Context(), w.owner, controlplane.NewKey{Kind: authority.KeyAgent, Name: "soon", PrincipalID: agent.ID, ExpiresAt: &expires}))(t).Value
	if got := must(w.IssueToken(t.Context(), forever))(t).ExpiresIn; got != 900 {
		t.Errorf("under a key without an end: %d seconds", got)
	}
	if got := must(w.IssueToken(t.Context(), w.as(soon.APIKey)))(t).ExpiresIn; got < 50 || got > 60 {
		t.Errorf("under a key that ends in a minute: %d seconds", got)
	}
}
