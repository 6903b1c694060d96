package extauthz_test

import (
	"context"
	"maps"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/extauthz"
	"github.com/caracal-gateway/caracal/internal/openid"
)

const (
	cluster = "https://kubernetes.default.svc.cluster.local"
	account = "system:serviceaccount:agents:reporter"
)

// trusting is a bench whose workspace trusts a cluster, where one service account is the agent.
func trusting(t testing.TB) (*bench, *openid.Signer) {
	b := newBench(t)
	signer := openid.NewSigner(t, "ES256", "k1")
	b.Trust(clusterIssuer(b.Agent.ID), openid.KeySet(t, signer))
	b.enforce(t)
	return b, signer
}

func clusterIssuer(bound authority.PrincipalID) authority.TrustedIssuer {
	return authority.TrustedIssuer{
		Kind: authority.IssuerKubernetes, Issuer: cluster, Audiences: []string{"caracal"},
		Bindings: []authority.IssuerBinding{{Value: account, PrincipalID: bound}},
	}
}

// projected is what a service account's token claims, with some claims changed.
func projected(change map[string]any) map[string]any {
	claims := map[string]any{
		"iss": cluster, "sub": account, "aud": []string{"caracal"}, "iat": start.Unix(), "nbf": start.Unix(), "exp": start.Add(time.Hour).Unix(),
	}
	maps.Copy(claims, change)
	return claims
}

func (b *bench) bearing(jws string) asked { return b.proxied().with("authorization", "Bearer "+jws) }

func TestATokenOfATrustedIssuerIdentifiesItsPrincipal(t *testing.T) {
	b, signer := trusting(t)
	jws := signer.Sign(projected(nil))
	for range 2 { // the second time it is recognised
		permission := wantPermission(t, b.check(t, b.bearing(jws).check()))
		if !permission.remove["authorization"] {
			t.Error("the token reaches the upstream")
		}
		if e := b.events.last(t); e.PrincipalID != b.Agent.ID {
			t.Errorf("the event names %s", e.PrincipalID)
		}
	}
}

func TestATokenOfATrustedIssuerIsRefusedWhen(t *testing.T) {
	cases := map[string]struct {
		claims map[string]any
		change func(t testing.TB, b *bench, signer **openid.Signer)
		after  time.Duration
		want   authority.Reason
	}{
		"it is for another audience":     {claims: map[string]any{"aud": []string{"api"}}, want: authority.ReasonAuthFailed},
		"its subject is bound to nobody": {claims: map[string]any{"sub": "system:serviceaccount:agents:other"}, want: authority.ReasonAuthFailed},
		"it is of another cluster":       {claims: map[string]any{"iss": "https://other.example"}, want: authority.ReasonAuthFailed},
		"it has expired":                 {after: time.Hour, want: authority.ReasonAuthFailed},
		"it is bound to a certificate that is not shown": {
			claims: map[string]any{"cnf": map[string]any{"x5t#S256": authority.ThumbprintOf([]byte("x"))}}, want: authority.ReasonAuthFailed,
		},
		"its principal is suspended": {change: func(_ testing.TB, b *bench, _ **openid.Signer) { b.Suspend(b.Agent.ID) }, want: authority.ReasonSuspended},
		"its principal is another than the mandate's": {change: func(_ testing.TB, b *bench, _ **openid.Signer) {
			b.State.TrustedIssuers[0].Bindings[0].PrincipalID = b.Child.ID
		}, want: authority.ReasonSubjectMismatch},
		"its principal is of another workspace": {change: func(_ testing.TB, b *bench, _ **openid.Signer) {
			b.State.TrustedIssuers[0].Bindings[0].PrincipalID = authority.NewID[authority.PrincipalID]()
		}, want: authority.ReasonAuthFailed},
		"its issuer is trusted by another workspace only": {change: func(_ testing.TB, b *bench, _ **openid.Signer) { b.State.TrustedIssuers = nil }, want: authority.ReasonAuthFailed},
		"its key was withdrawn":                           {change: func(_ testing.TB, b *bench, _ **openid.Signer) { b.State.TrustedIssuers[0].Keys = nil }, want: authority.ReasonAuthFailed},
		"somebody else signed it":                         {change: func(t testing.TB, b *bench, signer **openid.Signer) { *signer = openid.NewSigner(t, "ES256", "k1") }, want: authority.ReasonAuthFailed},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			b, signer := trusting(t)
			wantPermission(t, b.check(t, b.bearing(signer.Sign(projected(nil))).check()))
			if c.change != nil {
				c.change(t, b, &signer)
				b.enforce(t)
			}
			b.elapsed = c.after
			if d := wantDenial(t, b.check(t, b.bearing(signer.Sign(projected(c.claims))).check())); d.Error != string(c.want) {
				t.Errorf("got %+v, want %s", d, c.want)
			}
		})
	}
}

