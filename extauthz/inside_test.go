package extauthz_test

import (
	"strings"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/envoy"
	"github.com/caracal-gateway/caracal/extauthz"
	"github.com/caracal-gateway/caracal/internal/world"
	"github.com/caracal-gateway/caracal/lease"
)

// The authority of the CONNECT, the name in TLS and the request's own host and port are one.
func TestWhatIsInsideOfATunnelIsForWhereItWasOpenedTo(t *testing.T) {
	w := newTower(t)
	w.Issue(w.Agent.ID, everything("*"))
	w.Destination(authority.Destination{Name: "other port", Host: "echo.caracal.test", Ports: []uint16{443}, TLS: authority.TLSRequired})
	w.enforce(t)
	echo, _ := w.tunnel(t, w.connecting("echo.caracal.test:9443"))
	public, _ := w.tunnel(t, w.connecting("pub.test:443"))
	plain, _ := w.tunnel(t, w.connecting("pub.test:80"))
	opaque := w.permitted(t, w.connecting("pub.test:443")) // awaited, and not live

	good := inside(echo, "GET", "echo.caracal.test:9443", "/x")
	change := func(edit func(*asked)) asked {
		request := good
		edit(&request)
		return request
	}
	plainly := func(request asked) asked {
		request.scheme, request.secure, request.sni = "http", false, ""
		return request
	}
	const mismatch = authority.ReasonTargetMismatch
	for name, c := range map[string]struct {
		request asked
		reason  authority.Reason // empty where the request passes
	}{
		"the host and the port":                        {request: good},
		"the host in another letter case":              {request: change(func(a *asked) { a.host, a.sni = "ECHO.caracal.TEST:9443", "Echo.Caracal.Test" })},
		"the host with a dot behind":                   {request: change(func(a *asked) { a.host = "echo.caracal.test.:9443" })},
		"a default port that is left out":              {request: inside(public, "GET", "pub.test", "/x")},
		"a default port that is there":                 {request: inside(public, "GET", "pub.test:443", "/x")},
		"plain text":                                   {request: plainly(inside(plain, "GET", "pub.test", "/x"))},
		"another host in the request":                  {request: change(func(a *asked) { a.host = "pub.test:9443" }), reason: mismatch},
		"another host in the request and in TLS":       {request: change(func(a *asked) { a.host, a.sni = "pub.test:9443", "pub.test" }), reason: mismatch},
		"another host in TLS":                          {request: change(func(a *asked) { a.sni = "pub.test" }), reason: mismatch},
		"a host below the one in TLS":                  {request: change(func(a *asked) { a.sni = "a.echo.caracal.test" }), reason: mismatch},
		"a dot behind the host in TLS":                 {request: change(func(a *asked) { a.sni = "echo.caracal.test." }), reason: mismatch},
		"no host in TLS":                               {request: change(func(a *asked) { a.sni = "" }), reason: mismatch},
		"another port":                                 {request: change(func(a *asked) { a.host = "echo.caracal.test:443" }), reason: mismatch},
		"no port where it is not the scheme's":         {request: change(func(a *asked) { a.host = "echo.caracal.test" }), reason: mismatch},
		"http:// in TLS":                               {request: change(func(a *asked) { a.scheme = "http" }), reason: mismatch},
		"https:// in plain text":                       {request: change(func(a *asked) { a.secure, a.sni = false, "" }), reason: mismatch},
		"plain text where the host has TLS":            {request: plainly(good), reason: authority.ReasonTargetNotAllowed},
		"TLS where the port has none":                  {request: inside(plain, "GET", "pub.test:80", "/x"), reason: authority.ReasonTargetNotAllowed},
		"an absolute form for another host":            {request: change(func(a *asked) { a.host = "evil.test" }), reason: mismatch},
		"a host that is an address":                    {request: change(func(a *asked) { a.host = "127.0.0.1:9443" }), reason: authority.ReasonInvalidTarget},
		"a tunnel that nobody opened":                  {request: change(func(a *asked) { a.outer = string(authority.NewID[authority.DecisionID]()) }), reason: authority.ReasonTunnelUnknown},
		"no tunnel":                                    {request: change(func(a *asked) { a.outer = "" }), reason: authority.ReasonTunnelUnknown},
		"a tunnel that is permitted and not open":      {request: inside(opaque, "GET", "pub.test", "/x"), reason: authority.ReasonTunnelUnknown},
		"a request that is watched and no tunnel":      {request: change(func(a *asked) { a.outer = w.permitted(t, w.proxied()) }), reason: authority.ReasonTunnelUnknown},
		"a path that two readers read differently":     {request: change(func(a *asked) { a.path = "/x/../y" }), reason: authority.ReasonInvalidTarget},
		"no scheme":                                    {request: change(func(a *asked) { a.scheme = "ftp" }), reason: authority.ReasonInvalidTarget},
		"a method that tells the upstream's secret":    {request: change(func(a *asked) { a.method = "TRACE" }), reason: authority.ReasonTargetNotAllowed},
		"an upgrade to what is not carried":            {request: good.plus("upgrade", "h2c"), reason: authority.ReasonMalformedHeader},
		"a path that a header would change":            {request: good.plus("x-caracal-target-url", "https://pub.test/")},
		"a mandate that is named inside":               {request: good.plus("x-caracal-mandate", string(w.Mandate.ID))},
		"a mandate of somebody else that is named":     {request: good.plus("x-caracal-mandate", string(w.Delegated.ID)), reason: authority.ReasonSubjectMismatch},
		"the token of another where nobody is asked":   {request: good.plus("proxy-authorization", basic("-", w.Token(w.Child.ID)))},
		"a credential of ours for the upstream":        {request: good.plus("authorization", "Bearer "+w.Token(w.Child.ID)), reason: authority.ReasonMalformedHeader},
		"the token that the tunnel was opened with":    {request: good.plus("authorization", "Bearer "+w.Token(w.Agent.ID)), reason: authority.ReasonMalformedHeader},
		"a path that holds the token of the tunnel":    {request: change(func(a *asked) { a.path = "/" + w.Token(w.Agent.ID) }), reason: authority.ReasonInvalidTarget},
		"the service's own authorization for upstream": {request: good.plus("authorization", "Bearer sk-abc")},
	} {
		t.Run(name, func(t *testing.T) {
			if c.reason == "" {
				p := w.permission(t, c.request)
				if w.events.last(t).PrincipalID != w.Agent.ID {
					t.Errorf("the request is %s's, want the tunnel's caller", w.events.last(t).PrincipalID)
				}
				for name := range p.remove {
					if name == "authorization" {
						t.Error("the caller's own Authorization does not go on")
					}
				}
				for _, h := range c.request.headers {
					if strings.HasPrefix(h.name, "proxy-") && !p.remove[h.name] {
						t.Errorf("%s goes on", h.name)
					}
				}
				return
			}
			d := w.denial(t, c.request)
			status := c.reason.Status()
			if c.reason == mismatch {
				status = 421
			}
			if d.Error != string(c.reason) || d.Status != status {
				t.Errorf("got %d %s (%s), want %d %s", d.Status, d.Error, d.Message, status, c.reason)
			}
		})
	}
}

