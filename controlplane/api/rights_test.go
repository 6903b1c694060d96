package api_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pb33f/libopenapi/datamodel/high/base"
	v3 "github.com/pb33f/libopenapi/datamodel/high/v3"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
)

// asker is one kind of caller of a team: a member by its role, or a kind of key.
type asker struct {
	name string
	key  string
	self authority.PrincipalID
	may  func(controlplane.Right) bool
}

// askers are one caller of every role and every kind.
func (m *team) askers() []asker {
	m.t.Helper()
	var all []asker
	for _, role := range authority.Roles() {
		a := m.member(role)
		a.may = func(r controlplane.Right) bool { return slices.Contains(r.Roles, role) }
		all = append(all, a)
	}
	ofKind := func(kind authority.KeyKind) func(controlplane.Right) bool {
		return func(r controlplane.Right) bool { return slices.Contains(r.Kinds, kind) }
	}
	return append(all,
		asker{"agent", m.agentKey, m.agent, ofKind(authority.KeyAgent)},
		asker{"service", m.serviceKey, m.service, ofKind(authority.KeyService)},
		asker{"gateway", m.gatewayKey, "", ofKind(authority.KeyGateway)},
		asker{"setup", setupKey, "", ofKind(controlplane.KeySetup)},
	)
}

// member adds a member with a key.
func (m *team) member(role authority.Role) asker {
	m.t.Helper()
	added := into[authority.Member](m.own("POST", m.at("members"), map[string]any{"name": string(role), "role": role}).ok(201))
	key := into[controlplane.CreatedKey](m.own("POST", m.at("keys"), map[string]any{"kind": "member", "name": "k", "principal_id": added.ID}).ok(201))
	return asker{name: string(role), key: key.APIKey, self: added.ID}
}

// described is an operation of the document with its row in the table of rights.
type described struct {
	operation
	name    string // of the row
	example []byte // of the body; nil for none
}

// describedOperations are those that ask for a credential. Those that end what others need come last.
func describedOperations(t *testing.T) []described {
	t.Helper()
	var all []described
	for path, item := range loadContract(t).document.Paths.PathItems.FromOldest() {
		for method, o := range item.GetOperations().FromOldest() {
			if isOpen(o) && o.OperationId != "exchangeToken" {
				continue
			}
			all = append(all, described{
				operation: operation{method: strings.ToUpper(method), path: path},
				name:      rowOf(o.OperationId), example: jsonExample(t, o),
			})
		}
	}
	slices.SortStableFunc(all, func(a, b described) int { return a.order() - b.order() })
	return all
}

// isOpen reports whether an operation asks for no credential.
func isOpen(o *v3.Operation) bool {
	return o.Security != nil && !slices.ContainsFunc(o.Security, func(r *base.SecurityRequirement) bool {
		return r.Requirements != nil && r.Requirements.Len() > 0
	})
}

func jsonExample(t *testing.T, o *v3.Operation) []byte {
	t.Helper()
	if o.RequestBody == nil {
		return nil
	}
	content, ok := o.RequestBody.Content.Get("application/json")
	if !ok {
		return nil
	}
	text, _ := exampleOf(t, content)
	return text
}

// order is where an operation comes when all are tried in one workspace.
func (d described) order() int {
	words := strings.Split(d.name, "_")
	end := slices.Contains([]string{"delete", "revoke", "end", "suspend", "rotate", "deactivate"}, words[0])
	switch {
	case strings.HasSuffix(d.name, "_workspace") && slices.Contains([]string{"archive", "unarchive", "delete", "restore"}, words[0]):
		return 4 + slices.Index([]string{"archive", "unarchive", "delete", "restore"}, words[0])
	case d.method == "GET":
		return 0
	case words[0] == "remove":
		return 3
	case end:
		return 2
	}
	return 1
}

// rowOf is an operationId as the table of rights writes it.
func rowOf(operationID string) string {
	words := regexp.MustCompile("[a-z][A-Z]").ReplaceAllStringFunc(strings.TrimSuffix(operationID, "InWorkspace"), func(edge string) string {
		return edge[:1] + "_" + edge[1:]
	})
	return strings.ToLower(words)
}

