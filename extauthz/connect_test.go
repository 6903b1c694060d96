package extauthz_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/envoy"
	"github.com/caracal-gateway/caracal/extauthz"
	"github.com/caracal-gateway/caracal/internal/world"
)

// everything is the scope of a mandate that nothing stops but the rules themselves.
func everything(patterns ...authority.ResourcePattern) authority.Scope {
	return authority.Scope{Resources: patterns, Actions: authority.AllActions()}
}

func TestWhereATunnelMayLead(t *testing.T) {
	b := newBench(t, func(c *extauthz.Config) { c.Listeners = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:9447")} })
	b.Destination(authority.Destination{Name: "closed", Host: "closed.test", Ports: []uint16{443}, TLS: authority.TLSRequired, Tunnel: authority.TunnelRefuse})
	b.Destination(authority.Destination{Name: "raw", Host: "raw.test", Ports: []uint16{443, 22}, TLS: authority.TLSRequired, Tunnel: authority.TunnelPassthrough})
	b.Destination(authority.Destination{
		Name: "back", Host: "back.test", Ports: []uint16{9447}, TLS: authority.TLSRequired, Addresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")},
	})
	b.Issue(b.Agent.ID, everything("*"))
	b.enforce(t)
	const invalid, refused = authority.ReasonInvalidTarget, authority.ReasonTargetNotAllowed
	for authorityOf, reason := range map[string]authority.Reason{
		"pub.test:443": "", "pub.test:80": "", "Pub.Test.:443": "", "echo.caracal.test:9443": "", "raw.test:22": "", "api.model.test:443": "",
		"closed.test:443": refused, "raw.test:80": refused, "back.test:9447": refused, "echo.caracal.test:443": refused,
		"pub.test:22": refused, "pub.test:25": refused, "pub.test:6379": refused, "pub.test:5432": refused, "pub.test:8443": refused,
		"pub.test": invalid, "pub.test:": invalid, ":443": invalid, "pub.test:0443": invalid, "pub.test:65536": invalid, "pub.test:0": invalid,
		"pub.test:https": invalid, "pub.test:+443": invalid, "pub.test:443:443": invalid, "pub.test..:443": invalid, ".pub.test:443": invalid,
		"user@pub.test:443": invalid, "@pub.test:443": invalid, "pub.test:443/x": invalid, "pub.test:443?x": invalid, "pub.test:443#x": invalid,
		"http://pub.test:443": invalid, "pub_x.test:443": invalid, "-pub.test:443": invalid, "*.test:443": invalid, "pub%2etest:443": invalid,
		"127.0.0.1:443": invalid, "2130706433:443": invalid, "0x7f000001:443": invalid, "0x7f.1:443": invalid, "0177.0.0.1:443": invalid, "127.1:443": invalid, "0:443": invalid,
		"[::1]:443": invalid, "[::ffff:127.0.0.1]:443": invalid, "[64:ff9b::7f00:1]:443": invalid, "[2002:7f00:1::]:443": invalid,
		"[fe80::1%25eth0]:443": invalid, "[fe80::1%eth0]:443": invalid, "::1:443": invalid, "169.254.169.254:80": invalid, "[fd00:ec2::254]:80": invalid,
	} {
		t.Run(authorityOf, func(t *testing.T) {
			answer := b.check(t, b.connecting(authorityOf).check())
			if reason == "" {
				wantPermission(t, answer)
			} else if d := wantDenial(t, answer); d.Error != string(reason) {
				t.Errorf("got %s (%s), want %s", d.Error, d.Message, reason)
			}
		})
	}
}

// What is only admitted names no mandate and asks no policy; what nobody sees is judged in full.
func TestAnOpaqueTunnelIsJudgedAsWhatCanCarryAnything(t *testing.T) {
	raw := authority.Destination{Name: "raw", Host: "raw.test", Ports: []uint16{443}, TLS: authority.TLSRequired, Tunnel: authority.TunnelPassthrough}
	for name, c := range map[string]struct {
		scope  authority.Scope
		policy string
		reason authority.Reason
	}{
		"the tunnel by its name":            {scope: everything("tunnel:raw.test:443")},
		"every tunnel to the host":          {scope: everything("tunnel:raw.test:*")},
		"everything":                        {scope: everything("*")},
		"everything at the host":            {scope: everything("host:raw.test:443/*"), reason: authority.ReasonNoMandateApplies},
		"the tunnel to another port":        {scope: everything("tunnel:raw.test:80"), reason: authority.ReasonNoMandateApplies},
		"reading and writing in the tunnel": {scope: authority.Scope{Resources: []authority.ResourcePattern{"*"}, Actions: authority.Actions{authority.Read, authority.Write}}, reason: authority.ReasonNoMandateApplies},
		"a policy against tunnels":          {scope: everything("*"), policy: `startswith(input.resource, "tunnel:")`, reason: authority.ReasonPolicyDenied},
		"a policy against the mode":         {scope: everything("*"), policy: `input.request.mode == "connect"`, reason: authority.ReasonPolicyDenied},
		"a policy against writing":          {scope: everything("*"), policy: `input.action == "write"`, reason: authority.ReasonPolicyDenied},
		"a policy against reading":          {scope: everything("*"), policy: `input.action == "read"`, reason: authority.ReasonPolicyDenied},
		"a policy against executing":        {scope: everything("*"), policy: `input.action == "execute"`, reason: authority.ReasonPolicyDenied},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTower(t)
			w.State.Mandates = nil
			w.Destination(raw)
			w.Issue(w.Agent.ID, c.scope)
			if c.policy != "" {
				w.Govern("package caracal.policy\n\ndeny contains {\"code\": \"no\", \"message\": \"No.\"} if " + c.policy)
			}
			w.enforce(t)
			if c.reason == "" {
				w.permission(t, w.connecting("raw.test:443"))
			} else if d := w.denial(t, w.connecting("raw.test:443")); d.Error != string(c.reason) {
				t.Errorf("got %s (%s), want %s", d.Error, d.Message, c.reason)
			}
		})
	}
}

