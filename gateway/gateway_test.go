package gateway_test

import (
	"net/http"
	"testing"

	"github.com/caracal-gateway/caracal/internal/world"
)

func TestAnAllowedRequestReachesTheUpstreamAsItWasJudged(t *testing.T) {
	r := newRig(t)
	r.start()
	got := r.until("proxied call", func() (answer, error) { return r.proxy("/v1/chat/completions?q=1") }, func(a answer) bool { return a.status == http.StatusOK })
	seen := r.upstream.Requests()
	if len(seen) != 1 {
		t.Fatalf("the upstream saw %d requests, want 1", len(seen))
	}
	if seen[0].Host != world.EchoHost+":9443" || seen[0].Path != "/v1/chat/completions?q=1" || seen[0].Method != http.MethodPost {
		t.Errorf("the upstream saw %s %s %s", seen[0].Method, seen[0].Host, seen[0].Path)
	}
	t.Log(got.body)
}