// A tunnel that looks into nothing has no inside, whatever says so.
func TestThereIsNothingInsideOfAnOpaqueTunnel(t *testing.T) {
	w := newTower(t)
	w.Destination(authority.Destination{Name: "raw", Host: "raw.test", Ports: []uint16{443}, TLS: authority.TLSRequired, Tunnel: authority.TunnelPassthrough})
	w.Issue(w.Agent.ID, everything("*"))
	w.enforce(t)
	decision, _ := w.tunnel(t, w.connecting("raw.test:443"))
	if d := w.denial(t, inside(decision, "GET", "raw.test", "/x")); d.Error != string(authority.ReasonTunnelUnknown) || d.Status != 503 {
		t.Errorf("got %d %s", d.Status, d.Error)
	}
	if w.tunnelled("raw.test") {
		t.Error("a certificate would be made for a tunnel that nobody looks into")
	}
}

// A tunnel that was told to end takes no more requests, also while Envoy has not closed it yet, and those learn why.
func TestATunnelThatWasEndedTakesNoMoreAndSaysWhy(t *testing.T) {
	for sentence, c := range map[string]struct {
		end    func(*testing.T, *tower)
		reason authority.Reason
	}{
		"the gateway stops": {func(_ *testing.T, w *tower) { w.service.End(authority.ReasonNoDecision) }, authority.ReasonNoDecision},
		"its mandate is revoked": {func(t *testing.T, w *tower) {
			w.Revoke(w.Mandate.ID)
			w.change(t, extauthz.Change{Mandates: []authority.MandateID{w.Mandate.ID}})
		}, authority.ReasonMandateRevoked},
		"its caller is suspended": {func(t *testing.T, w *tower) {
			w.Suspend(w.Agent.ID)
			w.change(t, extauthz.Change{Principals: []authority.PrincipalID{w.Agent.ID}})
		}, authority.ReasonSuspended},
		"the lease is lost": {func(_ *testing.T, w *tower) { w.pass(lease.MaxTerm) }, authority.ReasonLeaseExpired},
	} {
		t.Run(sentence, func(t *testing.T) {
			w := newTower(t)
			decision, line := w.tunnel(t, w.connecting("echo.caracal.test:9443").with("proxy-authorization", basic(string(w.Mandate.ID), w.Token(w.Agent.ID))))
			c.end(t, w)
			told := <-line.told
			request := inside(decision, "GET", "echo.caracal.test:9443", "/x")
			for range 2 {
				if d := w.denial(t, request); d.Error != string(c.reason) || d.Error != told.Error || d.Status != c.reason.Status() {
					t.Errorf("got %d %s, after the tunnel was ended by %s", d.Status, d.Error, told.Error)
				}
				eventually(t, "nothing is left of it", func() bool { return !w.tunnelled(world.EchoHost) })
			}
		})
	}
}

