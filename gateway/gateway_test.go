package gateway_test

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/internal/world"
)

func isOK(a answer) bool { return a.status == http.StatusOK }

func TestAnAllowedRequestReachesTheUpstreamAsItWasJudged(t *testing.T) {
	r := newRig(t)
	r.start()
	r.until("proxied call", func() (answer, error) { return r.proxy("/v1/chat/completions?q=1") }, isOK)
	seen := r.upstream.Requests()
	if len(seen) != 1 {
		t.Fatalf("the upstream saw %d requests, want 1", len(seen))
	}
	if seen[0].Host != world.EchoHost+":9443" || seen[0].Path != "/v1/chat/completions?q=1" || seen[0].Method != http.MethodPost {
		t.Errorf("the upstream saw %s %s %s", seen[0].Method, seen[0].Host, seen[0].Path)
	}
	for name := range seen[0].Header {
		lower := strings.ToLower(name)
		if lower == "authorization" || strings.HasPrefix(lower, "x-caracal-") || strings.HasPrefix(lower, "x-envoy-") || strings.HasPrefix(lower, "x-forwarded-") {
			t.Errorf("the upstream saw the header %s", name)
		}
	}
}

func TestHealthAnswersFromTheFirstSecondWithNoControlPlane(t *testing.T) {
	r := newRig(t)
	r.control.down()
	r.start()
	got := r.health(isOK, "health without a control plane")
	if want := `{"status":"fenced","enterprise_sync":{"connected":false,"last_sync":null,"policies_synced":0}`; !strings.HasPrefix(got.body, want) {
		t.Errorf("health is %s, want it to begin with %s", got.body, want)
	}
	ready, err := r.get("/ready")
	if err != nil || ready.status != http.StatusServiceUnavailable {
		t.Errorf("ready is %d (%v), want 503 while everything is denied", ready.status, err)
	}
	denied, err := r.proxy("/")
	if err != nil || denied.status != http.StatusServiceUnavailable || denied.member("error") != "decision_unavailable" {
		t.Errorf("a proxied call is answered %d %s (%v), want 503 decision_unavailable", denied.status, denied.body, err)
	}

	r.control.up()
	r.until("recovery when the control plane comes", func() (answer, error) { return r.proxy("/") }, isOK)
	form := regexp.MustCompile(`^\{"status":"ok","enterprise_sync":\{"connected":true,"last_sync":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ","policies_synced":2\}\}\n$`)
	r.health(func(a answer) bool { return form.MatchString(a.body) }, "health with the control plane")
}

func TestAGatewayThatStoppedInOrderStartsWithoutALease(t *testing.T) {
	r := newRig(t)
	running := r.start()
	r.until("proxied call", func() (answer, error) { return r.proxy("/") }, isOK)
	if err := running.stop(); err != nil {
		t.Fatalf("stopping: %v", err)
	}
	r.control.down()
	r.start()
	denied := r.until("proxied call from the kept bundle", func() (answer, error) { return r.proxy("/") }, func(a answer) bool { return a.status != 0 })
	wantDenied(t, denied, http.StatusServiceUnavailable, authority.ReasonLeaseExpired)
	r.health(func(a answer) bool {
		return strings.HasPrefix(a.body, `{"status":"fenced"`) && strings.Contains(a.body, `"policies_synced":2`) && strings.Contains(a.body, "no lease yet")
	}, "health says fenced")
	r.control.up()
	r.until("proxied call when the control plane is back", func() (answer, error) { return r.proxy("/") }, isOK)
}

func TestAGatewayThatStopsInOrderLeavesTheControlPlane(t *testing.T) {
	r := newRig(t)
	running := r.start()
	r.until("proxied call", func() (answer, error) { return r.proxy("/") }, isOK)
	if err := running.stop(); err != nil {
		t.Fatalf("stopping: %v", err)
	}
	_, granted := r.control.lessor.heard()
	if diff := cmp.Diff([]uint64{granted}, r.control.lessor.surrenders()); diff != "" {
		t.Errorf("the leases that were surrendered (-want +got):\n%s", diff)
	}
	r.control.mu.Lock()
	defer r.control.mu.Unlock()
	if r.control.left != 1 {
		t.Errorf("the control plane saw %d gateways leave, want 1", r.control.left)
	}
}

