package authority_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caracal-gateway/caracal/authority"
)

// presented is carol's use of her mandate, which bob cut from his, which alice cut from hers.
type presented struct {
	*world
	root, parent, own *authority.Mandate
	inquiry           authority.Inquiry
}

func present(t testing.TB) *presented {
	w := newWorld()
	root, parent, own := w.family(t)
	return &presented{world: w, root: w.mandates[root.ID], parent: w.mandates[parent.ID], own: w.mandates[own.ID], inquiry: authority.Inquiry{
		Mandate: own.ID, Presenter: "carol", Resource: "api:external/openai", Action: authority.Execute, At: now,
	}}
}

// upTo are the facts of which so many hold.
func upTo(n int) authority.Facts {
	held := func(i int) bool { return i < n }
	return authority.Facts{
		Known: held(0), Presenter: held(1), NotRevoked: held(2), PrincipalsActive: held(3),
		WithinTime: held(4), Action: held(5), Resource: held(6), Chain: held(7),
	}
}

func TestTheFirstCheckThatFailsNamesTheReason(t *testing.T) {
	suspend := func(id authority.PrincipalID) func(*presented) {
		return func(p *presented) { p.principals[id].Suspended = true }
	}
	forget := func(id authority.PrincipalID) func(*presented) {
		return func(p *presented) { delete(p.principals, id) }
	}
	at := func(t time.Time) func(*presented) { return func(p *presented) { p.inquiry.At = t } }
	ask := func(r authority.Resource) func(*presented) { return func(p *presented) { p.inquiry.Resource = r } }
	start := now.Truncate(time.Second)
	cases := map[string]struct {
		bend   func(*presented)
		reason authority.Reason
		held   int
	}{
		"nothing bent":                               {func(*presented) {}, "", 8},
		"an unknown mandate":                         {func(p *presented) { p.inquiry.Mandate = "mdt_none" }, authority.ReasonMandateNotFound, 0},
		"no mandate":                                 {func(p *presented) { p.inquiry.Mandate = "" }, authority.ReasonMandateNotFound, 0},
		"a mandate under another's id":               {func(p *presented) { p.mandates["mdt_x"] = p.own; p.inquiry.Mandate = "mdt_x" }, authority.ReasonMandateNotFound, 0},
		"the issuer presents it":                     {func(p *presented) { p.inquiry.Presenter = "bob" }, authority.ReasonSubjectMismatch, 1},
		"an owner presents it":                       {func(p *presented) { p.inquiry.Presenter = "owner" }, authority.ReasonSubjectMismatch, 1},
		"nobody presents it":                         {func(p *presented) { p.inquiry.Presenter = "" }, authority.ReasonSubjectMismatch, 1},
		"nobody presents what is nobody's":           {func(p *presented) { p.inquiry.Presenter, p.own.SubjectID = "", "" }, authority.ReasonSubjectMismatch, 1},
		"it is revoked":                              {func(p *presented) { p.own.Revoked = true }, authority.ReasonMandateRevoked, 2},
		"it has a time of revocation":                {func(p *presented) { p.own.RevokedAt = &now }, authority.ReasonMandateRevoked, 2},
		"its parent is revoked":                      {func(p *presented) { p.parent.Revoked = true }, authority.ReasonMandateRevoked, 2},
		"its root is revoked":                        {func(p *presented) { p.root.Revoked = true }, authority.ReasonMandateRevoked, 2},
		"its parent is missing":                      {func(p *presented) { delete(p.mandates, p.parent.ID) }, authority.ReasonChainInvalid, 2},
		"its root is missing":                        {func(p *presented) { delete(p.mandates, p.root.ID) }, authority.ReasonChainInvalid, 2},
		"its root was cut from itself":               {func(p *presented) { p.root.ParentID = &p.root.ID }, authority.ReasonChainInvalid, 2},
		"its root was cut from it":                   {func(p *presented) { p.root.ParentID = &p.own.ID }, authority.ReasonChainInvalid, 2},
		"its subject is suspended":                   {suspend("carol"), authority.ReasonSuspended, 3},
		"its issuer is suspended":                    {suspend("bob"), authority.ReasonSuspended, 3},
		"an ancestor's subject is suspended":         {suspend("alice"), authority.ReasonSuspended, 3},
		"the root's issuer is suspended":             {suspend("owner"), authority.ReasonSuspended, 3},
		"its subject is unknown":                     {forget("carol"), authority.ReasonSuspended, 3},
		"the root's issuer is unknown":               {forget("owner"), authority.ReasonSuspended, 3},
		"a principal of another workspace":           {func(p *presented) { p.principals["alice"].WorkspaceID = "other" }, authority.ReasonSuspended, 3},
		"an issuer outside the chain is suspended":   {func(p *presented) { p.own.IssuerID = "dave"; suspend("dave")(p) }, authority.ReasonSuspended, 3},
		"a root that nobody issued":                  {func(p *presented) { p.root.IssuerID = "" }, authority.ReasonSuspended, 3},
		"a nanosecond before it begins":              {at(start.Add(-1)), authority.ReasonNotYetValid, 4},
		"the instant it begins":                      {at(start), "", 8},
		"a nanosecond before it ends":                {at(start.Add(15*time.Minute - 1)), "", 8},
		"the instant it ends":                        {at(start.Add(15 * time.Minute)), authority.ReasonExpired, 4},
		"no time at all":                             {at(time.Time{}), authority.ReasonNotYetValid, 4},
		"an action that is not in scope":             {func(p *presented) { p.inquiry.Action = authority.Read }, authority.ReasonActionNotInScope, 5},
		"no action":                                  {func(p *presented) { p.inquiry.Action = "" }, authority.ReasonActionNotInScope, 5},
		"an action that is none, though in scope":    {func(p *presented) { p.inquiry.Action = "*"; p.own.ActionScope = authority.Actions{"*"} }, authority.ReasonActionNotInScope, 5},
		"an empty list of actions":                   {func(p *presented) { p.own.ActionScope = nil }, authority.ReasonActionNotInScope, 5},
		"a resource that is not in scope":            {ask("api:external/other"), authority.ReasonNotInScope, 6},
		"no resource":                                {ask(""), authority.ReasonNotInScope, 6},
		"a resource that is not literal":             {func(p *presented) { ask("api:*")(p); p.own.ResourceScope = []authority.ResourcePattern{"api:*"} }, authority.ReasonNotInScope, 6},
		"an empty list of resources":                 {func(p *presented) { p.own.ResourceScope = nil }, authority.ReasonNotInScope, 6},
		"a wider scope than its parent's":            {func(p *presented) { p.own.ResourceScope = []authority.ResourcePattern{"*"} }, authority.ReasonChainInvalid, 7},
		"more actions than its parent":               {func(p *presented) { p.own.ActionScope = authority.AllActions() }, authority.ReasonChainInvalid, 7},
		"a parent with a wider scope than its root":  {func(p *presented) { p.parent.ResourceScope = []authority.ResourcePattern{"*"} }, authority.ReasonChainInvalid, 7},
		"it ends after its parent":                   {func(p *presented) { p.own.ValidUntil = p.parent.ValidUntil.Add(1) }, authority.ReasonChainInvalid, 7},
		"it begins before its parent":                {func(p *presented) { p.own.ValidFrom = p.parent.ValidFrom.Add(-1) }, authority.ReasonChainInvalid, 7},
		"as much depth as its parent":                {func(p *presented) { p.own.DelegationDepth = p.parent.DelegationDepth }, authority.ReasonChainInvalid, 7},
		"a negative depth":                           {func(p *presented) { p.own.DelegationDepth = -1 }, authority.ReasonChainInvalid, 7},
		"a root deeper than any may be":              {func(p *presented) { p.root.DelegationDepth = 17 }, authority.ReasonChainInvalid, 7},
		"a level that does not follow its parent's":  {func(p *presented) { p.own.Level = 1 }, authority.ReasonChainInvalid, 7},
		"a root that is not at level 0":              {func(p *presented) { p.root.Level, p.parent.Level, p.own.Level = 1, 2, 3 }, authority.ReasonChainInvalid, 7},
		"a level without a bound":                    {func(p *presented) { p.own.Level = 1 << 40 }, authority.ReasonChainInvalid, 7},
		"a negative level":                           {func(p *presented) { p.own.Level = -1 }, authority.ReasonChainInvalid, 7},
		"an issuer that is not the parent's subject": {func(p *presented) { p.own.IssuerID = "dave" }, authority.ReasonChainInvalid, 7},
		"a mandate whose parent is elsewhere":        {func(p *presented) { p.own.WorkspaceID, p.principals["carol"].WorkspaceID = "other", "other" }, authority.ReasonChainInvalid, 7},
		"a parent that goes by another id":           {func(p *presented) { p.parent.ID = "mdt_other" }, authority.ReasonChainInvalid, 7},
		"a parent of another workspace":              {func(p *presented) { p.parent.WorkspaceID = "other" }, authority.ReasonSuspended, 3},
	}
	for sentence, c := range cases {
		t.Run(sentence, func(t *testing.T) {
			p := present(t)
			c.bend(p)
			f := authority.Validate(p, p.inquiry)
			if f.Reason != c.reason || f.Holds() != (c.reason == "") || (f.Message == "") != (c.reason == "") {
				t.Errorf("%q %q, holds %v; want %q", f.Reason, f.Message, f.Holds(), c.reason)
			}
			if diff := cmp.Diff(upTo(c.held), f.Facts); diff != "" {
				t.Error(diff)
			}
			p.inquiry.Action, p.inquiry.Resource = "", ""
			live := authority.Live(p, p.inquiry)
			notAsked := c.reason == authority.ReasonActionNotInScope || c.reason == authority.ReasonNotInScope
			if live.Reason != c.reason && !notAsked || live.Holds() {
				t.Errorf("live: %q, holds %v; want %q", live.Reason, live.Holds(), c.reason)
			}
		})
	}
}

