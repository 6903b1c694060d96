package extauthz_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/envoy"
	"github.com/caracal-gateway/caracal/internal/world"
	"github.com/caracal-gateway/caracal/token"
)

func TestAPermittedRequestGoesExactlyWhereItWasJudgedToGo(t *testing.T) {
	b := newBench(t)
	b.enforce(t)
	p := wantPermission(t, b.check(t, b.proxied(pair{"x-title", "\xc3\xa9"}, pair{"accept-language", "de"}).check()))

	route := envoy.Upstream{
		Host: world.EchoHost, Port: world.EchoPort, TLS: true, ConnectTo: "127.0.0.1:9443", Addresses: b.State.Destinations[0].Addresses,
	}.Route()
	want := map[string]string{
		":scheme": "https", ":authority": "echo.caracal.test:9443", ":path": "/v1/chat/completions?stream=true&key=v4lue",
		envoy.RouteHeader: route, envoy.BoundHeader: envoy.BoundWatched, "x-envoy-upstream-stream-duration-ms": "600000",
	}
	if diff := cmp.Diff(want, p.set); diff != "" {
		t.Errorf("headers set (-want +got):\n%s", diff)
	}
	removed := map[string]bool{
		"authorization": true, "x-caracal-mandate": true, "x-caracal-target-url": true,
		"x-forwarded-for": true, "x-envoy-external-address": true,
	}
	if diff := cmp.Diff(removed, p.remove); diff != "" {
		t.Errorf("headers removed (-want +got):\n%s", diff)
	}
	event := b.events.last(t)
	metadata := map[string]string{
		envoy.MetadataDecisionID: string(event.DecisionID), "principal_id": string(b.Agent.ID),
		"mandate_id": string(b.Mandate.ID), "mode": "proxy",
	}
	if diff := cmp.Diff(metadata, p.metadata); diff != "" {
		t.Errorf("metadata (-want +got):\n%s", diff)
	}
	wantEvent := authority.Event{
		WorkspaceID: b.State.Workspace.ID, Type: authority.EventAllowed, Time: start, ActorID: b.Agent.ID, PrincipalID: b.Agent.ID,
		MandateID: b.Mandate.ID, Resource: "api:echo/all", Action: authority.Execute, Revision: 7,
		Request: &authority.RequestRecord{
			Mode: "proxy", Method: "POST", Scheme: "https", Host: world.EchoHost, Port: world.EchoPort,
			Path: "/v1/chat/completions", Query: []string{"stream", "key"}, Source: "192.0.2.2",
		},
	}
	if diff := cmp.Diff(wantEvent, event, cmpopts.IgnoreFields(authority.Event{}, "ID", "DecisionID")); diff != "" {
		t.Errorf("event (-want +got):\n%s", diff)
	}
}

// refusal is one way to be refused: what is changed about the workspace, and about the request.
type refusal struct {
	workspace func(*bench)
	request   func(*bench, asked) asked
	reason    authority.Reason
	status    int
	code      string
}