// A token that identified somebody is remembered, but no longer than the state that it was verified against.
func TestATokenThatIdentifiedSomebodyEndsWithItsKeyAndItsTime(t *testing.T) {
	b, signer := trusting(t)
	check := b.bearing(signer.Sign(projected(nil))).check()
	wantPermission(t, b.check(t, check))
	b.elapsed = time.Hour - time.Second
	wantPermission(t, b.check(t, check))
	b.elapsed = time.Hour
	if d := wantDenial(t, b.check(t, check)); d.Error != string(authority.ReasonAuthFailed) {
		t.Errorf("an expired token got %+v", d)
	}
	b.elapsed = 0
	b.State.TrustedIssuers[0].Keys = nil
	b.enforce(t)
	if d := wantDenial(t, b.check(t, check)); d.Error != string(authority.ReasonAuthFailed) {
		t.Errorf("a token of a withdrawn key got %+v", d)
	}
}

func TestATokenThatIdentifiesReachesNoUpstreamInAnyPlace(t *testing.T) {
	b, signer := trusting(t)
	jws := signer.Sign(projected(nil))
	permission := wantPermission(t, b.check(t, b.bearing(jws).plus("x-api-key", "Token "+jws).check()))
	if !permission.remove["x-api-key"] || permission.remove["accept"] {
		t.Errorf("removed are %v", permission.remove)
	}
	for header, want := range map[string]authority.Reason{
		"x-caracal-upstream-authorization": authority.ReasonMalformedHeader,
		"x-caracal-target-url":             authority.ReasonInvalidTarget,
	} {
		value := "Bearer " + jws
		if header == "x-caracal-target-url" {
			value = "https://echo.caracal.test:9443/v1/x?token=" + jws
		}
		if d := wantDenial(t, b.check(t, b.bearing(jws).with(header, value).check())); d.Error != string(want) {
			t.Errorf("%s: %+v, want %s", header, d, want)
		}
	}
}

func TestAServiceMayShowTheTokenOfATrustedIssuer(t *testing.T) {
	b, signer := trusting(t)
	ask := func(claims map[string]any) (extauthz.Validation, error) {
		return b.service.Validate(context.Background(), extauthz.Caller{Principal: b.Service}, extauthz.Question{
			MandateID: b.Mandate.ID, Action: authority.Read, Resource: "api:model", PresenterToken: signer.Sign(projected(claims)),
		})
	}
	if answer, err := ask(nil); err != nil || !answer.Allowed {
		t.Errorf("%+v, %v", answer, err)
	}
	if answer, err := ask(map[string]any{"aud": "api"}); err == nil || answer.Allowed {
		t.Errorf("a token for somebody else gave %+v, %v", answer, err)
	}
}

func TestTheBearerOfATrustedIssuersTokenIsKnownToTheGatewaysOwnEndpoints(t *testing.T) {
	b, signer := trusting(t)
	if p, err := b.service.Identify(extauthz.Credential{Bearer: signer.Sign(projected(nil))}); err != nil || p.ID != b.Agent.ID {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestASnapshotWithTwoIssuersOfOneNameIsNotEnforced(t *testing.T) {
	b, signer := trusting(t)
	b.Trust(clusterIssuer(b.Child.ID), openid.KeySet(t, signer))
	if _, err := extauthz.NewSnapshot(context.Background(), b.Reader()); err == nil {
		t.Error("one token would be two principals'")
	}
}
