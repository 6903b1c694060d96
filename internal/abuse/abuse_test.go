package abuse_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caracal-gateway/caracal/internal/abuse"
)

// rows are the abuse cases of the threat model that the product stands so far.
const rows = "H1 H2 H3 H4 H5 H7 H8 H10 U1 U2 U3 U4 U6 U7 U8 U10 U11 U12 S1 M1 M4 M5 M6 M7 M11 W1 W2 W8 I4 I5 I10"

func TestEveryRowHasACaseOrATestElsewhere(t *testing.T) {
	all, err := abuse.Cases()
	if err != nil {
		t.Fatal(err)
	}
	elsewhere, err := abuse.ElsewhereTests()
	if err != nil {
		t.Fatal(err)
	}
	proven := map[string]int{}
	for _, c := range all {
		proven[c.Row()]++
	}
	for _, e := range elsewhere {
		proven[e.Row]++
	}
	for _, row := range strings.Fields(rows) {
		if proven[row] == 0 {
			t.Errorf("row %s has no case, and no test elsewhere", row)
		}
	}
}

func TestTheTestsElsewhereExist(t *testing.T) {
	elsewhere, err := abuse.ElsewhereTests()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range elsewhere {
		sources, err := filepath.Glob(filepath.Join("..", "..", filepath.FromSlash(e.Package), "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		defined := regexp.MustCompile(`(?m)^func ` + regexp.QuoteMeta(e.Test) + `\(t \*testing\.T\)`)
		found := false
		for _, source := range sources {
			text, err := os.ReadFile(source)
			if err != nil {
				t.Fatal(err)
			}
			found = found || defined.Match(text)
		}
		if !found {
			t.Errorf("row %s: %s has no test %s", e.Row, e.Package, e.Test)
		}
	}
}

func TestACaseThatSaysSomethingElseThanItSeemsToIsRefused(t *testing.T) {
	const rest = "levels: [check], answer: {status: 400, error: a}"
	for name, c := range map[string]struct{ text, want string }{
		"an unknown field":                   {"- {id: H1.a, title: a, level: check, " + rest + "}", "unknown field"},
		"a field that is there twice":        {"- {id: H1.a, id: H1.b, title: a, " + rest + "}", "already set"},
		"no row":                             {"- {id: a, title: a, " + rest + "}", "the id is not"},
		"no title":                           {"- {id: H1.a, " + rest + "}", "no title"},
		"no level":                           {"- {id: H1.a, title: a, answer: {status: 400, error: a}}", "levels"},
		"an unknown level":                   {"- {id: H1.a, title: a, levels: [unit], answer: {status: 400, error: a}}", "levels"},
		"no answer":                          {"- {id: H1.a, title: a, levels: [check]}", "is refused, or"},
		"a permission without an upstream":   {"- {id: H1.a, title: a, levels: [check], answer: {status: 200}}", "is refused, or"},
		"a refusal that reaches an upstream": {"- {id: H1.a, title: a, levels: [check], answer: {status: 400, error: a}, upstream: {method: GET}}", "is refused, or"},
		"an error with the status of a pass": {"- {id: H1.a, title: a, levels: [check], answer: {status: 200, error: a}}", "is refused, or"},
		"an answer of an Envoy that is not there": {
			"- {id: H1.a, title: a, " + rest + ", envoy_answer: {status: 400, error: b}}", "not played through it",
		},
		"lines without Envoy":    {"- {id: H1.a, title: a, request: {lines: [a]}, " + rest + "}", "only Envoy"},
		"trailers of HTTP/1.1":   {"- {id: H1.a, title: a, request: {trailers: [a]}, levels: [envoy], answer: {status: 400, error: a}}", "trailers of h2"},
		"an unknown protocol":    {"- {id: H1.a, title: a, request: {protocol: h3}, " + rest + "}", "the protocol"},
		"something that is none": {"what is this", "parse abuse cases"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := abuse.Parse([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

func TestANameThatStandsForNothingIsAnError(t *testing.T) {
	for name, c := range map[string]abuse.Case{
		"a token":     {Request: abuse.Request{Caller: "nobody"}},
		"a mandate":   {Request: abuse.Request{Mandate: "nothing"}},
		"in a header": {Request: abuse.Request{Headers: []string{"X-A: ${nothing}"}}},
		"in a path":   {Request: abuse.Request{Path: "/${nothing}"}},
		"bad bytes":   {Request: abuse.Request{Body: "${hex:zz}"}},
		"bad times":   {Request: abuse.Request{Body: "${repeat:a:many}"}},
	} {
		t.Run(name, func(t *testing.T) {
			if m, err := c.Message(abuse.Names{"token.agent": "t", "mandate.own": "m"}); err == nil {
				t.Errorf("got %+v", m)
			}
		})
	}
}

func TestAMessageIsWrittenAsItIs(t *testing.T) {
	names := abuse.Names{"token.agent": "t", "mandate.own": "m"}
	for name, c := range map[string]struct {
		request abuse.Request
		want    string
	}{
		"by default": {
			abuse.Request{Body: "body"},
			"POST /api/proxy HTTP/1.1\r\nHost: gateway.test\r\nAuthorization: Bearer t\r\nX-Caracal-Mandate: m\r\nX-Caracal-Target-URL: " + abuse.DefaultTarget + "\r\nContent-Length: 4\r\n\r\nbody",
		},
		"with nothing that is left out": {
			abuse.Request{Host: "none", Caller: "none", Mandate: "none", Target: "none", Headers: []string{"a : ${hex:00ff}", "Transfer-Encoding: chunked"}, Body: "0\r\n\r\n"},
			"POST /api/proxy HTTP/1.1\r\na : \x00\xff\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		},
		"in lines": {
			abuse.Request{Lines: []string{"GET / HTTP/1.0", "A: ${repeat:ab:2}"}},
			"GET / HTTP/1.0\r\nA: abab\r\n\r\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := abuse.Case{Request: c.request}.Message(names)
			if err != nil {
				t.Fatal(err)
			}
			if got := string(m.Wire()); got != c.want {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}
