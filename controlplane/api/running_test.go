package api_test

import (
	"sync"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/controlplane"
)

func TestACallerWithManyRequestsUnderWayWaitsAndNobodyElseDoes(t *testing.T) {
	m := newWorld(t).newTeam(t, "my-team")
	gateway := m.edge(t, "edge")
	mandate := m.issue()
	path := "/api/v1/mandates/" + string(mandate.ID)
	revision := into[controlplane.Receipt](m.call(t, m.agentKey, "POST", path+"/revoke", `{"wait":0}`).ok(202)).Revision

	var waiting sync.WaitGroup
	for range 40 { // for a gateway that does not acknowledge; those that are refused come again, so that no place stays free
		waiting.Go(func() {
			a := m.call(t, m.agentKey, "POST", path+"/revoke", `{"wait":30}`)
			for ; a.status == 429; a = m.call(t, m.agentKey, "POST", path+"/revoke", `{"wait":30}`) {
				<-time.After(20 * time.Millisecond)
			}
			if a.status != 200 {
				t.Errorf("a revocation is answered %d %s", a.status, a.body)
			}
		})
	}
	for deadline := time.Now().Add(20 * time.Second); ; {
		a := m.call(t, m.agentKey, "GET", path, nil)
		if a.status == 429 {
			a.refused(429, "rate_limited", "", "")
			if got := a.header.Get("Retry-After"); got != "1" {
				t.Errorf("Retry-After is %q", got)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("nothing is refused")
		}
	}
	m.own("GET", path, nil).ok(200)
	m.call(t, m.helperKey, "GET", "/api/v1/mandates", nil).ok(200)
	gateway.acknowledge(t, revision)
	waiting.Wait()
	m.call(t, m.agentKey, "GET", path, nil).ok(200)
}
