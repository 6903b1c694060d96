package gateway_test

import (
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/internal/syncpb"
	"github.com/caracal-gateway/caracal/lease"
)

func isDenied(reason authority.Reason) func(answer) bool {
	return func(a answer) bool {
		return a.status == http.StatusServiceUnavailable && a.member("error") == string(reason)
	}
}

// call is a proxied one.
func (r *rig) call() (answer, error) { return r.proxy("/") }

func TestAnIdleGatewayKeepsItsLeaseAtTheShortestTerm(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.control.lessor.offer(lease.MinTerm)
	r.start()
	r.until("proxied call", r.call, isOK)
	_, before := r.control.lessor.heard()
	eventually(t, "the lease is renewed for more than twice its term", func() bool {
		_, granted := r.control.lessor.heard()
		return granted >= before+12
	})
	if strings.Contains(r.log.String(), "no lease since") {
		t.Error("the lease has lapsed meanwhile")
	}
	if got, err := r.call(); err != nil || !isOK(got) {
		t.Errorf("a call is answered %d %s (%v)", got.status, got.body, err)
	}
}

func TestWithoutALeaseEverythingIsDeniedUntilThereIsOne(t *testing.T) {
	t.Parallel()
	for sentence, away := range map[string]struct{ leave, back func(*rig) }{
		"a control plane that is away":        {func(r *rig) { r.control.down() }, func(r *rig) { r.control.up() }},
		"one that does not answer":            {func(r *rig) { r.control.lessor.answer(silence) }, func(r *rig) { r.control.lessor.answer(nil) }},
		"one that withholds it for ever":      {func(r *rig) { r.control.lessor.answer(never) }, func(r *rig) { r.control.lessor.answer(nil) }},
		"one that grants what was granted":    {func(r *rig) { r.control.lessor.answer(first) }, func(r *rig) { r.control.lessor.answer(nil) }},
		"one that answers what nobody asked":  {func(r *rig) { r.control.lessor.answer(unasked) }, func(r *rig) { r.control.lessor.answer(nil) }},
		"one that grants leases of no length": {func(r *rig) { r.control.lessor.answer(empty) }, func(r *rig) { r.control.lessor.answer(nil) }},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.control.lessor.offer(2 * time.Second)
			r.start()
			r.until("proxied call", r.call, isOK)
			away.leave(r)
			r.until("the lease is over", r.call, isDenied(authority.ReasonLeaseExpired))
			got := r.health(func(a answer) bool { return strings.Contains(a.body, "no lease since") }, "health says why")
			if !strings.HasPrefix(got.body, `{"status":"fenced"`) || !strings.Contains(got.body, "the next try is at") && !strings.Contains(got.body, "the control plane is being asked") {
				t.Errorf("health is %s", got.body)
			}
			if ready, err := r.get("/ready"); err != nil || ready.status != http.StatusServiceUnavailable {
				t.Errorf("ready is %d (%v)", ready.status, err)
			}
			away.back(r)
			r.until("proxied call under the next lease", r.call, isOK)
			r.health(func(a answer) bool { return strings.HasPrefix(a.body, `{"status":"ok"`) }, "all is well")
		})
	}
}

func never(r *syncpb.Renewal) []*syncpb.ControlMessage {
	return []*syncpb.ControlMessage{withhold(r.GetId(), r.GetRevision()+1, "enforce it first")}
}

func first(r *syncpb.Renewal) []*syncpb.ControlMessage {
	return []*syncpb.ControlMessage{grant(r.GetId(), 1, time.Minute)}
}

func unasked(r *syncpb.Renewal) []*syncpb.ControlMessage {
	return []*syncpb.ControlMessage{grant(r.GetId()+1000, 1<<40, time.Minute), withhold(r.GetId(), 0, "no")}
}

func empty(r *syncpb.Renewal) []*syncpb.ControlMessage {
	return []*syncpb.ControlMessage{grant(r.GetId(), 1<<40, 0)}
}

func TestTheLogTellsOnceThatTheLeaseLapsedAndOnceThatItIsBack(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.control.lessor.offer(2 * time.Second)
	r.start()
	r.until("proxied call", r.call, isOK)
	r.control.lessor.answer(never)
	eventually(t, "the log tells of the lapse", func() bool { return strings.Contains(r.log.String(), `msg="the lease has lapsed`) })
	r.control.lessor.answer(nil)
	r.until("proxied call under the next lease", r.call, isOK)
	for line, want := range map[string]int{`msg="the lease has lapsed`: 1, `msg="a lease is held`: 2} {
		if got := strings.Count(r.log.String(), line); got != want {
			t.Errorf("the log has %d times %s, want %d", got, line, want)
		}
	}
}

