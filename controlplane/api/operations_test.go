package api_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
)

// operation is one operation of the OpenAPI document.
type operation struct {
	method, path string
	open         bool // asks for no credential
	hasBody      bool
}

func (o operation) String() string { return o.method + " " + o.path }

// operations lists all that the OpenAPI document describes, so that a new one is in every test that walks them.
func operations(t *testing.T) []operation {
	t.Helper()
	var all []operation
	for path, item := range loadContract(t).document.Paths.PathItems.FromOldest() {
		for method, o := range item.GetOperations().FromOldest() {
			all = append(all, operation{
				method: strings.ToUpper(method), path: path, open: o.Security != nil && len(o.Security) == 0,
				hasBody: o.RequestBody != nil && o.RequestBody.Required != nil && *o.RequestBody.Required,
			})
		}
	}
	if len(all) < 50 {
		t.Fatalf("the OpenAPI document has only %d operations", len(all))
	}
	return all
}

// possessions are one thing of each kind, by the collection that it is in.
type possessions map[string]string

func (m *team) possessions() possessions {
	m.t.Helper()
	destination := into[authority.Destination](m.own("POST", m.at("destinations"), destinationOf("shop")).ok(201))
	version := into[authority.RegoVersion](m.own("POST", m.at("rego-versions"), map[string]any{"modules": map[string]string{"a.rego": denying("nothing_at_all", "false")}}).ok(201))
	key := into[authority.Key](m.own("POST", m.at("keys"), map[string]any{"kind": "agent", "name": "second", "principal_id": m.helper}).ok(201))
	clients := into[authority.ClientAuthority](m.own("POST", m.at("client-authorities"), clientsOf("corporate")).ok(201))
	signing := into[controlplane.SigningKeys](m.own("GET", m.at("signing-keys"), nil).ok(200)).Items
	issuer := into[controlplane.TrustedIssuer](m.own("POST", m.at("issuers"), issuerOf("corporate")).ok(201))
	member := into[authority.Member](m.own("POST", m.at("members"), map[string]any{"name": "Ada", "role": "viewer"}).ok(201))
	mandate := m.issue()
	receipt := into[controlplane.Receipt](m.own("POST", "/api/v1/mandates/"+string(m.issue().ID)+"/revoke", nil).ok(200))
	events := into[[]authority.Event](m.own("GET", m.at("events")+"?event_type=issued", nil).ok(200))
	return possessions{
		"principals": string(m.helper), "policies": string(m.policy), "mandates": string(mandate.ID), "destinations": string(destination.ID),
		"rego-versions": string(version.ID), "keys": string(key.ID), "events": string(events[0].ID), "workspaces": m.slug,
		"members":            string(member.ID),
		"sessions":           string(authority.NewID[authority.SessionID]()), // nobody's: a session needs a browser
		"client-authorities": string(clients.ID), "signing-keys": string(signing[0].ID),
		"receipts": string(receipt.ID),
		"issuers":  string(issuer.ID), "gateways": string(m.enrol(m.t, "edge").id), // without a lease: nothing waits for it
	}
}

// absent is nothing of anybody's.
func absent() possessions {
	return possessions{
		"principals": string(authority.NewID[authority.PrincipalID]()), "policies": string(authority.NewID[authority.PolicyID]()),
		"mandates": string(authority.NewID[authority.MandateID]()), "destinations": string(authority.NewID[authority.DestinationID]()),
		"rego-versions": string(authority.NewID[authority.RegoVersionID]()), "keys": string(authority.NewID[authority.KeyID]()),
		"events": string(authority.NewID[authority.EventID]()), "workspaces": "no-such-team",
		"members":            string(authority.NewID[authority.PrincipalID]()),
		"sessions":           string(authority.NewID[authority.SessionID]()),
		"client-authorities": string(authority.NewID[authority.ClientAuthorityID]()), "signing-keys": "sgk_aaaaaaaaaaaaaaaa",
		"receipts": string(authority.NewID[authority.ReceiptID]()),
		"issuers":  string(authority.NewID[authority.TrustedIssuerID]()), "gateways": string(authority.NewID[authority.GatewayID]()),
	}
}

// at fills in the path of an operation.
func (p possessions) at(path string) string {
	parts := strings.Split(path, "/")
	for i, part := range parts {
		switch part {
		case "{workspace}":
			parts[i] = p["workspaces"]
		case "{id}", "{file}":
			parts[i] = p[parts[i-1]]
		}
	}
	return strings.Join(parts, "/")
}

