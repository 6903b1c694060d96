package authority_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/caracal-gateway/caracal/authority"
)

func TestPatternsOverlap(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"api:shop", "api:shop", true},
		{"api:shop", "api:mall", false},
		{"api:shop", "api/shop", false},
		{"api:shop", "api:shop/orders", false},
		{"api:*", "api:shop/orders", true},
		{"api:*/orders", "api:shop/*", true},
		{"api:*/orders", "api:shop/carts", false},
		{"api:*/orders", "api:shop", false},
		{"*", "db:analytics/events", true},
		{"api:*", "api:*", true},
		{"api:*/all", "api:echo/*", true},
		{"api:*", "api", false},
		{"api:echo/*", "api:other/*", false},
		{"host:h:443/*", "tunnel:h:443", false},
		{"*:shop", "api:*", true},
		{"*:shop/a", "api:shop", false},
		{"host:a.example.com:443/*", "host:*:443/", true},
		{"host:a.example.com:443/*", "host:a.example.com:8443/*", false},
		{"tunnel:a.example.com:443", "host:*", false},
	} {
		for _, pair := range [][2]string{{c.a, c.b}, {c.b, c.a}} {
			if got := authority.ResourcePattern(pair[0]).Overlaps(authority.ResourcePattern(pair[1])); got != c.want {
				t.Errorf("%s overlaps %s: %v", pair[0], pair[1], got)
			}
		}
	}
}

// Every resource of up to five segments of two words is tried. Patterns of up to three that overlap do so in one of these.
func TestOverlapIsWhatSomeResourceShows(t *testing.T) {
	var resources []authority.Resource
	for level, last := 1, []string{"a", "b"}; level <= 5; level++ {
		var longer []string
		for _, text := range last {
			resources = append(resources, authority.Resource(text))
			for _, more := range []string{":a", ":b", "/a", "/b"} {
				longer = append(longer, text+more)
			}
		}
		last = longer
	}
	pattern := rapid.Custom(func(t *rapid.T) authority.ResourcePattern {
		text := rapid.SampledFrom([]string{"a", "b", "*"}).Draw(t, "first")
		for range rapid.IntRange(0, 2).Draw(t, "more") {
			text += rapid.SampledFrom([]string{":", "/"}).Draw(t, "separator") + rapid.SampledFrom([]string{"a", "b", "*"}).Draw(t, "segment")
		}
		return authority.ResourcePattern(text)
	})
	rapid.Check(t, func(t *rapid.T) {
		p, q := pattern.Draw(t, "one"), pattern.Draw(t, "other")
		shown := false
		for _, r := range resources {
			shown = shown || p.Matches(r) && q.Matches(r)
		}
		if p.Overlaps(q) != shown || q.Overlaps(p) != shown {
			t.Fatalf("%s overlaps %s: %v and %v, want %v", p, q, p.Overlaps(q), q.Overlaps(p), shown)
		}
	})
}