func TestAWithheldLeaseIsAskedForAsSoonAsTheRevisionIsEnforced(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	fence := r.world.State.Revision + 2
	r.control.lessor.answer(func(renewal *syncpb.Renewal) []*syncpb.ControlMessage {
		if renewal.GetRevision() < fence {
			return []*syncpb.ControlMessage{withhold(renewal.GetId(), fence, "enforce it first")}
		}
		return []*syncpb.ControlMessage{grant(renewal.GetId(), renewal.GetId(), time.Minute)}
	})
	r.start()
	r.until("the first bundle is enforced", r.call, isDenied(authority.ReasonLeaseExpired))
	r.world.State.Revision = fence
	r.control.push(r.world.Seal())
	r.until("proxied call once it is enforced", r.call, isOK)
	asked, _ := r.control.lessor.heard()
	enforcing := slices.IndexFunc(asked, func(renewal *syncpb.Renewal) bool { return renewal.GetRevision() == fence })
	if enforcing < 1 {
		t.Fatalf("no renewal of %d enforces revision %d", len(asked), fence)
	}
}

func TestARenewalTellsHowTheGatewayIs(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.until("proxied call", r.call, isOK)
	eventually(t, "a report of the call", func() bool {
		asked, granted := r.control.lessor.heard()
		return slices.ContainsFunc(asked, func(renewal *syncpb.Renewal) bool { return renewal.GetReport().GetDecisionsPerSecond() > 0 }) && granted > 2
	})
	asked, _ := r.control.lessor.heard()
	last := asked[len(asked)-1]
	if report := last.GetReport(); report.GetAddress() != r.listen.String() || !report.GetEnvoyCurrent() {
		t.Errorf("the report is %v", report)
	}
	if last.GetRevision() != r.world.State.Revision {
		t.Errorf("revision %d is told to be enforced", last.GetRevision())
	}
	if held := last.GetLease(); held != last.GetId()-1 { // this control plane counts both from one, on the first stream
		t.Errorf("the renewal %d tells of the lease %d", last.GetId(), held)
	}
}

func TestTheFirstDecisionOfAProcessThatStoodStillIsADenial(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.control.lessor.offer(2 * time.Second)
	p := r.spawn()
	r.until("proxied call", r.call, isOK)
	p.signal(syscall.SIGSTOP)
	r.control.lessor.answer(silence)
	stopped := time.Now()
	eventually(t, "the lease is over", func() bool { return time.Since(stopped) > 3*time.Second })
	answered := make(chan answer, 1)
	go func() {
		got, _ := r.proxy("/while-it-stood-still")
		answered <- got
	}()
	pause(t) // it may have reached the process by then, or reach it after
	p.signal(syscall.SIGCONT)
	if got := <-answered; got.status != http.StatusServiceUnavailable {
		t.Errorf("a request from while the process stood still is answered %d %s", got.status, got.body)
	}
	r.until("it decides again", r.call, isDenied(authority.ReasonLeaseExpired))
	for _, seen := range r.upstream.Requests() {
		if seen.Path == "/while-it-stood-still" {
			t.Error("a request from while the process stood still passed")
		}
	}
	r.control.lessor.answer(nil)
	r.until("proxied call under the next lease", r.call, isOK)
}

func TestAKilledProcessIsFollowedWithinItsLease(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.control.lessor.offer(15 * time.Second)
	p := r.spawn()
	r.until("proxied call", r.call, isOK)
	p.end(syscall.SIGKILL)
	r.control.down()
	r.spawn()
	r.until("proxied call from the kept bundle, under the kept lease", r.call, isOK)
	r.health(func(a answer) bool { return strings.HasPrefix(a.body, `{"status":"degraded"`) }, "health says degraded")
	r.until("the kept lease is over", r.call, isDenied(authority.ReasonLeaseExpired))
	r.control.up()
	r.until("proxied call when the control plane is back", r.call, isOK)
	if surrendered := r.control.lessor.surrenders(); len(surrendered) != 0 {
		t.Errorf("the leases %v were surrendered by processes that were killed, or run still", surrendered)
	}
}

func TestAKilledProcessIsNotFollowedWithoutWhatItKept(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.spawn()
	r.until("proxied call", r.call, isOK)
	p.end(syscall.SIGKILL)
	r.control.down()
	spoil(t, r.stateDir+"/lease")
	r.spawn()
	r.until("proxied call without the lease", r.call, isDenied(authority.ReasonLeaseExpired))
	if !strings.Contains(r.log.String(), "the kept lease is not used") {
		t.Error("the log does not tell why")
	}
}

func spoil(t *testing.T, path string) {
	t.Helper()
	text := must(os.ReadFile(path))(t)
	text[len(text)/2] ^= 1
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}
