package main

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// revocable is a workspace with an agent that has two mandates, and a gateway that holds a lease and is not heard of. The
// returned function has its lease end.
func revocable(t *testing.T) (owner environment, agent string, mandates [2]string, end func()) {
	t.Helper()
	server := serverEnvironment(t)
	owner = member(t, "http://"+server.serve(t))
	agent = owner.must(t, "principal", "create", "my-agent")["principal_id"].(string)
	owner.must(t, "policy", "create", "--principal", agent, "--resource", "api:external/*", "--action", "read", "--max-validity", "24h")
	for i := range mandates {
		mandates[i] = owner.must(t, "mandate", "issue", "--issuer", owner["owner"], "--subject", agent, "--resource", "api:external/openai", "--action", "read")["mandate_id"].(string)
	}
	key := owner.must(t, "key", "create", "edge", "--kind", "gateway")
	database := func(sql string, args ...any) {
		conn, err := pgx.Connect(t.Context(), cluster.Superuser(t, server["CARACAL_DATABASE_URL"]))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
		if _, err := conn.Exec(t.Context(), sql, args...); err != nil {
			t.Fatal(err)
		}
	}
	database(`INSERT INTO gateways (id, workspace_id, key_id, public_key, instance, version, formats, revision, connected, enrolled_at,
			seen_at, envoy_refusal, lease_number, lease_term_ms, lease_granted_at)
		VALUES ('gtw_aaaaaaaaaaaaaaaaaaaaaaaaaa', $1, $2, $3, 'edge-1', '1', '{2}', 1, false, now(), now(), '', 1, 86400000, now())`,
		key["workspace_id"], key["key_id"], make([]byte, 32))
	return owner, agent, mandates, func() { database("UPDATE gateways SET lease_over = true") }
}

func TestARevocationShowsWhoItWaitsForAndSaysHowItEnded(t *testing.T) {
	owner, agent, mandates, end := revocable(t)
	stdout, _, err := owner.caracal(t, "", "mandate", "revoke", mandates[0], "--wait", "0")
	if statusOf(err) != exitPending || !strings.Contains(stdout, "pending") || !strings.Contains(stdout, "edge-1") {
		t.Fatalf("it ended with %v and printed\n%s", err, stdout)
	}
	receipts := owner.list(t, "receipt", "list", "--state", "pending")
	if len(receipts) != 1 {
		t.Fatalf("pending receipts: %v", receipts)
	}
	id := receipts[0]["receipt_id"].(string)
	_, stderr, err := owner.caracal(t, "", "receipt", "watch", id, "--wait", "1s")
	if statusOf(err) != exitPending || !strings.Contains(stderr, "edge-1  pending") {
		t.Errorf("a watch that is over ended with %v and told\n%s", err, stderr)
	}
	if _, _, err := owner.caracal(t, "", "receipt", "verify", id); statusOf(err) != exitPending {
		t.Errorf("the verification of a pending receipt ended with %v", err)
	}
	term := openTerminal(t)
	watched := make(chan error, 1)
	go func() {
		watched <- run(t.Context(), []string{"receipt", "watch", id}, owner.get, strings.NewReader(""), &lines{}, term.File)
	}()
	term.await(t, "edge-1")
	end()
	select {
	case err := <-watched:
		if err != nil {
			t.Errorf("the watch ended with %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the watch goes on")
	}
	if seen := term.seen(); !strings.Contains(seen, "\x1b[2A\x1b[J") {
		t.Errorf("the table is not drawn anew:\n%q", seen)
	}
	if done := owner.must(t, "principal", "suspend", agent); done["state"] != "enforced" || done["kind"] != "principal" {
		t.Errorf("the suspension's receipt is %v", done)
	}
	all := owner.must(t, "mandate", "revoke", "--subject", agent)
	if all["mandate_count"] != 1.0 || all["state"] != "enforced" {
		t.Errorf("the receipt of all that the agent has left is %v", all)
	}
	for _, args := range [][]string{{"mandate", "revoke"}, {"mandate", "revoke", mandates[1], "--subject", agent}} {
		if _, _, err := owner.caracal(t, "", args...); statusOf(err) != exitUsage {
			t.Errorf("%v ended with %v", args, err)
		}
	}
}

// list insists that a command succeeds, and reads its JSON list.
func (e environment) list(t *testing.T, args ...string) []map[string]any {
	t.Helper()
	stdout, stderr, err := e.caracal(t, "", append(args, "-o", "json")...)
	var all []map[string]any
	if err != nil || json.Unmarshal([]byte(stdout), &all) != nil {
		t.Fatalf("caracal %s: %v: %s%s", strings.Join(args, " "), err, stdout, stderr)
	}
	return all
}

func TestAReceiptIsVerifiedWithoutAskingAnybody(t *testing.T) {
	server := serverEnvironment(t)
	owner := member(t, "http://"+server.serve(t))
	agent := owner.must(t, "principal", "create", "my-agent")["principal_id"].(string)
	receipt := owner.must(t, "principal", "suspend", agent)
	if shown, _, err := owner.caracal(t, "", "receipt", "show", receipt["receipt_id"].(string)); err != nil || !strings.Contains(shown, "signature_is") || strings.Contains(shown, "WRONG") {
		t.Errorf("shown with %v:\n%s", err, shown)
	}
	keys, _, err := owner.caracal(t, "", "signing-key", "export")
	if err != nil {
		t.Fatal(err)
	}
	text, _ := json.Marshal(receipt)
	file, set := write(t, "receipt.json", string(text)), write(t, "keys.json", keys)
	nobody := environment{}
	verified := nobody.must(t, "receipt", "verify", "--file", file, "--key-set", set)
	if verified["state"] != "enforced" || verified["receipt_id"] != receipt["receipt_id"] {
		t.Errorf("verified %v", verified)
	}
	forged := write(t, "forged.json", strings.Replace(string(text), agent, owner["owner"], 1))
	for sentence, args := range map[string][]string{
		"a receipt of somebody else": {"--file", forged, "--key-set", set},
		"another root":               {"--file", file, "--key-set", set, "--root", strings.Repeat("a", 52)},
	} {
		if _, _, err := nobody.caracal(t, "", append([]string{"receipt", "verify"}, args...)...); statusOf(err) != exitFailed {
			t.Errorf("%s: %v", sentence, err)
		}
	}
	if _, _, err := nobody.caracal(t, "", "receipt", "verify", "--file", file); statusOf(err) != exitUsage {
		t.Errorf("without a key set: %v", err)
	}
}