// denial asks for a decision until the machine is fast enough for the policy's deadline.
func (w *tower) denial(t testing.TB, request asked) denied {
	t.Helper()
	for range 20 {
		if d := wantDenial(t, w.check(t, request.check())); d.Error != string(authority.ReasonPolicyTimeout) {
			return d
		}
	}
	t.Fatal("the policy does not answer in time")
	return denied{}
}

func TestATunnelIsOpenedOnlyWhereAMandateCouldCoverSomething(t *testing.T) {
	for name, c := range map[string]struct {
		mandate func(*tower) authority.MandateID
		named   bool // by the client
		to      string
		reason  authority.Reason
	}{
		"a rule's resource":                  {mandate: granted(everything("api:echo/all")), to: "echo.caracal.test:9443"},
		"a pattern over a rule's":            {mandate: granted(everything("api:*")), to: "echo.caracal.test:9443"},
		"a variable of a rule's":             {mandate: granted(everything("api:repos/caracal/gateway")), to: "git.test:443"},
		"a pattern across a variable":        {mandate: granted(everything("api:repos/*/gateway")), to: "git.test:443"},
		"another value than a rule's":        {mandate: granted(everything("api:other/caracal/gateway")), to: "git.test:443", reason: authority.ReasonNoMandateApplies},
		"fewer segments than a rule's":       {mandate: granted(everything("api:repos/caracal")), to: "git.test:443", reason: authority.ReasonNoMandateApplies},
		"a path of a host":                   {mandate: granted(everything("host:pub.test:443/v1/x")), to: "pub.test:443"},
		"the root of a host":                 {mandate: granted(everything("host:pub.test:443/")), to: "pub.test:443"},
		"another port of a host":             {mandate: granted(everything("host:pub.test:80/*")), to: "pub.test:443", reason: authority.ReasonNoMandateApplies},
		"a tunnel, where one is looked into": {mandate: granted(everything("tunnel:pub.test:443")), to: "pub.test:443", reason: authority.ReasonNoMandateApplies},
		"another host":                       {mandate: granted(everything("host:other.test:443/*")), to: "pub.test:443", reason: authority.ReasonNoMandateApplies},
		"no action":                          {mandate: granted(authority.Scope{Resources: []authority.ResourcePattern{"*"}}), to: "pub.test:443", reason: authority.ReasonNoMandateApplies},
		"the host without its rules":         {mandate: granted(everything("host:echo.caracal.test:9443/*")), to: "echo.caracal.test:9443", reason: authority.ReasonNoMandateApplies},
		"none":                               {mandate: func(*tower) authority.MandateID { return "" }, to: "pub.test:443", reason: authority.ReasonNoMandateApplies},
		"one that is named":                  {mandate: granted(everything("*")), named: true, to: "pub.test:443"},
		"one that is named and elsewhere":    {mandate: granted(everything("host:other.test:443/*")), named: true, to: "pub.test:443", reason: authority.ReasonNotInScope},
		"one that is over":                   {mandate: ended, to: "pub.test:443", reason: authority.ReasonNoMandateApplies},
		"one that is named and over":         {mandate: ended, named: true, to: "pub.test:443", reason: authority.ReasonExpired},
		"one that is revoked":                {mandate: takenBack, to: "pub.test:443", reason: authority.ReasonNoMandateApplies},
		"one that is named and revoked":      {mandate: takenBack, named: true, to: "pub.test:443", reason: authority.ReasonMandateRevoked},
		"one below one that is revoked":      {mandate: orphaned, to: "pub.test:443", reason: authority.ReasonNoMandateApplies},
		"one that was changed":               {mandate: forged, to: "pub.test:443", reason: authority.ReasonNoMandateApplies},
		"one that is named and was changed":  {mandate: forged, named: true, to: "pub.test:443", reason: authority.ReasonChainInvalid},
		"one for a certificate":              {mandate: certified, to: "pub.test:443", reason: authority.ReasonNoMandateApplies},
		"somebody else's":                    {mandate: childs, to: "pub.test:443", reason: authority.ReasonNoMandateApplies},
		"somebody else's that is named":      {mandate: childs, named: true, to: "pub.test:443", reason: authority.ReasonSubjectMismatch},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTower(t)
			w.State.Mandates = nil
			w.Destination(authority.Destination{Name: "git", Host: "git.test", Ports: []uint16{443}, TLS: authority.TLSRequired, Rules: []authority.Rule{
				{Path: "/repos/{owner}/{repo}/**", Methods: map[string]authority.Action{"GET": authority.Read}, Resource: "api:repos/{owner}/{repo}"},
			}})
			id := c.mandate(w)
			w.enforce(t)
			request := w.connecting(c.to)
			if c.named {
				request = request.with("proxy-authorization", basic(string(id), w.Token(w.Agent.ID)))
			}
			answer := w.check(t, request.check())
			if c.reason == "" {
				wantPermission(t, answer)
			} else if d := wantDenial(t, answer); d.Error != string(c.reason) {
				t.Errorf("got %s (%s), want %s", d.Error, d.Message, c.reason)
			}
		})
	}
}

