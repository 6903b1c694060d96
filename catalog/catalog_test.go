package catalog_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/catalog"
)

// whole is the one catalog that has the destinations of all entries.
func whole(t *testing.T) *authority.Catalog {
	t.Helper()
	var all []authority.Destination
	for _, e := range catalog.Entries() {
		all = append(all, e.Destinations...)
	}
	c, err := authority.NewCatalog(all)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// judge resolves a request the way that the decision service does.
func judge(c *authority.Catalog, r catalog.Request) (authority.Match, error) {
	target, err := authority.ParseTarget(r.URL)
	if err != nil {
		return authority.Match{}, err
	}
	return c.Resolve(r.Method, target)
}

func TestEachEntryIsCompleteAndFitsWithAllOthersIntoOneCatalog(t *testing.T) {
	whole(t)
	names := map[string]string{}
	for _, e := range catalog.Entries() {
		if e.Title == "" || e.About == "" || len(e.Destinations) == 0 || len(e.Grants) == 0 || len(e.Requests) == 0 {
			t.Errorf("%s lacks a title, a text, a destination, a grant or a request", e.Name)
		}
		if !slices.Contains(catalog.Kinds(), e.Kind) {
			t.Errorf("%s is of the kind %q", e.Name, e.Kind)
		}
		for _, d := range e.Destinations {
			if other, taken := names[d.Name]; taken {
				t.Errorf("%s and %s both have a destination %q", e.Name, other, d.Name)
			}
			names[d.Name] = e.Name
			if d.ID != "" || d.WorkspaceID != "" || !d.CreatedAt.IsZero() {
				t.Errorf("%s has identifiers", d.Name)
			}
			if diff := cmp.Diff(d.WithDefaults(), d); diff != "" {
				t.Errorf("%s lacks defaults:\n%s", d.Name, diff)
			}
		}
	}
}

func TestEachRecordedRequestIsWhatItsEntrySays(t *testing.T) {
	c := whole(t)
	for _, e := range catalog.Entries() {
		for _, r := range e.Requests {
			match, err := judge(c, r)
			var refusal *authority.Error
			switch {
			case r.From == "":
				t.Errorf("%s: %s %s is from nowhere", e.Name, r.Method, r.URL)
			case r.Refused && !errors.As(err, &refusal):
				t.Errorf("%s: %s %s is %s %s, not refused", e.Name, r.Method, r.URL, match.Action, match.Resource)
			case r.Refused:
			case err != nil:
				t.Errorf("%s: %s %s is refused: %v", e.Name, r.Method, r.URL, err)
			case match.Action != r.Action || match.Resource != r.Resource:
				t.Errorf("%s: %s %s is %s %s, not %s %s", e.Name, r.Method, r.URL, match.Action, match.Resource, r.Action, r.Resource)
			}
		}
	}
}

func TestEachTypicalGrantPermitsExactlyTheRequestsThatSaySo(t *testing.T) {
	for _, e := range catalog.Entries() {
		for _, g := range e.Grants {
			scope, err := authority.ParseScope(g.Resources, g.Actions)
			if err != nil || g.Name == "" || g.For == "" {
				t.Errorf("%s: the grant %q for %q: %v", e.Name, g.Name, g.For, err)
			}
			used := false
			for _, r := range e.Requests {
				permits := !r.Refused && scope.Permits(r.Resource, r.Action)
				used = used || permits
				if listed := slices.Contains(r.By, g.Name); permits != listed {
					t.Errorf("%s: %s permits %s %s: %v, and the request says %v", e.Name, g.Name, r.Method, r.URL, permits, listed)
				}
			}
			if !used {
				t.Errorf("%s: %s permits no request", e.Name, g.Name)
			}
		}
		for _, r := range e.Requests {
			for _, name := range r.By {
				if !slices.ContainsFunc(e.Grants, func(g catalog.Grant) bool { return g.Name == name }) {
					t.Errorf("%s: %s %s names the grant %q", e.Name, r.Method, r.URL, name)
				}
			}
		}
	}
}

func TestAnEntryIsFoundByItsNameOnly(t *testing.T) {
	for _, e := range catalog.Entries() {
		found, ok := catalog.Find(e.Name)
		if diff := cmp.Diff(e, found); !ok || diff != "" {
			t.Errorf("%s: %v\n%s", e.Name, ok, diff)
		}
	}
	for _, name := range []string{"", ".", "..", "*", "openai.yaml", "../entries/openai", "OpenAI"} {
		if _, ok := catalog.Find(name); ok {
			t.Errorf("%q is found", name)
		}
	}
}

func TestANewWorkspaceStartsWithTheModelProviders(t *testing.T) {
	initial := catalog.Initial()
	c, err := authority.NewCatalog(initial)
	if err != nil {
		t.Fatal(err)
	}
	providers := map[string]string{
		"openai": "api.openai.com", "anthropic": "api.anthropic.com", "google": "generativelanguage.googleapis.com",
		"mistral": "api.mistral.ai", "groq": "api.groq.com", "together": "api.together.xyz", "openrouter": "openrouter.ai",
		"cohere": "api.cohere.com", "deepseek": "api.deepseek.com", "xai": "api.x.ai",
	}
	if len(initial) != len(providers) {
		t.Errorf("%d destinations, want %d", len(initial), len(providers))
	}
	for name, host := range providers {
		resource := authority.Resource("api:external/" + name)
		for method, action := range map[string]authority.Action{"GET": authority.Read, "POST": authority.Execute, "DELETE": "", "PUT": "", "PATCH": ""} {
			match, err := judge(c, catalog.Request{Method: method, URL: "https://" + host + "/v1/files/1"})
			if action == "" {
				if err == nil {
					t.Errorf("%s %s is %s %s, not refused", method, host, match.Action, match.Resource)
				}
				continue
			}
			if err != nil || match.Action != action || match.Resource != resource || match.Destination.Name != name {
				t.Errorf("%s %s is %s %s: %v", method, host, match.Action, match.Resource, err)
			}
		}
	}
}

func BenchmarkInitial(b *testing.B) {
	for b.Loop() {
		catalog.Initial()
	}
}
