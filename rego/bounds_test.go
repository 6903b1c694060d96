package rego_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/caracal-gateway/caracal/rego"
)

// denyIf is a policy that denies on the condition after it.
const denyIf = "\ndeny contains {\"code\": \"c\", \"message\": \"m\"} if "

// endless looks at every combination of five elements among two hundred.
const endless = header + "x := data.many" + denyIf + `{
	some a in x
	some b in x
	some c in x
	some d in x
	some e in x
	a + b + c + d + e < 0
}`

func many() map[string]any { return map[string]any{"many": make([]int, 200), "ten": make([]int, 10)} }

func TestAnEvaluationThatDoesNotEndDeniesAtItsDeadline(t *testing.T) {
	for name, policy := range map[string]string{
		"loops over loops":         endless,
		"a value gathered forever": header + "y := [0 | some a in data.many; some b in data.many; some c in data.many; some d in data.many; a + b + c + d < 0]" + denyIf + "count(y) == 1",
		"a set that never fills":   header + "p contains 1 if { some a in data.many; some b in data.many; some c in data.many; some d in data.many; a + b + c + d < 0 }" + denyIf + "1 in p",
	} {
		t.Run(name, func(t *testing.T) {
			p := compile(t, rego.Source{Modules: map[string]string{"p.rego": policy}, Data: many()})
			v, err := p.Evaluate(context.Background(), chat())
			if !errors.Is(err, rego.ErrTimeout) || v.Allow {
				t.Errorf("verdict %+v, error %v, want ErrTimeout", v, err)
			}
		})
	}
}

func TestAValueThatOutgrowsItsBoundsDenies(t *testing.T) {
	double := "s0 := \"0123456789abcdef\"\n" + repeat(10, "s{i+1} := concat(\"\", [s{i}, s{i}])\n")
	for name, tc := range map[string]struct{ policy, cause string }{
		"strings that double with concat": {
			double + "t := concat(\"\", [s10, s10, s10, s10, s10])" + denyIf + "t == \"\"", "larger than"},
		"a separator repeated for each element": {
			double + denyIf + "concat(s10, data.many) == \"\"", "concat"},
		"strings that grow with replace": {
			double + denyIf + "replace(s10, \"\", s10) == \"\"", "larger than"},
		"strings that grow with templates": {
			double + "t := $\"{s10}{s10}{s10}{s10}{s10}\"" + denyIf + "t == \"\"", "larger than"},
		"a template of templates": {
			"t0 := $\"{input.action}{input.resource}\"\n" + repeat(12, "t{i+1} := $\"{t{i}}{t{i}}{t{i}}\"\n") + denyIf + "t12 == \"\"", "larger than"},
		"strings that grow with sprintf": {
			double + denyIf + "sprintf(\"%s%s%s%s%s\", [s10, s10, s10, s10, s10]) == \"\"", "larger than"},
		"an operand that sprintf writes again and again": {
			denyIf + "sprintf(\"%[1]s%[1]s\", [input.action]) == \"\"", "not supported"},
		"padding without measure": {
			denyIf + "sprintf(\"%01000d\", [1]) == \"\"", "pads to more than"},
		"precision without measure": {
			denyIf + "sprintf(\"%.1000f\", [1]) == \"\"", "pads to more than"},
		"a format of many bytes": {
			denyIf + "sprintf(s10, []) == \"\"\n" + double, "the format is longer"},
		"a string split into characters": {
			double + denyIf + "count(split(s10, \"\")) == 0", "larger than"},
		"arrays that double with array.concat": {
			"a0 := input.request.path\n" + repeat(12, "a{i+1} := array.concat(a{i}, a{i})\n") + denyIf + "count(a12) == 0", "larger than"},
		"numbers that square": {
			"n0 := 99999999999\n" + repeat(12, "n{i+1} := n{i} * n{i}\n") + denyIf + "n12 == 0", "too many digits"},
		"a number from a string": {
			denyIf + "to_number(\"1e999999999\") == 0", "to_number"},
		"a pattern of many bytes": {
			denyIf + "regex.match(concat(\"\", [s4, s4]), \"a\")\n" + double, "the pattern is longer"},
		"a glob of many bytes": {
			denyIf + "glob.match(concat(\"\", [s4, s4]), null, \"a\")\n" + double, "the pattern is longer"},
		"a subject of many bytes": {
			denyIf + "regex.match(\"a+b\", s10)\n" + double, "the value to match is longer"},
		"arrays of arrays by comprehension": {
			"x0 := [y | some y in data.ten]\n" + repeat(8, "x{i+1} := [x{i} | some _ in data.ten]\n") +
				"z0 := [y | some y in data.ten]\n" + repeat(8, "z{i+1} := [z{i} | some _ in data.ten]\n") + denyIf + "x8 == z8", "larger than"},
		"objects of objects by comprehension": {
			"x0 := {i: 1 | some i, _ in data.ten}\n" + repeat(8, "x{i+1} := {i: x{i} | some i, _ in data.ten}\n") + denyIf + "x8 == {}", "larger than"},
		"objects of objects by rules": {
			"x0[i] := 1 if some i, _ in data.ten\n" + repeat(8, "x{i+1}[i] := x{i} if some i, _ in data.ten\n") + denyIf + "x8 == {}", "larger than"},
		"sets of arrays by rules": {
			"x0 contains [i, 1] if some i, _ in data.ten\n" + repeat(8, "x{i+1} contains [i, x{i}] if some i, _ in data.ten\n") + denyIf + "count(x8) == 0", "larger than"},
		"arguments that double": {
			"f0(v) := v\n" + repeat(6, "f{i+1}(v) := f{i}([v, v, v])\n") + denyIf + "f6([y | some y in data.ten; some z in data.ten; z == 0]) == 0", "larger than"},
		"what a loop makes in all": {
			double + denyIf + "count({z | some a, _ in data.many; some b, _ in data.many; z := concat(\"-\", [s10, format_int(a, 10), format_int(b, 10)])}) == 0", "has made more than"},
	} {
		t.Run(name, func(t *testing.T) {
			p := compile(t, rego.Source{Modules: map[string]string{"p.rego": header + tc.policy}, Data: many()})
			v, err := p.Evaluate(context.Background(), chat())
			if err == nil || v.Allow || !strings.Contains(err.Error(), tc.cause) {
				t.Errorf("verdict %+v, error %v, want one about %q", v, err, tc.cause)
			}
		})
	}
}

