package extauthz_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/envoy"
	"github.com/caracal-gateway/caracal/internal/world"
)

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// forwarded is a request that an unmodified client makes of the proxy port: it says who it is, and nothing about mandates.
func (b *bench) forwarded(method, url string, headers ...pair) asked {
	scheme, rest, _ := strings.Cut(url, "://")
	host, path, _ := strings.Cut(rest, "/")
	return asked{
		mode: envoy.ModeForward, method: method, scheme: scheme, host: host, path: "/" + path,
		headers: append([]pair{
			{"user-agent", "curl/7.88.1"},
			{"proxy-authorization", basic("-", b.Token(b.Agent.ID))},
			{"x-forwarded-proto", "http"},
		}, headers...),
	}
}

// connecting is a CONNECT of an unmodified client.
func (b *bench) connecting(authority string, headers ...pair) asked {
	return asked{
		mode: envoy.ModeForward, method: "CONNECT", host: authority,
		headers: append([]pair{
			{"user-agent", "curl/7.88.1"},
			{"proxy-authorization", basic("-", b.Token(b.Agent.ID))},
			{"x-forwarded-proto", "http"},
		}, headers...),
	}
}

// inside is a request over TLS through the tunnel of a decision.
func inside(outer, method, host, path string, headers ...pair) asked {
	name, _, _ := strings.Cut(host, ":")
	return asked{
		mode: envoy.ModeInside, method: method, scheme: "https", host: host, path: path, secure: true, sni: name, outer: outer,
		source: "127.0.0.9", headers: append([]pair{{"user-agent", "curl/7.88.1"}, {"x-forwarded-proto", "https"}}, headers...),
	}
}

// tunnel opens one and gives the decision that it was opened by.
func (w *tower) tunnel(t testing.TB, request asked) (string, *line) {
	t.Helper()
	decision := w.permitted(t, request)
	l, refused := w.register(t, decision)
	if refused != nil {
		t.Fatalf("the tunnel is refused: %+v", refused)
	}
	return decision, l
}

// tunnelled reports whether a tunnel to a host is open that is looked into.
func (w *tower) tunnelled(host string) bool { return len(w.service.Tunnellers(host)) > 0 }

func TestARequestInAbsoluteFormGoesExactlyWhereItWasJudgedToGo(t *testing.T) {
	b := newBench(t)
	b.enforce(t)
	answer := b.check(t, b.forwarded("POST", "http://Plain.Caracal.Test.:80/v1/x?q=v", pair{"authorization", "Bearer sk-upstream"}).check())
	p := wantPermission(t, answer)
	if p.set[":scheme"] != "http" || p.set[":authority"] != world.PlainHost || p.set[":path"] != "/v1/x?q=v" || p.set[envoy.BoundHeader] != envoy.BoundWatched {
		t.Errorf("headers set: %v", p.set)
	}
	if diff := cmp.Diff(map[string]bool{"proxy-authorization": true}, p.remove); diff != "" {
		t.Errorf("headers removed (-want +got):\n%s", diff)
	}
	event := b.events.last(t)
	if event.MandateID != b.Mandate.ID || event.Detail["selected"] != true || event.Resource != "api:echo/plain" || event.Request.Mode != "forward" {
		t.Errorf("event %+v", event)
	}
	told := answer.GetOkResponse().GetResponseHeadersToAdd()
	if len(told) != 1 || told[0].GetHeader().GetKey() != "x-caracal-selected-mandate" || told[0].GetHeader().GetValue() != string(b.Mandate.ID) {
		t.Errorf("the client is told %v", told)
	}
}

func TestARequestInsideOfATunnelIsJudgedByItself(t *testing.T) {
	w := newTower(t)
	outer := w.permission(t, w.connecting("Echo.Caracal.Test:9443"))
	if outer.set[envoy.RouteHeader] != envoy.RouteInside || outer.set[envoy.BoundHeader] != envoy.BoundWatched || outer.set[":authority"] != "echo.caracal.test:9443" {
		t.Errorf("the tunnel: %v", outer.set)
	}
	if event := w.events.last(t); event.MandateID != "" || event.Request.Mode != "connect" || event.Request.Host != world.EchoHost || event.Request.Port != 9443 {
		t.Errorf("event of the tunnel %+v", event)
	}
	decision, _ := w.tunnel(t, w.connecting("echo.caracal.test:9443"))
	if !w.tunnelled(world.EchoHost) || w.tunnelled("other.test") {
		t.Error("the hosts that there are tunnels to are others")
	}
	p := w.permission(t, inside(decision, "POST", "Echo.caracal.test:9443", "/v1/x", pair{"authorization", "Bearer sk-upstream"}))
	if p.set[":authority"] != "echo.caracal.test:9443" || p.set[":scheme"] != "https" || p.remove["authorization"] {
		t.Errorf("inside: %+v", p)
	}
	event := w.events.last(t)
	if event.MandateID != w.Mandate.ID || event.PrincipalID != w.Agent.ID || event.Request.Source != "192.0.2.2" ||
		event.Detail["tunnel"] != decision || event.Detail["selected"] != true || event.Request.Mode != "inside" || event.Action != authority.Execute {
		t.Errorf("event inside: %+v", event)
	}
}

func TestAnOpaqueTunnelNeedsAllActionsInOneMandate(t *testing.T) {
	w := newTower(t)
	w.Destination(authority.Destination{Name: "raw", Host: "raw.test", Ports: []uint16{443}, TLS: authority.TLSRequired, Tunnel: authority.TunnelPassthrough})
	grant := w.Issue(w.Agent.ID, authority.Scope{Resources: []authority.ResourcePattern{"tunnel:raw.test:443"}, Actions: authority.AllActions()})
	w.enforce(t)
	p := w.permission(t, w.connecting("raw.test:443"))
	if p.set[envoy.RouteHeader] != envoy.RoutePublicTunnel || p.set[":authority"] != "raw.test:443" {
		t.Errorf("headers set: %v", p.set)
	}
	if event := w.events.last(t); event.MandateID != grant.ID || event.Resource != "tunnel:raw.test:443" || event.Action != authority.Execute {
		t.Errorf("event %+v", event)
	}
}