func TestWhoeverAsksIsIdentifiedFirst(t *testing.T) {
	authorization := func(value func(*bench) string) func(*bench, asked) asked {
		return func(b *bench, a asked) asked { return a.with("authorization", value(b)) }
	}
	refusals(t, map[string]refusal{
		"no Authorization header": {
			request: func(_ *bench, a asked) asked { return a.without("authorization") }, reason: authority.ReasonAuthRequired, status: 401,
		},
		"an empty Authorization header": {
			request: authorization(func(*bench) string { return "" }), reason: authority.ReasonAuthRequired, status: 401,
		},
		"another scheme": {
			request: authorization(func(b *bench) string { return "Basic " + b.Token(b.Agent.ID) }), reason: authority.ReasonAuthFailed, status: 401,
		},
		"no scheme": {
			request: authorization(func(b *bench) string { return b.Token(b.Agent.ID) }), reason: authority.ReasonAuthFailed, status: 401,
		},
		"two tokens in one header": {
			request: authorization(func(b *bench) string { return "Bearer " + b.Token(b.Agent.ID) + ", Bearer x" }), reason: authority.ReasonAuthFailed, status: 401,
		},
		"garbage for a token": {
			request: authorization(func(*bench) string { return "Bearer a.b.c" }), reason: authority.ReasonAuthFailed, status: 401,
		},
		"a token whose last character was changed": {
			request: authorization(func(b *bench) string {
				text := b.Token(b.Agent.ID)
				return "Bearer " + text[:len(text)-2] + map[bool]string{true: "A", false: "B"}[text[len(text)-2] != 'A'] + text[len(text)-1:]
			}), reason: authority.ReasonAuthFailed, status: 401,
		},
		"a token that has expired": {
			request: authorization(func(b *bench) string {
				text := b.Token(b.Agent.ID)
				b.elapsed = 15 * time.Minute
				return "Bearer " + text
			}), reason: authority.ReasonAuthFailed, status: 401,
		},
		"a token of another workspace": {
			request: authorization(func(b *bench) string {
				return "Bearer " + b.SignToken(b.TokenKey, token.Access{
					Deployment: "dep_test", Workspace: authority.NewID[authority.WorkspaceID](), Subject: b.Agent.ID, ID: "tok",
					IssuedAt: start, ExpiresAt: start.Add(time.Minute),
				})
			}), reason: authority.ReasonAuthFailed, status: 401,
		},
		"a token of a key that is not in the key set": {
			request: authorization(func(b *bench) string {
				foreign := token.NewSigningKey(token.PurposeToken, start.Add(-time.Hour), start.Add(time.Hour))
				return "Bearer " + b.SignToken(foreign, token.Access{
					Deployment: "dep_test", Workspace: b.State.Workspace.ID, Subject: b.Agent.ID, ID: "tok",
					IssuedAt: start, ExpiresAt: start.Add(time.Minute),
				})
			}), reason: authority.ReasonAuthFailed, status: 401,
		},
		"a token of a principal that nobody knows": {
			request: authorization(func(b *bench) string { return "Bearer " + b.Token(authority.NewID[authority.PrincipalID]()) }),
			reason:  authority.ReasonAuthFailed, status: 401,
		},
		"an API key in the place of a token": {
			request: authorization(func(b *bench) string { return "Bearer " + b.Key(b.Agent.ID).Reveal() }), reason: authority.ReasonAuthFailed, status: 401,
		},
		"the signature of a mandate in the place of a token": {
			request: authorization(func(b *bench) string { return "Bearer " + b.Mandate.Signature }), reason: authority.ReasonAuthFailed, status: 401,
		},
		"a caller without a token learns nothing about its mandate or target": {
			request: func(_ *bench, a asked) asked {
				return a.without("authorization").without("x-caracal-mandate").without("x-caracal-target-url")
			}, reason: authority.ReasonAuthRequired, status: 401,
		},
	})
}

// deleted makes the workspace one that its owner has deleted.
func deleted(b *bench) {
	at, erase := start, start.AddDate(0, 0, 30)
	b.State.Workspace.DeletedAt, b.State.Workspace.EraseAt = &at, &erase
}

func TestADeletedWorkspaceDeniesWhoeverItKnows(t *testing.T) {
	refusals(t, map[string]refusal{
		"a request that was allowed before": {
			workspace: deleted, reason: authority.ReasonWorkspaceDeleted, status: 403,
		},
		"a request to a target that nobody knows": {
			workspace: deleted, request: func(_ *bench, a asked) asked { return a.with("x-caracal-target-url", "https://unknown.example.com/") },
			reason: authority.ReasonWorkspaceDeleted, status: 403,
		},
		"a caller who is not known is not told": {
			workspace: deleted, request: func(_ *bench, a asked) asked { return a.without("authorization") },
			reason: authority.ReasonAuthRequired, status: 401,
		},
		"a gateway that does not know what a deleted workspace is, by the bundle alone": {
			workspace: func(b *bench) { b.State.Mandates = nil }, reason: authority.ReasonMandateNotFound, status: 403,
		},
	})
}

