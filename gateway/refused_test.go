package gateway_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/internal/syncpb"
)

// What does not mend itself is said once, however often it is asked, and the gateway denies when its lease is over.
func TestAGatewayThatIsRefusedSaysSoOnceAndDenies(t *testing.T) {
	r := newRig(t)
	r.control.lessor.offer(3 * time.Second)
	running := r.start()
	r.until("proxied call", func() (answer, error) { return r.proxy("/") }, isOK)
	r.control.down()
	r.control.speak(func(stream syncpb.Sync_StreamServer) error {
		if err := r.control.greet(stream); err != nil {
			return err
		}
		return status.Error(codes.PermissionDenied, "forbidden: this gateway is revoked: canary")
	})
	r.control.up()
	refused := func(a answer) bool { return strings.Contains(a.body, `"refused":true`) }
	r.health(refused, "health says that it is refused")
	told := r.health(func(a answer) bool { return strings.HasPrefix(a.body, `{"status":"fenced"`) }, "health says that everything is denied")
	if !refused(told) || strings.Contains(told.body, "canary") || !strings.Contains(told.body, "refuses this gateway") {
		t.Errorf("health is %s", told.body)
	}
	denied, err := r.proxy("/")
	if err != nil {
		t.Fatal(err)
	}
	wantDenied(t, denied, http.StatusServiceUnavailable, authority.ReasonLeaseExpired)
	if n := strings.Count(r.log.String(), `msg="enterprise_sync refused"`); n != 1 || !strings.Contains(r.log.String(), "this gateway is revoked: canary") {
		t.Errorf("the log says %d times that it is refused, want once and why", n)
	}
	if err := running.stop(); err != nil {
		t.Errorf("stopping: %v", err)
	}

	// The next process has the state that was kept, and nothing to go on with.
	r.start()
	r.health(func(a answer) bool { return refused(a) && strings.HasPrefix(a.body, `{"status":"fenced"`) }, "the next process is refused as well")
}
