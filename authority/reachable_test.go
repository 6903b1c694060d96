package authority_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/caracal-gateway/caracal/authority"
)

func TestTwoPatternsMeetWhereAResourceMatchesBoth(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"*", "api:echo/all", true},
		{"api:*", "api:echo/all", true},
		{"api:*", "api:*", true},
		{"api:*/all", "api:echo/*", true},
		{"api:echo/all", "api:echo/all", true},
		{"host:h:443/*", "host:h:443/", true},
		{"*:echo/all", "api:*", true},
		{"api:echo/all", "api:echo", false},
		{"api:echo", "api:*/all", false},
		{"api:*", "api", false},
		{"api:echo/*", "api:other/*", false},
		{"api:echo", "api/echo", false},
		{"host:h:443/*", "host:h:80/*", false},
		{"host:h:443/*", "tunnel:h:443", false},
	} {
		a, b := authority.ResourcePattern(c.a), authority.ResourcePattern(c.b)
		if a.Meets(b) != c.want || b.Meets(a) != c.want {
			t.Errorf("%s and %s: %v and %v, want %v", c.a, c.b, a.Meets(b), b.Meets(a), c.want)
		}
	}
}

// Whatever resource two patterns match, they meet.
func TestPatternsThatShareAResourceMeet(t *testing.T) {
	segment := rapid.SampledFrom([]string{"a", "b", "*"})
	pattern := rapid.Custom(func(t *rapid.T) string {
		text := segment.Draw(t, "first")
		for range rapid.IntRange(0, 3).Draw(t, "more") {
			text += rapid.SampledFrom([]string{":", "/"}).Draw(t, "separator") + segment.Draw(t, "segment")
		}
		return text
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := authority.ResourcePattern(pattern.Draw(t, "a")), authority.ResourcePattern(pattern.Draw(t, "b"))
		r := authority.Resource(pattern.Draw(t, "r"))
		if slices.Contains([]byte(r), '*') {
			t.Skip()
		}
		if a.Matches(r) && b.Matches(r) && !a.Meets(b) {
			t.Fatalf("%s and %s match %s and do not meet", a, b, r)
		}
	})
}

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
