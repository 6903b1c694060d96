package authority_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/caracal-gateway/caracal/authority"
)

func TestResourcePatternsAreRefusedUnlessTheyFollowTheGrammar(t *testing.T) {
	long := "api:" + strings.Repeat("x", 508)
	for text, problem := range map[string]string{
		"api:external/openai":     "",
		"api:external/*":          "",
		"api:*/chat":              "",
		"*":                       "",
		"*:*/*":                   "",
		"db:analytics/events":     "",
		"host:h.test:443/":        "",
		"host:h.test:443/*":       "",
		"host:h.test:443/a/":      "",
		"host:h.test:443/%2A":     "",
		"api:external/openai...":  "",
		long:                      "",
		"":                        "it is empty",
		long + "x":                "it is longer than 512 bytes",
		"api:":                    "it has an empty segment",
		"api:external/":           "it has an empty segment",
		"/api":                    "it has an empty segment",
		"api::x":                  "it has an empty segment",
		"host:h.test:443//a":      "it has an empty segment",
		"host:h.test:":            "it has an empty segment",
		"*:h.test:443/":           "it has an empty segment",
		"api:./x":                 "a segment is . or ..",
		"api:x/..":                "a segment is . or ..",
		"api:ext*":                "* stands for a whole segment only",
		"api:**":                  "* stands for a whole segment only",
		"api:**/x":                "* stands for a whole segment only",
		"api:{a,b}":               "it has a brace or a bracket",
		"api:a{":                  "it has a brace or a bracket",
		"api:a}":                  "it has a brace or a bracket",
		"api:a[":                  "it has a brace or a bracket",
		"api:a]":                  "it has a brace or a bracket",
		"api:[a-z]":               "it has a brace or a bracket",
		"api:a b":                 "it has a space, a control character or a character outside ASCII",
		"api:a\n":                 "it has a space, a control character or a character outside ASCII",
		"api:a\x00":               "it has a space, a control character or a character outside ASCII",
		"api:caf\u00e9":           "it has a space, a control character or a character outside ASCII",
		"api:\uff0a":              "it has a space, a control character or a character outside ASCII",
		"api:external\u2215admin": "it has a space, a control character or a character outside ASCII",
	} {
		_, err := authority.ParseResourcePattern(text)
		assertProblem(t, text, err, problem)
	}
}

func TestResourcesAreLiteral(t *testing.T) {
	for _, text := range []string{"*", "api:*", "api:*/x"} {
		_, err := authority.ParseResource(text)
		assertProblem(t, text, err, "it must be literal, without *")
	}
	got, err := authority.ParseResource("api:external/openai")
	if err != nil || got != "api:external/openai" {
		t.Errorf("ParseResource = %q, %v", got, err)
	}
}

func assertProblem(t *testing.T, text string, err error, problem string) {
	t.Helper()
	switch {
	case problem == "" && err != nil:
		t.Errorf("%q: %v, want it accepted", text, err)
	case problem != "" && (err == nil || !strings.HasSuffix(err.Error(), problem)):
		t.Errorf("%q: %v, want refused because %s", text, err, problem)
	}
}

