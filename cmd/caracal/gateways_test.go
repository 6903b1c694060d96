package main

import (
	"crypto/ed25519"
	"net/url"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/client"
	"github.com/caracal-gateway/caracal/internal/syncpb"
	"github.com/caracal-gateway/caracal/token"
)

// enrol makes a gateway process under a new gateway key, and answers its id.
func enrol(t *testing.T, owner environment, instance string, flags ...string) string {
	t.Helper()
	made := owner.must(t, append([]string{"key", "create", instance, "--kind", "gateway"}, flags...)...)
	key, err := token.ParseAPIKey(made["api_key"].(string))
	if err != nil {
		t.Fatal(err)
	}
	at, err := url.Parse(owner["CARACAL_URL"])
	if err != nil {
		t.Fatal(err)
	}
	connection, err := grpc.NewClient("passthrough:///"+at.Host, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+key.Reveal())
	enrolled, err := syncpb.NewSyncClient(connection).Enrol(ctx, &syncpb.EnrolRequest{
		Workspace: "my-team", PublicKey: public, Proof: bundle.EnrolProof(private, key), Instance: instance, Formats: []uint32{bundle.Format},
	})
	if err != nil {
		t.Fatal(err)
	}
	return enrolled.GetGatewayId()
}

func TestGatewaysAreLookedAtRevokedAndForgotten(t *testing.T) {
	owner := member(t, "http://"+serverEnvironment(t).serve(t))
	if stdout, _, err := owner.caracal(t, "", "gateway", "list"); err != nil || stdout != "none\n" {
		t.Errorf("without gateways the list is %q (%v)", stdout, err)
	}
	first, second := enrol(t, owner, "edge-1", "--single-use"), enrol(t, owner, "edge-2")
	if stdout, _, err := owner.caracal(t, "", "gateway", "list"); err != nil || strings.Count(stdout, "fenced") != 2 || !strings.Contains(stdout, "LEASE ENDS") {
		t.Errorf("the list is %s (%v)", stdout, err)
	}
	if g := owner.must(t, "gateway", "show", "edge-1"); g["gateway_id"] != first || g["state"] != client.GatewayFenced || g["lease"] != nil {
		t.Errorf("the first is %v", g)
	}
	if r := owner.must(t, "gateway", "revoke", first, "--yes"); r["kind"] != "gateway" || r["state"] != "enforced" {
		t.Errorf("the receipt of the first is %v", r)
	}
	if g := owner.must(t, "gateway", "show", first); g["state"] != client.GatewayRevoked {
		t.Errorf("revoked, the first is %v", g)
	}
	if g := owner.must(t, "gateway", "forget", "edge-2", "--reason", "scrapped", "--yes"); g["gateway_id"] != second || g["state"] != client.GatewayGone {
		t.Errorf("forgotten, the second is %v", g)
	}
	for sentence, args := range map[string][]string{
		"without a reason":           {"gateway", "forget", first, "--yes"},
		"without being asked":        {"gateway", "forget", first, "--reason", "scrapped"},
		"one that nobody knows":      {"gateway", "show", "edge-3"},
		"a key that is no gateway's": {"key", "create", "x", "--kind", "agent", "--principal", owner["owner"], "--single-use"},
	} {
		if stdout, _, err := owner.caracal(t, "", args...); err == nil {
			t.Errorf("%s it is accepted: %s", sentence, stdout)
		}
	}
}

// A table has what people look for: no digits that say nothing, and no end of a lease that is over.
func TestAListOfGatewaysIsForPeople(t *testing.T) {
	now := time.Date(2026, 1, 15, 10, 30, 0, 0, time.UTC)
	lease := client.GatewayLease{EndsAt: now.Add(40 * time.Second)}
	over := lease
	over.OverAt = &now
	for sentence, tc := range map[string]struct {
		gateway client.Gateway
		want    []string
	}{
		"one that decides":      {client.Gateway{Lease: &lease, DecisionsPerSecond: 3.599754674559076}, []string{" 3.6 ", " in 40s "}},
		"one that has ended":    {client.Gateway{Lease: &over}, []string{" 0.0 ", " over "}},
		"one without any lease": {client.Gateway{}, []string{" - "}},
	} {
		var printed strings.Builder
		o := &output{w: &printed, format: formatTable, now: func() time.Time { return now }}
		if err := o.gateways([]client.Gateway{tc.gateway}); err != nil {
			t.Fatal(err)
		}
		for _, want := range tc.want {
			if !strings.Contains(printed.String(), want) {
				t.Errorf("%s is shown without %q:\n%s", sentence, want, printed.String())
			}
		}
	}
}

// What is watched elsewhere than on a terminal is a line for each change, and none for figures that move.
func TestAWatchedListTellsChangesOnce(t *testing.T) {
	var printed strings.Builder
	c := &call{output: &output{w: &printed, format: formatTable, now: time.Now}, program: &program{stdout: &printed}}
	known := map[authority.GatewayID]string{}
	g := client.Gateway{ID: "gtw_a", Instance: "edge\x1b[2J", State: client.GatewayBehind, Revision: 4}
	for _, change := range []func(){
		func() {},
		func() { g.DecisionsPerSecond, g.LiveWatches, g.LagSeconds = 3, 4, 5 },
		func() { g.State, g.Revision, g.EnvoyCurrent = client.GatewayInSync, 5, true },
		func() {},
		func() { g.EnvoyRefusal = "no such cluster" },
	} {
		change()
		if err := c.shown([]client.Gateway{g}, known); err != nil {
			t.Fatal(err)
		}
	}
	lines := strings.Split(strings.TrimSpace(printed.String()), "\n")
	if len(lines) != 3 || !strings.Contains(lines[0], "behind  revision 4") || !strings.Contains(lines[1], "in_sync  revision 5  Envoy current") || !strings.Contains(lines[2], "refuses: no such cluster") {
		t.Errorf("it printed %q", lines)
	}
	if strings.Contains(printed.String(), "\x1b") {
		t.Error("a terminal obeys what a gateway says")
	}
}
