package authority_test

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/caracal-gateway/caracal/authority"
)

func TestRulesAreRefusedUnlessTheyFollowTheGrammar(t *testing.T) {
	deep := strings.Repeat("/a", 33)
	cases := map[string]struct {
		rule  authority.Rule
		field string
	}{
		"a path without its slash":             {rule("a", "api:a", "GET=read"), "path"},
		"an empty path":                        {rule("", "api:a", "GET=read"), "path"},
		"an empty segment":                     {rule("/a//b", "api:a", "GET=read"), "path"},
		"a trailing slash":                     {rule("/a/", "api:a", "GET=read"), "path"},
		"a dot segment":                        {rule("/a/../b", "api:a", "GET=read"), "path"},
		"** in the middle":                     {rule("/a/**/b", "api:a", "GET=read"), "path"},
		"a single star":                        {rule("/a/*", "api:a", "GET=read"), "path"},
		"a star inside a segment":              {rule("/a*", "api:a", "GET=read"), "path"},
		"a variable inside a segment":          {rule("/a{b}", "api:a", "GET=read"), "path"},
		"a variable without a name":            {rule("/{}", "api:a", "GET=read"), "path"},
		"a variable in upper case":             {rule("/{Owner}", "api:a", "GET=read"), "path"},
		"two variables in one segment":         {rule("/{a}{b}", "api:a", "GET=read"), "path"},
		"one variable twice":                   {rule("/{a}/{a}", "api:a", "GET=read"), "path"},
		"a query":                              {rule("/a?b", "api:a", "GET=read"), "path"},
		"a needless escape":                    {rule("/%61", "api:a", "GET=read"), "path"},
		"too many segments":                    {rule(deep, "api:a", "GET=read"), "path"},
		"too many bytes":                       {rule("/"+strings.Repeat("a", 512), "api:a", "GET=read"), "path"},
		"a resource with a star":               {rule("/a", "api:*", "GET=read"), "resource"},
		"a resource with an empty segment":     {rule("/a", "api:", "GET=read"), "resource"},
		"an empty resource":                    {rule("/a", "", "GET=read"), "resource"},
		"a variable that the path lacks":       {rule("/{a}", "api:{b}", "GET=read"), "resource"},
		"a variable as a part of a segment":    {rule("/{a}", "api:x{a}", "GET=read"), "resource"},
		"a resource that begins variably":      {rule("/{a}", "{a}:x", "GET=read"), "resource"},
		"a resource of a host":                 {rule("/{a}", "host:{a}:443/x", "GET=read"), "resource"},
		"a resource of a tunnel":               {rule("/{a}", "tunnel:{a}:443", "GET=read"), "resource"},
		"no methods":                           {rule("/a", "api:a"), "methods"},
		"a method in lower case":               {rule("/a", "api:a", "get=read"), "methods"},
		"a method that is never forwarded":     {rule("/a", "api:a", "CONNECT=read"), "methods"},
		"another that is never forwarded":      {rule("/a", "api:a", "TRACE=read"), "methods"},
		"an action that does not exist":        {rule("/a", "api:a", "GET=delete"), "methods.GET"},
		"an action that stands for all":        {rule("/a", "api:a", "GET=*"), "methods.GET"},
		"no action":                            {rule("/a", "api:a", "GET="), "methods.GET"},
		"a resource that begins after a brace": {rule("/{a}", "{a", "GET=read"), "resource"},
	}
	for sentence, c := range cases {
		t.Run(sentence, func(t *testing.T) {
			d := authority.Destination{Name: "d", Host: "d.test", Rules: []authority.Rule{rule("/fine", "api:fine", "GET=read"), c.rule}}
			assertInvalid(t, d.WithDefaults().Validate(), "rules[1]."+c.field)
		})
	}
}