func TestPatternsMatchAndCoverAsTheDesignSays(t *testing.T) {
	cases := map[string]struct {
		pattern, other string
		covers         bool
	}{
		"a final star covers one further segment":          {"api:external/*", "api:external/openai", true},
		"a final star covers more further segments":        {"api:external/*", "api:external/openai/chat", true},
		"a final star covers them whatever separates them": {"api:external/*", "api:external/openai:chat", true},
		"a final star does not cover its own stem":         {"api:external/*", "api:external", false},
		"a final star covers the root of a host":           {"host:h:443/*", "host:h:443/", true},
		"a port is part of the name":                       {"host:h:443/*", "host:h:8443/", false},
		"an inner star covers exactly one segment":         {"api:*/chat", "api:a/b/chat", false},
		"an inner star covers any one segment":             {"api:*/chat", "api:openai/chat", true},
		"separators match exactly":                         {"api:external/openai", "api:external:openai", false},
		"the separator before a star matches exactly":      {"api:external/*", "api:external:openai", false},
		"case matters":                                          {"api:External/*", "api:external/openai", false},
		"an escape is not the character":                        {"api:a/b", "api:a%2fb", false},
		"a star alone covers everything":                        {"*", "db:analytics/events", true},
		"a narrower star is covered by a wider one":             {"api:*", "api:external/*", true},
		"a wider star is not covered by a narrower one":         {"api:external/*", "api:*", false},
		"an inner star is covered by a final one":               {"api:*", "api:*/chat", true},
		"a final star is not covered by an inner one":           {"api:*/chat", "api:*", false},
		"a literal is not covered by a longer literal":          {"api:external/openai", "api:external", false},
		"a tunnel is not covered by its host":                   {"host:h:443/*", "tunnel:h:443", false},
		"a tunnel is not covered by every host":                 {"host:*", "tunnel:h:443", false},
		"a pattern covers itself":                               {"api:*/x/*", "api:*/x/*", true},
		"a star segment is not covered by a literal of its own": {"api:a/b", "api:*/b", false},
	}
	for sentence, c := range cases {
		t.Run(sentence, func(t *testing.T) {
			p := pattern(t, c.pattern)
			if got := p.Covers(pattern(t, c.other)); got != c.covers {
				t.Errorf("%q covers %q: %v, want %v", c.pattern, c.other, got, c.covers)
			}
			if strings.Contains(c.other, "*") {
				return
			}
			if got := p.Matches(authority.Resource(c.other)); got != c.covers {
				t.Errorf("%q matches %q: %v, want %v", c.pattern, c.other, got, c.covers)
			}
		})
	}
}

func pattern(t interface{ Fatal(...any) }, text string) authority.ResourcePattern {
	p, err := authority.ParseResourcePattern(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// universe lists every name of at most depth segments over the alphabet, with either separator; names of the family
// host also with the trailing slash that they alone may have.
func universe(alphabet []string, depth int) []string {
	names := append([]string{}, alphabet...)
	level := names
	for range depth - 1 {
		var next []string
		for _, stem := range level {
			for _, separator := range []string{":", "/"} {
				for _, segment := range alphabet {
					next = append(next, stem+separator+segment)
				}
			}
		}
		names, level = append(names, next...), next
	}
	for _, name := range names {
		if first, _, _ := strings.Cut(strings.ReplaceAll(name, "/", ":"), ":"); first == "host" && !strings.HasSuffix(name, "*") {
			names = append(names, name+"/")
		}
	}
	return names
}

// model is the grammar's meaning as a regular expression, written down a second time.
func model(p string) *regexp.Regexp {
	text := regexp.QuoteMeta(p)
	if stem, ok := strings.CutSuffix(text, `\*`); ok {
		text = stem + ".*"
	}
	return regexp.MustCompile(`^` + strings.ReplaceAll(text, `\*`, `[^:/]+`) + `$`)
}

func TestMatchingAndContainmentAgreeWithBruteForce(t *testing.T) {
	patterns := universe([]string{"a", "host", "*"}, 3)
	resources := universe([]string{"a", "host", "other"}, 4)
	matched := make([][]bool, len(patterns))
	for i, text := range patterns {
		p, m := pattern(t, text), model(text)
		matched[i] = make([]bool, len(resources))
		for j, r := range resources {
			matched[i][j] = m.MatchString(r)
			if got := p.Matches(authority.Resource(r)); got != matched[i][j] {
				t.Fatalf("%q matches %q: %v, the model says %v", text, r, got, matched[i][j])
			}
		}
	}
	for i, p := range patterns {
		for j, q := range patterns {
			all := true
			for k := range resources {
				if matched[j][k] && !matched[i][k] {
					all = false
					break
				}
			}
			if got := pattern(t, p).Covers(pattern(t, q)); got != all {
				t.Fatalf("%q covers %q: %v, brute force says %v", p, q, got, all)
			}
		}
	}
}

var anyPattern = rapid.Custom(func(t *rapid.T) string {
	segment := rapid.SampledFrom([]string{"a", "b", "api", "host", "*", "%2F", "..."})
	var b strings.Builder
	b.WriteString(segment.Draw(t, "segment"))
	for range rapid.IntRange(0, 12).Draw(t, "further") {
		b.WriteString(rapid.SampledFrom([]string{":", "/"}).Draw(t, "separator"))
		b.WriteString(segment.Draw(t, "segment"))
	}
	return b.String()
})

func TestContainmentOfLongPatternsIsWhatTheirInstancesSay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, q := pattern(t, anyPattern.Draw(t, "p")), pattern(t, anyPattern.Draw(t, "q"))
		// Fresh segments in place of stars make the instances that every pattern but a covering one misses.
		inner := strings.ReplaceAll(string(q), "*", "fresh")
		instances := []string{inner}
		if strings.HasSuffix(string(q), "*") {
			instances = append(instances, inner+":more", inner+"/more/still")
		}
		all := true
		for _, r := range instances {
			if !q.Matches(authority.Resource(r)) {
				t.Fatalf("%q does not match its own instance %q", q, r)
			}
			all = all && p.Matches(authority.Resource(r))
		}
		if got := p.Covers(q); got != all {
			t.Fatalf("%q covers %q: %v, its instances say %v", p, q, got, all)
		}
		if !p.Covers(p) {
			t.Fatalf("%q does not cover itself", p)
		}
	})
}

