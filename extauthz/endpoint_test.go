package extauthz_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/envoy"
)

const someMandate = "mdt_aaaaaaaaaaaaaaaaaaaaaaaaaa"

// What the gateway process answers itself goes through without a snapshot, and says nothing about authority.
func TestTheGatewaysOwnEndpointsAnswerFromTheFirstSecond(t *testing.T) {
	plain := []asked{
		{mode: envoy.ModeGateway, method: "GET", path: "/health"},
		{mode: envoy.ModeGateway, method: "GET", path: "/ready"},
		{mode: envoy.ModeGateway, method: "POST", path: "/admin/sync"},
		{mode: envoy.ModePlain, method: "GET", path: "/health"},
		{mode: envoy.ModePlain, method: "GET", path: "/ready"},
		{mode: envoy.ModePlain, method: "POST", path: "/admin/sync"},
	}
	agents := []asked{
		{method: "POST", path: "/api/v1/token"},
		{method: "POST", path: "/api/v1/mandates"},
		{method: "GET", path: "/api/v1/mandates"},
		{method: "GET", path: "/api/v1/mandates?limit=10&cursor=abc"},
		{method: "GET", path: "/api/v1/mandates/" + someMandate},
		{method: "POST", path: "/api/v1/mandates/validate"},
		{method: "POST", path: "/api/v1/mandates/" + someMandate + "/delegate"},
		{method: "POST", path: "/api/v1/mandates/" + someMandate + "/revoke"},
		{method: "GET", path: "/api/v1/workspaces/my-team/mandates"},
		{method: "POST", path: "/api/v1/workspaces/my-team/mandates"},
	}
	for i := range agents {
		agents[i].mode = envoy.ModeGateway
	}
	b := newBench(t)
	for _, a := range append(plain, agents...) {
		t.Run(a.mode+" "+a.method+" "+a.path, func(t *testing.T) {
			a.host = "localhost:8443"
			a.headers = []pair{{"authorization", "Bearer x"}, {"x-forwarded-for", "192.0.2.2"}, {"x-forwarded-proto", "http"}, {"x-envoy-external-address", "192.0.2.2"}}
			p := wantPermission(t, b.check(t, a.check()))
			if diff := cmp.Diff(map[string]string{envoy.RouteHeader: envoy.RouteSelf, envoy.AddressHeader: "192.0.2.2"}, p.set); diff != "" {
				t.Errorf("headers set (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(map[string]bool{"x-forwarded-for": true, "x-envoy-external-address": true}, p.remove); diff != "" {
				t.Errorf("headers removed (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(map[string]string{"mode": "self"}, p.metadata); diff != "" {
				t.Errorf("metadata (-want +got):\n%s", diff)
			}
		})
	}
	if got := b.events.all(); len(got) != 0 {
		t.Errorf("recorded %d events of requests that ask for no authority", len(got))
	}
}

func TestEverythingElseOnTheGatewayPortIsRefused(t *testing.T) {
	cases := map[string]struct {
		asked  asked
		reason authority.Reason
	}{
		"health by POST":                      {asked{mode: envoy.ModeGateway, method: "POST", path: "/health"}, authority.ReasonUnknownEndpoint},
		"health by HEAD":                      {asked{mode: envoy.ModeGateway, method: "HEAD", path: "/health"}, authority.ReasonUnknownEndpoint},
		"health with a slash":                 {asked{mode: envoy.ModeGateway, method: "GET", path: "/health/"}, authority.ReasonUnknownEndpoint},
		"health with a query":                 {asked{mode: envoy.ModeGateway, method: "GET", path: "/health?x=1"}, authority.ReasonUnknownEndpoint},
		"health with two slashes":             {asked{mode: envoy.ModeGateway, method: "GET", path: "//health"}, authority.ReasonUnknownEndpoint},
		"health by a detour":                  {asked{mode: envoy.ModeGateway, method: "GET", path: "/a/../health"}, authority.ReasonUnknownEndpoint},
		"health in capitals":                  {asked{mode: envoy.ModeGateway, method: "GET", path: "/Health"}, authority.ReasonUnknownEndpoint},
		"the proxy path with a query":         {asked{mode: envoy.ModeGateway, method: "POST", path: "/api/proxy?x=1"}, authority.ReasonUnknownEndpoint},
		"the proxy path with a slash":         {asked{mode: envoy.ModeGateway, method: "POST", path: "/api/proxy/"}, authority.ReasonUnknownEndpoint},
		"a way in that is not known":          {asked{mode: "", method: "GET", path: "/health"}, authority.ReasonUnknownEndpoint},
		"another API path":                    {asked{mode: envoy.ModeGateway, method: "GET", path: "/api/v1/principals"}, authority.ReasonUnknownEndpoint},
		"a token by GET":                      {asked{mode: envoy.ModeGateway, method: "GET", path: "/api/v1/token"}, authority.ReasonUnknownEndpoint},
		"a query on a write":                  {asked{mode: envoy.ModeGateway, method: "POST", path: "/api/v1/mandates?x=1"}, authority.ReasonUnknownEndpoint},
		"something that is no mandate's id":   {asked{mode: envoy.ModeGateway, method: "GET", path: "/api/v1/mandates/../principals"}, authority.ReasonUnknownEndpoint},
		"a mandate with a slash behind":       {asked{mode: envoy.ModeGateway, method: "GET", path: "/api/v1/mandates/" + someMandate + "/"}, authority.ReasonUnknownEndpoint},
		"an operation that mandates have not": {asked{mode: envoy.ModeGateway, method: "POST", path: "/api/v1/mandates/" + someMandate + "/delete"}, authority.ReasonUnknownEndpoint},
		"something that is no slug":           {asked{mode: envoy.ModeGateway, method: "GET", path: "/api/v1/workspaces/../mandates"}, authority.ReasonUnknownEndpoint},
		"administration without a key":        {asked{mode: envoy.ModeGateway, method: "GET", path: "/admin/config_dump"}, authority.ReasonAuthRequired},
		"sync by GET without a key":           {asked{mode: envoy.ModeGateway, method: "GET", path: "/admin/sync"}, authority.ReasonAuthRequired},
		"sync with a query without a key":     {asked{mode: envoy.ModeGateway, method: "POST", path: "/admin/sync?force=1"}, authority.ReasonAuthRequired},
		"administration with a key": {
			asked{mode: envoy.ModeGateway, method: "GET", path: "/admin/config_dump", headers: []pair{{"authorization", "Bearer x"}}}, authority.ReasonUnknownEndpoint,
		},
		"the proxy over plain HTTP where there is TLS":     {asked{mode: envoy.ModePlain, method: "POST", path: "/api/proxy"}, authority.ReasonTLSRequired},
		"the agent API over plain HTTP where there is TLS": {asked{mode: envoy.ModePlain, method: "POST", path: "/api/v1/mandates"}, authority.ReasonTLSRequired},
		"a CONNECT":                  {asked{mode: envoy.ModeGateway, method: "CONNECT", host: "pub.test:443"}, authority.ReasonUnknownEndpoint},
		"a CONNECT by another way":   {asked{mode: envoy.ModeGateway, method: "CONNECT", host: "pub.test:443"}, authority.ReasonUnknownEndpoint},
		"a CONNECT over plain HTTP":  {asked{mode: envoy.ModePlain, method: "CONNECT", host: "pub.test:443"}, authority.ReasonTLSRequired},
		"an absolute form for a URL": {asked{mode: envoy.ModeGateway, method: "GET", path: "http://other.test/health"}, authority.ReasonUnknownEndpoint},
		"health in absolute form for a destination": {
			asked{mode: envoy.ModeGateway, method: "GET", path: "/health", host: "echo.caracal.test:9443"}, authority.ReasonUnknownEndpoint,
		},
	}
	b := newBench(t)
	b.enforce(t)
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if c.asked.host == "" {
				c.asked.host = "localhost:8443"
			}
			check := c.asked.check()
			if d := wantDenial(t, b.check(t, check)); d.Error != string(c.reason) {
				t.Errorf("got %d %s (%s), want %s", d.Status, d.Error, d.Message, c.reason)
			}
		})
	}
}
