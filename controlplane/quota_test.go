package controlplane_test

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/catalog"
	"github.com/caracal-gateway/caracal/controlplane"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
)

// limited is a replica of a deployment with small quotas.
func (w *world) limited(quotas map[string]int64) *controlplane.Service {
	w.t.Helper()
	store := must(postgres.Open(postgres.Config{URL: w.appURL, MaxConns: 4}))(w.t)
	w.t.Cleanup(store.Close)
	return must(controlplane.New(controlplane.Config{
		Store: store, MasterKey: []byte(strings.Repeat("m", 32)), SetupKey: setupKey, Quotas: quotas,
		Log: slog.New(slog.NewTextHandler(w.t.Output(), nil)), Now: time.Now,
	}))(w.t)
}

func wantQuota(t *testing.T, err error, quota string, count, limit int) {
	t.Helper()
	var told *authority.Error
	if !errors.As(err, &told) || told.Code != authority.CodeQuota {
		t.Errorf("error %v, want the quota %s", err, quota)
		return
	}
	if want := fmt.Sprintf("the quota %s is used up: %d of %d", quota, count, limit); told.Message != want {
		t.Errorf("message %q, want %q", told.Message, want)
	}
}

func TestAQuotaNamesItselfTheLimitAndTheCount(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	subject, _ := w.agent(w.owner, "agent", authority.Agent)
	policy := w.policy(w.owner, subject, 2)
	other, _ := w.agent(w.owner, "other", authority.Agent)
	w.policy(w.owner, other, 2)
	root := w.mandate(w.owner, subject)
	child := controlplane.Delegation{
		ParentMandateID: root.ID, ChildPrincipalID: other.ID, ResourceScope: []string{"api:external/*"}, ActionScope: []string{"read"}, ValiditySeconds: 60,
	}
	must(w.DelegateMandate(ctx, w.owner, child))(t)
	issuer := w.owner.Principal().ID

	s := w.limited(map[string]int64{controlplane.QuotaPrincipals: 3})
	wantQuota(t, drop(s.RegisterPrincipal(ctx, w.owner, controlplane.NewPrincipal{Name: "x", Type: authority.Service})), "principals", 3, 3)

	s = w.limited(map[string]int64{controlplane.QuotaMembers: 1})
	wantQuota(t, drop(s.AddMember(ctx, w.owner, controlplane.NewMember{Name: "x", Role: authority.RoleViewer})), "members", 1, 1)
	wantQuota(t, drop(s.RegisterPrincipal(ctx, w.owner, controlplane.NewPrincipal{Name: "x", Type: authority.User, Role: authority.RoleViewer})), "members", 1, 1)

	s = w.limited(map[string]int64{controlplane.QuotaPolicies: 2})
	another := controlplane.NewPolicy{PrincipalID: subject.ID, AllowedResources: []string{"api:x"}, AllowedActions: []string{"read"}, MaxValiditySeconds: 60}
	wantQuota(t, drop(s.CreatePolicy(ctx, w.owner, another)), "policies", 2, 2)
	must(s.DeactivatePolicy(ctx, w.owner, policy.ID))(t)
	must(s.CreatePolicy(ctx, w.owner, another))(t)

	s = w.limited(map[string]int64{controlplane.QuotaMandates: 2})
	wantQuota(t, drop(s.RequestMandate(ctx, w.owner, request(issuer, other.ID))), "live_mandates", 2, 2)
	wantQuota(t, drop(s.DelegateMandate(ctx, w.owner, child)), "live_mandates", 2, 2)
	must(s.RevokeMandate(ctx, w.owner, root.ID, 0))(t)
	root = must(s.RequestMandate(ctx, w.owner, request(issuer, other.ID)))(t).Value

	s = w.limited(map[string]int64{controlplane.QuotaKeys: 3})
	wantQuota(t, drop(s.CreateKey(ctx, w.owner, controlplane.NewKey{Kind: authority.KeyGateway, Name: "g"})), "keys", 3, 3)

	s = w.limited(map[string]int64{controlplane.QuotaDestinations: 1})
	n := len(must(w.Destinations(ctx, w.owner, controlplane.DestinationFilter{}, controlplane.Page{}))(t).Items)
	wantQuota(t, drop(s.CreateDestination(ctx, w.owner, authority.Destination{Name: "d", Host: "d.example.com"})), "destinations", n, 1)
}

func TestAMandateHasNoMoreChildrenThanTheQuota(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	subject, _ := w.agent(w.owner, "agent", authority.Agent)
	other, _ := w.agent(w.owner, "other", authority.Agent)
	w.policy(w.owner, subject, 2)
	w.policy(w.owner, other, 2)
	s := w.limited(map[string]int64{controlplane.QuotaChildren: 1})
	child := controlplane.Delegation{
		ParentMandateID: w.mandate(w.owner, subject).ID, ChildPrincipalID: other.ID, ResourceScope: []string{"api:external/*"}, ActionScope: []string{"read"}, ValiditySeconds: 60,
	}
	must(s.DelegateMandate(ctx, w.owner, child))(t)
	wantQuota(t, drop(s.DelegateMandate(ctx, w.owner, child)), "children_per_mandate", 1, 1)
}

