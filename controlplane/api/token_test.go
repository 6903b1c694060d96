package api_test

import (
	"strings"
	"testing"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
)

const grant = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange"

func TestAKeyIsExchangedForAToken(t *testing.T) {
	m := newWorld(t).newTeam(t, "my-team")
	const form = "Content-Type: application/x-www-form-urlencoded"
	for sentence, a := range map[string]*answer{
		"as the bearer":              m.call(t, m.agentKey, "POST", "/api/v1/token", nil),
		"as the bearer of an object": m.call(t, m.agentKey, "POST", "/api/v1/token", `{}`),
		"in a form":                  m.call(t, "", "POST", "/api/v1/token", grant+"&subject_token="+m.agentKey+"&subject_token_type=urn%3Acaracal%3Aparams%3Aoauth%3Atoken-type%3Aapi-key", form),
		"in an object":               m.call(t, "", "POST", "/api/v1/token", map[string]any{"grant_type": "urn:ietf:params:oauth:grant-type:token-exchange", "subject_token": m.agentKey}),
	} {
		t.Run(sentence, func(t *testing.T) {
			a.t = t
			token := into[controlplane.AccessToken](a.ok(200))
			if token.TokenType != "Bearer" || token.ExpiresIn != 900 {
				t.Errorf("the token is %+v", token)
			}
			m.call(t, token.AccessToken, "GET", "/api/v1/mandates", nil).ok(200)
			m.call(t, token.AccessToken, "GET", "/api/v1/principals", nil).refused(403, "forbidden", "", "")
			m.call(t, token.AccessToken, "POST", "/api/v1/token", nil).refused(403, "forbidden", "", "")
		})
	}
	for sentence, c := range map[string]struct {
		key, body, contentType string
		status                 int
		code, field            string
	}{
		"no key":                        {"", "", "", 401, "unauthenticated", ""},
		"an owner's key":                {m.ownerKey, "", "", 403, "forbidden", ""},
		"a gateway's key":               {m.gatewayKey, "", "", 403, "forbidden", ""},
		"another grant":                 {"", "grant_type=password&subject_token=" + m.agentKey, form, 400, "invalid_request", "grant_type"},
		"another type of token":         {"", grant + "&subject_token_type=x&subject_token=" + m.agentKey, form, 400, "invalid_request", "subject_token_type"},
		"a key in two places":           {m.agentKey, grant + "&subject_token=" + m.agentKey, form, 400, "invalid_request", "subject_token"},
		"a parameter that is not there": {m.agentKey, grant + "&scope=all", form, 400, "invalid_request", "scope"},
		"a parameter twice":             {m.agentKey, grant + "&" + grant, form, 400, "invalid_request", "grant_type"},
	} {
		t.Run(sentence, func(t *testing.T) {
			var body any
			headers := []string{}
			if c.body != "" {
				body, headers = c.body, append(headers, c.contentType)
			}
			m.call(t, c.key, "POST", "/api/v1/token", body, headers...).refused(c.status, c.code, c.field, "")
		})
	}
	for range 11 {
		m.call(t, "", "POST", "/api/v1/token", grant+"&subject_token=wrong", form)
	}
	if a := m.call(t, "", "POST", "/api/v1/token", grant+"&subject_token=wrong", form); a.status != 429 && a.status != 401 {
		t.Errorf("a bad key in a form answered %d %s", a.status, a.body)
	}
}