func TestTheTargetIsReadBeforeTheMandate(t *testing.T) {
	target := func(url string) func(*bench, asked) asked {
		return func(_ *bench, a asked) asked { return a.with("x-caracal-target-url", url) }
	}
	refusals(t, map[string]refusal{
		"no target": {
			request: func(_ *bench, a asked) asked { return a.without("x-caracal-target-url") }, reason: authority.ReasonMissingTarget, status: 400,
		},
		"user information before the host": {request: target("https://echo.caracal.test@evil.test/"), reason: authority.ReasonInvalidTarget, status: 400},
		"a path that climbs":               {request: target("https://echo.caracal.test:9443/v1/../admin"), reason: authority.ReasonInvalidTarget, status: 400},
		"a numeric host":                   {request: target("https://2130706433/"), reason: authority.ReasonInvalidTarget, status: 400},
		"a relative URL":                   {request: target("/v1/models"), reason: authority.ReasonInvalidTarget, status: 400},
		"an escaped slash":                 {request: target("https://echo.caracal.test:9443/v1%2fadmin"), reason: authority.ReasonInvalidTarget, status: 400},
		"a port that the destination does not have": {
			request: target("https://echo.caracal.test:9444/"), reason: authority.ReasonTargetNotAllowed, status: 403,
		},
		"plain text where the destination asks for TLS": {
			request: target("http://echo.caracal.test:9443/"), reason: authority.ReasonTargetNotAllowed, status: 403,
		},
		"plain text to port 443 without a destination": {request: target("http://elsewhere.test:443/"), reason: authority.ReasonTargetNotAllowed, status: 403},
		"a method that no rule lists": {
			request: func(_ *bench, a asked) asked { a.method = "PATCH"; return a }, reason: authority.ReasonTargetNotAllowed, status: 403,
		},
		"a credential of ours in the URL": {
			request: func(b *bench, a asked) asked {
				return a.with("x-caracal-target-url", "https://echo.caracal.test:9443/?t="+b.Token(b.Agent.ID))
			}, reason: authority.ReasonInvalidTarget, status: 400,
		},
		"a credential of ours meant for the upstream": {
			request: func(b *bench, a asked) asked {
				return a.with("x-caracal-upstream-authorization", "Bearer "+b.Token(b.Agent.ID))
			}, reason: authority.ReasonMalformedHeader, status: 400,
		},
		"an upgrade to something other than WebSocket": {
			request: func(_ *bench, a asked) asked { return a.with("upgrade", "tls/1.3") }, reason: authority.ReasonMalformedHeader, status: 400,
		},
	})
}

