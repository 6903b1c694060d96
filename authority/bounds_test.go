package authority_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/caracal-gateway/caracal/authority"
)

func TestPrincipalsAreRefusedUnlessTheyStayInBounds(t *testing.T) {
	many := map[string]string{}
	for i := range 33 {
		many[fmt.Sprint(i)] = ""
	}
	cases := map[string]struct {
		principal authority.Principal
		field     string
	}{
		"an agent":                      {authority.Principal{Name: "my-agent", Type: "agent", Metadata: map[string]string{"environment": "production"}}, ""},
		"an owner":                      {authority.Principal{Name: "Zoë O'Neill", Type: "user", Role: "owner"}, ""},
		"a long name":                   {authority.Principal{Name: strings.Repeat("é", 100), Type: "service"}, ""},
		"too long a name":               {authority.Principal{Name: strings.Repeat("é", 101), Type: "service"}, "name"},
		"no name":                       {authority.Principal{Type: "agent"}, "name"},
		"a name of a space":             {authority.Principal{Name: " ", Type: "agent"}, "name"},
		"a name with a line":            {authority.Principal{Name: "a\nb", Type: "agent"}, "name"},
		"a name with an escape":         {authority.Principal{Name: "a\x1b[31mb", Type: "agent"}, "name"},
		"a name that turns text round":  {authority.Principal{Name: "a\u202eb", Type: "agent"}, "name"},
		"a name with an isolate":        {authority.Principal{Name: "a\u2066b", Type: "agent"}, "name"},
		"a name with nothing to see":    {authority.Principal{Name: "a\u200bb", Type: "agent"}, "name"},
		"a name that is not UTF-8":      {authority.Principal{Name: "a\xff", Type: "agent"}, "name"},
		"no type":                       {authority.Principal{Name: "a"}, "principal_type"},
		"an unknown type":               {authority.Principal{Name: "a", Type: "root"}, "principal_type"},
		"an agent with a role":          {authority.Principal{Name: "a", Type: "agent", Role: "owner"}, "role"},
		"an unknown role":               {authority.Principal{Name: "a", Type: "user", Role: "god"}, "role"},
		"too much metadata":             {authority.Principal{Name: "a", Type: "agent", Metadata: many}, "metadata"},
		"metadata under no key":         {authority.Principal{Name: "a", Type: "agent", Metadata: map[string]string{"": "x"}}, "metadata"},
		"metadata under too long a key": {authority.Principal{Name: "a", Type: "agent", Metadata: map[string]string{strings.Repeat("k", 65): "x"}}, "metadata"},
		"too long a value":              {authority.Principal{Name: "a", Type: "agent", Metadata: map[string]string{"k": strings.Repeat("v", 513)}}, "metadata.k"},
		"a value with a control":        {authority.Principal{Name: "a", Type: "agent", Metadata: map[string]string{"k": "\x00"}}, "metadata.k"},
	}
	for sentence, c := range cases {
		t.Run(sentence, func(t *testing.T) { assertField(t, c.principal.Validate(), c.field) })
	}
}

