package authority_test

import (
	"errors"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/caracal-gateway/caracal/authority"
)

func TestTargetsAreReadIntoOneSpelling(t *testing.T) {
	cases := map[string]struct {
		raw  string
		want authority.Target
		url  string
	}{
		"the plain case":                    {"https://api.openai.com/v1/chat", target("https", "api.openai.com", 443, "/v1/chat", ""), "https://api.openai.com/v1/chat"},
		"the letter case of the host":       {"https://API.OpenAI.com/V1", target("https", "api.openai.com", 443, "/V1", ""), "https://api.openai.com/V1"},
		"one trailing dot":                  {"https://api.openai.com./v1", target("https", "api.openai.com", 443, "/v1", ""), "https://api.openai.com/v1"},
		"the default port":                  {"https://api.openai.com:443/v1", target("https", "api.openai.com", 443, "/v1", ""), "https://api.openai.com/v1"},
		"all three at once":                 {"https://API.openai.COM.:443/v1", target("https", "api.openai.com", 443, "/v1", ""), "https://api.openai.com/v1"},
		"the default port of http":          {"http://h.test:80/", target("http", "h.test", 80, "/", ""), "http://h.test/"},
		"another port":                      {"https://h.test:8443/", target("https", "h.test", 8443, "/", ""), "https://h.test:8443/"},
		"the other scheme's port":           {"https://h.test:80/", target("https", "h.test", 80, "/", ""), "https://h.test:80/"},
		"the highest port":                  {"https://h.test:65535/", target("https", "h.test", 65535, "/", ""), "https://h.test:65535/"},
		"no path":                           {"https://h.test", target("https", "h.test", 443, "/", ""), "https://h.test/"},
		"a query behind no path":            {"https://h.test?q=1", target("https", "h.test", 443, "/", "q=1"), "https://h.test/?q=1"},
		"an at sign in a query is a query":  {"https://evil.com?x@api.openai.com", target("https", "evil.com", 443, "/", "x@api.openai.com"), "https://evil.com/?x@api.openai.com"},
		"a query keeps its escapes":         {"https://h.test/a?u=https%3A%2F%2Fx%2F..%25", target("https", "h.test", 443, "/a", "u=https%3A%2F%2Fx%2F..%25"), "https://h.test/a?u=https%3A%2F%2Fx%2F..%25"},
		"a query keeps its question marks":  {"https://h.test/a?b?c", target("https", "h.test", 443, "/a", "b?c"), "https://h.test/a?b?c"},
		"a query keeps its brackets":        {"https://h.test/a?f[x]=1|2", target("https", "h.test", 443, "/a", "f[x]=1|2"), "https://h.test/a?f[x]=1|2"},
		"one trailing slash":                {"https://h.test/a/", target("https", "h.test", 443, "/a/", ""), "https://h.test/a/"},
		"a colon in a path":                 {"https://h.test/models/x:generate", target("https", "h.test", 443, "/models/x:generate", ""), "https://h.test/models/x:generate"},
		"an at sign in a path":              {"https://h.test/@user", target("https", "h.test", 443, "/@user", ""), "https://h.test/@user"},
		"an escaped space in a path":        {"https://h.test/a%20b", target("https", "h.test", 443, "/a%20b", ""), "https://h.test/a%20b"},
		"escaped UTF-8 in a path":           {"https://h.test/caf%C3%A9", target("https", "h.test", 443, "/caf%C3%A9", ""), "https://h.test/caf%C3%A9"},
		"an escaped slash is judged later":  {"https://h.test/a%2Fb", target("https", "h.test", 443, "/a%2Fb", ""), "https://h.test/a%2Fb"},
		"three dots are a name":             {"https://h.test/...", target("https", "h.test", 443, "/...", ""), "https://h.test/..."},
		"a name of one label":               {"https://localhost/", target("https", "localhost", 443, "/", ""), "https://localhost/"},
		"a label that begins with a digit":  {"https://1password.com/", target("https", "1password.com", 443, "/", ""), "https://1password.com/"},
		"a number that is not the last one": {"https://127.0.0.1.nip.io/", target("https", "127.0.0.1.nip.io", 443, "/", ""), "https://127.0.0.1.nip.io/"},
		"a punycode name":                   {"https://xn--bcher-kva.example/", target("https", "xn--bcher-kva.example", 443, "/", ""), "https://xn--bcher-kva.example/"},
	}
	for sentence, c := range cases {
		t.Run(sentence, func(t *testing.T) {
			got, err := authority.ParseTarget(c.raw)
			if diff := cmp.Diff(c.want, got); diff != "" || err != nil {
				t.Fatalf("%v %s", err, diff)
			}
			if got.URL() != c.url {
				t.Errorf("URL() = %s, want %s", got.URL(), c.url)
			}
		})
	}
}