func TestTheMandateIsJudgedByTheRulesOfAuthority(t *testing.T) {
	mandate := func(id func(*bench) authority.MandateID) func(*bench, asked) asked {
		return func(b *bench, a asked) asked { return a.with("x-caracal-mandate", string(id(b))) }
	}
	as := func(caller func(*bench) authority.Principal, id func(*bench) authority.MandateID) func(*bench, asked) asked {
		return func(b *bench, a asked) asked {
			return mandate(id)(b, a.with("authorization", "Bearer "+b.Token(caller(b).ID)))
		}
	}
	child := func(b *bench) authority.Principal { return b.Child }
	own := func(b *bench) authority.MandateID { return b.Mandate.ID }
	delegated := func(b *bench) authority.MandateID { return b.Delegated.ID }
	refusals(t, map[string]refusal{
		"no mandate": {
			request: func(_ *bench, a asked) asked { return a.without("x-caracal-mandate") }, reason: authority.ReasonMissingMandate, status: 403,
		},
		"an empty mandate": {
			request: func(_ *bench, a asked) asked { return a.with("x-caracal-mandate", "") }, reason: authority.ReasonMissingMandate, status: 403,
		},
		"a mandate that nobody knows": {
			request: mandate(func(*bench) authority.MandateID { return authority.NewID[authority.MandateID]() }), reason: authority.ReasonMandateNotFound, status: 403,
		},
		"a mandate of another workspace": {
			request: mandate(func(b *bench) authority.MandateID { return world.New(t, start).Mandate.ID }), reason: authority.ReasonMandateNotFound, status: 403,
		},
		"something that is no id": {
			request: func(_ *bench, a asked) asked { return a.with("x-caracal-mandate", "m1") }, reason: authority.ReasonMandateNotFound, status: 403,
		},
		"somebody else's mandate": {request: as(child, own), reason: authority.ReasonSubjectMismatch, status: 403},
		"a revoked mandate": {
			workspace: func(b *bench) { b.Revoke(b.Mandate.ID) }, reason: authority.ReasonMandateRevoked, status: 403,
		},
		"a mandate whose ancestor is revoked": {
			workspace: func(b *bench) { b.Revoke(b.Mandate.ID) }, request: as(child, delegated), reason: authority.ReasonMandateRevoked, status: 403,
		},
		"a suspended caller": {
			workspace: func(b *bench) { b.Suspend(b.Agent.ID) }, reason: authority.ReasonSuspended, status: 403,
		},
		"a suspended issuer at the root": {
			workspace: func(b *bench) { b.Suspend(b.Owner.ID) }, request: as(child, delegated), reason: authority.ReasonSuspended, status: 403,
		},
		"a mandate that has expired": {
			workspace: func(b *bench) {
				b.Mandate = b.Add(b.altered(func(m *authority.Mandate) { m.ValidFrom, m.ValidUntil = start.Add(-time.Hour), start }))
			}, request: mandate(own), reason: authority.ReasonExpired, status: 403,
		},
		"a mandate that is not valid yet": {
			workspace: func(b *bench) {
				b.Mandate = b.Add(b.altered(func(m *authority.Mandate) { m.ValidFrom = start.Add(time.Second) }))
			}, request: mandate(own), reason: authority.ReasonNotYetValid, status: 403,
		},
		"an action that the mandate does not cover": {
			request: as(child, delegated), reason: authority.ReasonActionNotInScope, status: 403,
		},
		"a resource that the mandate does not cover": {
			request: func(b *bench, a asked) asked {
				return a.with("x-caracal-target-url", "https://echo.caracal.test:9443/admin/users")
			}, reason: authority.ReasonNotInScope, status: 403,
		},
		"a chain in which a child exceeds its parent": {
			workspace: func(b *bench) {
				wider := authority.Scope{Resources: []authority.ResourcePattern{"*"}, Actions: authority.Actions{authority.Execute}}
				b.Delegated = b.Delegate(b.Mandate, b.Child.ID, wider)
			}, request: as(child, delegated), reason: authority.ReasonChainInvalid, status: 403,
		},
		"a mandate that was changed after it was signed": {
			workspace: func(b *bench) {
				b.Change(b.Mandate.ID, func(m *authority.Mandate) { m.ResourceScope = append(m.ResourceScope, "api:everything") })
			}, reason: authority.ReasonChainInvalid, status: 403,
		},
		"a parent that was changed after it was signed": {
			workspace: func(b *bench) {
				b.Change(b.Mandate.ID, func(m *authority.Mandate) { m.ValidUntil = m.ValidUntil.Add(time.Hour) })
			},
			request: func(b *bench, a asked) asked { a.method = "GET"; return as(child, delegated)(b, a) },
			reason:  authority.ReasonChainInvalid, status: 403,
		},
		"a WebSocket under a mandate that covers reading only": {
			request: func(b *bench, a asked) asked {
				a.method = "GET"
				return as(child, delegated)(b, a.with("upgrade", "WebSocket"))
			}, reason: authority.ReasonActionNotInScope, status: 403,
		},
	})
}