func rightsByName() map[string]controlplane.Right {
	all := map[string]controlplane.Right{}
	for _, r := range controlplane.Rights() {
		all[r.Operation] = r
	}
	return all
}

// open operations ask for no right, since they ask for no credential.
func TestEveryOperationHasARowInTheTableOfRights(t *testing.T) {
	rows, seen := rightsByName(), map[string]bool{}
	for _, d := range describedOperations(t) {
		if _, ok := rows[d.name]; !ok {
			t.Errorf("%s has no row %s", d, d.name)
		}
		seen[d.name] = true
	}
	// What is not in the document, and why not.
	others := []string{
		"export_events",                                                                    // list_events with another format
		"read_revision", "enrol_gateway", "find_gateway", "connect_gateway", "acknowledge", // the sync
		"report_envoy", "record_events", "certify_gateway", "snapshot", "renew_lease", "surrender_lease",
	}
	for name := range rows {
		if !seen[name] && !slices.Contains(others, name) {
			t.Errorf("the row %s is of no operation", name)
		}
	}
}

// Every operation is tried with every role and every kind of key, in the caller's own workspace: it is forbidden or not as
// the table says, before anything else is told.
func TestEveryRoleAndKindMayDoWhatTheTableSays(t *testing.T) {
	w, rows := newWorld(t), rightsByName()
	named := exampleThings(t)
	for i := range len(authority.Roles()) + 4 {
		m := w.newTeam(t, "team-"+string(rune('a'+i)))
		things, who := m.possessions(), m.askers()[i]
		for _, d := range describedOperations(t) {
			t.Run(who.name+" "+d.String(), func(t *testing.T) {
				a := m.call(t, who.key, d.method, things.at(d.path), m.exampleOf(d, named, things, who))
				may := who.may(rows[d.name])
				forbidden := a.status == 403 && into[problem](a).Reason == ""
				if who.name == "setup" && strings.Contains(d.path, "/workspaces/{") && !may {
					forbidden = a.status == 404 // it is in no workspace
				}
				if may == forbidden || a.status == 401 {
					t.Errorf("allowed=%t by the table, answered %d: %s", may, a.status, a.body)
				}
				if may && a.status == 404 && who.may(rows["get_principal"]) && !strings.Contains(d.path, "/sessions/{id}") {
					t.Errorf("what is there is not found: %s", a.body)
				}
			})
		}
	}
}

// exampleOf is the document's example of a request, about the team's own things; nil for none.
func (m *team) exampleOf(d described, named, things possessions, who asker) any {
	if d.example == nil {
		return nil
	}
	text := d.example
	if (d.name == "issue_mandate" || d.name == "revoke_mandates") && who.name == "service" {
		text = bytes.ReplaceAll(text, []byte("prn_b5hcwt4kcwwm2uk5ugqdmzu33q"), []byte(m.service))
	}
	text = m.inExample(text, named, things)
	var fields map[string]any
	if json.Unmarshal(text, &fields) != nil {
		return string(text)
	}
	if d.name == "exchange_token" {
		return map[string]any{}
	}
	delete(fields, "workspace_slug")
	return fields
}

// A member of one workspace is told nothing of another, whatever its role is: each operation on what is there is answered
// like one on what is nowhere.
func TestNoRoleTellsAForeignThingFromAnAbsentOne(t *testing.T) {
	w, named := newWorld(t), exampleThings(t)
	mine, theirs := w.newTeam(t, "mine"), w.newTeam(t, "theirs")
	own, foreign, none := mine.possessions(), theirs.possessions(), absent()
	rows := rightsByName()
	for _, who := range mine.askers() {
		if who.name == "setup" {
			continue // it sees every workspace
		}
		for _, d := range describedOperations(t) {
			if !strings.Contains(d.path, "{") {
				continue
			}
			t.Run(who.name+" "+d.String(), func(t *testing.T) {
				body := mine.exampleOf(d, named, own, who)
				other := mine.call(t, who.key, d.method, foreign.at(d.path), body)
				nothing := mine.call(t, who.key, d.method, none.at(d.path), body)
				if diff := cmp.Diff(nothing.withoutNames(values(none)...), other.withoutNames(values(foreign)...)); diff != "" {
					t.Errorf("a foreign thing is told apart from an absent one:\n%s", diff)
				}
				if diff := cmp.Diff(nothing.comparable(), other.comparable()); diff != "" {
					t.Errorf("headers tell a foreign thing from an absent one:\n%s", diff)
				}
				if other.status != 404 && (who.may(rows[d.name]) || strings.Contains(d.path, "{workspace}")) {
					t.Errorf("it is answered %d: %s", other.status, other.body)
				}
			})
		}
	}
}

