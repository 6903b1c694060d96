package controlplane_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
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
