package extauthz_test

import (
	"strconv"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/extauthz"
)

const timelineBefore = "0f8f7a0e-2b75-4bb3-90a5-5fbb0f2f4b00"

// present is what the bench's decisions know.
func (b *bench) present() authority.State {
	return authority.State{Timeline: b.State.Timeline, Workspace: b.State.Workspace.ID, Revision: b.State.Revision}
}

func TestARequestIsNeverDecidedFromAStateBeforeWhatItHasSeen(t *testing.T) {
	b := newBench(t)
	b.Succeeds = []string{timelineBefore}
	snapshot, err := extauthz.NewSnapshot(t.Context(), b.Reader())
	if err != nil {
		t.Fatal(err)
	}
	b.service.Enforce(snapshot, extauthz.Change{All: true})

	at := func(change func(*authority.State)) string {
		s := b.present()
		change(&s)
		return s.String()
	}
	present := at(func(*authority.State) {})
	later := at(func(s *authority.State) { s.Revision++ })
	before := at(func(s *authority.State) { s.Timeline, s.Revision = timelineBefore, 1 })
	for name, c := range map[string]struct {
		header string
		want   authority.Reason // empty: it is permitted
	}{
		"the present one":                     {present, ""},
		"an earlier one":                      {at(func(s *authority.State) { s.Revision-- }), ""},
		"a later one of another workspace":    {at(func(s *authority.State) { s.Workspace, s.Revision = authority.NewID[authority.WorkspaceID](), 99 }), ""},
		"the present one and that of another": {present + ", " + at(func(s *authority.State) { s.Workspace = authority.NewID[authority.WorkspaceID]() }), ""},
		"a later one":                         {later, authority.ReasonStateBehind},
		"a later one among others":            {present + "," + later, authority.ReasonStateBehind},
		"one of a timeline to come":           {at(func(s *authority.State) { s.Timeline, s.Revision = "another", 1 }), authority.ReasonStateBehind},
		"one of before a restore":             {before, authority.ReasonStateUnknown},
		"a number":                            {"7", authority.ReasonMalformedHeader},
		"an overlong list":                    {strings.Repeat(present+",", authority.MaxStates) + present, authority.ReasonMalformedHeader},
	} {
		t.Run(name, func(t *testing.T) {
			answer := b.check(t, b.proxied(pair{"x-caracal-state", c.header}).check())
			if c.want == "" {
				if p := wantPermission(t, answer); !p.remove["x-caracal-state"] {
					t.Error("the state reaches the upstream")
				}
				return
			}
			if d := wantDenial(t, answer); d.Error != string(c.want) || d.Status != c.want.Status() {
				t.Errorf("denied as %s with %d, want %s", d.Error, d.Status, c.want)
			}
		})
	}
}

func TestTwoHeadersWithStatesAreAmbiguous(t *testing.T) {
	b := newBench(t)
	b.enforce(t)
	asked := b.proxied(pair{"x-caracal-state", b.present().String()}, pair{"x-caracal-state", b.present().String()})
	if d := wantDenial(t, b.check(t, asked.check())); d.Error != string(authority.ReasonAmbiguousHeader) {
		t.Errorf("denied as %s", d.Error)
	}
}

func TestARequestWaitsForWhatItHasSeen(t *testing.T) {
	b := newBench(t)
	b.enforce(t)
	for i := range 50 {
		next := b.present()
		next.Revision++
		asked := b.proxied(pair{"x-caracal-state", next.String()}, pair{"x-round", strconv.Itoa(i)}).check()
		answered := make(chan *authv3.CheckResponse, 1)
		go func() {
			answer, _ := b.service.Check(t.Context(), asked)
			answered <- answer
		}()
		b.State.Revision = next.Revision
		b.State.Workspace.Revision = next.Revision
		b.enforce(t)
		answer := <-answered
		if answer.GetDeniedResponse() != nil && wantDenial(t, answer).Error == string(authority.ReasonStateBehind) {
			continue // the machine was too slow to enforce it in time, which is the other right answer
		}
		wantPermission(t, answer)
		if e := b.events.last(t); e.Revision < next.Revision {
			t.Fatalf("decided from revision %d, seen was %d", e.Revision, next.Revision)
		}
	}
}
