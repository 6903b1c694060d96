package api_test

import (
	"encoding/json"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
	"github.com/caracal-gateway/caracal/internal/openid"
)

const (
	grantExchange = "urn:ietf:params:oauth:grant-type:token-exchange"
	typeJWT       = "urn:ietf:params:oauth:token-type:jwt"
)

var jsonBlock = regexp.MustCompile("(?s)```json\n(.*?)\n```")

// The issuers that the documentation shows are trusted as they stand there, by a workspace of their own.
func TestIssuersOfTheDocumentationAreTrusted(t *testing.T) {
	text, err := os.ReadFile("../../docs/identity.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), "## Workloads that bring their own identity")
	if !found {
		t.Fatal("the documentation has no such section")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	m := newWorld(t).newTeam(t, "documented")
	blocks := jsonBlock.FindAllStringSubmatch(section, -1)
	kinds := map[authority.IssuerKind]bool{}
	for _, block := range blocks {
		body := json.RawMessage(strings.ReplaceAll(block[1], "prn_…", string(m.agent)))
		created := into[controlplane.TrustedIssuer](m.own("POST", m.at("issuers"), body).ok(201))
		kinds[created.Kind] = true
		got := into[controlplane.TrustedIssuer](m.own("GET", "/api/v1/issuers/"+string(created.ID), nil).ok(200))
		m.own("PUT", "/api/v1/issuers/"+string(created.ID), got).ok(200)
	}
	if len(kinds) != 3 {
		t.Errorf("the documentation shows the kinds %v", kinds)
	}
	_, rest, _ := strings.Cut(section, "POST /api/v1/token\n")
	body, _, _ := strings.Cut(rest, "```")
	m.call(t, "", "POST", "/api/v1/token", json.RawMessage(strings.Replace(body, "my-team", m.slug, 1))).refused(401, "unauthenticated", "", "")
}

func TestTheTokenOfAnIssuerIsExchanged(t *testing.T) {
	m := newWorld(t).newTeam(t, "mine")
	signer := openid.NewSigner(t, "ES256", "k")
	m.own("POST", m.at("issuers"), map[string]any{
		"name": "cluster", "kind": "kubernetes", "issuer": "https://kubernetes.default.svc", "jwks": openid.KeySet(t, signer), "audiences": []string{"caracal"},
		"bindings": []any{map[string]any{"value": "system:serviceaccount:agents:reporter", "principal_id": m.agent}},
	}).ok(201)
	now := time.Now()
	// A token is longer than other parameters may be.
	jwt := signer.Sign(map[string]any{
		"iss": "https://kubernetes.default.svc", "sub": "system:serviceaccount:agents:reporter", "aud": "caracal",
		"iat": now.Unix(), "exp": now.Add(time.Minute).Unix(), "padding": strings.Repeat("x", 2000),
	})
	with := func(change map[string]any) map[string]any {
		body := map[string]any{"grant_type": grantExchange, "subject_token": jwt, "subject_token_type": typeJWT, "workspace_slug": m.slug}
		for name, value := range change {
			body[name] = value
			if value == nil {
				delete(body, name)
			}
		}
		return body
	}
	exchanged := into[controlplane.AccessToken](m.call(t, "", "POST", "/api/v1/token", with(nil)).ok(200))
	if exchanged.ExpiresIn > 60 {
		t.Errorf("the access token holds %d s", exchanged.ExpiresIn)
	}
	m.call(t, exchanged.AccessToken, "GET", "/api/v1/mandates", nil).ok(200)
	form := url.Values{"grant_type": {grantExchange}, "subject_token": {jwt}, "subject_token_type": {typeJWT}, "workspace_slug": {m.slug}}
	m.call(t, "", "POST", "/api/v1/token", form.Encode(), "Content-Type: application/x-www-form-urlencoded").ok(200)

	m.call(t, "", "POST", "/api/v1/token", with(map[string]any{"workspace_slug": nil})).refused(400, "invalid_request", "workspace_slug", "")
	m.call(t, "", "POST", "/api/v1/token", with(map[string]any{"subject_token": nil})).refused(400, "invalid_request", "subject_token", "")
	m.call(t, "x", "POST", "/api/v1/token", with(nil)).refused(400, "invalid_request", "subject_token", "")
	m.call(t, "", "POST", "/api/v1/token", with(map[string]any{"workspace_slug": "nowhere"})).refused(401, "unauthenticated", "", "")
	m.call(t, "", "POST", "/api/v1/token", with(map[string]any{"subject_token": jwt + "x"})).refused(401, "unauthenticated", "", "")
	m.call(t, "", "POST", "/api/v1/token", with(map[string]any{"subject_token_type": nil})).refused(401, "unauthenticated", "", "")
}