func target(scheme, host string, port uint16, path, query string) authority.Target {
	return authority.Target{Scheme: scheme, Host: host, Port: port, Path: path, Query: query}
}

// The names U1 to U12 are those of the threat model.
func TestTargetsThatTwoReadersCouldReadDifferentlyAreRefused(t *testing.T) {
	const (
		userinfo  = "the URL has user information before the host"
		fragment  = "the URL has a fragment"
		backslash = "the URL has a backslash"
		numeric   = "the host is numeric; it must be a name"
		address   = "the host is an IP address; it must be a name"
		zone      = "the host is an address with a zone id; it must be a name"
		name      = "the host is not a DNS name: labels of letters, digits and inner hyphens"
		port      = "the port is not a number from 1 to 65535 without leading zeros"
		empty     = "the path has an empty segment"
		dots      = "the path has a . or .. segment"
		dot       = "the path has an escaped dot"
		needless  = "the path has an escape for a letter, digit or mark that needs none"
		special   = "the path has an escaped %, ; or backslash"
		params    = "the path has a ; or a character that must be percent-encoded"
		control   = "the path has an escaped control character"
		bad       = "the path has a bad percent-escape"
		utf8      = "the path has escapes that are not UTF-8"
		space     = "the URL has a space or a control character"
		scheme    = "the URL does not begin with https:// or http://"
		query     = "the query has a character that must be percent-encoded"
	)
	for raw, problem := range map[string]string{
		"https://api.openai.com@evil.com/":               userinfo, // U1
		"https://user:pw@h.test/":                        userinfo,
		"https://@h.test/":                               userinfo,
		"https://evil.com#@api.openai.com/":              fragment, // U2
		"https://h.test/#":                               fragment,
		"https://evil.com\\@api.openai.com/":             backslash, // U3
		"https://api.openai.com\\.evil.com":              backslash,
		"https://h.test/a?b\\c":                          backslash,
		"http://2130706433/":                             numeric, // U4
		"http://0177.0.0.1/":                             numeric,
		"http://0x7f.1/":                                 numeric,
		"http://127.1/":                                  numeric,
		"http://0/":                                      numeric,
		"https://127.0.0.1/":                             numeric,
		"https://127.0.0.1./":                            numeric,
		"https://169.254.169.254/latest":                 numeric,
		"https://a.0x7F/":                                numeric,
		"https://a.0x/":                                  numeric,
		"https://[::1]/":                                 address, // U5
		"https://[::ffff:127.0.0.1]:443/":                address,
		"https://[fe80::1%25eth0]/":                      zone, // U6
		"https://[::1%25lo]/":                            zone,
		"https://api.openai.com../":                      name, // U7
		"https://.api.openai.com/":                       name,
		"https://api..openai.com/":                       name,
		"https://api.openai.com.:443.:1/":                port,
		"https://h.test:0443/":                           port, // U8
		"https://h.test:/":                               port,
		"https://h.test:65536/":                          port,
		"https://h.test:0/":                              port,
		"https://h.test:+1/":                             port,
		"https://h.test:443:443/":                        port,
		"https://h.test:99999999999999999999/":           port,
		"https://h_x.test/":                              name, // U9
		"https://-h.test/":                               name,
		"https://h-.test/":                               name,
		"https://h%2etest/":                              name,
		"https://*.test/":                                name,
		"https://" + strings.Repeat("a", 64) + "/":       name,
		"https://b\u00fccher.example/":                   "the URL has a character outside ASCII",
		"https://h.test/v1/../admin":                     dots, // U10
		"https://h.test/v1/./admin":                      dots,
		"https://h.test/..":                              dots,
		"https://h.test/v1/%2e%2e/admin":                 dot,
		"https://h.test/v1/%2E./admin":                   dot,
		"https://h.test/v1/.%2e/admin":                   dot,
		"https://h.test/..;x=1/admin":                    params,
		"https://h.test/a;b":                             params,
		"https://h.test/a%3Bb":                           special,
		"https://h.test//admin":                          empty,
		"https://h.test/a//":                             empty,
		"https://h.test//":                               empty,
		"https://h.test/a%2F..%2Fadmin":                  dots,
		"https://h.test/a%2F":                            empty,
		"https://h.test/%2Fa":                            empty,
		"https://h.test/%252f":                           special,
		"https://h.test/a%25":                            special,
		"https://h.test/a%5cb":                           special,
		"https://h.test/%61dmin":                         needless,
		"https://h.test/%7Euser":                         needless,
		"https://h.test/a%":                              bad,
		"https://h.test/a%2":                             bad,
		"https://h.test/a%zz":                            bad,
		"https://h.test/a%u002e":                         bad,
		"https://h.test/%c0%ae%c0%ae/admin":              utf8,
		"https://h.test/%ff":                             utf8,
		"https://h.test/a%00b":                           control,
		"https://h.test/a%0d%0ab":                        control, // U11
		"https://h.test/a%7f":                            control,
		"https://h.test/a%C2%85":                         control,
		"https://h.test/a\r\nHost: evil":                 space,
		"https://h.test/a b":                             space,
		"https://h.test/\x00":                            space,
		" https://h.test/":                               space,
		"https://h.test/\"<>":                            params,
		"https://h.test/{a}":                             params,
		"https://h.test/a?b\"c":                          query,
		"https://h.test/a?b%zz":                          "the query has a bad percent-escape",
		"https://h.test/a?b%00":                          "the query has an escaped NUL",
		"https://h.test/a?":                              "the query is empty: leave the ? out",
		"//evil.com/v1":                                  scheme, // U12
		"https:evil.com":                                 scheme,
		"https:/evil.com":                                scheme,
		"gopher://h.test/":                               scheme,
		"HTTPS://h.test/":                                scheme,
		"h.test/":                                        scheme,
		"":                                               scheme,
		"https:///evil.com":                              "the URL has no host",
		"https://":                                       "the URL has no host",
		"https://?a":                                     "the URL has no host",
		"https://./":                                     "the host is empty",
		"https://:443/":                                  "the host is empty",
		"https://h.test/" + strings.Repeat("a", 8192):    "the URL is longer than 8 KiB",
		"https://" + strings.Repeat("a.", 127) + "test/": "the host is longer than 253 bytes",
	} {
		_, err := authority.ParseTarget(raw)
		var e *authority.Error
		if !errors.As(err, &e) || e.Code != authority.CodeInvalid || e.Reason != authority.ReasonInvalidTarget || e.Message != problem {
			t.Errorf("%.80q: %v, want invalid_target_url because %s", raw, err, problem)
		}
	}
}