// An agent's key reaches its own mandates and events, and finds nothing of the others in its workspace.
func TestAnAgentSeesItsOwnOnly(t *testing.T) {
	m := newWorld(t).newTeam(t, "my-team")
	mandate := m.issue()
	path := "/api/v1/mandates/" + string(mandate.ID)
	m.call(t, m.agentKey, "GET", path, nil).ok(200)
	m.call(t, m.helperKey, "GET", path, nil).refused(404, "not_found", "", "")
	m.call(t, m.helperKey, "POST", path+"/revoke", nil).refused(404, "not_found", "", "")
	m.call(t, m.helperKey, "POST", path+"/delegate", m.delegation(m.helper)).refused(404, "not_found", "", "")
	type items struct {
		Items []struct{} `json:"items"`
	}
	if l := into[items](m.call(t, m.helperKey, "GET", "/api/v1/mandates", nil).ok(200)); len(l.Items) != 0 {
		t.Errorf("another agent lists %d mandates", len(l.Items))
	}
	if l := into[items](m.call(t, m.agentKey, "GET", "/api/v1/mandates", nil).ok(200)); len(l.Items) != 1 {
		t.Errorf("the subject lists %d mandates", len(l.Items))
	}
	if l := into[[]struct{}](m.call(t, m.helperKey, "GET", "/api/v1/events?mandate_id="+string(mandate.ID), nil).ok(200)); len(l) != 0 {
		t.Errorf("another agent sees %d events of the mandate", len(l))
	}
	if l := into[[]struct{}](m.call(t, m.agentKey, "GET", "/api/v1/events?mandate_id="+string(mandate.ID), nil).ok(200)); len(l) == 0 {
		t.Error("the subject sees no event of its mandate")
	}
	for sentence, c := range map[string]struct {
		change map[string]any
		code   string
		status int
	}{
		"for somebody else":                   {map[string]any{"subject_id": m.helper}, "forbidden", 403},
		"from an issuer that never consented": {map[string]any{"issuer_id": m.helper}, "refused", 422},
		"beyond its policy":                   {map[string]any{"resource_scope": []string{"db:x"}}, "refused", 422},
	} {
		t.Run("asks "+sentence, func(t *testing.T) {
			request := m.mandateRequest()
			maps.Copy(request, c.change)
			a := m.call(t, m.agentKey, "POST", "/api/v1/mandates", request)
			if p := into[problem](a); a.status != c.status || p.Code != c.code {
				t.Errorf("answered %d: %s", a.status, a.body)
			}
		})
	}
}

// Only who may read everything takes the events away as text.
func TestEventsAreExportedByThoseWhoMay(t *testing.T) {
	m := newWorld(t).newTeam(t, "my-team")
	for _, who := range m.askers() {
		if who.name == "setup" {
			continue
		}
		for _, format := range []string{"jsonl", "csv"} {
			a := m.call(t, who.key, "GET", m.at("events")+"?format="+format, nil)
			if want := map[bool]int{true: 200, false: 403}[who.may(rightsByName()["export_events"])]; a.status != want {
				t.Errorf("a %s exports %s: answered %d, want %d", who.name, format, a.status, want)
			}
		}
		m.call(t, who.key, "GET", m.at("events"), nil).ok(200)
	}
}
