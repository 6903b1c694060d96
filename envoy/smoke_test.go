package envoy_test

import (
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/caracal-gateway/caracal/envoy"
)

func TestSmoke(t *testing.T) {
	r := startRig(t, setup{})
	r.authz.answer(func(*authv3.CheckRequest) *authv3.CheckResponse { return permit(envoy.RouteSelf, nil) })
	t.Log(r.get("/health"))
	t.Log(r.get("/foo"))
	t.Log(r.updates.refused())
}