func granted(scope authority.Scope) func(*tower) authority.MandateID {
	return func(w *tower) authority.MandateID { return w.Issue(w.Agent.ID, scope).ID }
}

func ended(w *tower) authority.MandateID {
	m := w.Issue(w.Agent.ID, everything("*"))
	m.ValidFrom, m.ValidUntil = start.Add(-time.Hour), start
	w.State.Mandates = nil
	return w.Add(m).ID
}

func takenBack(w *tower) authority.MandateID {
	m := w.Issue(w.Agent.ID, everything("*"))
	w.Revoke(m.ID)
	return m.ID
}

func orphaned(w *tower) authority.MandateID {
	parent := w.Issue(w.Service.ID, everything("*"))
	m := w.Delegate(parent, w.Agent.ID, everything("*"))
	w.Revoke(parent.ID)
	return m.ID
}

func forged(w *tower) authority.MandateID {
	m := w.Issue(w.Agent.ID, everything("api:echo/all"))
	w.Change(m.ID, func(m *authority.Mandate) { m.ResourceScope = []authority.ResourcePattern{"*"} })
	return m.ID
}

func certified(w *tower) authority.MandateID {
	m := w.Issue(w.Agent.ID, everything("*"))
	m.Confirmation = &authority.Confirmation{Certificate: authority.ThumbprintOf([]byte("x"))}
	w.State.Mandates = nil
	return w.Add(m).ID
}

