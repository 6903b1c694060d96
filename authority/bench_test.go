package authority_test

import (
	"fmt"
	"testing"

	"github.com/caracal-gateway/caracal/authority"
)

func BenchmarkValidate(b *testing.B) {
	p := present(b)
	for b.Loop() {
		if f := authority.Validate(p, p.inquiry); !f.Holds() {
			b.Fatal(f.Reason)
		}
	}
}

func BenchmarkResolve(b *testing.B) {
	var destinations []authority.Destination
	for i := range 200 {
		destinations = append(destinations, authority.Destination{
			Name: fmt.Sprint(i), Host: fmt.Sprintf("api%d.example.test", i),
			Rules: []authority.Rule{
				rule("/repos/{owner}/{repo}/**", "api:git/{owner}/{repo}", "GET=read"),
				rule("/repos/{owner}/secrets", "api:secrets", "GET=read"),
			},
		}.WithDefaults())
	}
	c, err := authority.NewCatalog(destinations)
	if err != nil {
		b.Fatal(err)
	}
	for name, raw := range map[string]string{
		"rule":           "https://api7.example.test/repos/acme/site/issues/1",
		"no destination": "https://elsewhere.test/v1/chat/completions",
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				t, err := authority.ParseTarget(raw)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := c.Resolve("GET", t); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
