package rego_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/caracal-gateway/caracal/rego"
)

func evaluate(t testing.TB, p *rego.Policy, in rego.Input) rego.Verdict {
	t.Helper()
	v, err := p.Evaluate(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestWithoutAPolicyTheFactsDecide(t *testing.T) {
	p := compile(t, rego.Source{})
	if v := evaluate(t, p, chat()); !v.Allow || v.Unmet != nil {
		t.Errorf("all facts hold: %+v, want allow", v)
	}
	for name, clear := range map[string]func(*rego.Facts){
		"known":             func(f *rego.Facts) { f.Known = false },
		"presenter":         func(f *rego.Facts) { f.Presenter = false },
		"live":              func(f *rego.Facts) { f.Live = false },
		"principals_active": func(f *rego.Facts) { f.PrincipalsActive = false },
		"within_time":       func(f *rego.Facts) { f.WithinTime = false },
		"action":            func(f *rego.Facts) { f.Action = false },
		"resource":          func(f *rego.Facts) { f.Resource = false },
		"chain":             func(f *rego.Facts) { f.Chain = false },
	} {
		in := chat()
		clear(&in.Facts)
		if diff := cmp.Diff(rego.Verdict{Unmet: []string{name}}, evaluate(t, p, in)); diff != "" {
			t.Errorf("%s does not hold (-want +got):\n%s", name, diff)
		}
	}
	in := chat()
	in.Facts = rego.Facts{}
	want := []string{"known", "presenter", "live", "principals_active", "within_time", "action", "resource", "chain"}
	if diff := cmp.Diff(want, evaluate(t, p, in).Unmet); diff != "" {
		t.Errorf("no fact holds (-want +got):\n%s", diff)
	}
}

func TestAPolicyOnlyNarrows(t *testing.T) {
	p := compile(t, single(header+"allow := true\n\nfacts := {\"live\": true}\n\nunmet := []"))
	in := chat()
	in.Facts.Live = false
	if v := evaluate(t, p, in); v.Allow {
		t.Errorf("%+v: a policy made up for a fact", v)
	}
}

func TestEveryPackageContributes(t *testing.T) {
	p := compile(t, rego.Source{Modules: map[string]string{
		"z.rego":             header + "deny contains {\"code\": \"z_last\", \"message\": \"z\"}",
		"b.rego":             header + "deny contains {\"code\": \"b_second\", \"message\": \"b\"}",
		"hours/hours.rego":   "package caracal.policy.hours\ndeny contains {\"code\": \"a_first\", \"message\": \"a\"}\napprove contains {\"code\": \"y\", \"message\": \"ask\"}",
		"limits/limits.rego": "package caracal.policy.limits.short\nobligations contains {\"max_duration_seconds\": 30}\napprove contains {\"code\": \"x\", \"message\": \"ask\"}",
		"long.rego":          header + "obligations contains {\"max_duration_seconds\": 600}",
		"same.rego":          header + "deny contains {\"code\": \"a_first\", \"message\": \"a\"}",
	}})
	want := rego.Verdict{
		Denials: []rego.Denial{
			{Code: "a_first", Message: "a"}, {Code: "b_second", Message: "b"}, {Code: "z_last", Message: "z"}},
		Approvals:   []rego.Denial{{Code: "x", Message: "ask"}, {Code: "y", Message: "ask"}},
		Obligations: rego.Obligations{MaxDuration: 30 * time.Second},
	}
	if diff := cmp.Diff(want, evaluate(t, p, chat())); diff != "" {
		t.Errorf("verdict (-want +got):\n%s", diff)
	}
}

func TestANeededApprovalIsNotAPermit(t *testing.T) {
	p := compile(t, single(header+"approve contains {\"code\": \"large\", \"message\": \"ask first\"}"))
	want := rego.Verdict{Approvals: []rego.Denial{{Code: "large", Message: "ask first"}}}
	if diff := cmp.Diff(want, evaluate(t, p, chat())); diff != "" {
		t.Errorf("verdict (-want +got):\n%s", diff)
	}
}

func TestTestsArePartOfNoDecision(t *testing.T) {
	p := compile(t, rego.Source{Modules: map[string]string{
		"policy_test.rego": header + "deny contains {\"code\": \"test\", \"message\": \"from a test\"}",
	}})
	if v := evaluate(t, p, chat()); !v.Allow {
		t.Errorf("%+v: a test took part in a decision", v)
	}
}

func TestAPolicyReadsItsOwnDocuments(t *testing.T) {
	p := compile(t, rego.Source{
		Modules: map[string]string{"p.rego": header + "deny contains {\"code\": \"model\", \"message\": m} if {\n" +
			"not input.request.path[1] in data.paths.allowed\nm := sprintf(\"%s is not among %d paths\", [input.request.path[1], data.paths.count])\n}"},
		Data: map[string]any{"paths": map[string]any{"allowed": []string{"chat"}, "count": 1.0}},
	})
	if v := evaluate(t, p, chat()); !v.Allow {
		t.Errorf("chat: %+v, want allow", v)
	}
	in := chat()
	in.Request.Path[1] = "images"
	want := []rego.Denial{{Code: "model", Message: "images is not among 1 paths"}}
	if diff := cmp.Diff(want, evaluate(t, p, in).Denials); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
}

func TestWhatIsMalformedDenies(t *testing.T) {
	denial := func(code, message string) string {
		return fmt.Sprintf("deny contains {\"code\": %s, \"message\": %s}", code, message)
	}
	for name, policy := range map[string]string{
		"a denial that is a string":           `deny contains "no"`,
		"a denial that is a number":           `deny contains 1`,
		"a denial that is an array":           `deny contains ["code", "message"]`,
		"a denial that is empty":              `deny contains {}`,
		"a denial without a code":             `deny contains {"message": "m"}`,
		"a denial without a message":          `deny contains {"code": "c"}`,
		"a denial with something else":        `deny contains {"code": "c", "message": "m", "allow": true}`,
		"a code that is a number":             denial(`1`, `"m"`),
		"a code in capitals":                  denial(`"No"`, `"m"`),
		"a code that is empty":                denial(`""`, `"m"`),
		"a code that starts with a digit":     denial(`"1a"`, `"m"`),
		"a code with a line break":            denial(`"a\n"`, `"m"`),
		"a code of 65 characters":             denial(`"`+strings.Repeat("a", 65)+`"`, `"m"`),
		"a message that is empty":             denial(`"c"`, `""`),
		"a message that is no text":           denial(`"c"`, `{"a": 1}`),
		"a message with a line break":         denial(`"c"`, `"a\nb"`),
		"a message with an escape sequence":   denial(`"c"`, `"\u001b[2J"`),
		"a message that writes right to left": denial(`"c"`, `"\u202e"`),
		"a message of 513 bytes":              denial(`"c"`, `"`+strings.Repeat("a", 513)+`"`),
		"one good denial and a bad one":       denial(`"c"`, `"m"`) + "\n" + denial(`"C"`, `"m"`),
		"a bad approval":                      `approve contains {"code": "c"}`,
		"an obligation that nobody knows":     `obligations contains {"set_header": "x"}`,
		"two obligations in one":              `obligations contains {"max_duration_seconds": 1, "log": true}`,
		"an obligation that is a string":      `obligations contains "max_duration_seconds"`,
		"a duration of zero":                  `obligations contains {"max_duration_seconds": 0}`,
		"a negative duration":                 `obligations contains {"max_duration_seconds": -1}`,
		"a duration of part of a second":      `obligations contains {"max_duration_seconds": 1.5}`,
		"a duration of more than a day":       `obligations contains {"max_duration_seconds": 86401}`,
		"a duration that is a string":         `obligations contains {"max_duration_seconds": "1"}`,
	} {
		t.Run(name, func(t *testing.T) {
			v, err := compile(t, single(header+policy)).Evaluate(context.Background(), chat())
			if !errors.Is(err, rego.ErrMalformed) || v.Allow {
				t.Errorf("verdict %+v, error %v, want ErrMalformed", v, err)
			}
		})
	}
}

func TestAnErrorInsideARuleDenies(t *testing.T) {
	for name, tc := range map[string]struct{ policy, cause string }{
		"a header that is no number": {
			`deny contains {"code": "c", "message": "m"} if to_number(input.request.headers["user-agent"]) > 3`, "to_number"},
		"a division by zero": {
			`deny contains {"code": "c", "message": "m"} if 1 / (input.mandate.level - 1) == 1`, "divide by zero"},
		"two values of one rule": {
			`x := 1 if input.action == "execute"
x := 2 if input.request.port == 443
deny contains {"code": "c", "message": "m"} if x == 3`, "conflict"},
		"a zone that differs between machines": {
			`deny contains {"code": "c", "message": "m"} if time.clock([input.time, "Local"])[0] > 25`, "zone Local"},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := compile(t, single(header+tc.policy)).Evaluate(context.Background(), chat())
			if err == nil || v.Allow || !strings.Contains(err.Error(), tc.cause) {
				t.Errorf("verdict %+v, error %v, want one about %q", v, err, tc.cause)
			}
		})
	}
}