func childs(w *tower) authority.MandateID { return w.Issue(w.Child.ID, everything("*")).ID }

// A tunnel that is looked into is open for as long as any mandate could cover something in it, whichever that is.
func TestATunnelIsCutWithTheLastMandateThatCouldApply(t *testing.T) {
	w := newTower(t)
	first, second := w.Mandate, w.Issue(w.Agent.ID, everything("api:echo/all"))
	w.enforce(t)
	_, line := w.tunnel(t, w.connecting("echo.caracal.test:9443"))
	revoke := func(m authority.Mandate) int {
		w.Revoke(m.ID)
		return w.change(t, extauthz.Change{Mandates: []authority.MandateID{m.ID}})
	}
	if cut := revoke(first); cut != 0 {
		t.Errorf("%d streams were cut while another mandate could apply", cut)
	}
	line.wantAlive(t)
	if cut := revoke(second); cut != 1 {
		t.Errorf("%d streams were cut, want 1", cut)
	}
	line.wantEnd(t, authority.ReasonNoMandateApplies)
	eventually(t, "no tunnel is left", func() bool { return !w.tunnelled(world.EchoHost) })
}

func TestATunnelIsCutWithTheMandateThatItsClientNamed(t *testing.T) {
	w := newTower(t)
	w.Issue(w.Agent.ID, everything("api:echo/all"))
	w.enforce(t)
	_, line := w.tunnel(t, w.connecting("echo.caracal.test:9443").with("proxy-authorization", basic(string(w.Mandate.ID), w.Token(w.Agent.ID))))
	_, bound := w.tunnel(t, w.connecting("echo.caracal.test:9443").with("proxy-authorization", basic("-", w.boundToken(w.Agent.ID, w.Mandate.ID))))
	w.Revoke(w.Mandate.ID)
	if cut := w.change(t, extauthz.Change{Mandates: []authority.MandateID{w.Mandate.ID}}); cut != 2 {
		t.Errorf("%d streams were cut, want 2", cut)
	}
	line.wantEnd(t, authority.ReasonMandateRevoked)
	bound.wantEnd(t, authority.ReasonMandateRevoked)
}

func TestATunnelIsCutWhenItsCallerIsSuspended(t *testing.T) {
	w := newTower(t)
	_, line := w.tunnel(t, w.connecting("echo.caracal.test:9443"))
	w.Suspend(w.Agent.ID)
	if cut := w.change(t, extauthz.Change{Principals: []authority.PrincipalID{w.Agent.ID}}); cut != 1 {
		t.Errorf("%d streams were cut, want 1", cut)
	}
	line.wantEnd(t, authority.ReasonSuspended)
}

