package authority_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caracal-gateway/caracal/authority"
)

func TestWhatIsReachableAtAHostCoversEveryRequestThere(t *testing.T) {
	read := map[string]authority.Action{"GET": authority.Read}
	catalog, err := authority.NewCatalog([]authority.Destination{
		{Name: "git", Host: "git.test", Ports: []uint16{443}, TLS: authority.TLSRequired, EncodedSlash: authority.EncodedSlashRefuse, Rules: []authority.Rule{
			{Path: "/repos/{owner}/{repo}/**", Methods: read, Resource: "api:git/{owner}/{repo}"},
			{Path: "/gists/{id}", Methods: read, Resource: "api:git/gist:{id}/file"},
		}},
		{Name: "open", Host: "*.open.test", Ports: []uint16{443, 8080}, TLS: authority.TLSRequired, EncodedSlash: authority.EncodedSlashRefuse},
	})
	if err != nil {
		t.Fatal(err)
	}
	for url, want := range map[string][]authority.ResourcePattern{
		"https://git.test/repos/a/b/c":   {"api:git/*/*", "api:git/gist:*/file"},
		"https://git.test/gists/x":       {"api:git/*/*", "api:git/gist:*/file"},
		"https://a.open.test:8080/x":     {"host:a.open.test:8080/*"},
		"https://b.open.test/":           {"host:b.open.test:443/*"},
		"https://pub.test/x/y?z=1":       {"host:pub.test:443/*"},
		"http://pub.test/":               {"host:pub.test:80/*"},
		"https://git.test/repos/a*/b%3A": {"api:git/*/*", "api:git/gist:*/file"},
	} {
		target, err := authority.ParseTarget(url)
		if err != nil {
			t.Fatal(err)
		}
		_, d, err := catalog.Through(target.Host, target.Port)
		if err != nil {
			t.Fatal(err)
		}
		got := catalog.Reachable(d, target.Host, target.Port)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", url, diff)
		}
		match, err := catalog.Resolve("GET", target)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(got, func(p authority.ResourcePattern) bool { return p.Matches(match.Resource) }) {
			t.Errorf("%s is %s, which none of %s covers", url, match.Resource, got)
		}
	}
}