func TestATokenIsBoundToAMandate(t *testing.T) {
	m := newWorld(t).newTeam(t, "my-team")
	const form = "Content-Type: application/x-www-form-urlencoded"
	mandate := m.issue().ID
	for sentence, a := range map[string]*answer{
		"in an object": m.call(t, m.agentKey, "POST", "/api/v1/token", map[string]any{"mandate_id": mandate, "lifetime_seconds": 1800}),
		"in a form":    m.call(t, m.agentKey, "POST", "/api/v1/token", grant+"&mandate_id="+string(mandate)+"&lifetime_seconds=1800", form),
	} {
		t.Run(sentence, func(t *testing.T) {
			a.t = t
			token := into[controlplane.AccessToken](a.ok(200))
			if token.ExpiresIn != 1800 {
				t.Errorf("it lasts %d seconds", token.ExpiresIn)
			}
			m.call(t, token.AccessToken, "GET", "/api/v1/mandates/"+string(mandate), nil).ok(200)
			m.call(t, token.AccessToken, "GET", "/api/v1/session", nil).ok(200)
			m.call(t, token.AccessToken, "GET", "/api/v1/mandates", nil).refused(403, "forbidden", "", "")
			m.call(t, token.AccessToken, "POST", "/api/v1/mandates/"+string(mandate)+"/revoke", nil).refused(403, "forbidden", "", "")
			m.call(t, token.AccessToken, "POST", "/api/v1/token", nil).refused(403, "forbidden", "", "")
		})
	}
	for sentence, c := range map[string]struct {
		body   any
		status int
		code   string
		field  string
	}{
		"an empty mandate":                  {map[string]any{"mandate_id": ""}, 400, "invalid_request", "mandate_id"},
		"an empty mandate in a form":        {grant + "&mandate_id=", 400, "invalid_request", "mandate_id"},
		"no time":                           {map[string]any{"mandate_id": mandate, "lifetime_seconds": 0}, 400, "invalid_request", "lifetime_seconds"},
		"a day and a second":                {map[string]any{"mandate_id": mandate, "lifetime_seconds": 86401}, 400, "invalid_request", "lifetime_seconds"},
		"more than 15 minutes for any use":  {map[string]any{"lifetime_seconds": 901}, 400, "invalid_request", "lifetime_seconds"},
		"a time that is no number":          {grant + "&lifetime_seconds=soon", 400, "invalid_request", "lifetime_seconds"},
		"a mandate that nobody has":         {map[string]any{"mandate_id": authority.NewID[authority.MandateID]()}, 404, "not_found", ""},
		"a mandate of another's, in a form": {grant + "&mandate_id=" + string(authority.NewID[authority.MandateID]()), 404, "not_found", ""},
	} {
		t.Run(sentence, func(t *testing.T) {
			headers := []string{}
			if _, ok := c.body.(string); ok {
				headers = append(headers, form)
			}
			m.call(t, m.agentKey, "POST", "/api/v1/token", c.body, headers...).refused(c.status, c.code, c.field, "")
		})
	}
}

func TestARepeatedWriteHappensOnce(t *testing.T) {
	m := newWorld(t).newTeam(t, "my-team")
	body := map[string]any{"name": "once", "principal_type": "agent"}
	first := m.own("POST", m.at("principals"), body, "Idempotency-Key: k-1").ok(201)
	again := m.own("POST", m.at("principals"), body, "Idempotency-Key: k-1").ok(201)
	if string(first.body) != string(again.body) || first.header.Get("X-Caracal-Revision") != again.header.Get("X-Caracal-Revision") {
		t.Errorf("the second answer is another: %s and %s", first.body, again.body)
	}
	other := map[string]any{"name": "twice", "principal_type": "agent"}
	m.own("POST", m.at("principals"), other, "Idempotency-Key: k-1").refused(409, "conflict", "Idempotency-Key", "")
	m.own("POST", m.at("principals"), other, "Idempotency-Key: k-2").ok(201)
	m.own("POST", m.at("principals"), other, "Idempotency-Key: "+strings.Repeat("k", 256)).refused(400, "invalid_request", "Idempotency-Key", "")
	m.own("POST", m.at("principals"), other, "Idempotency-Key: two words").refused(400, "invalid_request", "Idempotency-Key", "")
	m.own("POST", m.at("principals"), other, "Idempotency-Key: a", "Idempotency-Key: b").refused(400, "invalid_request", "Idempotency-Key", "")
	a := m.own("GET", m.at("principals")+"?principal_type=agent", nil).ok(200)
	if strings.Count(string(a.body), `"name":"once"`) != 1 || strings.Count(string(a.body), `"name":"twice"`) != 1 {
		t.Errorf("the agents are %s", a.body)
	}
}
