package gateway_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/child"
	"github.com/caracal-gateway/caracal/controlplane"
	"github.com/caracal-gateway/caracal/gateway"
	"github.com/caracal-gateway/caracal/lease"
)

func TestWhatIsIssuedThroughAGatewayCanBeUsedAtOnce(t *testing.T) {
	e := newStack(t).edge()
	for n := range 50 {
		mandate := e.issue(600, "execute")
		if got := e.proxy(mandate, "/"); got.status != http.StatusOK {
			t.Fatalf("mandate %d is answered %d %s", n, got.status, got.body)
		}
	}
}

func TestAfterEnforcedNoGatewayLetsTheMandatePass(t *testing.T) {
	s := newStack(t)
	edges := []*edge{s.edge(), s.edge()}
	viaGateway := func(id string) answer {
		return edges[0].self(s.agentKey, http.MethodPost, "/api/v1/mandates/"+id+"/revoke", nil)
	}
	viaControlPlane := func(id string) answer {
		return s.call(s.ownerKey, http.MethodPost, "/api/v1/mandates/"+id+"/revoke", map[string]any{"wait": 10})
	}
	for range 5 {
		for sentence, revoke := range map[string]func(string) answer{"through a gateway": viaGateway, "at the control plane": viaControlPlane} {
			mandate := edges[0].issue(600, "execute")
			for i, e := range edges {
				eventually(t, "the mandate is known", func() bool { return e.proxy(mandate, "/").status == http.StatusOK || i == 0 })
			}
			receipt := revoke(mandate)
			if receipt.status != http.StatusOK || receipt.member("state") != "enforced" || strings.Count(receipt.body, `"gateway_id"`) != 2 {
				t.Fatalf("a revocation %s is answered %d %s", sentence, receipt.status, receipt.body)
			}
			for _, e := range edges {
				wantDenied(t, e.proxy(mandate, "/"), http.StatusForbidden, authority.ReasonMandateRevoked)
			}
		}
	}
}

func TestARevocationWaitsForAKilledGatewayAndNotForOneThatStopped(t *testing.T) {
	s := newStack(t)
	network := newRelay(t, strings.TrimPrefix(s.url, "http://"))
	stays, stops := s.edge(), s.edge()
	revoke := func(wait float64) answer {
		return s.call(s.ownerKey, http.MethodPost, "/api/v1/mandates/"+stays.issue(600, "execute")+"/revoke", map[string]any{"wait": wait})
	}
	if err := stops.running.stop(); err != nil {
		t.Fatal(err)
	}
	if got := revoke(20); got.status != http.StatusOK || strings.Count(got.body, `"gateway_id"`) != 1 {
		t.Errorf("with one gateway stopped in order: %d %s", got.status, got.body)
	}

	killed := s.edge(func(c *gateway.Config) { c.Control = must(url.Parse("http://" + network.address))(t) })
	network.set(true, false)
	network.cut()
	eventually(t, "the gateway notices", func() bool {
		return strings.HasPrefix(killed.self("", http.MethodGet, "/health", nil).body, `{"status":"degraded"`)
	})
	if got := revoke(0.5); got.status != http.StatusAccepted || got.member("state") != "pending" {
		t.Errorf("with one gateway gone without a word: %d %s", got.status, got.body)
	}
	network.set(false, false)
	killed.ready()
	if got := revoke(20); got.status != http.StatusOK || strings.Count(got.body, `"gateway_id"`) != 2 {
		t.Errorf("with the gateway back: %d %s", got.status, got.body)
	}
}

func TestAGatewayGoesOnWithinItsLeaseWhileTheDatabaseIsBehindIt(t *testing.T) {
	s := newStack(t)
	network := newRelay(t, strings.TrimPrefix(s.url, "http://"))
	e := s.edge(func(c *gateway.Config) { c.Control = must(url.Parse("http://" + network.address))(t) })
	mandate := e.issue(600, "execute")
	connection := must(pgx.Connect(t.Context(), cluster.Superuser(t, s.database)))(t)
	defer func() { _ = connection.Close(context.Background()) }() // the database goes with the test
	if _, err := connection.Exec(t.Context(), "UPDATE workspaces SET revision = revision - 2"); err != nil {
		t.Fatal(err)
	}
	network.cut() // a control plane that comes back on a restored database has lost its streams
	eventually(t, "the gateway says so", func() bool {
		return strings.Contains(e.gatewayLog.String(), "it is told what is revoked")
	})
	eventually(t, "the control plane says so", func() bool {
		return strings.Contains(s.log.String(), "the gateway is asked what it knows")
	})
	eventually(t, "nobody is served by the control plane", func() bool {
		got := s.call(s.ownerKey, http.MethodGet, "/api/v1/mandates", nil)
		return got.status == http.StatusServiceUnavailable && strings.Contains(got.body, "restored_backup")
	})
	if got := e.proxy(mandate, "/"); got.status != http.StatusOK {
		t.Errorf("under the last good bundle and its lease a call is answered %d %s", got.status, got.body)
	}
}