// What is remembered of tunnels that were ended is bounded.
func TestOfTheLastTunnelsThatWereEndedIsKnownWhy(t *testing.T) {
	w := newTower(t)
	const more = 1024
	var decisions []string
	for range more + 1 {
		decision, _ := w.tunnel(t, w.connecting("echo.caracal.test:9443"))
		decisions = append(decisions, decision)
	}
	w.Suspend(w.Agent.ID)
	w.change(t, extauthz.Change{Principals: []authority.PrincipalID{w.Agent.ID}})
	eventually(t, "nothing is left of them", func() bool { return !w.tunnelled(world.EchoHost) })
	said := map[string]int{}
	for _, decision := range decisions {
		said[w.denial(t, inside(decision, "GET", "echo.caracal.test:9443", "/x")).Error]++
	}
	if said[string(authority.ReasonSuspended)] != more || said[string(authority.ReasonTunnelUnknown)] != 1 {
		t.Errorf("said of them: %v", said)
	}
}

// A credential that is over opens no more requests, though the tunnel stays as it is.
func TestARequestInsideIsMadeByACredentialThatHoldsThen(t *testing.T) {
	w := newTower(t)
	short := w.SignToken(w.TokenKey, w.access(w.Agent.ID, time.Minute))
	decision, line := w.tunnel(t, w.connecting("echo.caracal.test:9443").with("proxy-authorization", basic("-", short)))
	first := w.live(t, inside(decision, "GET", "echo.caracal.test:9443", "/x"))
	w.pass(time.Minute)
	if d := w.denial(t, inside(decision, "GET", "echo.caracal.test:9443", "/x")); d.Error != string(authority.ReasonAuthFailed) || d.Status != 403 {
		t.Errorf("got %d %s", d.Status, d.Error)
	}
	w.change(t, extauthz.Change{All: true})
	line.wantAlive(t)
	first.wantAlive(t)
}

func TestARequestInsideEndsWithItsOwnMandate(t *testing.T) {
	w := newTower(t)
	w.Issue(w.Agent.ID, everything("api:*"))
	w.enforce(t)
	decision, line := w.tunnel(t, w.connecting("echo.caracal.test:9443"))
	request := w.live(t, inside(decision, "GET", "echo.caracal.test:9443", "/x"))
	selected := w.events.last(t).MandateID
	w.Revoke(selected)
	if cut := w.change(t, extauthz.Change{Mandates: []authority.MandateID{selected}}); cut != 1 {
		t.Errorf("%d streams were cut, want 1", cut)
	}
	request.wantEnd(t, authority.ReasonMandateRevoked) // and does not go on by the other one
	line.wantAlive(t)
}

// The workspace's policy sees by which way a request came, and what nobody should see is not shown to it.
func TestThePolicySeesTheWay(t *testing.T) {
	for mode, request := range map[string]func(*tower) asked{
		"forward": func(w *tower) asked { return w.forwarded("GET", "https://echo.caracal.test:9443/x") },
		"inside": func(w *tower) asked {
			decision, _ := w.tunnel(t, w.connecting("echo.caracal.test:9443"))
			return inside(decision, "GET", "echo.caracal.test:9443", "/x")
		},
		"gateway": func(w *tower) asked { return w.proxied() },
	} {
		t.Run(mode, func(t *testing.T) {
			w := newTower(t)
			w.Govern(`package caracal.policy

deny contains {"code": "way", "message": "Not by this way."} if input.request.mode == "` + mode + `"
deny contains {"code": "secret", "message": "A secret is shown."} if input.request.headers["proxy-authorization"]`)
			w.enforce(t)
			if d := w.denial(t, request(w)); d.Error != string(authority.ReasonPolicyDenied) || d.Code != "way" {
				t.Errorf("got %+v", d)
			}
		})
	}
}

// What a client is told that shows no more than plain text.
func TestGitIsToldInPlainText(t *testing.T) {
	w := newTower(t)
	decision, _ := w.tunnel(t, w.connecting("echo.caracal.test:9443"))
	answer := w.check(t, inside(decision, "GET", "echo.caracal.test:9443", "/admin/x").with("user-agent", "git/2.39.5").check())
	denied := answer.GetDeniedResponse()
	body := denied.GetBody()
	if !strings.HasPrefix(body, "No live mandate of agent covers read on api:echo-admin: request one. (no_mandate_applies, dec_") || !strings.HasSuffix(body, ")\n") {
		t.Errorf("the body is %q", body)
	}
	if h := denied.GetHeaders()[0].GetHeader(); h.GetKey() != "content-type" || h.GetValue() != "text/plain; charset=utf-8" {
		t.Errorf("the first header is %v", h)
	}
	if got := answer.GetDynamicMetadata().GetFields()[envoy.MetadataDecisionID].GetStringValue(); !strings.Contains(body, got) {
		t.Errorf("the body does not name the decision %s", got)
	}
}