func TestABundleThatIsNotGoodIsRefusedAndTheLastGoodOneStays(t *testing.T) {
	foreign := world.New(t, time.Now())
	cases := []struct {
		name string
		bad  func(r *rig) bundle.Sealed
		code bundle.Code
	}{
		{"changed after it was signed", func(r *rig) bundle.Sealed {
			r.world.State.Revision += 2
			sealed := r.world.Seal()
			sealed[len(sealed)-1] ^= 1
			return sealed
		}, bundle.CodeUnsigned},
		{"of another workspace and root", func(*rig) bundle.Sealed {
			foreign.State.Revision = 1000
			return foreign.Seal()
		}, bundle.CodeForeign},
		{"older than what is enforced", func(r *rig) bundle.Sealed {
			r.world.State.Revision--
			return r.world.Seal()
		}, bundle.CodeOlder},
		{"cut short", func(r *rig) bundle.Sealed {
			r.world.State.Revision += 2
			sealed := r.world.Seal()
			return sealed[:len(sealed)-10]
		}, bundle.CodeTruncated},
		{"asking for something that this gateway does not know", func(r *rig) bundle.Sealed {
			r.world.State.Revision += 2
			r.world.State.Critical = []string{"approvals"}
			return r.world.Seal()
		}, bundle.CodeUnknownCritical},
		{"with an Envoy configuration that is none", func(r *rig) bundle.Sealed {
			r.world.State.Revision += 2
			r.world.State.Envoy = []byte("nonsense")
			return r.world.Seal()
		}, bundle.CodeInvalid},
		{"with a Rego policy that does not compile", func(r *rig) bundle.Sealed {
			r.world.State.Revision += 2
			r.world.Govern("package caracal.policy\ndeny contains nonsense")
			return r.world.Seal()
		}, bundle.CodeInvalid},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			r.start()
			r.until("proxied call", func() (answer, error) { return r.proxy("/") }, isOK)
			good := r.world.State.Revision
			r.control.push(c.bad(r))
			r.health(func(a answer) bool { return strings.HasPrefix(a.body, `{"status":"degraded"`) }, "health tells of the refusal")
			eventually(t, "the control plane is told", func() bool { return r.control.lastRefusal() != nil })
			refusal := r.control.lastRefusal()
			if refusal.GetCode() != string(c.code) {
				t.Fatalf("the control plane was told %v, want %s", refusal, c.code)
			}
			if r.control.acknowledged() != good {
				t.Errorf("revision %d is acknowledged, want the last good one, %d", r.control.acknowledged(), good)
			}
			if got, err := r.proxy("/"); err != nil || got.status != http.StatusOK {
				t.Errorf("a call under the last good bundle is answered %d %s (%v)", got.status, got.body, err)
			}
		})
	}
}

func TestARevocationIsEnforcedBeforeItIsAcknowledged(t *testing.T) {
	r := newRig(t)
	r.start()
	r.until("proxied call", func() (answer, error) { return r.proxy("/") }, isOK)
	r.world.Revoke(r.world.Mandate.ID)
	r.world.State.Revision++
	r.control.push(r.world.Seal())
	for r.control.acknowledged() != r.world.State.Revision {
		pause(t)
	}
	if got, err := r.proxy("/"); err != nil || got.status != http.StatusForbidden || got.member("error") != "mandate_revoked" {
		t.Errorf("after the acknowledgement a call is answered %d %s (%v), want 403 mandate_revoked", got.status, got.body, err)
	}
}