func TestARevokedGatewayKeyEndsTheSyncButNotTheDecisions(t *testing.T) {
	s := newStack(t)
	e := s.edge()
	mandate := e.issue(600, "execute")
	must(s.RevokeKey(t.Context(), s.owner, s.keyID))(t)
	eventually(t, "the gateway says so", func() bool {
		health := e.self("", http.MethodGet, "/health", nil)
		return strings.HasPrefix(health.body, `{"status":"degraded"`) && strings.Contains(e.gatewayLog.String(), "expired or revoked")
	})
	if got := e.proxy(mandate, "/"); got.status != http.StatusOK {
		t.Errorf("a call is answered %d %s", got.status, got.body)
	}
}

func TestAGatewayThatStartsUnderAnotherNameIsShownUnderIt(t *testing.T) {
	s := newStack(t)
	e := s.edge()
	before := must(s.Gateways(t.Context(), s.owner))(t)
	if err := e.running.stop(); err != nil {
		t.Fatal(err)
	}
	e.config.Instance = "renamed"
	e.start()
	e.ready()
	after := must(s.Gateways(t.Context(), s.owner))(t)
	if len(after) != 1 || after[0].ID != before[0].ID || after[0].Instance != "renamed" {
		t.Errorf("it was %+v, and is %+v", before, after)
	}
}

func TestADeletedWorkspaceIsDeniedByEveryGatewayUntilItIsRestored(t *testing.T) {
	s := newStack(t)
	e := s.edge()
	mandate := e.issue(600, "execute")
	if got := e.proxy(mandate, "/"); got.status != http.StatusOK {
		t.Fatalf("before the deletion a call is answered %d %s", got.status, got.body)
	}
	s.upstream.Reset()
	deletion := s.call(s.ownerKey, http.MethodDelete, "/api/v1/workspaces/"+team+"?wait=10", nil)
	if deletion.status != http.StatusOK || deletion.member("state") != "enforced" || !strings.Contains(deletion.body, `"gateways":[{"gateway_id"`) {
		t.Fatalf("the deletion is answered %d %s", deletion.status, deletion.body)
	}
	wantDenied(t, e.proxy(mandate, "/"), http.StatusForbidden, authority.ReasonWorkspaceDeleted)
	wantDenied(t, e.proxy("mdt_aaaaaaaaaaaaaaaaaaaaaaaaaa", "/"), http.StatusForbidden, authority.ReasonWorkspaceDeleted)
	// One that starts without any state learns it like one that ran.
	if err := e.running.stop(); err != nil {
		t.Fatal(err)
	}
	e.config.StateDir = must(os.MkdirTemp("", "edge-"))(t)
	t.Cleanup(func() { _ = os.RemoveAll(e.config.StateDir) })
	e.start()
	eventually(t, "the gateway is ready again", func() bool {
		got, err := attempt(e.client(), "", http.MethodGet, e.base+"/health", nil, nil)
		return err == nil && strings.HasPrefix(got.body, `{"status":"ok"`)
	})
	wantDenied(t, e.proxy(mandate, "/"), http.StatusForbidden, authority.ReasonWorkspaceDeleted)
	if n := len(s.upstream.Requests()); n != 0 {
		t.Errorf("%d requests reached the upstream after the deletion", n)
	}
	eventually(t, "the denials are told", func() bool {
		return strings.Contains(s.call(s.ownerKey, http.MethodGet, "/api/v1/events?event_type=denied", nil).body, string(authority.ReasonWorkspaceDeleted))
	})
	if got := s.call(s.ownerKey, http.MethodPost, "/api/v1/workspaces/"+team+"/restore", nil); got.status != http.StatusOK {
		t.Fatalf("the restoration is answered %d %s", got.status, got.body)
	}
	eventually(t, "the mandate holds again", func() bool { return e.proxy(mandate, "/").status == http.StatusOK })
}

