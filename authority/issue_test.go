package authority_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caracal-gateway/caracal/authority"
)

func TestIssuingRecordsWhoAskedAndOnWhoseWord(t *testing.T) {
	later := time.Date(2024, 1, 15, 12, 0, 0, 0, time.FixedZone("CET", 3600))
	start := now.Truncate(time.Second)
	cases := map[string]struct {
		caller  authority.PrincipalID
		request func(*authority.IssueRequest)
		want    func(*authority.Mandate)
	}{
		"the issuer asks": {"owner", nil, func(m *authority.Mandate) { m.RequestedBy, m.Consent = "owner", authority.ConsentExplicit }},
		"the subject asks a grantor of its policy": {"alice", nil, func(m *authority.Mandate) {
			m.RequestedBy, m.Consent = "alice", authority.ConsentStanding
		}},
		"lists are stored sorted and without duplicates": {"alice",
			func(r *authority.IssueRequest) { r.Actions = authority.Actions{"read", "execute", "read"} },
			func(m *authority.Mandate) {
				m.RequestedBy, m.Consent, m.ActionScope = "alice", authority.ConsentStanding, authority.Actions{"execute", "read"}
			}},
		"it begins later": {"alice",
			func(r *authority.IssueRequest) { r.ValidFrom = &later },
			func(m *authority.Mandate) {
				m.RequestedBy, m.Consent = "alice", authority.ConsentStanding
				m.ValidFrom, m.ValidUntil = later.UTC(), later.UTC().Add(time.Hour)
			}},
	}
	for sentence, c := range cases {
		t.Run(sentence, func(t *testing.T) {
			r := authority.IssueRequest{IssuerID: "owner", SubjectID: "alice", Scope: scope("api:external/openai").of("execute"), ValiditySeconds: 3600}
			if c.request != nil {
				c.request(&r)
			}
			got, err := newWorld().issue(c.caller, r)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := authority.ParseID[authority.MandateID](string(got.ID)); err != nil {
				t.Error(err)
			}
			want := authority.Mandate{
				ID: got.ID, WorkspaceID: "ws", IssuerID: "owner", SubjectID: "alice",
				ResourceScope: []authority.ResourcePattern{"api:external/openai"}, ActionScope: authority.Actions{"execute"},
				ValidFrom: start, ValidUntil: start.Add(time.Hour), DelegationDepth: 2,
				PolicyID: "policy of alice", PolicyVersion: 3, CreatedAt: now,
			}
			c.want(&want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// attempt is an issue that a test bends before it is made.
type attempt struct {
	*world
	caller  authority.PrincipalID
	request authority.IssueRequest
}

func TestIssuingIsRefusedForANamedReason(t *testing.T) {
	policy := func(a *attempt, id authority.PrincipalID) *authority.Policy { return &a.policies[id][0] }
	ask := func(a *attempt, patterns ...authority.ResourcePattern) { a.request.Resources = patterns }
	at := func(d time.Duration) *time.Time { t := now.Truncate(time.Second).Add(d); return &t }
	cases := map[string]struct {
		bend   func(*attempt)
		reason authority.Reason
		code   authority.Code
		field  string
	}{
		"nothing bent":                              {bend: func(*attempt) {}},
		"the issuer never consented":                {bend: func(a *attempt) { policy(a, "alice").Grantors = nil }, reason: authority.ReasonIssuerNotConsenting},
		"an agent names another agent":              {bend: func(a *attempt) { a.request.IssuerID = "bob" }, reason: authority.ReasonIssuerNotConsenting},
		"an owner names another issuer":             {bend: func(a *attempt) { a.caller, a.request.IssuerID = "owner", "bob" }, reason: authority.ReasonIssuerNotConsenting},
		"consent of one policy, cover of another":   {bend: otherPolicyConsents, reason: authority.ReasonIssuerNotConsenting},
		"a stranger asks":                           {bend: func(a *attempt) { a.caller = "bob" }, code: authority.CodeForbidden},
		"nobody asks":                               {bend: func(a *attempt) { a.caller = "nobody" }, code: authority.CodeForbidden},
		"a suspended caller":                        {bend: func(a *attempt) { a.caller = "owner"; a.principals["owner"].Suspended = true }, code: authority.CodeForbidden},
		"a caller of another workspace":             {bend: func(a *attempt) { a.caller = "owner"; a.principals["owner"].WorkspaceID = "other" }, code: authority.CodeInvalid, field: "subject_id"},
		"a suspended issuer":                        {bend: func(a *attempt) { a.principals["owner"].Suspended = true }, reason: authority.ReasonSuspended},
		"a suspended subject":                       {bend: func(a *attempt) { a.caller = "owner"; a.principals["alice"].Suspended = true }, reason: authority.ReasonSuspended},
		"an issuer that does not exist":             {bend: func(a *attempt) { a.request.IssuerID = "nobody" }, code: authority.CodeInvalid, field: "issuer_id"},
		"no issuer":                                 {bend: func(a *attempt) { a.request.IssuerID = "" }, code: authority.CodeInvalid, field: "issuer_id"},
		"a subject that does not exist":             {bend: func(a *attempt) { a.request.SubjectID = "nobody" }, code: authority.CodeInvalid, field: "subject_id"},
		"a subject of another workspace":            {bend: func(a *attempt) { a.principals["alice"].WorkspaceID = "other" }, code: authority.CodeInvalid, field: "subject_id"},
		"no policy covers the resource":             {bend: func(a *attempt) { ask(a, "api:internal/x") }, reason: authority.ReasonNoPolicyCovers},
		"a policy covers one of two resources":      {bend: func(a *attempt) { ask(a, "api:external/x", "api:internal/x") }, reason: authority.ReasonNoPolicyCovers},
		"a wider pattern than the policy's":         {bend: func(a *attempt) { ask(a, "api:*") }, reason: authority.ReasonNoPolicyCovers},
		"no policy covers the action":               {bend: func(a *attempt) { a.request.Actions = authority.Actions{"write"} }, reason: authority.ReasonNoPolicyCovers},
		"a star asks for more than the policy":      {bend: func(a *attempt) { a.request.Actions = authority.Actions{"*"} }, reason: authority.ReasonNoPolicyCovers},
		"two policies cover it between them":        {bend: twoHalves, reason: authority.ReasonNoPolicyCovers},
		"a policy that is not active":               {bend: func(a *attempt) { policy(a, "alice").Active = false }, reason: authority.ReasonNoPolicyCovers},
		"another's policy":                          {bend: func(a *attempt) { policy(a, "alice").PrincipalID = "bob" }, reason: authority.ReasonNoPolicyCovers},
		"a longer validity than the policy's":       {bend: func(a *attempt) { a.request.ValiditySeconds = 86401 }, reason: authority.ReasonNoPolicyCovers},
		"a user that is no owner issues":            {bend: func(a *attempt) { a.principals["owner"].Role = "" }, reason: authority.ReasonIssuerNotEntitled},
		"an agent issues within its policy":         {bend: func(a *attempt) { a.caller, a.request.IssuerID = "bob", "bob" }},
		"an agent issues to itself":                 {bend: func(a *attempt) { a.request.IssuerID = "alice" }},
		"an agent issues what it has no policy for": {bend: func(a *attempt) { a.caller, a.request.IssuerID = "bob", "bob"; a.policies["bob"] = nil }, reason: authority.ReasonIssuerNotEntitled},
		"an agent issues beyond its policy": {bend: func(a *attempt) {
			a.caller, a.request.IssuerID = "bob", "bob"
			policy(a, "bob").MaxValiditySeconds = 3599
		}, reason: authority.ReasonIssuerNotEntitled},
		"no validity":                    {bend: func(a *attempt) { a.request.ValiditySeconds = 0 }, code: authority.CodeInvalid, field: "validity_seconds"},
		"a negative validity":            {bend: func(a *attempt) { a.request.ValiditySeconds = -1 }, code: authority.CodeInvalid, field: "validity_seconds"},
		"a validity that would overflow": {bend: func(a *attempt) { a.request.ValiditySeconds = 1 << 62 }, code: authority.CodeInvalid, field: "validity_seconds"},
		"it began in the past":           {bend: func(a *attempt) { a.request.ValidFrom = at(-time.Second) }, code: authority.CodeInvalid, field: "valid_from"},
		"it begins now":                  {bend: func(a *attempt) { a.request.ValidFrom = at(0) }},
		"it begins within a second":      {bend: func(a *attempt) { a.request.ValidFrom = at(time.Millisecond) }, code: authority.CodeInvalid, field: "valid_from"},
		"it begins in over a year":       {bend: func(a *attempt) { a.request.ValidFrom = at(366 * 24 * time.Hour) }, code: authority.CodeInvalid, field: "valid_from"},
		"an empty list of resources":     {bend: func(a *attempt) { a.request.Resources = nil }, code: authority.CodeInvalid, field: "resource_scope"},
		"an empty list of actions":       {bend: func(a *attempt) { a.request.Actions = nil }, code: authority.CodeInvalid, field: "action_scope"},
		"a resource that is no pattern":  {bend: func(a *attempt) { ask(a, "api:external/openai", "api:{a,b}") }, code: authority.CodeInvalid, field: "resource_scope[1]"},
		"an action that is none":         {bend: func(a *attempt) { a.request.Actions = authority.Actions{"own"} }, code: authority.CodeInvalid, field: "action_scope[0]"},
		"a second policy covers and has the consent": {bend: func(a *attempt) {
			a.policies["alice"] = append([]authority.Policy{{PrincipalID: "alice", Active: true}}, a.policies["alice"]...)
		}},
	}
	for sentence, c := range cases {
		t.Run(sentence, func(t *testing.T) {
			a := &attempt{world: newWorld(), caller: "alice", request: authority.IssueRequest{
				IssuerID: "owner", SubjectID: "alice", Scope: scope("api:external/openai").of("execute"), ValiditySeconds: 3600,
			}}
			c.bend(a)
			m, err := a.issue(a.caller, a.request)
			switch {
			case c.reason != "":
				assertRefused(t, err, c.reason)
			case c.field != "":
				assertInvalid(t, err, c.field)
			case c.code != "":
				assertCode(t, err, c.code)
			case err != nil:
				t.Fatal(err)
			}
			if err != nil && m.ID != "" {
				t.Errorf("a refusal comes with the mandate %+v", m)
			}
		})
	}
}

// otherPolicyConsents gives alice a policy with the owner's consent that does not cover what she asks for, beside one
// that covers it without.
func otherPolicyConsents(a *attempt) {
	consenting := a.policies["alice"][0]
	consenting.AllowedResources = []authority.ResourcePattern{"db:analytics/*"}
	a.policies["alice"][0].Grantors = nil
	a.policies["alice"] = append(a.policies["alice"], consenting)
}

// twoHalves gives alice two policies of which neither covers what she asks for.
func twoHalves(a *attempt) {
	first, second := a.policies["alice"][0], a.policies["alice"][0]
	first.AllowedResources = []authority.ResourcePattern{"api:external/a"}
	second.AllowedResources = []authority.ResourcePattern{"api:external/b"}
	a.policies["alice"] = []authority.Policy{first, second}
	a.request.Resources = []authority.ResourcePattern{"api:external/a", "api:external/b"}
}

func TestARefusalNamesTheMissingPolicyAndHowToAddIt(t *testing.T) {
	cases := map[string]struct {
		request authority.IssueRequest
		want    string
	}{
		"no policy covers the scope": {
			authority.IssueRequest{Scope: scope("api:internal/x").of("write", "read"), ValiditySeconds: 60},
			`no active policy of agent alice covers this; an owner, an admin or a policy author can add a policy with principal_id "alice", allowed_resources ["api:internal/x"], ` +
				`allowed_actions ["read", "write"] and max_validity_seconds of at least 60`,
		},
		"a policy covers the scope, but not for so long": {
			authority.IssueRequest{Scope: scope("api:external/x").of("read"), ValiditySeconds: 90000},
			`the policies of agent alice that cover this scope allow 86400 seconds, not 90000; ask for less or raise max_validity_seconds`,
		},
	}
	for sentence, c := range cases {
		t.Run(sentence, func(t *testing.T) {
			c.request.IssuerID, c.request.SubjectID = "owner", "alice"
			_, err := newWorld().issue("owner", c.request)
			var e *authority.Error
			if !errors.As(err, &e) || e.Message != c.want {
				t.Errorf("%v, want %s", err, c.want)
			}
		})
	}
	_, err := newWorld().issue("alice", authority.IssueRequest{IssuerID: "bob", SubjectID: "alice", Scope: scope("api:external/x").of("read"), ValiditySeconds: 60})
	if err == nil || !strings.Contains(err.Error(), "join the grantors of a policy of agent alice") {
		t.Errorf("%v does not say how consent is given", err)
	}
}