func TestOfSeveralFailuresTheFirstInTheOrderCounts(t *testing.T) {
	p := present(t)
	// The failures pile up from the last check to the first, and each new one hides those behind it.
	for _, step := range []struct {
		bend   func()
		reason authority.Reason
	}{
		{func() { p.own.Level = 9 }, authority.ReasonChainInvalid},
		{func() { p.inquiry.Resource = "db:analytics/users" }, authority.ReasonNotInScope},
		{func() { p.inquiry.Action = authority.Write }, authority.ReasonActionNotInScope},
		{func() { p.inquiry.At = now.Add(time.Hour) }, authority.ReasonExpired},
		{func() { p.principals["owner"].Suspended = true }, authority.ReasonSuspended},
		{func() { p.root.Revoked = true }, authority.ReasonMandateRevoked},
		{func() { p.inquiry.Presenter = "dave" }, authority.ReasonSubjectMismatch},
		{func() { p.inquiry.Mandate = "mdt_none" }, authority.ReasonMandateNotFound},
	} {
		step.bend()
		if f := authority.Validate(p, p.inquiry); f.Reason != step.reason {
			t.Errorf("%s, want %s", f.Reason, step.reason)
		}
	}
}

func TestAFindingTellsTheChainAndThePresenter(t *testing.T) {
	p := present(t)
	f := authority.Validate(p, p.inquiry)
	if diff := cmp.Diff([]authority.Mandate{*p.own, *p.parent, *p.root}, f.Chain); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(*p.principals["carol"], f.Presenter); diff != "" {
		t.Error(diff)
	}
	p.inquiry.Presenter = "dave"
	if f := authority.Validate(p, p.inquiry); f.Presenter.ID != "" || f.Chain != nil {
		t.Errorf("somebody else is told %+v", f)
	}
}

func TestAZeroFindingDoesNotHold(t *testing.T) {
	if (authority.Finding{}).Holds() {
		t.Error("nothing was found, and it holds")
	}
}
