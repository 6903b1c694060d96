package controlplane_test

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
	"github.com/caracal-gateway/caracal/internal/pgtest"
)

var cluster = pgtest.Cluster{Prepare: postgres.Migrate}

const setupKey = "setup-key-of-these-tests-only"

// world is a control plane on a database of its own, with one workspace.
type world struct {
	*controlplane.Service
	t        *testing.T
	appURL   string
	ownerURL string
	owner    controlplane.Caller
}

func newWorld(t *testing.T) *world {
	t.Helper()
	ownerURL, appURL := cluster.New(t)
	w := &world{Service: newService(t, appURL), t: t, appURL: appURL, ownerURL: ownerURL}
	_, w.owner = w.workspace("first")
	return w
}

// newService is one replica.
func newService(t *testing.T, appURL string) *controlplane.Service {
	t.Helper()
	return serviceAt(t, appURL, time.Now)
}

// serviceAt is a replica with a clock of its own.
func serviceAt(t *testing.T, appURL string, now func() time.Time) *controlplane.Service {
	t.Helper()
	store, err := postgres.Open(postgres.Config{URL: appURL, MaxConns: 4})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	service, err := controlplane.New(controlplane.Config{
		Store: store, MasterKey: []byte(strings.Repeat("m", 32)), SetupKey: setupKey,
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Now: now, IssuerNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	})
	if err != nil {
		t.Fatal(err)
	}
	return service
}

func (w *world) as(bearer string) controlplane.Caller {
	w.t.Helper()
	return must(w.Authenticate(w.t.Context(), controlplane.Credential{Bearer: bearer}))(w.t)
}

func (w *world) workspace(slug string) (controlplane.CreatedWorkspace, controlplane.Caller) {
	w.t.Helper()
	created := must(w.CreateWorkspace(w.t.Context(), w.as(setupKey), controlplane.NewWorkspace{Name: slug, Slug: slug}))(w.t)
	return created.Value, w.as(created.Value.APIKey)
}

// agent registers a principal and answers it with a caller that uses its key.
func (w *world) agent(owner controlplane.Caller, name string, kind authority.PrincipalType) (authority.Principal, controlplane.Caller) {
	w.t.Helper()
	p := must(w.RegisterPrincipal(w.t.Context(), owner, controlplane.NewPrincipal{Name: name, Type: kind}))(w.t).Value
	return p.Principal, w.as(p.APIKey)
}

func (w *world) policy(owner controlplane.Caller, p authority.Principal, depth int) authority.Policy {
	w.t.Helper()
	return must(w.CreatePolicy(w.t.Context(), owner, controlplane.NewPolicy{
		PrincipalID: p.ID, AllowedResources: []string{"api:external/*", "db:analytics/*"},
		AllowedActions: []string{"read", "execute"}, MaxValiditySeconds: 86400, DelegationDepth: depth,
	}))(w.t).Value
}

func request(issuer, subject authority.PrincipalID) controlplane.MandateRequest {
	return controlplane.MandateRequest{
		IssuerID: issuer, SubjectID: subject, ResourceScope: []string{"api:external/*"},
		ActionScope: []string{"read", "execute"}, ValiditySeconds: 3600,
	}
}

func (w *world) mandate(owner controlplane.Caller, subject authority.Principal) authority.Mandate {
	w.t.Helper()
	return must(w.RequestMandate(w.t.Context(), owner, request(owner.Principal().ID, subject.ID)))(w.t).Value
}

func must[T any](value T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

// eventually polls a condition until it holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not within 10 s", what)
		case <-tick.C:
		}
	}
}