func TestAGatewayKeyEnrolsNoMoreProcessesThanTheQuota(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	s := w.limited(map[string]int64{controlplane.QuotaGateways: 2})
	caller := w.as(w.edgeKey(w.owner).APIKey)
	enrolment := func() controlplane.Enrolment {
		return controlplane.Enrolment{PublicKey: publicKey(), Instance: "edge", Program: current}
	}
	again := enrolment()
	first := must(s.EnrolGateway(ctx, caller, again))(t)
	second := must(s.EnrolGateway(ctx, caller, enrolment()))(t) // in the place of the first, which may decide all the same
	wantQuota(t, drop(s.EnrolGateway(ctx, caller, enrolment())), "gateways_per_key", 2, 2)
	must(s.EnrolGateway(ctx, caller, again))(t)
	w.enrol(w.as(w.edgeKey(w.owner).APIKey), "edge") // with another key

	for _, c := range []struct {
		once string
		end  func()
	}{
		{"one was forgotten", func() {
			must(s.ForgetGateway(ctx, w.owner, first.GatewayID, controlplane.Forgetting{Reason: "scrapped"}))(t)
		}},
		{"one was revoked", func() { must(s.RevokeGateway(ctx, w.owner, second.GatewayID, 0))(t) }},
		{"they left in order", func() { w.asOwner("UPDATE gateways SET left_at = now() WHERE key_id = $1", caller.Key()) }},
		{"they are silent for a day", func() {
			w.asOwner("UPDATE gateways SET left_at = NULL, seen_at = now() - interval '25 hours' WHERE key_id = $1", caller.Key())
		}},
	} {
		c.end()
		if _, err := s.EnrolGateway(ctx, caller, enrolment()); err != nil {
			t.Errorf("once %s: %v", c.once, err)
		}
	}
}

func TestWritersAtOnceDoNotPassAQuotaTogether(t *testing.T) {
	w := newWorld(t)
	limits := map[string]int64{controlplane.QuotaPrincipals: 8}
	replicas := []*controlplane.Service{w.limited(limits), w.limited(limits)}
	var (
		all     sync.WaitGroup
		refused atomic.Int32
	)
	for i := range 16 {
		all.Go(func() {
			_, err := replicas[i%2].RegisterPrincipal(t.Context(), w.owner, controlplane.NewPrincipal{Name: fmt.Sprint(i), Type: authority.Service})
			var told *authority.Error
			if errors.As(err, &told) && told.Code == authority.CodeQuota {
				refused.Add(1)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := w.count("SELECT count(*) FROM principals"); n != 8 || refused.Load() != 9 {
		t.Errorf("%d principals and %d refusals, want 8 and 9", n, refused.Load())
	}
}

func TestOfTheRegoVersionsTheLatestAreKept(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	s := w.limited(map[string]int64{controlplane.QuotaRego: 3})
	first := must(s.PushRego(ctx, w.owner, controlplane.RegoPush{Activate: true}))(t).Value
	for range 5 {
		must(s.PushRego(ctx, w.owner, controlplane.RegoPush{}))(t)
	}
	var kept []int64
	for _, v := range must(s.RegoVersions(ctx, w.owner, controlplane.RegoFilter{}, controlplane.Page{}))(t).Items {
		kept = append(kept, v.Number)
	}
	if fmt.Sprint(kept) != "[6 5 1]" {
		t.Errorf("versions %v are kept, want the active one and the latest: [6 5 1]", kept)
	}
	must(s.RegoVersion(ctx, w.owner, first.ID))(t)
	pushed := must(s.Events(ctx, w.owner, controlplane.EventFilter{Type: authority.EventRegoPushed}, controlplane.Page{Limit: 1}))(t).Items[0]
	if removed, _ := pushed.Detail["removed"].([]any); len(removed) != 1 {
		t.Errorf("the event tells of what was removed: %v", pushed.Detail)
	}
}

func TestUsageCountsWhatQuotasLimit(t *testing.T) {
	w := newWorld(t)
	subject, _ := w.agent(w.owner, "agent", authority.Agent)
	w.policy(w.owner, subject, 0)
	w.mandate(w.owner, subject)
	got := map[string]int64{}
	for _, q := range must(w.Usage(t.Context(), w.owner, "first"))(t) {
		if q.Limit != controlplane.DefaultQuotas()[q.Name] {
			t.Errorf("the limit of %s is %d", q.Name, q.Limit)
		}
		got[q.Name] = q.Count
	}
	want := map[string]int64{
		"principals": 2, "members": 1, "keys": 2, "policies": 1, "live_mandates": 1,
		"destinations": int64(len(catalog.Initial())), "issuers": 0, "rego_versions": 0,
	}
	for name, n := range want {
		if got[name] != n {
			t.Errorf("%s: %d, want %d", name, got[name], n)
		}
	}
	wantError(t, drop(w.Usage(t.Context(), w.owner, "another")), authority.CodeNotFound, "")
}

func TestQuotasThatCannotBeMeantAreRefused(t *testing.T) {
	for sentence, quotas := range map[string]map[string]int64{
		"an unknown name":                         {"widgets": 3},
		"none at all":                             {controlplane.QuotaKeys: 0},
		"more than can be counted":                {controlplane.QuotaKeys: 1 << 40},
		"more children than a mandate ever takes": {controlplane.QuotaChildren: authority.MaxChildren + 1},
	} {
		if _, err := controlplane.New(controlplane.Config{MasterKey: make([]byte, 32), Quotas: quotas, Log: slog.Default(), Now: time.Now}); err == nil {
			t.Errorf("%s is taken", sentence)
		}
	}
}
