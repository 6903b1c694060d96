package authority_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caracal-gateway/caracal/authority"
)

// resolved is what a test says of a match, or of the reason why there is none.
type resolved struct {
	Destination string
	Resource    authority.Resource
	Action      authority.Action
	Reason      authority.Reason
	Message     string
}

func resolve(t *testing.T, c *authority.Catalog, method, raw string) resolved {
	t.Helper()
	target, err := authority.ParseTarget(raw)
	if err != nil {
		t.Fatal(err)
	}
	m, err := c.Resolve(method, target)
	var e *authority.Error
	if errors.As(err, &e) {
		if m != (authority.Match{}) {
			t.Errorf("a refusal comes with the match %+v", m)
		}
		return resolved{Reason: e.Reason, Message: e.Message}
	}
	if err != nil {
		t.Fatal(err)
	}
	r := resolved{Resource: m.Resource, Action: m.Action}
	if m.Destination != nil {
		r.Destination = m.Destination.Name
	}
	return r
}

func catalog(t *testing.T, destinations ...authority.Destination) *authority.Catalog {
	t.Helper()
	for i := range destinations {
		if destinations[i].Name == "" {
			destinations[i].Name = destinations[i].Host
		}
		destinations[i] = destinations[i].WithDefaults()
	}
	c, err := authority.NewCatalog(destinations)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func rule(path, resource string, methods ...string) authority.Rule {
	r := authority.Rule{Path: path, Resource: resource, Methods: map[string]authority.Action{}}
	for _, m := range methods {
		name, action, _ := strings.Cut(m, "=")
		r.Methods[name] = authority.Action(action)
	}
	return r
}

func TestTheMostSpecificRuleMapsARequest(t *testing.T) {
	c := catalog(t, authority.Destination{Host: "api.github.test", Rules: []authority.Rule{
		rule("/", "api:github", "GET=read"),
		rule("/repos/{owner}/{repo}", "api:github/{owner}/{repo}", "GET=read", "PATCH=write"),
		rule("/repos/{owner}/{repo}/**", "api:github/{owner}/{repo}", "GET=read", "*=write"),
		rule("/repos/{owner}/secrets/keys", "api:github-secrets/{owner}", "GET=read"),
		rule("/repos/acme/{repo}/{part}/end", "api:acme:{part}/{repo}", "*=execute"),
		rule("/users/@me/**", "api:github-me", "GET=read"),
		rule("/users/{user}/**", "api:github-user/{user}", "GET=read"),
		rule("/a%20b", "api:spaced", "GET=read"),
		rule("/x", "api:x-read", "GET=read"),
		rule("/x", "api:x-write", "POST=write"),
	}})
	const noRule = "no rule of the destination lists this path"
	cases := map[string]struct {
		method, path string
		want         resolved
	}{
		"a literal end before **":               {"PATCH", "/repos/o/r", resolved{Resource: "api:github/o/r", Action: "write"}},
		"** covers further segments":            {"GET", "/repos/o/r/issues/1", resolved{Resource: "api:github/o/r", Action: "read"}},
		"a star stands for unlisted methods":    {"DELETE", "/repos/o/r/issues/1", resolved{Resource: "api:github/o/r", Action: "write"}},
		"a literal before a variable":           {"GET", "/repos/o/secrets/keys", resolved{Resource: "api:github-secrets/o", Action: "read"}},
		"a dead end is left again":              {"GET", "/repos/o/secrets/other", resolved{Resource: "api:github/o/secrets", Action: "read"}},
		"an earlier literal decides":            {"GET", "/repos/acme/r/p/end", resolved{Resource: "api:acme:p/r", Action: "execute"}},
		"variables after a dead end":            {"GET", "/repos/acme/r/p/other", resolved{Resource: "api:github/acme/r", Action: "read"}},
		"a method that is not listed":           {"POST", "/repos/o/r", resolved{Reason: authority.ReasonTargetNotAllowed, Message: "the destination's rule for this path does not list the method POST"}},
		"no falling back to a wider rule":       {"DELETE", "/repos/o/secrets/keys", resolved{Reason: authority.ReasonTargetNotAllowed, Message: "the destination's rule for this path does not list the method DELETE"}},
		"methods in another case":               {"get", "/x", resolved{Reason: authority.ReasonTargetNotAllowed, Message: "the destination's rule for this path does not list the method get"}},
		"HEAD is not GET":                       {"HEAD", "/x", resolved{Reason: authority.ReasonTargetNotAllowed, Message: "the destination's rule for this path does not list the method HEAD"}},
		"a path that is not listed":             {"GET", "/gists", resolved{Reason: authority.ReasonTargetNotAllowed, Message: noRule}},
		"a path that is too short":              {"GET", "/repos/o", resolved{Reason: authority.ReasonTargetNotAllowed, Message: noRule}},
		"the root":                              {"GET", "/", resolved{Resource: "api:github", Action: "read"}},
		"a trailing slash makes no difference":  {"PATCH", "/repos/o/r/", resolved{Resource: "api:github/o/r", Action: "write"}},
		"** covers no segment too":              {"GET", "/users/@me", resolved{Resource: "api:github-me", Action: "read"}},
		"an escape is not a way round a rule":   {"GET", "/users/%40me/keys", resolved{Resource: "api:github-me", Action: "read"}},
		"a literal may be an escape":            {"GET", "/a%20b", resolved{Resource: "api:spaced", Action: "read"}},
		"a colon in a value is escaped":         {"GET", "/users/a:b", resolved{Resource: "api:github-user/a%3Ab", Action: "read"}},
		"a star in a value is escaped":          {"GET", "/users/*", resolved{Resource: "api:github-user/%2A", Action: "read"}},
		"escapes in a value have one spelling":  {"GET", "/users/caf%c3%a9", resolved{Resource: "api:github-user/caf%C3%A9", Action: "read"}},
		"rules of one path share its methods":   {"POST", "/x", resolved{Resource: "api:x-write", Action: "write"}},
		"rules of one path keep their resource": {"GET", "/x?q=1", resolved{Resource: "api:x-read", Action: "read"}},
		"a value that makes no resource":        {"GET", "/users/" + strings.Repeat("a", 600), resolved{Reason: authority.ReasonTargetNotAllowed, Message: "the path does not name a resource: it is longer than 512 bytes"}},
		"a tunnel is not a request":             {"CONNECT", "/repos/o/r/x", resolved{Reason: authority.ReasonTargetNotAllowed, Message: "the method CONNECT is not forwarded"}},
		"an echo would tell the credential":     {"TRACE", "/repos/o/r/x", resolved{Reason: authority.ReasonTargetNotAllowed, Message: "the method TRACE is not forwarded"}},
		"a method that is no token":             {"GET /x", "/x", resolved{Reason: authority.ReasonMalformedRequest, Message: "the method is malformed"}},
		"no method":                             {"", "/x", resolved{Reason: authority.ReasonMalformedRequest, Message: "the method is malformed"}},
	}
	for sentence, c2 := range cases {
		t.Run(sentence, func(t *testing.T) {
			want := c2.want
			if want.Reason == "" {
				want.Destination = "api.github.test"
			}
			if diff := cmp.Diff(want, resolve(t, c, c2.method, "https://api.github.test"+c2.path)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTheDestinationIsTheExactHostElseTheLongestSuffix(t *testing.T) {
	c := catalog(t,
		authority.Destination{Name: "exact", Host: "a.b.example.test"},
		authority.Destination{Name: "exact on 8443", Host: "a.b.example.test", Ports: []uint16{8443, 8444}},
		authority.Destination{Name: "long", Host: "*.b.example.test"},
		authority.Destination{Name: "short", Host: "*.example.test", Ports: []uint16{443, 9000}},
		authority.Destination{Name: "plain", Host: "plain.test", TLS: authority.TLSNone, Ports: []uint16{80, 443}},
		authority.Destination{Name: "keeps", Host: "keeps.test", EncodedSlash: authority.EncodedSlashKeep},
		authority.Destination{Name: "ruled", Host: "ruled.test", EncodedSlash: authority.EncodedSlashKeep,
			Rules: []authority.Rule{rule("/p/{id}", "api:p/{id}", "GET=read"), rule("/p/a/b", "api:ab", "GET=read")}},
	)
	refused := func(message string) resolved {
		return resolved{Reason: authority.ReasonTargetNotAllowed, Message: message}
	}
	cases := map[string]struct {
		url  string
		want resolved
	}{
		"the exact host":                       {"https://a.b.example.test/x", resolved{Destination: "exact", Resource: "host:a.b.example.test:443/x", Action: "read"}},
		"the exact host on another port":       {"https://a.b.example.test:8444/x", resolved{Destination: "exact on 8443", Resource: "host:a.b.example.test:8444/x", Action: "read"}},
		"a port of a suffix does not help":     {"https://a.b.example.test:9000/x", refused("port 9000 is not one of the destination's")},
		"the longest suffix":                   {"https://c.b.example.test/", resolved{Destination: "long", Resource: "host:c.b.example.test:443/", Action: "read"}},
		"a suffix of several labels":           {"https://x.y.b.example.test/", resolved{Destination: "long", Resource: "host:x.y.b.example.test:443/", Action: "read"}},
		"the shorter suffix":                   {"https://b.example.test/", resolved{Destination: "short", Resource: "host:b.example.test:443/", Action: "read"}},
		"a suffix is not its own parent":       {"https://example.test/", resolved{Resource: "host:example.test:443/", Action: "read"}},
		"a suffix ends at a label":             {"https://xexample.test/", resolved{Resource: "host:xexample.test:443/", Action: "read"}},
		"no destination":                       {"https://elsewhere.test/a/b/", resolved{Resource: "host:elsewhere.test:443/a/b/", Action: "read"}},
		"no destination and no TLS":            {"http://elsewhere.test/", resolved{Resource: "host:elsewhere.test:80/", Action: "read"}},
		"no destination on another port":       {"https://elsewhere.test:8443/", refused("port 8443 is not reached without a destination that says so")},
		"no destination, TLS on port 80":       {"https://elsewhere.test:80/", refused("port 80 is not reached over https:// without a destination that says so")},
		"no destination, plain text on 443":    {"http://elsewhere.test:443/", refused("port 443 is not reached over http:// without a destination that says so")},
		"plain text where it is asked for":     {"http://plain.test/", resolved{Destination: "plain", Resource: "host:plain.test:80/", Action: "read"}},
		"TLS where plain text is asked for":    {"https://plain.test/", refused("the destination is not reached over https://")},
		"plain text where TLS is the rule":     {"http://b.example.test:443/", refused("the destination is not reached over http://")},
		"an escaped slash without a keeper":    {"https://elsewhere.test/a%2Fb", resolved{Reason: authority.ReasonInvalidTarget, Message: "the path has an escaped slash, which the destination does not keep"}},
		"an escaped slash that is refused":     {"https://b.example.test/a%2fb", resolved{Reason: authority.ReasonInvalidTarget, Message: "the path has an escaped slash, which the destination does not keep"}},
		"an escaped slash that is kept":        {"https://keeps.test/a%2fb", resolved{Destination: "keeps", Resource: "host:keeps.test:443/a%2Fb", Action: "read"}},
		"a kept slash stays in its segment":    {"https://ruled.test/p/a%2Fb", resolved{Destination: "ruled", Resource: "api:p/a%2Fb", Action: "read"}},
		"colons and stars are escaped":         {"https://elsewhere.test/a:b/*", resolved{Resource: "host:elsewhere.test:443/a%3Ab/%2A", Action: "read"}},
		"escapes of one path have one name":    {"https://elsewhere.test/a%3ab/%40%2a", resolved{Resource: "host:elsewhere.test:443/a%3Ab/@%2A", Action: "read"}},
		"a path that is too long to be a name": {"https://elsewhere.test/" + strings.Repeat("a", 600), refused("the URL does not name a resource: it is longer than 512 bytes")},
	}
	for sentence, c2 := range cases {
		t.Run(sentence, func(t *testing.T) {
			if diff := cmp.Diff(c2.want, resolve(t, c, "GET", c2.url)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWithoutRulesTheMethodSaysTheAction(t *testing.T) {
	c := catalog(t)
	for method, want := range map[string]authority.Action{
		"GET": "read", "HEAD": "read", "OPTIONS": "read", "POST": "write", "PUT": "write", "PATCH": "write", "DELETE": "write",
		"get": "write", "QUERY": "write", "PROPFIND": "write",
	} {
		if got := resolve(t, c, method, "https://h.test/").Action; got != want {
			t.Errorf("%s: %s, want %s", method, got, want)
		}
	}
}

func TestEqualDestinationsAndRulesAreRefused(t *testing.T) {
	two := func(a, b authority.Destination) []authority.Destination {
		a.Name, b.Name = "a", "b"
		return []authority.Destination{a.WithDefaults(), b.WithDefaults()}
	}
	rules := func(a, b authority.Rule) []authority.Destination {
		return two(authority.Destination{Host: "a.test", Rules: []authority.Rule{a, b}}, authority.Destination{Host: "b.test"})
	}
	cases := map[string]struct {
		destinations []authority.Destination
		field        string
		ok           bool
	}{
		"one host twice":                    {two(authority.Destination{Host: "a.test"}, authority.Destination{Host: "a.test"}), "[1].host", false},
		"one host on one port of several":   {two(authority.Destination{Host: "a.test", Ports: []uint16{1, 2}}, authority.Destination{Host: "a.test", Ports: []uint16{2}}), "[1].host", false},
		"one suffix twice":                  {two(authority.Destination{Host: "*.a.test"}, authority.Destination{Host: "*.a.test"}), "[1].host", false},
		"a host and its suffix":             {two(authority.Destination{Host: "a.b.test"}, authority.Destination{Host: "*.b.test"}), "", true},
		"one host on different ports":       {two(authority.Destination{Host: "a.test", Ports: []uint16{1}}, authority.Destination{Host: "a.test", Ports: []uint16{2}}), "", true},
		"variables of other names":          {rules(rule("/{a}/x", "api:a", "GET=read"), rule("/{b}/x", "api:b", "GET=read")), "[0].rules[1].path", false},
		"one path with one method in both":  {rules(rule("/a", "api:a", "GET=read"), rule("/a", "api:b", "POST=write", "GET=read")), "[0].rules[1].path", false},
		"two spellings of one path":         {rules(rule("/@a", "api:a", "GET=read"), rule("/%40a", "api:b", "GET=read")), "[0].rules[1].path", false},
		"one path with different methods":   {rules(rule("/a", "api:a", "GET=read"), rule("/a", "api:b", "*=write")), "", true},
		"a path and all that is beneath it": {rules(rule("/a", "api:a", "GET=read"), rule("/a/**", "api:b", "GET=write")), "", true},
	}
	for sentence, c := range cases {
		t.Run(sentence, func(t *testing.T) {
			_, err := authority.NewCatalog(c.destinations)
			if c.ok {
				if err != nil {
					t.Error(err)
				}
				return
			}
			assertInvalid(t, err, c.field)
		})
	}
}

func TestACatalogDoesNotChangeWithWhatItWasMadeOf(t *testing.T) {
	d := authority.Destination{Name: "a", Host: "a.test", Rules: []authority.Rule{rule("/**", "api:a", "GET=read")}}.WithDefaults()
	list := []authority.Destination{d}
	c, err := authority.NewCatalog(list)
	if err != nil {
		t.Fatal(err)
	}
	list[0].Name, list[0].Rules[0].Resource = "changed", "api:changed"
	if m, err := c.Resolve("GET", target("https", "a.test", 443, "/", "")); err != nil || m.Rule.Resource != "api:a" {
		t.Errorf("%+v, %v", m.Rule, err)
	}
	got := resolve(t, c, "GET", "https://a.test/")
	if diff := cmp.Diff(resolved{Destination: "a", Resource: "api:a", Action: "read"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestATunnelIsWhatItsDestinationSays(t *testing.T) {
	c := catalog(t,
		authority.Destination{Name: "seen", Host: "seen.test", Ports: []uint16{443, 8443}},
		authority.Destination{Name: "unseen", Host: "*.unseen.test", Ports: []uint16{22}, Tunnel: authority.TunnelPassthrough},
		authority.Destination{Name: "none", Host: "none.test", Tunnel: authority.TunnelRefuse},
	)
	for sentence, k := range map[string]struct {
		host        string
		port        uint16
		tunnel      authority.Tunnel
		destination string
		message     string
	}{
		"is looked into unless it says more":   {"seen.test", 8443, authority.TunnelInspect, "seen", ""},
		"is carried unseen where it says so":   {"a.unseen.test", 22, authority.TunnelPassthrough, "unseen", ""},
		"is not made to a port that it lacks":  {"a.unseen.test", 443, authority.TunnelRefuse, "", "port 443 is not one of the destination's"},
		"is refused where it says so":          {"none.test", 443, authority.TunnelRefuse, "none", "the destination has no tunnels"},
		"without a destination is looked into": {"elsewhere.test", 443, authority.TunnelInspect, "", ""},
		"without a destination may be to 80":   {"elsewhere.test", 80, authority.TunnelInspect, "", ""},
		"without a destination is not to 22":   {"elsewhere.test", 22, authority.TunnelRefuse, "", "port 22 is not reached without a destination that says so"},
	} {
		t.Run(sentence, func(t *testing.T) {
			tunnel, destination, err := c.Through(k.host, k.port)
			name, message := "", ""
			if destination != nil {
				name = destination.Name
			}
			if err != nil {
				message = strings.TrimPrefix(err.Error(), "target_not_allowed: ")
			}
			if tunnel != k.tunnel || name != k.destination || message != k.message {
				t.Errorf("got %s %q %q", tunnel, name, message)
			}
		})
	}
}

func TestABasePathIsTheFirstPortOfItsDestination(t *testing.T) {
	c := catalog(t,
		authority.Destination{Name: "openai", Host: "api.openai.com", Ports: []uint16{8443, 443}, BasePath: "openai"},
		authority.Destination{Name: "local", Host: "local.test", TLS: authority.TLSNone, BasePath: "local"},
	)
	for path, want := range map[string]string{
		"openai /v1/chat?x=1": "https://api.openai.com:8443/v1/chat?x=1",
		"openai ":             "https://api.openai.com:8443/",
		"local /":             "http://local.test/",
		"other /":             "none",
		"openai /../x":        "invalid_target_url",
		"openai @evil.test/":  "invalid_target_url",
		"openai .evil.test/":  "invalid_target_url",
		"openai /a#b":         "invalid_target_url",
	} {
		base, rest, _ := strings.Cut(path, " ")
		target, found, err := c.Under(base, rest)
		got := target.URL()
		var refusal *authority.Error
		switch {
		case !found:
			got = "none"
		case errors.As(err, &refusal):
			got = string(refusal.Reason)
		}
		if got != want {
			t.Errorf("%s: got %s, want %s", path, got, want)
		}
	}
	both := []authority.Destination{{Name: "a", Host: "a.test", BasePath: "x"}, {Name: "b", Host: "b.test", BasePath: "x"}}
	for i := range both {
		both[i] = both[i].WithDefaults()
	}
	_, err := authority.NewCatalog(both)
	assertInvalid(t, err, "[1].base_path")
}
