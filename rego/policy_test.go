package rego_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caracal-gateway/caracal/rego"
)

// established is what Go found for a request that nothing speaks against.
func established() rego.Facts {
	return rego.Facts{Known: true, Presenter: true, Live: true, PrincipalsActive: true,
		WithinTime: true, Action: true, Resource: true, Chain: true}
}

// chat is a request that every fact speaks for.
func chat() rego.Input {
	now := time.Date(2024, 1, 15, 10, 30, 0, 0, time.UTC)
	return rego.Input{
		Request: rego.Request{
			Mode: rego.ModeGateway, Method: "POST", Host: "echo.caracal.test", Port: 443,
			Path:   []string{"v1", "chat", "completions"},
			Header: map[string]string{"content-type": "application/json", "user-agent": "agent/1.2.0"},
		},
		Principal: rego.Principal{ID: "prn_agent", Type: "agent", Name: "my-agent",
			Metadata: map[string]string{"environment": "production"}},
		Mandate: rego.Mandate{
			ID: "mnd_child", IssuerID: "prn_lead", SubjectID: "prn_agent",
			Resources: []string{"api:external/*"}, Actions: []string{"read", "execute"},
			ValidFrom: now.Add(-time.Hour), ValidUntil: now.Add(time.Hour),
			Level: 1, DelegationDepth: 1, RequestedBy: "prn_agent", Consent: "standing",
			PolicyID: "pol_agent", PolicyVersion: 3,
			Chain: []rego.Link{
				{ID: "mnd_root", IssuerID: "prn_owner", SubjectID: "prn_lead"},
				{ID: "mnd_child", IssuerID: "prn_lead", SubjectID: "prn_agent"},
			},
		},
		Resource: "api:external/openai", Action: "execute",
		Workspace: rego.Workspace{ID: "wsp_team", Slug: "my-team"},
		Time:      now,
		Facts:     established(),
	}
}

func compile(t testing.TB, src rego.Source) *rego.Policy {
	t.Helper()
	p, err := rego.Compile(context.Background(), src)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func single(text string) rego.Source {
	return rego.Source{Modules: map[string]string{"policy.rego": text}}
}

func demo(t testing.TB) rego.Source {
	t.Helper()
	modules := map[string]string{}
	for _, name := range []string{"policy.rego", "policy_test.rego"} {
		text, err := os.ReadFile(filepath.Join("..", "demo", name))
		if err != nil {
			t.Fatal(err)
		}
		modules[name] = string(text)
	}
	return rego.Source{Modules: modules}
}

func TestTheDemoPolicyPassesItsTests(t *testing.T) {
	results, err := rego.Test(context.Background(), demo(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if !r.Passed {
			t.Errorf("%s: %s", r.Name, r.Error)
		}
	}
	if len(results) != 5 {
		t.Errorf("%d tests ran, want 5", len(results))
	}
}

func TestTheDemoPolicyDecides(t *testing.T) {
	p := compile(t, demo(t))
	in := chat()
	got, err := p.Evaluate(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	want := rego.Verdict{Allow: true, Obligations: rego.Obligations{MaxDuration: 10 * time.Minute}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("chat (-want +got):\n%s", diff)
	}
	in.Request.Path = []string{"v1", "embeddings"}
	got, err = p.Evaluate(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	want.Allow = false
	want.Denials = []rego.Denial{{Code: "no_embeddings", Message: "this workspace does not compute embeddings"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("embeddings (-want +got):\n%s", diff)
	}
}

func BenchmarkEvaluate(b *testing.B) {
	for name, src := range map[string]rego.Source{"base": {}, "demo": demo(b)} {
		b.Run(name, func(b *testing.B) {
			p, in := compile(b, src), chat()
			b.ReportAllocs()
			for b.Loop() {
				if v, err := p.Evaluate(context.Background(), in); err != nil || !v.Allow {
					b.Fatal(v, err)
				}
			}
		})
	}
}