// altered is the agent's mandate with a change, to be signed anew.
func (b *bench) altered(change func(*authority.Mandate)) authority.Mandate {
	m := b.Mandate
	change(&m)
	return m
}

func TestTheWorkspacesPolicyCanOnlyNarrow(t *testing.T) {
	govern := func(body string) func(*bench) {
		return func(b *bench) { b.Govern("package caracal.policy\n\n" + body) }
	}
	refusals(t, map[string]refusal{
		"a policy that denies": {
			workspace: govern(`deny contains {"code": "no_chat", "message": "Chat is off."} if "chat" in input.request.path`),
			reason:    authority.ReasonPolicyDenied, status: 403, code: "no_chat",
		},
		"a policy that asks for approval": {
			workspace: govern(`approve contains {"code": "ask", "message": "Ask first."} if input.action == "execute"`),
			reason:    authority.ReasonApprovalRequired, status: 428, code: "ask",
		},
		"a policy that denies and asks for approval": {
			workspace: govern(`deny contains {"code": "no", "message": "No."}` + "\n" + `approve contains {"code": "ask", "message": "Ask first."}`),
			reason:    authority.ReasonPolicyDenied, status: 403, code: "no",
		},
		"a policy that denies in a form that nobody agreed on": {
			workspace: govern(`deny contains "no"`), reason: authority.ReasonPolicyError, status: 403,
		},
		"a policy that fails": {
			workspace: govern(`deny contains {"code": "x", "message": "X."} if to_number(input.request.method) == 1`),
			reason:    authority.ReasonPolicyError, status: 403,
		},
		"a policy that takes too long": {
			workspace: govern(`xs := ["0","1","2","3","4","5","6","7","8","9"]
deny contains {"code": "slow", "message": "Slow."} if {
	some a in xs
	some b in xs
	some c in xs
	some d in xs
	some e in xs
	some f in xs
	some g in xs
	concat("", [a, b, c, d, e, f, g, input.action]) == "never"
}`), reason: authority.ReasonPolicyTimeout, status: 503,
		},
	})
}

func TestObligationsThatCannotBeMetDeny(t *testing.T) {
	model := func(_ *bench, a asked) asked { return a.with("x-caracal-target-url", "https://api.model.test/v1/chat") }
	refusals(t, map[string]refusal{
		"a route that Envoy has not accepted": {
			workspace: func(b *bench) { b.routes = func(key string) bool { return key == envoy.RoutePublicTLS } },
			reason:    authority.ReasonRouteNotReady, status: 503,
		},
		"a credential that is not at the gateway": {
			workspace: func(b *bench) { b.secrets = nil }, request: model, reason: authority.ReasonMissingCredential, status: 503,
		},
		"a credential that holds a line break": {
			workspace: func(b *bench) { b.secrets["CARACAL_CREDENTIAL_MODEL"] = "a\nb" }, request: model, reason: authority.ReasonMissingCredential, status: 503,
		},
		"a credential that is one of ours": {
			workspace: func(b *bench) { b.secrets["CARACAL_CREDENTIAL_MODEL"] = b.Key(b.Agent.ID).Reveal() },
			request:   model, reason: authority.ReasonMissingCredential, status: 503,
		},
	})
}

func TestWithoutASnapshotNothingIsDecided(t *testing.T) {
	b := newBench(t)
	d := wantDenial(t, b.check(t, b.proxied().check()))
	if d.Error != "decision_unavailable" || d.Status != 503 {
		t.Errorf("got %+v", d)
	}
}

