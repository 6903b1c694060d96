package api_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caracal-gateway/caracal/authority"
)

// What belongs to another workspace is answered exactly like what does not exist, for every operation that names
// something.
func TestForeignThingsAreLikeAbsentOnes(t *testing.T) {
	w := newWorld(t)
	mine, theirs := w.newTeam(t, "mine"), w.newTeam(t, "theirs")
	foreign, none := theirs.possessions(), absent()
	for _, o := range operations(t) {
		if !strings.Contains(o.path, "{") {
			continue
		}
		t.Run(o.String(), func(t *testing.T) {
			other := mine.call(t, mine.ownerKey, o.method, foreign.at(o.path), mine.body(o))
			nothing := mine.call(t, mine.ownerKey, o.method, none.at(o.path), mine.body(o))
			other.refused(404, "not_found", "", "")
			if diff := cmp.Diff(nothing.withoutNames(values(none)...), other.withoutNames(values(foreign)...)); diff != "" {
				t.Errorf("a foreign thing is told apart from an absent one:\n%s", diff)
			}
			if diff := cmp.Diff(nothing.comparable(), other.comparable()); diff != "" {
				t.Errorf("headers tell a foreign thing from an absent one:\n%s", diff)
			}
		})
	}
	for collection, id := range foreign {
		if collection == "events" || collection == "keys" || collection == "sessions" {
			continue
		}
		theirs.own("GET", "/api/v1/"+collection+"/"+id, nil).ok(200)
	}
}

func values(p possessions) []string {
	var all []string
	for _, v := range p {
		all = append(all, v)
	}
	return all
}

// A body or a filter that names something of another workspace is answered as if it named nothing.
func TestForeignNamesInsideARequestAreLikeAbsentOnes(t *testing.T) {
	w := newWorld(t)
	mine, theirs := w.newTeam(t, "mine"), w.newTeam(t, "theirs")
	foreignMandate := string(theirs.issue().ID)
	myMandate := string(mine.issue().ID)
	principal, mandate, validated := string(theirs.agent), foreignMandate, string(theirs.issue().ID)
	noPrincipal, noMandate := string(authority.NewID[authority.PrincipalID]()), string(authority.NewID[authority.MandateID]())
	with := func(base map[string]any, field, value string) map[string]any {
		changed := map[string]any{}
		for k, v := range base {
			changed[k] = v
		}
		changed[field] = value
		return changed
	}
	policy := map[string]any{"allowed_resources": []string{"db:*"}, "allowed_actions": []string{"read"}, "max_validity_seconds": 60}
	for sentence, c := range map[string]struct {
		method, path    string
		body            func(id string) any
		foreign, absent string
	}{
		"the principal of a new policy": {"POST", mine.at("policies"), func(id string) any { return with(policy, "principal_id", id) }, principal, noPrincipal},
		"the issuer of a new mandate":   {"POST", mine.at("mandates"), func(id string) any { return with(mine.mandateRequest(), "issuer_id", id) }, principal, noPrincipal},
		"the subject of a new mandate":  {"POST", mine.at("mandates"), func(id string) any { return with(mine.mandateRequest(), "subject_id", id) }, principal, noPrincipal},
		"the subject of a child":        {"POST", "/api/v1/mandates/" + myMandate + "/delegate", func(id string) any { return mine.delegation(authority.PrincipalID(id)) }, principal, noPrincipal},
		"the holder of a new key":       {"POST", mine.at("keys"), func(id string) any { return map[string]any{"kind": "agent", "name": "x", "principal_id": id} }, principal, noPrincipal},
		"the workspace of a new policy": {"POST", "/api/v1/policies", func(id string) any {
			return with(with(policy, "principal_id", string(mine.agent)), "workspace_slug", id)
		}, "theirs", "no-such-team"},
		"the mandate that is validated": {"POST", "/api/v1/mandates/validate", func(id string) any {
			return map[string]any{"mandate_id": id, "requested_action": "execute", "requested_resource": "api:external/openai"}
		}, validated, string(authority.NewID[authority.MandateID]())},
		"the principal in a filter":       {"GET", mine.at("policies") + "?principal_id=ID", nil, principal, noPrincipal},
		"the subject in a filter":         {"GET", mine.at("mandates") + "?subject_id=ID", nil, principal, noPrincipal},
		"the issuer in a filter":          {"GET", mine.at("mandates") + "?issuer_id=ID", nil, principal, noPrincipal},
		"the parent in a filter":          {"GET", mine.at("mandates") + "?parent_mandate_id=ID", nil, mandate, noMandate},
		"the mandate in a filter":         {"GET", mine.at("events") + "?mandate_id=ID", nil, mandate, noMandate},
		"the workspace in a filter":       {"GET", "/api/v1/events?workspace_slug=ID", nil, "theirs", "no-such-team"},
		"the key's principal in a filter": {"GET", mine.at("keys") + "?principal_id=ID", nil, principal, noPrincipal},
	} {
		t.Run(sentence, func(t *testing.T) {
			ask := func(id string) *answer {
				var body any
				if c.body != nil {
					body = c.body(id)
				}
				return mine.call(t, mine.ownerKey, c.method, strings.ReplaceAll(c.path, "ID", id), body)
			}
			other, nothing := ask(c.foreign), ask(c.absent)
			if other.status != nothing.status {
				t.Errorf("a foreign name is answered %d, an absent one %d", other.status, nothing.status)
			}
			if diff := cmp.Diff(nothing.withoutNames(c.absent), other.withoutNames(c.foreign)); diff != "" {
				t.Errorf("a foreign name is told apart from an absent one:\n%s", diff)
			}
			if other.status == 201 {
				t.Errorf("a foreign name was accepted: %s", other.body)
			}
		})
	}
}

// A list never shows anything of another workspace.
func TestListsHoldTheCallersOwnOnly(t *testing.T) {
	w := newWorld(t)
	mine, theirs := w.newTeam(t, "mine"), w.newTeam(t, "theirs")
	theirs.possessions()
	for _, o := range operations(t) {
		if o.method != "GET" || o.open || strings.Contains(o.path, "{id}") {
			continue
		}
		a := mine.own("GET", strings.ReplaceAll(o.path, "{workspace}", "mine")+"?", nil).ok(200)
		if strings.Contains(string(a.body), string(theirs.owner.WorkspaceID)) {
			t.Errorf("%s shows something of another workspace: %s", o, a.body)
		}
	}
}