// The verdicts below are computed a second time here, so that they cannot come from anywhere but the evaluation.
func TestAPolicyIsEvaluatedForEachInput(t *testing.T) {
	p := compile(t, single(header+`
deny contains {"code": "port", "message": m} if {
	input.request.port % 3 == count(input.request.path) % 3
	m := sprintf("port %d, %d segments", [input.request.port, count(input.request.path)])
}

deny contains {"code": "agent", "message": "not this agent"} if startswith(input.request.headers["user-agent"], "b")

obligations contains {"max_duration_seconds": input.mandate.level + 1}
`))
	rapid.Check(t, func(t *rapid.T) {
		in := chat()
		in.Request.Port = rapid.IntRange(1, 65535).Draw(t, "port")
		in.Request.Path = rapid.SliceOfN(rapid.StringMatching(`[a-z]{1,8}`), 0, 6).Draw(t, "path")
		agent := rapid.StringMatching(`[a-c]{0,4}`).Draw(t, "agent")
		in.Request.Header["user-agent"] = agent
		in.Mandate.Level = rapid.IntRange(0, 16).Draw(t, "level")
		var want rego.Verdict
		if strings.HasPrefix(agent, "b") {
			want.Denials = append(want.Denials, rego.Denial{Code: "agent", Message: "not this agent"})
		}
		if in.Request.Port%3 == len(in.Request.Path)%3 {
			message := fmt.Sprintf("port %d, %d segments", in.Request.Port, len(in.Request.Path))
			want.Denials = append(want.Denials, rego.Denial{Code: "port", Message: message})
		}
		want.Allow = len(want.Denials) == 0
		want.Obligations.MaxDuration = time.Duration(in.Mandate.Level+1) * time.Second
		got, err := p.Evaluate(context.Background(), in)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("verdict (-want +got):\n%s", diff)
		}
	})
}

func TestEvaluationsAtOnceDoNotMix(t *testing.T) {
	p := compile(t, rego.Source{
		Modules: map[string]string{"p.rego": header + "deny contains {\"code\": \"id\", \"message\": input.principal.id} if not input.principal.id in data.ids"},
		Data:    map[string]any{"ids": []string{"prn_1"}},
		// This is about what the verdicts say, on a machine that may be busy.
		Deadline: 10 * time.Second,
	})
	var running sync.WaitGroup
	for i := range 50 {
		running.Go(func() {
			for n := range 20 {
				in := chat()
				in.Principal.ID = fmt.Sprintf("prn_%d", (i+n)%5)
				v, err := p.Evaluate(context.Background(), in)
				switch {
				case err != nil:
					t.Error(err)
				case v.Allow != (in.Principal.ID == "prn_1"):
					t.Errorf("%s: %+v", in.Principal.ID, v)
				case !v.Allow && v.Denials[0].Message != in.Principal.ID:
					t.Errorf("%s got the verdict of %s", in.Principal.ID, v.Denials[0].Message)
				}
			}
		})
	}
	running.Wait()
}
