package api_test

import (
	"encoding/base64"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caracal-gateway/caracal/controlplane"
)

// Whatever is wrong with a credential, the answer is the same, and it names the scheme.
func TestABadCredentialIsOneAnswer(t *testing.T) {
	m := newWorld(t).newTeam(t, "my-team")
	created := into[controlplane.CreatedKey](m.own("POST", m.at("keys"), map[string]any{"kind": "agent", "name": "short-lived", "principal_id": m.agent}).ok(201))
	m.call(t, created.APIKey, "GET", "/api/v1/mandates", nil).ok(200)
	m.own("POST", "/api/v1/keys/"+string(created.ID)+"/revoke", nil).ok(200)
	last := m.agentKey[len(m.agentKey)-2:]
	changed := strings.TrimSuffix(m.agentKey, last) + strings.Map(func(r rune) rune {
		if r == 'a' {
			return 'b'
		}
		return 'a'
	}, last)
	basic := base64.StdEncoding.EncodeToString([]byte("x:" + m.agentKey))
	answers := map[string]*answer{}
	for sentence, headers := range map[string][]string{
		"no key at all":               nil,
		"a key with another secret":   {"Authorization: Bearer " + changed},
		"a revoked key":               {"Authorization: Bearer " + created.APIKey},
		"something that is no key":    {"Authorization: Bearer nonsense"},
		"a key under another scheme":  {"Authorization: Basic " + basic},
		"a key in a parameter":        {"X-Api-Key: " + m.agentKey},
		"two keys":                    {"Authorization: Bearer " + m.agentKey, "Authorization: Bearer " + m.agentKey},
		"a key that nobody has":       {"Authorization: Bearer " + wellFormedKey},
		"the key's id with no secret": {"Authorization: Bearer " + string(created.ID)},
		"a JWT that nobody signed":    {"Authorization: Bearer eyJhbGciOiJub25lIn0.eyJhdWQiOiJ3c18ifQ."},
	} {
		t.Run(sentence, func(t *testing.T) {
			a := m.call(t, "", "GET", "/api/v1/mandates", nil, headers...)
			if a.status == 429 {
				t.Fatal("the address has used up its attempts: the test makes too many")
			}
			a.refused(401, "unauthenticated", "", "")
			if got := a.header.Get("WWW-Authenticate"); !strings.HasPrefix(got, "Bearer") {
				t.Errorf("WWW-Authenticate is %q", got)
			}
			answers[sentence] = a
		})
	}
	for sentence, a := range answers {
		if diff := cmp.Diff(answers["no key at all"].withoutNames(), a.withoutNames()); diff != "" {
			t.Errorf("%s is told apart from no key:\n%s", sentence, diff)
		}
	}
}

func TestBadKeysAreLimitedByAddressAndGoodOnesNever(t *testing.T) {
	m := newWorld(t).newTeam(t, "my-team")
	limited := 0
	for range 25 {
		a := m.call(t, "wrong", "GET", "/api/v1/mandates", nil)
		switch a.status {
		case 429:
			limited++
			a.refused(429, "rate_limited", "", "")
			if a.header.Get("Retry-After") == "" {
				t.Error("a limited answer does not say when to come back")
			}
		default:
			a.refused(401, "unauthenticated", "", "")
		}
		m.call(t, m.agentKey, "GET", "/api/v1/mandates", nil).ok(200)
	}
	// The minute may turn once while the test runs.
	if limited < 5 {
		t.Errorf("of 25 attempts in a moment %d were limited", limited)
	}
}

// A key is good in its own workspace and for its own holder only.
func TestAKeyEndsAtItsWorkspace(t *testing.T) {
	w := newWorld(t)
	mine, theirs := w.newTeam(t, "mine"), w.newTeam(t, "theirs")
	for _, collection := range []string{"principals", "policies", "mandates", "destinations", "rego-versions", "keys", "gateways", "events"} {
		mine.own("GET", mine.at(collection), nil).ok(200)
		mine.own("GET", theirs.at(collection), nil).refused(404, "not_found", "", "")
		mine.own("GET", "/api/v1/"+collection+"?workspace_slug=mine", nil).ok(200)
		mine.own("GET", "/api/v1/"+collection+"?workspace_slug=theirs", nil).refused(404, "not_found", "", "")
		if collection == "gateways" || collection == "events" {
			continue
		}
		body := maps.Clone(mine.body(operation{method: "POST", path: mine.at(collection), hasBody: true}).(map[string]any))
		body["workspace_slug"] = "theirs"
		mine.own("POST", "/api/v1/"+collection, body).refused(404, "not_found", "", "")
		body["workspace_slug"] = "mine"
		mine.own("POST", theirs.at(collection), body).refused(400, "invalid_request", "workspace_slug", "")
		mine.own("POST", "/api/v1/"+collection, body).ok(201)
		delete(body, "workspace_slug")
		mine.own("POST", theirs.at(collection), body).refused(404, "not_found", "", "")
	}
}