func TestACheckThatIsOutOfTimeDenies(t *testing.T) {
	b := newBench(t)
	b.enforce(t)
	ctx, cancel := context.WithDeadline(context.Background(), time.Now().Add(-time.Second))
	defer cancel()
	answer, err := b.service.Check(ctx, b.proxied().check())
	if err != nil {
		t.Fatal(err)
	}
	if d := wantDenial(t, answer); d.Error != "policy_timeout" && d.Error != "decision_unavailable" {
		t.Errorf("got %+v", d)
	}
}

func TestACheckThatNobodyWaitsForAnyMoreDenies(t *testing.T) {
	b := newBench(t)
	b.enforce(t)
	ctx, cancel := context.WithCancel(context.Background())
	b.routes = func(string) bool { cancel(); return true }
	answer, err := b.service.Check(ctx, b.proxied().check())
	if err != nil {
		t.Fatal(err)
	}
	if d := wantDenial(t, answer); d.Error != "decision_unavailable" {
		t.Errorf("got %+v", d)
	}
}

// A snapshot that comes into force while a check runs is the one that the check is answered from.
func TestARevocationReachesACheckThatIsRunning(t *testing.T) {
	b := newBench(t)
	b.enforce(t)
	revoked := false
	b.routes = func(string) bool {
		if !revoked {
			revoked = true
			b.Revoke(b.Mandate.ID)
			b.enforce(t)
		}
		return true
	}
	if d := wantDenial(t, b.check(t, b.proxied().check())); d.Error != "mandate_revoked" {
		t.Errorf("got %+v", d)
	}
}

// The time of the check ends between two judgements or within the policy of one; nothing else ends it.
func TestAStateThatNeverSettlesDenies(t *testing.T) {
	b := newBench(t)
	b.enforce(t)
	b.routes = func(string) bool { b.enforce(t); return true }
	if d := wantDenial(t, b.check(t, b.proxied().check())); d.Error != "decision_unavailable" && d.Error != "policy_timeout" {
		t.Errorf("got %+v", d)
	}
}

func TestABugDenies(t *testing.T) {
	b := newBench(t)
	b.enforce(t)
	b.routes = func(string) bool { panic("a bug") }
	if d := wantDenial(t, b.check(t, b.proxied().check())); d.Error != "internal_error" || strings.Contains(d.Message, "bug") {
		t.Errorf("got %+v", d)
	}
	if e := b.events.last(t); e.Type != authority.EventDenied || e.Reason != authority.ReasonInternal {
		t.Errorf("recorded %+v", e)
	}
}

func TestADecisionThatCannotBeRecordedDenies(t *testing.T) {
	b := newBench(t)
	b.enforce(t)
	b.events.panics = true
	if d := wantDenial(t, b.check(t, b.proxied().check())); d.Error != "internal_error" {
		t.Errorf("got %+v", d)
	}
}

// refusals runs each case on a workspace of its own, after seeing that the request passes there unchanged.
func refusals(t *testing.T, cases map[string]refusal) {
	t.Helper()
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.enforce(t)
			wantPermission(t, b.check(t, b.proxied().check()))
			if c.workspace != nil {
				c.workspace(b)
			}
			request := b.proxied()
			if c.request != nil {
				request = c.request(b, request)
			}
			b.enforce(t)
			answer := b.check(t, request.check())
			d := wantDenial(t, answer)
			if d.Error != string(c.reason) || d.Status != c.status || d.Code != c.code {
				t.Errorf("got %d %s %q (%s), want %d %s %q", d.Status, d.Error, d.Code, d.Message, c.status, c.reason, c.code)
			}
			e := b.events.last(t)
			if e.Type != authority.EventDenied || e.Reason != c.reason || string(e.DecisionID) != d.DecisionID || e.PolicyCode != c.code {
				t.Errorf("recorded %+v", e)
			}
			if id := answer.GetDynamicMetadata().GetFields()[envoy.MetadataDecisionID].GetStringValue(); id != d.DecisionID {
				t.Errorf("the metadata names decision %q, the body %q", id, d.DecisionID)
			}
		})
	}
}