func TestEnvoyIsStartedAgainWhenItIsKilled(t *testing.T) {
	r := newRig(t)
	r.start()
	r.until("proxied call", func() (answer, error) { return r.proxy("/") }, isOK)
	pid := regexp.MustCompile(`envoy started" pid=(\d+)`).FindStringSubmatch(r.log.String())
	if pid == nil {
		t.Fatalf("the log does not tell Envoy's pid:\n%s", r.log)
	}
	number, err := strconv.Atoi(pid[1])
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(number, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for strings.Count(r.log.String(), "envoy started") < 2 {
		pause(t)
	}
	r.until("proxied call after the restart", func() (answer, error) { return r.proxy("/") }, isOK)
}

func TestDecisionEventsAreSentAgainUnderTheSameNumbersWhenTheirAnswerIsLost(t *testing.T) {
	r := newRig(t)
	r.control.failing = 1
	r.start()
	r.until("proxied call", func() (answer, error) { return r.proxy("/") }, isOK)
	var first, second = 0, 0
	for second == 0 {
		pause(t)
		r.control.mu.Lock()
		for i, b := range r.control.batches {
			switch {
			case i == 0:
				first = int(b.GetFirst())
			case int(b.GetFirst()) == first:
				second = i
			}
		}
		r.control.mu.Unlock()
	}
	r.control.mu.Lock()
	defer r.control.mu.Unlock()
	a, b := r.control.batches[0], r.control.batches[second]
	if a.GetLast() != b.GetLast() || a.GetEpoch() != b.GetEpoch() || string(a.GetEvents()) != string(b.GetEvents()) {
		t.Errorf("batch %d to %d came again as %d to %d", a.GetFirst(), a.GetLast(), b.GetFirst(), b.GetLast())
	}
	events := unpack(t, a.GetEvents())
	last := events[len(events)-1]
	if last.Type != authority.EventAllowed || last.MandateID != r.world.Mandate.ID || last.Gateway.Sequence != a.GetLast() {
		t.Errorf("the record of the call is %+v", last)
	}
}

func TestWhatEnvoyDidWithARequestFollowsItsDecision(t *testing.T) {
	r := newRig(t)
	r.start()
	r.until("proxied call", func() (answer, error) { return r.proxy("/status/418") }, func(a answer) bool { return a.status == http.StatusTeapot })
	for {
		pause(t)
		r.control.mu.Lock()
		batches := r.control.batches
		r.control.mu.Unlock()
		for _, b := range batches {
			if strings.Contains(string(decompress(t, b.GetOutcomes())), `"status":418`) {
				return
			}
		}
	}
}

func TestAKeyOfAnotherWorkspaceEndsAGatewayThatHasNothingToGoOnWith(t *testing.T) {
	r := newRig(t)
	r.slug = "another-team"
	if err := r.start().wait(t); err == nil || !strings.Contains(err.Error(), "belongs to another workspace") {
		t.Errorf("the gateway ends with %v", err)
	}
}

func TestAnotherWorkspaceThanTheKeptBundlesIsAnErrorAtStart(t *testing.T) {
	r := newRig(t)
	running := r.start()
	r.until("proxied call", func() (answer, error) { return r.proxy("/") }, isOK)
	if err := running.stop(); err != nil {
		t.Fatalf("stopping: %v", err)
	}
	r.slug = "another-team"
	if err := r.start().wait(t); err == nil || !strings.Contains(err.Error(), "ENTERPRISE_WORKSPACE") {
		t.Errorf("the gateway ends with %v", err)
	}
}

func TestABusyPortIsNamedWithTheSettingThatChangesIt(t *testing.T) {
	r := newRig(t)
	r.start()
	r.health(isOK, "health")
	second := newRig(t)
	second.listen = r.listen
	if err := second.start().wait(t); err == nil || !strings.Contains(err.Error(), "CARACAL_LISTEN") {
		t.Errorf("a second gateway on the same port ends with %v", err)
	}
	third := newRig(t)
	third.proxyListen = r.listen
	if err := third.start().wait(t); err == nil || !strings.Contains(err.Error(), "CARACAL_PROXY_LISTEN") {
		t.Errorf("a third one, whose proxy port is taken, ends with %v", err)
	}
}

func unpack(t *testing.T, packed []byte) []authority.Event {
	t.Helper()
	var events []authority.Event
	if err := json.Unmarshal(decompress(t, packed), &events); err != nil {
		t.Fatal(err)
	}
	return events
}

func decompress(t *testing.T, packed []byte) []byte {
	t.Helper()
	if len(packed) == 0 {
		return nil
	}
	reader, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	text, err := reader.DecodeAll(packed, nil)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