func TestPathsAloneFollowTheSameGrammar(t *testing.T) {
	path, query, err := authority.ParsePath("/v1/chat?stream=true")
	if path != "/v1/chat" || query != "stream=true" || err != nil {
		t.Errorf("ParsePath = %q, %q, %v", path, query, err)
	}
	for raw, problem := range map[string]string{
		"":                              "the path does not begin with /",
		"*":                             "the path does not begin with /",
		"?a":                            "the path does not begin with /",
		"http://h.test/":                "the path does not begin with /",
		"/../x":                         "the path has a . or .. segment",
		"/a#b":                          "the path has a ; or a character that must be percent-encoded",
		"/" + strings.Repeat("a", 8192): "the path is longer than 8 KiB",
	} {
		_, _, err := authority.ParsePath(raw)
		assertProblem(t, raw, err, problem)
	}
}

func TestSegmentsAreWhatAnUpstreamReads(t *testing.T) {
	for path, want := range map[string][]string{
		"/":                {""},
		"/v1/chat":         {"v1", "chat"},
		"/v1/":             {"v1", ""},
		"/a%20b/%40me/x:y": {"a b", "@me", "x:y"},
		"/a%2Fb":           {"a/b"},
		"/a//b":            nil,
		"/a/../b":          nil,
	} {
		got := authority.Target{Path: path}.Segments()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", path, diff)
		}
	}
}

