package extauthz

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/token"
)

// A search for what could apply that is not over in time has not found that there is nothing.
func TestATunnelIsNotSearchedForBeyondTheTimeOfACheck(t *testing.T) {
	catalog, err := authority.NewCatalog(nil)
	if err != nil {
		t.Fatal(err)
	}
	m := plainMandate("prn_0")
	m.ActionScope, m.ResourceScope = authority.Actions{authority.Read}, []authority.ResourcePattern{"api:elsewhere"}
	b := newMandatesBuilder("ws_own", &token.KeySet{}, 1)
	for _, item := range changed(t, []authority.Mandate{m}).Set {
		b.add(item)
	}
	s := &Snapshot{mandates: b.done(), directory: &directory{catalog: catalog}, principals: newShards[authority.PrincipalID, authority.Principal](1)}
	s.principals.put("prn_0", authority.Principal{ID: "prn_0", WorkspaceID: "ws_own"}, bundle.Digest{})
	j := &judgement{
		at: m.ValidFrom, snapshot: s, request: &request{},
		findings: findings{caller: "prn_0", target: &authority.Target{Host: "pub.test", Port: 443}},
	}
	late, cancel := context.WithCancel(t.Context())
	cancel()
	var denial *Denial
	if _, err := j.admitTunnel(t.Context(), modeOf(endpointConnect), nil); !errors.As(err, &denial) || denial.Reason != authority.ReasonNoMandateApplies {
		t.Errorf("in time: %v", err)
	}
	if _, err := j.admitTunnel(late, modeOf(endpointConnect), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("beyond it: %v", err)
	}
}

// Whatever is held against what is reachable in a short way is found as by comparing everything with everything.
func TestWhatIsReachableIsFoundAsByComparingAll(t *testing.T) {
	random := rand.New(rand.NewPCG(6, 15))
	pattern := func() authority.ResourcePattern {
		segments := make([]string, 1+random.IntN(4))
		for i := range segments {
			segments[i] = []string{"a", "b", "ab", "*"}[random.IntN(4)]
		}
		text := segments[0]
		for _, s := range segments[1:] {
			text += []string{":", "/"}[random.IntN(2)] + s
		}
		return authority.ResourcePattern(text)
	}
	met := 0
	for range 20_000 {
		patterns := make([]authority.ResourcePattern, random.IntN(6))
		for i := range patterns {
			patterns[i] = pattern()
		}
		p := pattern()
		want := slices.ContainsFunc(patterns, p.Overlaps)
		if got := newGround(patterns).meets(p); got != want {
			t.Fatalf("%s against %s: %t, want %t", p, patterns, got, want)
		}
		if want && strings.Contains(string(p), "*") {
			met++
		}
	}
	if met < 1000 {
		t.Errorf("%d open patterns met something", met)
	}
}
