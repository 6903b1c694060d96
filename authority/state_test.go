package authority_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/caracal-gateway/caracal/authority"
)

const (
	firstTimeline  = "9c9b6c32-9d4f-4a52-8a53-6f0a3cfb0d01"
	secondTimeline = "4e0c7f0a-5e6b-4b53-a0a4-6a1f9f4f5a02"
)

func TestAStateIsReadAsItWasWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := authority.State{
			Timeline:  rapid.StringMatching(`[a-z0-9-]{1,64}`).Draw(t, "timeline"),
			Workspace: authority.NewID[authority.WorkspaceID](), Revision: rapid.Uint64().Draw(t, "revision"),
		}
		got, err := authority.ParseState(want.String())
		if err != nil || got != want {
			t.Fatalf("%s is read as %v, %v", want, got, err)
		}
	})
}

func TestParseStates(t *testing.T) {
	one := authority.State{Timeline: firstTimeline, Workspace: authority.NewID[authority.WorkspaceID](), Revision: 7}
	other := authority.State{Timeline: firstTimeline, Workspace: authority.NewID[authority.WorkspaceID](), Revision: 9}
	for name, c := range map[string]struct {
		text string
		want []authority.State // nil: it is refused, unless the text is empty
	}{
		"nothing":                   {"", nil},
		"one":                       {one.String(), []authority.State{one}},
		"several, with spaces":      {one.String() + " , " + other.String(), []authority.State{one, other}},
		"an empty one among others": {one.String() + ",", nil},
		"a revision alone":          {"7", nil},
		"no workspace":              {firstTimeline + ":7", nil},
		"another kind of id":        {firstTimeline + "/" + string(authority.NewID[authority.PrincipalID]()) + ":7", nil},
		"no timeline":               {"/" + string(one.Workspace) + ":7", nil},
		"a sign":                    {strings.Replace(one.String(), ":7", ":+7", 1), nil},
		"leading zeros":             {strings.Replace(one.String(), ":7", ":07", 1), nil},
		"more than 64 bits":         {strings.Replace(one.String(), ":7", ":18446744073709551616", 1), nil},
		"a control character":       {one.String() + "\x00", nil},
		"too many":                  {strings.Repeat(one.String()+",", authority.MaxStates) + one.String(), nil},
		"a text that is too long":   {one.String() + strings.Repeat(" ", authority.MaxStateHeader), nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := authority.ParseStates(c.text)
			if refused := c.want == nil && c.text != ""; (err != nil) != refused {
				t.Fatalf("got %v, %v", got, err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestCompareHoldsAStateAgainstWhatARequestHasSeen(t *testing.T) {
	here, elsewhere := authority.NewID[authority.WorkspaceID](), authority.NewID[authority.WorkspaceID]()
	at := func(timeline string, w authority.WorkspaceID, revision uint64) authority.State {
		return authority.State{Timeline: timeline, Workspace: w, Revision: revision}
	}
	present := at(secondTimeline, here, 7)
	for name, c := range map[string]struct {
		seen []authority.State
		want authority.Standing
	}{
		"nothing":                          {nil, authority.UpToDate},
		"the same":                         {[]authority.State{present}, authority.UpToDate},
		"an earlier one":                   {[]authority.State{at(secondTimeline, here, 6)}, authority.UpToDate},
		"a later one":                      {[]authority.State{at(secondTimeline, here, 8)}, authority.Behind},
		"a later one among earlier ones":   {[]authority.State{at(secondTimeline, here, 8), present}, authority.Behind},
		"a later one of another workspace": {[]authority.State{at(secondTimeline, elsewhere, 8)}, authority.UpToDate},
		"one of a timeline that is over":   {[]authority.State{at(firstTimeline, here, 1)}, authority.Lost},
		"one of a timeline to come":        {[]authority.State{at("third", here, 1)}, authority.Behind},
		"lost beside behind":               {[]authority.State{at(secondTimeline, here, 8), at(firstTimeline, here, 1)}, authority.Lost},
	} {
		t.Run(name, func(t *testing.T) {
			if got := present.Compare(c.seen, []string{firstTimeline}); got != c.want {
				t.Errorf("standing %d, want %d", got, c.want)
			}
		})
	}
}