// The product of its operands' sizes is what trimming costs, and nothing can stop it.
func TestTrimmingIsBounded(t *testing.T) {
	long := map[string]any{"text": strings.Repeat("É", 16<<10), "characters": strings.Repeat("ĉ", 16<<10) + "É"}
	for _, name := range []string{"trim", "trim_left", "trim_right"} {
		t.Run(name, func(t *testing.T) {
			policy := header + denyIf + name + "(data.text, data.characters) == \"\""
			p := compile(t, rego.Source{Modules: map[string]string{"p.rego": policy}, Data: long})
			if _, err := p.Evaluate(context.Background(), chat()); err == nil || !strings.Contains(err.Error(), "larger than") {
				t.Errorf("error %v, want one that says that a value is too large", err)
			}
			policy = header + denyIf + name + "(\"--a--\", \"-\") == \"b\""
			if _, err := compile(t, rego.Source{Modules: map[string]string{"p.rego": policy}}).Evaluate(context.Background(), chat()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestBoundsLeaveRoomForWhatPoliciesDo(t *testing.T) {
	p := compile(t, rego.Source{Data: many(), Modules: map[string]string{"p.rego": header +
		`path := concat("/", input.request.path)
pairs := {[a, b] | some a, _ in data.ten; some b in input.request.path}
table[i] := {"i": i, "path": path} if some i, _ in data.ten
deny contains {"code": "c", "message": sprintf("%-20s|%5.1f%%|%v", [path, 12.25, pairs])} if {
	regex.match("^v[0-9]+/chat/", path)
	glob.match("*.caracal.test", ["."], input.request.host)
	count(pairs) == 30
	count(table) == 10
	replace(path, "/", ".") == "v1.chat.completions"
	[first, _, last] := input.request.path
	[first, last] == ["v1", "completions"]
	not [first, last] == ["v1", "models"]
	array.concat([1], [2]) == [1, 2]
	time.weekday([input.time, "Europe/Berlin"]) == "Monday"
}`}})
	v, err := p.Evaluate(context.Background(), chat())
	if err != nil {
		t.Fatal(err)
	}
	if len(v.Denials) != 1 || !strings.HasPrefix(v.Denials[0].Message, "v1/chat/completions |") {
		t.Errorf("denials %q", v.Denials)
	}
}

func TestEvaluationsThatHangLeaveRoomForOthersLater(t *testing.T) {
	hanging := compile(t, rego.Source{Modules: map[string]string{"p.rego": endless}, Data: many()})
	var running sync.WaitGroup
	for range 100 {
		running.Go(func() {
			if _, err := hanging.Evaluate(context.Background(), chat()); !errors.Is(err, rego.ErrTimeout) {
				t.Errorf("error %v, want ErrTimeout", err)
			}
		})
	}
	running.Wait()
	if v := evaluate(t, compile(t, rego.Source{}), chat()); !v.Allow {
		t.Errorf("another policy: %+v, want allow", v)
	}
}

func TestAnEvaluationEndsWithItsContext(t *testing.T) {
	p := compile(t, rego.Source{Modules: map[string]string{"p.rego": endless}, Data: many(), Deadline: 1 << 40})
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	if v, err := p.Evaluate(gone, chat()); !errors.Is(err, context.Canceled) || v.Allow {
		t.Errorf("verdict %+v, error %v, want that of a cancelled context", v, err)
	}
	late, cancel := context.WithTimeout(context.Background(), 1)
	defer cancel()
	if v, err := p.Evaluate(late, chat()); !errors.Is(err, rego.ErrTimeout) || v.Allow {
		t.Errorf("verdict %+v, error %v, want ErrTimeout", v, err)
	}
}

func TestCompilationEndsWithItsContext(t *testing.T) {
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := rego.Compile(gone, single(header)); !errors.Is(err, context.Canceled) {
		t.Errorf("compile: error %v, want that of a cancelled context", err)
	}
	if _, err := rego.Test(gone, single(header)); !errors.Is(err, context.Canceled) {
		t.Errorf("test: error %v, want that of a cancelled context", err)
	}
}