// assertCanonical checks what must hold of every accepted target: it is read back as itself, and another reader of URLs
// reads the same host, port, path and query.
func assertCanonical(t interface{ Fatalf(string, ...any) }, raw string, got authority.Target) {
	again, err := authority.ParseTarget(got.URL())
	if err != nil || again != got {
		t.Fatalf("%q is read as %+v, whose URL is read as %+v, %v", raw, got, again, err)
	}
	other, err := url.Parse(raw)
	if err != nil {
		t.Fatalf("%q is accepted as %+v; net/url: %v", raw, got, err)
	}
	port := other.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[got.Scheme]
	}
	host := strings.TrimSuffix(strings.ToLower(other.Hostname()), ".")
	if other.Scheme != got.Scheme || host != got.Host || port != strconv.Itoa(int(got.Port)) || other.User != nil ||
		other.RawQuery != got.Query || other.Fragment != "" {
		t.Fatalf("%q is read as %+v; net/url reads %+v", raw, got, other)
	}
	if path := other.Path; path != "" && path != "/"+strings.Join(got.Segments(), "/") {
		t.Fatalf("%q has the path %q; net/url reads %q", raw, got.Path, path)
	}
	for _, segment := range got.Segments() {
		for _, piece := range strings.Split(segment, "/") {
			if piece == "." || piece == ".." {
				t.Fatalf("%q has the segments %q", raw, got.Segments())
			}
		}
	}
}

func TestAnAcceptedTargetIsReadBackAsItself(t *testing.T) {
	piece := rapid.SampledFrom([]string{
		"https://", "http://", "api", "Example", ".", "com", ":443", ":80", ":", "8080", "/", "/", "//", "..", "%2e", "%2F",
		"%41", "%20", "%C3%A9", "%25", ";", "@", "?", "?a=b", "&", "#", "\\", "[", "]", "0x7f", "127", "*", "é", "\t", "-", "_",
	})
	accepted := 0
	rapid.Check(t, func(t *rapid.T) {
		raw := strings.Join(rapid.SliceOfN(piece, 0, 12).Draw(t, "pieces"), "")
		if rapid.Bool().Draw(t, "begins well") {
			raw = "https://api.example.com" + raw
		}
		got, err := authority.ParseTarget(raw)
		if err != nil {
			return
		}
		accepted++
		assertCanonical(t, raw, got)
	})
	if accepted == 0 {
		t.Error("no target was accepted: the property was never tried")
	}
}

func FuzzTarget(f *testing.F) {
	for _, seed := range []string{
		"https://api.openai.com/v1/chat/completions?a=b", "https://API.OpenAI.com.:443/", "https://h.test/a%2Fb/%C3%A9",
		"http://h.test:8080?x@y", "https://api.openai.com@evil.com/", "https://h.test/..;x=1/a", "https://[::1%25lo]/",
		"http://0x7f.1/", "https://h.test/%252f", "https:///evil.com", "https://h.test/a?f[]=%25",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := authority.ParseTarget(raw)
		if err != nil {
			if got != (authority.Target{}) {
				t.Errorf("%q is refused and still read as %+v", raw, got)
			}
			return
		}
		assertCanonical(t, raw, got)
	})
}