// A rule's resource names the rule itself here, so that the model can tell which one was chosen.
func TestTheChosenRuleIsTheFirstInTheOrderOfTheDesign(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		templates := rapid.SliceOfNDistinct(anyTemplate, 1, 8, shape).Draw(t, "templates")
		d := authority.Destination{Name: "d", Host: "d.test"}
		for i, template := range templates {
			d.Rules = append(d.Rules, rule(template, fmt.Sprintf("api:%d", i), "GET=read"))
		}
		c, err := authority.NewCatalog([]authority.Destination{d.WithDefaults()})
		if err != nil {
			t.Fatal(err)
		}
		segments := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c"}), 0, 4).Draw(t, "segments")
		m, err := c.Resolve("GET", target("https", "d.test", 443, "/"+strings.Join(segments, "/"), ""))
		best := -1
		for i, template := range templates {
			if rank(template, segments) != "" && (best < 0 || rank(template, segments) < rank(templates[best], segments)) {
				best = i
			}
		}
		if best < 0 && err == nil || best >= 0 && (err != nil || m.Resource != authority.Resource(fmt.Sprintf("api:%d", best))) {
			t.Fatalf("/%s among %q: %q, %v, the model says %d", strings.Join(segments, "/"), templates, m.Resource, err, best)
		}
	})
}

var anyTemplate = rapid.Custom(func(t *rapid.T) string {
	var b strings.Builder
	for i := range rapid.IntRange(0, 4).Draw(t, "segments") {
		switch s := rapid.SampledFrom([]string{"a", "b", "{"}).Draw(t, "segment"); s {
		case "{":
			fmt.Fprintf(&b, "/{v%d}", i)
		default:
			b.WriteString("/" + s)
		}
	}
	if rapid.Bool().Draw(t, "rest") || b.Len() == 0 {
		b.WriteString("/**")
	}
	return b.String()
})

// shape is what makes two templates equal: variables are named by their place here.
func shape(template string) string { return template }

// rank is empty when the template does not match, else smaller the more specific it is: one letter a segment, in the
// order literal, variable, end of the path, `**`.
func rank(template string, segments []string) string {
	parts := strings.Split(strings.TrimPrefix(template, "/"), "/")
	var b strings.Builder
	for i, part := range parts {
		switch {
		case part == "**":
			return b.String() + "4"
		case i >= len(segments):
			return ""
		case part == segments[i]:
			b.WriteString("1")
		case strings.HasPrefix(part, "{"):
			b.WriteString("2")
		default:
			return ""
		}
	}
	if len(parts) != len(segments) {
		return ""
	}
	return b.String() + "3"
}

func FuzzPathTemplate(f *testing.F) {
	for _, seed := range [][3]string{
		{"/repos/{owner}/{repo}/**", "api:github/{owner}/{repo}", "/repos/o/r/x"},
		{"/", "api:root", "/"},
		{"/a%20b/{x}", "api:{x}:y", "/a%20b/caf%C3%A9"},
		{"/**", "api:all", "/a/b/"},
		{"/{a}{b}", "{a}", "/x"},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, template, resource, path string) {
		d := authority.Destination{Name: "d", Host: "d.test", EncodedSlash: authority.EncodedSlashKeep,
			Rules: []authority.Rule{rule(template, resource, "GET=read")}}.WithDefaults()
		c, err := authority.NewCatalog([]authority.Destination{d})
		if err != nil {
			return
		}
		m, err := c.Resolve("GET", target("https", "d.test", 443, path, ""))
		if err != nil {
			if m != (authority.Match{}) {
				t.Errorf("a refusal comes with the match %+v", m)
			}
			return
		}
		if _, err := authority.ParseResource(string(m.Resource)); err != nil {
			t.Errorf("%q for %q makes of %q the resource %q: %v", template, resource, path, m.Resource, err)
		}
		if strings.HasPrefix(string(m.Resource), "host:") || strings.HasPrefix(string(m.Resource), "tunnel:") {
			t.Errorf("%q reaches %q", resource, m.Resource)
		}
	})
}