// The end of the mandate that a tunnel happens to rest on ends it only where no other could apply.
func TestATunnelOutlivesOneOfTwoMandates(t *testing.T) {
	w := newTower(t)
	m := w.Issue(w.Agent.ID, everything("api:echo/all"))
	m.ValidUntil = start.Add(2 * time.Hour)
	w.Add(m)
	w.enforce(t)
	_, line := w.tunnel(t, w.connecting("echo.caracal.test:9443"))
	other := w.live(t, w.proxied())
	w.pass(time.Hour)
	other.wantEnd(t, authority.ReasonExpired)
	line.wantAlive(t)
	w.pass(time.Hour)
	line.wantEnd(t, authority.ReasonNoMandateApplies)
}

func TestATunnelThatADestinationNoLongerHasIsCut(t *testing.T) {
	w := newTower(t)
	_, line := w.tunnel(t, w.connecting("echo.caracal.test:9443"))
	w.State.Destinations[0].Tunnel, w.State.Destinations[0].Rules = authority.TunnelPassthrough, nil
	w.Issue(w.Agent.ID, everything("*"))
	w.enforce(t)
	line.wantEnd(t, authority.ReasonTargetNotAllowed)
}

func TestATunnelIsOpenedOnlyWhereEnvoyHasAWayForIt(t *testing.T) {
	b := newBench(t)
	b.routes = func(way string) bool { return way != envoy.Way(envoy.RouteInside, envoy.BoundWatched) }
	b.enforce(t)
	if d := wantDenial(t, b.check(t, b.connecting("echo.caracal.test:9443").check())); d.Error != string(authority.ReasonRouteNotReady) {
		t.Errorf("got %s", d.Error)
	}
}

func TestAMalformedConnectIsDenied(t *testing.T) {
	b := newBench(t)
	b.enforce(t)
	withPath := b.connecting("echo.caracal.test:9443")
	withPath.path = "/"
	extended := withPath.plus(":protocol", "websocket")
	nested := b.connecting("echo.caracal.test:9443")
	nested.mode = envoy.ModeInside
	for name, c := range map[string]struct {
		request asked
		reason  authority.Reason
	}{
		"a path":                    {withPath, authority.ReasonMalformedRequest},
		"the extended form":         {extended, authority.ReasonMalformedHeader},
		"inside of a tunnel":        {nested, authority.ReasonTargetNotAllowed},
		"another host in its Host":  {b.connecting("echo.caracal.test:9443", pair{"host", "other.test"}), authority.ReasonTargetMismatch},
		"two hosts in one":          {b.connecting("echo.caracal.test:9443,other.test:443"), authority.ReasonAmbiguousHeader},
		"two mandates":              {b.connecting("echo.caracal.test:9443", pair{"x-caracal-mandate", "mdt_a"}, pair{"x-caracal-mandate", "mdt_b"}), authority.ReasonAmbiguousMandate},
		"two mandates in two ways":  {b.connecting("echo.caracal.test:9443", pair{"x-caracal-mandate", string(b.Delegated.ID)}).with("proxy-authorization", basic(string(b.Mandate.ID), b.Token(b.Agent.ID))), authority.ReasonAmbiguousMandate},
		"a header with a line feed": {b.connecting("echo.caracal.test:9443", pair{"x-a", "a\nb"}), authority.ReasonMalformedHeader},
	} {
		t.Run(name, func(t *testing.T) {
			if d := wantDenial(t, b.check(t, c.request.check())); d.Error != string(c.reason) {
				t.Errorf("got %s (%s), want %s", d.Error, d.Message, c.reason)
			}
		})
	}
}

// A denial of a CONNECT says what would have been needed, in words that name no more than what was asked.
func TestADenialOfATunnelSaysWhatWouldHaveBeenNeeded(t *testing.T) {
	b := newBench(t)
	b.State.Mandates = nil
	b.enforce(t)
	d := wantDenial(t, b.check(t, b.connecting("pub.test:443").check()))
	if d.Status != 403 || !strings.Contains(d.Message, "No live mandate of agent covers anything at pub.test port 443") {
		t.Errorf("got %d %q", d.Status, d.Message)
	}
}