func TestMatchingDoesNotAllocate(t *testing.T) {
	p, q := pattern(t, "api:external/*/chat/*"), pattern(t, "api:external/openai/chat/*")
	if n := testing.AllocsPerRun(100, func() {
		if !p.Covers(q) || !p.Matches("api:external/openai/chat/completions") {
			t.Fatal("the pattern does not match")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzResourcePattern(f *testing.F) {
	for _, seed := range []string{"api:external/*", "host:h.test:443/", "a:*/b", "*", "api:{a}", "..", "host:/", "a::b"} {
		f.Add(seed, "api:external/openai")
	}
	f.Fuzz(func(t *testing.T, text, other string) {
		p, err := authority.ParseResourcePattern(text)
		if err != nil {
			return
		}
		if !p.Covers(p) {
			t.Errorf("%q does not cover itself", p)
		}
		if r, err := authority.ParseResource(text); (err == nil) != p.Literal() {
			t.Errorf("%q: literal %v, as a resource %q, %v", text, p.Literal(), r, err)
		}
		if r, err := authority.ParseResource(other); err == nil && p.Matches(r) != model(text).MatchString(other) {
			t.Errorf("%q matches %q: %v", text, other, p.Matches(r))
		}
	})
}

func TestPatternListsSayWhichElementIsWrong(t *testing.T) {
	many := make([]string, 101)
	cases := map[string]struct {
		list  []string
		want  []authority.ResourcePattern
		field string
		empty bool
	}{
		"duplicates are left out":      {list: []string{"a:b", "a:*", "a:b"}, want: []authority.ResourcePattern{"a:b", "a:*"}},
		"the second element is wrong":  {list: []string{"a", "b:"}, field: "[1]"},
		"an empty list grants nothing": {list: []string{}, empty: true},
		"a list has an end":            {list: many, empty: true},
	}
	for sentence, c := range cases {
		t.Run(sentence, func(t *testing.T) {
			got, err := authority.ParsePatterns(c.list)
			if c.want == nil {
				assertInvalid(t, err, c.field)
				return
			}
			if diff := cmp.Diff(c.want, got); diff != "" || err != nil {
				t.Errorf("%v %s", err, diff)
			}
		})
	}
}