func TestPoliciesAreRefusedUnlessTheyStayInBounds(t *testing.T) {
	cases := map[string]struct {
		change func(*authority.Policy)
		field  string
	}{
		"the guide's policy":              {func(*authority.Policy) {}, ""},
		"no resources":                    {func(p *authority.Policy) { p.AllowedResources = nil }, "allowed_resources"},
		"a resource that is no pattern":   {func(p *authority.Policy) { p.AllowedResources[1] = "db:**" }, "allowed_resources[1]"},
		"a resource twice":                {func(p *authority.Policy) { p.AllowedResources[1] = p.AllowedResources[0] }, "allowed_resources"},
		"too many resources":              {func(p *authority.Policy) { p.AllowedResources = make([]authority.ResourcePattern, 101) }, "allowed_resources"},
		"no actions":                      {func(p *authority.Policy) { p.AllowedActions = nil }, "allowed_actions"},
		"an unknown action":               {func(p *authority.Policy) { p.AllowedActions = authority.Actions{"own"} }, "allowed_actions[0]"},
		"actions that are not sorted":     {func(p *authority.Policy) { p.AllowedActions = authority.Actions{"read", "execute"} }, "allowed_actions"},
		"a star that is not expanded":     {func(p *authority.Policy) { p.AllowedActions = authority.Actions{"*"} }, "allowed_actions"},
		"no validity":                     {func(p *authority.Policy) { p.MaxValiditySeconds = 0 }, "max_validity_seconds"},
		"a validity of over ten years":    {func(p *authority.Policy) { p.MaxValiditySeconds = 315360001 }, "max_validity_seconds"},
		"a negative depth":                {func(p *authority.Policy) { p.DelegationDepth = -1 }, "delegation_depth"},
		"the greatest depth":              {func(p *authority.Policy) { p.DelegationDepth = 16 }, ""},
		"a depth beyond the hard limit":   {func(p *authority.Policy) { p.DelegationDepth = 17 }, "delegation_depth"},
		"a depth that no chain can reach": {func(p *authority.Policy) { p.DelegationDepth = 1 << 31 }, "delegation_depth"},
		"too many grantors":               {func(p *authority.Policy) { p.Grantors = make([]authority.PrincipalID, 101) }, "grantors"},
	}
	for sentence, c := range cases {
		t.Run(sentence, func(t *testing.T) {
			p := authority.Policy{
				AllowedResources: []authority.ResourcePattern{"api:external/*", "db:analytics/*"}, AllowedActions: authority.Actions{"execute", "read"},
				MaxValiditySeconds: 86400, DelegationDepth: 2,
			}
			c.change(&p)
			assertField(t, p.Validate(), c.field)
		})
	}
}

func TestWorkspacesAreRefusedUnlessTheyStayInBounds(t *testing.T) {
	cases := map[string]struct {
		change func(*authority.Workspace)
		field  string
	}{
		"a workspace":                    {func(*authority.Workspace) {}, ""},
		"no name":                        {func(w *authority.Workspace) { w.Name = "" }, "name"},
		"a description with a control":   {func(w *authority.Workspace) { w.Description = "a\x07" }, "description"},
		"a description that is too long": {func(w *authority.Workspace) { w.Description = strings.Repeat("a", 1001) }, "description"},
		"no bound for streams":           {func(w *authority.Workspace) { w.Settings.MaxStreamSeconds = 0 }, "settings.max_stream_seconds"},
		"streams of over a day":          {func(w *authority.Workspace) { w.Settings.MaxStreamSeconds = 86401 }, "settings.max_stream_seconds"},
		"no retention":                   {func(w *authority.Workspace) { w.Settings.EventRetentionDays = 0 }, "settings.event_retention_days"},
		"retention of over ten years":    {func(w *authority.Workspace) { w.Settings.EventRetentionDays = 3651 }, "settings.event_retention_days"},
	}
	for _, slug := range []string{"", "ab", "My-team", "1team", "-team", "team-", "my_team", "my team", "my.team", strings.Repeat("a", 41), "té-am"} {
		cases["the slug "+slug] = struct {
			change func(*authority.Workspace)
			field  string
		}{func(w *authority.Workspace) { w.Slug = slug }, "slug"}
	}
	for sentence, c := range cases {
		t.Run(sentence, func(t *testing.T) {
			w := authority.Workspace{Slug: "my-team2", Name: "My team", Settings: authority.DefaultSettings()}
			c.change(&w)
			assertField(t, w.Validate(), c.field)
		})
	}
}

func assertField(t *testing.T, err error, field string) {
	t.Helper()
	if field != "" {
		assertInvalid(t, err, field)
	} else if err != nil {
		t.Error(err)
	}
}

func TestIdentifiersAreReadBackAndNothingElseIs(t *testing.T) {
	id := authority.NewID[authority.MandateID]()
	if got, err := authority.ParseID[authority.MandateID](string(id)); got != id || err != nil {
		t.Errorf("ParseID(%q) = %q, %v", id, got, err)
	}
	if other := authority.NewID[authority.MandateID](); other == id {
		t.Errorf("two identifiers are %q", id)
	}
	for _, text := range []string{"", "mdt_", string(id) + "a", string(id[:len(id)-1]), strings.ToUpper(string(id)), "prn" + string(id[3:]), " " + string(id), string(id[:len(id)-1]) + "1"} {
		_, err := authority.ParseID[authority.MandateID](text)
		assertInvalid(t, err, "")
	}
}