// body is one that the operation accepts from a caller of the team, about nobody but the team.
func (m *team) body(o operation) any {
	if !o.hasBody {
		return nil
	}
	bodies := map[string]any{
		"POST /api/v1/workspaces":                 map[string]any{"name": "Another", "slug": "another-" + strings.ToLower(string(authority.NewID[authority.KeyID]())[4:14])},
		"POST principals":                         map[string]any{"name": "one more", "principal_type": "agent"},
		"POST policies":                           map[string]any{"principal_id": m.agent, "allowed_resources": []string{"db:*"}, "allowed_actions": []string{"read"}, "max_validity_seconds": 60, "delegation_depth": 0},
		"PATCH /api/v1/policies/{id}":             map[string]any{"max_validity_seconds": 86400},
		"POST members":                            map[string]any{"name": "one more", "role": "viewer"},
		"PATCH /api/v1/members/{id}":              map[string]any{"name": "renamed"},
		"PATCH /api/v1/principals/{id}":           map[string]any{"name": "renamed"},
		"PATCH /api/v1/workspaces/{id}":           map[string]any{"description": "of the team"},
		"PUT /api/v1/workspaces/{id}/group-roles": map[string]any{"group_roles": []any{}},
		"POST revocations":                        map[string]any{"subject_id": m.agent},
		"POST mandates":                           m.mandateRequest(),
		"POST /api/v1/mandates/validate":          map[string]any{"mandate_id": "mdt_aaaaaaaaaaaaaaaaaaaaaaaaaa", "requested_action": "read", "requested_resource": "db:x"},
		"POST /api/v1/mandates/{id}/delegate":     m.delegation(m.helper),
		"POST destinations":                       destinationOf("host-" + strings.ToLower(string(authority.NewID[authority.KeyID]())[4:14])),
		"PUT /api/v1/destinations/{id}":           destinationOf("shop"),
		"POST test":                               map[string]any{"url": "https://shop.example.com/"},
		"POST client-authorities":                 clientsOf("mesh"),
		"POST issuers":                            issuerOf("cluster"),
		"PUT /api/v1/issuers/{id}":                issuerOf("corporate"),

		"PUT /api/v1/client-authorities/{id}":                     clientsOf("corporate"),
		"POST /api/v1/signing-keys/rotate":                        map[string]any{},
		"POST /api/v1/workspaces/{workspace}/signing-keys/rotate": map[string]any{},
		"POST rego-versions":                                      map[string]any{"modules": map[string]string{"a.rego": denying("nothing_at_all", "false")}},
		"POST /api/v1/gateways/{id}/forget":                       map[string]any{"reason": "the machine was scrapped"},
		"POST keys":                                               map[string]any{"kind": "gateway", "name": "one more"},
	}
	if body, ok := bodies[o.String()]; ok {
		return body
	}
	body, ok := bodies[o.method+" "+o.path[strings.LastIndex(o.path, "/")+1:]]
	if !ok {
		m.t.Fatalf("no body is known for %s", o)
	}
	return body
}

// issuerOf is a cluster whose tokens identify nobody, and whose keys are at an address that is never reached.
func issuerOf(name string) map[string]any {
	return map[string]any{
		"name": name, "kind": "kubernetes", "issuer": "https://" + name + ".example", "jwks_url": "https://192.0.2.1/jwks", "audiences": []string{"caracal"},
	}
}

// clientsOf is a certificate authority whose certificates identify nobody.
func clientsOf(name string) map[string]any {
	return map[string]any{"name": name, "roots": exampleRoot}
}

// exampleRoot is the root that the document shows.
const exampleRoot = `-----BEGIN CERTIFICATE-----
MIIBHjCB0aADAgECAgEBMAUGAytlcDAWMRQwEgYDVQQDEwtleGFtcGxlLm9yZzAg
Fw0yNjAxMDEwMDAwMDBaGA8yMDc2MDEwMTAwMDAwMFowFjEUMBIGA1UEAxMLZXhh
bXBsZS5vcmcwKjAFBgMrZXADIQD3dnIdggLUQIB7FASt8+9gmAF8r+Dry9mgKToY
gFFLAaNCMEAwDgYDVR0PAQH/BAQDAgIEMA8GA1UdEwEB/wQFMAMBAf8wHQYDVR0O
BBYEFGquRcai71voSG4YRo9FsUbxOUubMAUGAytlcANBAKz3xQNiHHicAn7iB6lv
c7exCtPhxmV9aVkaa1MFxJVmHOkJ/sMtPL5FuMPUHqulM3Yq2T3fONzvV+2ftNml
Ewk=
-----END CERTIFICATE-----
`

func destinationOf(name string) map[string]any {
	return map[string]any{
		"name": name, "host": name + ".example.com", "ports": []int{443}, "tls": "tls", "encoded_slash": "refuse",
		"rules": []map[string]any{{"path": "/**", "methods": map[string]string{"GET": "read", "*": "write"}, "resource": "api:" + name}},
	}
}

// denying is a Rego module that denies with a code where a condition holds.
func denying(code, condition string) string {
	return "package caracal.policy\n\ndeny contains {\"code\": \"" + code + "\", \"message\": \"denied by " + code + "\"} if {\n\t" + condition + "\n}\n"
}

// withoutNames is an answer without what differs between two requests alike.
func (a *answer) withoutNames(names ...string) string {
	text := a.body
	for _, n := range names {
		text = bytes.ReplaceAll(text, []byte(n), []byte("…"))
	}
	var fields map[string]any
	if json.Unmarshal(text, &fields) == nil {
		delete(fields, "request_id")
		delete(fields, "decision_id")
		text, _ = json.Marshal(fields)
	}
	return string(text)
}

// comparable are the headers that an answer tells something with.
func (a *answer) comparable() map[string][]string {
	h := maps.Clone(map[string][]string(a.header))
	for _, name := range []string{"Date", "X-Request-Id", "Content-Length"} {
		delete(h, name)
	}
	for _, values := range h {
		slices.Sort(values)
	}
	return h
}