func TestDecisionsAreStoredOnceWhateverTheNetworkLoses(t *testing.T) {
	s := newStack(t)
	network := newRelay(t, strings.TrimPrefix(s.url, "http://"))
	e := s.edge(func(c *gateway.Config) { c.Control = must(url.Parse("http://" + network.address))(t) })
	mandate := e.issue(600, "execute")
	filter := "event_type=allowed&mandate_id=" + mandate
	send := func(n int) {
		for range n {
			if got := e.proxy(mandate, "/"); got.status != http.StatusOK {
				t.Fatalf("answered %d %s", got.status, got.body)
			}
		}
	}
	send(3)
	network.set(false, true)
	send(4)
	eventually(t, "what was recorded is stored", func() bool { return len(s.events(filter)) == 7 })
	network.cut() // the answers are lost
	send(2)
	network.set(false, false)
	network.cut()
	send(1)
	eventually(t, "all is stored", func() bool { return len(s.events(filter)) >= 10 })
	e.ready()
	send(1)
	eventually(t, "what came last is stored", func() bool { return len(s.events(filter)) >= 11 })
	stored := s.events(filter)
	var sequences []uint64
	for _, event := range stored {
		sequences = append(sequences, event.Gateway.Sequence)
	}
	slices.Sort(sequences)
	if len(stored) != 11 || len(slices.Compact(sequences)) != 11 || sequences[0] != 1 || sequences[10] != 11 {
		t.Errorf("%d events are stored, numbered %v", len(stored), sequences)
	}
}

func TestAnEnvoyOfTheOperatorsOutlivesTheGatewayProcess(t *testing.T) {
	s := newStack(t)
	binary := envoyBinary(t)
	e := s.edge(func(c *gateway.Config) {
		c.EnvoyPath = ""
		operators := child.Program{
			Name: "envoy", Path: binary, Log: slog.New(slog.DiscardHandler), Line: func(string) {},
			Arguments: []string{"--config-path", filepath.Join(c.StateDir, "envoy.json"), "--disable-hot-restart", "--log-level", "error"},
		}
		s.until(operators.Run)
	})
	mandate := e.issue(600, "execute")
	if got := e.proxy(mandate, "/"); got.status != http.StatusOK {
		t.Fatalf("answered %d %s", got.status, got.body)
	}
	if err := e.running.stop(); err != nil {
		t.Fatal(err)
	}
	wantDenied(t, e.proxy(mandate, "/"), http.StatusServiceUnavailable, authority.ReasonNoDecision)
	e.start()
	eventually(t, "the next process decides", func() bool { return e.proxy(mandate, "/").status == http.StatusOK })
}

func TestADestinationThatIsAddedOrMovedIsReachedAsItIsThen(t *testing.T) {
	s := newStack(t)
	e := s.edge()
	mandate := e.issue(600, "execute")
	to := func(host string) answer {
		return must(send(e.client(), e.request(http.MethodPost, mandate, host, "/v1")))(t)
	}
	// Without a destination a POST is a write.
	wantDenied(t, to("filed.caracal.test"), http.StatusForbidden, authority.ReasonActionNotInScope)
	added := s.destination("filed.caracal.test", nil)
	eventually(t, "the destination is reached", func() bool { return to("filed.caracal.test").status == http.StatusOK })

	added.ConnectTo = "127.0.0.1:1"
	must(s.UpdateDestination(t.Context(), s.owner, added.ID, added))(t)
	eventually(t, "its new address is tried", func() bool {
		return to("filed.caracal.test").member("error") == string(authority.ReasonUpstreamUnreachable)
	})
	reached := len(s.upstream.Requests())
	for range 5 {
		wantDenied(t, to("filed.caracal.test"), http.StatusServiceUnavailable, authority.ReasonUpstreamUnreachable)
	}
	if now := len(s.upstream.Requests()); now != reached {
		t.Errorf("%d requests went to the old address", now-reached)
	}

	accepted(s, func(c controlplane.Caller) (controlplane.Written[authority.Destination], error) {
		return s.DeleteDestination(t.Context(), c, added.ID)
	})
	eventually(t, "it is gone", func() bool {
		return to("filed.caracal.test").member("error") == string(authority.ReasonActionNotInScope)
	})
}

func TestAnIdleGatewayKeepsItsLeaseWithARealControlPlane(t *testing.T) {
	s := newStack(t)
	shortest := int64(lease.MinTerm / time.Second)
	must(s.UpdateWorkspace(t.Context(), s.owner, team, controlplane.WorkspaceChange{Settings: &controlplane.SettingsChange{LeaseSeconds: &shortest}}))(t)
	e := s.edge()
	connection := must(pgx.Connect(t.Context(), cluster.Superuser(t, s.database)))(t)
	defer func() { _ = connection.Close(context.Background()) }() // the database goes with the test
	granted := func() (number int64) {
		if err := connection.QueryRow(t.Context(), "SELECT max(lease_number) FROM gateways").Scan(&number); err != nil {
			t.Fatal(err)
		}
		return number
	}
	before := granted()
	eventually(t, "the lease is renewed for more than twice its term", func() bool { return granted() >= before+12 })
	if strings.Contains(e.gatewayLog.String(), "the lease has lapsed") {
		t.Error("the lease has lapsed meanwhile")
	}
}
