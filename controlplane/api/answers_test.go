package api_test

import (
	"encoding/json"
	"strings"
	"testing"

	v3 "github.com/pb33f/libopenapi/datamodel/high/v3"
)

// What many operations have in common is asked of each that documents it: a condition that does not hold, an
// Idempotency-Key of another request, a field that is not there, a workspace of nobody, a thing that is still the same.
func TestEachOperationAnswersAsOthersDo(t *testing.T) {
	m := newWorld(t).newTeam(t, "my-team")
	things := m.possessions()
	const used = "Idempotency-Key: used-already"
	m.own("POST", m.at("principals"), map[string]any{"name": "first", "principal_type": "agent"}, used).ok(201)
	eachOperation(t, func(t *testing.T, method, path string, o *v3.Operation) {
		has := func(status string) bool { return o.Responses.Codes.GetOrZero(status) != nil }
		takes := func(name string) bool { return parameterOf(o, name) }
		at, flat := things.at(path), !strings.Contains(path, "{") && strings.HasPrefix(path, "/api/v1/")
		key := m.ownerKey
		if isOpen(o) {
			key = ""
		}
		body := any(nil)
		if o.RequestBody != nil {
			body = map[string]any{}
			if key != "" && o.RequestBody.Required != nil && *o.RequestBody.Required {
				body = m.body(operation{method: method, path: path, hasBody: true})
			}
		}
		if has("412") {
			m.call(t, key, method, at, body, `If-Match: "of-something-else"`).refused(412, "precondition_failed", "If-Match", "")
		}
		if has("409") && takes("Idempotency-Key") && path != "/api/v1/workspaces" { // a new workspace remembers nothing
			m.call(t, key, method, at, body, used).refused(409, "conflict", "Idempotency-Key", "")
		}
		if has("400") && o.RequestBody != nil {
			m.call(t, key, method, at, map[string]any{"no_such_field": 1}).refused(400, "invalid_request", "no_such_field", "")
		}
		if has("404") && flat && takes("workspace_slug") {
			m.call(t, key, method, at+"?workspace_slug=no-such-team", body).refused(404, "not_found", "", "")
		} else if has("404") && flat && body != nil && path != "/api/v1/token" { // which a member's key is not exchanged at
			m.call(t, key, method, at, inWorkspaceOfNobody(t, body)).refused(404, "not_found", "", "")
		}
		if has("304") {
			tag := m.call(t, key, method, at, nil).ok(200).header.Get("ETag")
			m.call(t, key, method, at, nil, "If-None-Match: "+tag).ok(304)
		}
	})
}

func parameterOf(o *v3.Operation, name string) bool {
	for _, p := range o.Parameters {
		if p.Name == name {
			return true
		}
	}
	return false
}

func inWorkspaceOfNobody(t *testing.T, body any) any {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(text, &fields); err != nil {
		t.Fatal(err)
	}
	fields["workspace_slug"] = "no-such-team"
	return fields
}

// A workspace whose gateway does not answer is deleted all the same, and the receipt says who is waited for.
func TestDeletingAWorkspaceDoesNotWaitForAGatewayThatIsAway(t *testing.T) {
	m := newWorld(t).newTeam(t, "my-team")
	m.edge(t, "edge")
	m.own("DELETE", "/api/v1/workspaces/my-team?wait=0", nil).ok(202)
}

// A code that nobody was given opens no session.
func TestACodeOfNobody(t *testing.T) {
	w := newWorld(t)
	const path = "/api/v1/session/exchange"
	w.call(t, "", "POST", path, map[string]any{"code": strings.Repeat("x", 43), "verifier": strings.Repeat("y", 43)}).refused(401, "unauthenticated", "", "")
	w.call(t, "", "POST", path, map[string]any{}, "Accept: text/html").refused(406, "not_acceptable", "Accept", "")
}
