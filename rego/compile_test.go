package rego_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/types"

	"github.com/caracal-gateway/caracal/rego"
)

const header = "package caracal.policy\n"

// repeat joins n texts that are written for each number.
func repeat(n int, format string) string {
	var text strings.Builder
	for i := range n {
		text.WriteString(strings.NewReplacer("{i}", fmt.Sprint(i), "{i+1}", fmt.Sprint(i+1)).Replace(format))
	}
	return text.String()
}

func TestCompileNamesWhatIsWrongWithAPolicy(t *testing.T) {
	for name, tc := range map[string]struct {
		policy string // what follows the package
		code   rego.ProblemCode
		row    int
	}{
		"no Rego at all":                            {"is this a policy?", rego.ProblemParse, 2},
		"the syntax of Rego v0":                     {"deny[x] { x := 1 }", rego.ProblemParse, 2},
		"Rego v2":                                   {"import rego.v2\nx := 1", rego.ProblemParse, 2},
		"a keyword of a later Rego":                 {"import future.keywords.and\nx if { 1 == 1 and 2 == 2 }", rego.ProblemParse, 2},
		"a number that cannot be written out":       {"x := 1e999999999", rego.ProblemParse, 2},
		"a number with hundreds of digits":          {"x := 1" + strings.Repeat("0", 500), rego.ProblemLimit, 2},
		"a property that the input does not have":   {"x if input.request.metod == \"GET\"", rego.ProblemType, 2},
		"a string compared with a number":           {"x if input.request.method == 1", rego.ProblemType, 2},
		"a schema of its own for the input":         {"# METADATA\n# schemas:\n# - input: {type: string}\nx if input.foo", rego.ProblemType, 5},
		"a variable without a value":                {"x if y == 1", rego.ProblemUnsafe, 2},
		"a variable that is not used":               {"x if y := 1", rego.ProblemCompile, 2},
		"an import that is not used":                {"import data.models\nx := 1", rego.ProblemCompile, 2},
		"a rule that depends on itself":             {"x if y\n\ny if x", rego.ProblemRecursion, 2},
		"a function that does not exist":            {"x := strings.shout(\"a\")", rego.ProblemType, 2},
		"the network":                               {"x := http.send({\"method\": \"get\", \"url\": \"http://localhost\"})", rego.ProblemBuiltin, 2},
		"the network inside a comprehension":        {"x := [y | y := http.send({})]", rego.ProblemBuiltin, 2},
		"the clock":                                 {"x := time.now_ns()", rego.ProblemBuiltin, 2},
		"the environment":                           {"x := opa.runtime().env", rego.ProblemBuiltin, 2},
		"a call as an operand of a call":            {"x := count(numbers.range(1, 1000000000))", rego.ProblemBuiltin, 2},
		"the tester's own function":                 {"x if internal.test_case([1])", rego.ProblemType, 2},
		"with outside a test":                       {"y if input.action == \"read\"\n\nx if y with input as {}", rego.ProblemWith, 4},
		"with for a function outside a test":        {"x if count([1]) == 2 with count as 2", rego.ProblemWith, 2},
		"all of data":                               {"x := data", rego.ProblemReference, 2},
		"all of data, walked":                       {"x contains v if some v in data", rego.ProblemReference, 2},
		"a document whose name is computed":         {"x := data[input.action]", rego.ProblemReference, 2},
		"an import of all of data":                  {"import data as d\nx := d.caracal.base.allow", rego.ProblemReference, 2},
		"the base policy":                           {"x := data.caracal.base.allow", rego.ProblemReference, 2},
		"an import of the base policy":              {"import data.caracal.base\nx := base.allow", rego.ProblemReference, 2},
		"what joins the packages":                   {"x := data.caracal.workspace.deny", rego.ProblemReference, 2},
		"a package of ours, computed":               {"x := data.caracal[input.action]", rego.ProblemReference, 2},
		"deny as a boolean":                         {"deny if input.action == \"read\"", rego.ProblemContribution, 2},
		"deny as a value":                           {"deny := {{\"code\": \"a\", \"message\": \"b\"}}", rego.ProblemContribution, 2},
		"deny with a default":                       {"default deny := false", rego.ProblemContribution, 2},
		"deny as an object":                         {"deny[x] := 1 if x := \"a\"", rego.ProblemContribution, 2},
		"deny as a function":                        {"deny(x) := x", rego.ProblemContribution, 2},
		"deny below another name":                   {"hours.deny contains \"x\"", rego.ProblemContribution, 2},
		"a name below deny":                         {"deny.hours contains \"x\"", rego.ProblemContribution, 2},
		"approve as a boolean":                      {"approve if true", rego.ProblemContribution, 2},
		"obligations as an object":                  {"obligations := {\"max_duration_seconds\": 1}", rego.ProblemContribution, 2},
		"nine comprehensions in one another":        {"x := " + strings.Repeat("[y | y := ", 9) + "1" + strings.Repeat("]", 9), rego.ProblemLimit, 2},
		"nine arrays in one another":                {"x := " + strings.Repeat("[", 9) + strings.Repeat("]", 9), rego.ProblemLimit, 2},
		"a thousand parentheses in one another":     {"x := " + strings.Repeat("(", 1000) + "1" + strings.Repeat(")", 1000), rego.ProblemLimit, 2},
		"a reference of a hundred parts":            {"x := input" + strings.Repeat(".a", 100), rego.ProblemLimit, 2},
		"a hundred expressions in one body":         {"x if {\n" + repeat(100, "input.action == \"a{i}\"\n") + "}", rego.ProblemLimit, 3},
		"more rules than a reader can hold":         {repeat(1001, "r{i} := {i}\n"), rego.ProblemLimit, 0},
		"more terms than a reader can hold":         {"x := [1" + strings.Repeat(", 1", 50000) + "]", rego.ProblemLimit, 0},
		"objects that double with each rule":        {"r0 := {}\n" + repeat(40, "r{i+1} := {\"a\": r{i}, \"b\": r{i}}\n") + "x if r40 == 1", rego.ProblemLimit, 0},
		"arrays that double with each variable":     {"x if {\nv0 := []\n" + repeat(40, "v{i+1} := [v{i}, v{i}]\n") + "v40 == 1\n}", rego.ProblemLimit, 2},
		"arrays that double with each function":     {repeat(40, "f{i+1}(v) := [f{i}(v), f{i}(v)]\n") + "f0(v) := v\nx := f40(1)", rego.ProblemLimit, 0},
		"a value of many parts, compared too often": {"r0 := [[1, 2, 3, 4, 5, 6, 7, 8, 9]]\n" + repeat(10, "r{i+1} := [r{i}, r{i}]\n") + repeat(60, "x{i} if r10 == r9\n"), rego.ProblemLimit, 0},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := rego.Compile(context.Background(), single(header+tc.policy))
			var invalid *rego.InvalidError
			if !errors.As(err, &invalid) {
				t.Fatalf("error %v, want an InvalidError", err)
			}
			got := invalid.Problems[0]
			if i := slices.IndexFunc(invalid.Problems, func(p rego.Problem) bool { return p.Code == tc.code }); i >= 0 {
				got = invalid.Problems[i]
			}
			if got.Code != tc.code || tc.row > 0 && got.Row != tc.row {
				t.Errorf("problem %v, want %s in line %d", got, tc.code, tc.row)
			}
			if len(got.Message) > 500 {
				t.Errorf("a message of %d bytes, which nobody reads", len(got.Message))
			}
		})
	}
}

func TestCompileNamesWhatIsWrongWithASource(t *testing.T) {
	many := map[string]string{}
	for i := range 65 {
		many[fmt.Sprintf("m%d.rego", i)] = header
	}
	rule := header + "x := 1"
	for name, tc := range map[string]struct {
		src  rego.Source
		code rego.ProblemCode
		file string
	}{
		"a package of another name":         {single("package mine\nx := 1"), rego.ProblemPackage, "policy.rego"},
		"the base policy's package":         {single("package caracal.base\nallow := true"), rego.ProblemPackage, "policy.rego"},
		"the package that joins the others": {single("package caracal.workspace\ndeny := set()"), rego.ProblemPackage, "policy.rego"},
		"the package above":                 {single("package caracal\npolicy := 1"), rego.ProblemPackage, "policy.rego"},
		"a package that begins alike":       {single("package caracal.policy2\nx := 1"), rego.ProblemPackage, "policy.rego"},
		"the package of tests, in a policy": {single("package caracal.policy_test\nx := 1"), rego.ProblemPackage, "policy.rego"},
		"a package in quotes":               {single("package caracal.policy[\"a b\"]\nx := 1"), rego.ProblemPackage, "policy.rego"},
		"a package named like a set":        {single("package caracal.policy.deny\nx := 1"), rego.ProblemPackage, "policy.rego"},
		"a path that leads out":             {rego.Source{Modules: map[string]string{"../a.rego": rule}}, rego.ProblemPath, "../a.rego"},
		"a path from the root":              {rego.Source{Modules: map[string]string{"/a.rego": rule}}, rego.ProblemPath, "/a.rego"},
		"a path of ours":                    {rego.Source{Modules: map[string]string{"caracal:base.rego": rule}}, rego.ProblemPath, "caracal:base.rego"},
		"a path of another kind":            {rego.Source{Modules: map[string]string{"a.json": rule}}, rego.ProblemPath, "a.json"},
		"an empty module":                   {single(""), rego.ProblemParse, "policy.rego"},
		"more modules than are allowed":     {rego.Source{Modules: many}, rego.ProblemLimit, ""},
		"more text than is allowed":         {single(header + "# " + strings.Repeat("x", 256<<10)), rego.ProblemLimit, ""},
		"a document in our place":           {rego.Source{Data: map[string]any{"caracal": map[string]any{}}}, rego.ProblemData, ""},
		"a document without a plain name":   {rego.Source{Data: map[string]any{"a b": 1}}, rego.ProblemData, ""},
		"a document that is not JSON":       {rego.Source{Data: map[string]any{"a": make(chan int)}}, rego.ProblemData, ""},
		"a document of a megabyte":          {rego.Source{Data: map[string]any{"a": strings.Repeat("x", 1<<20)}}, rego.ProblemData, ""},
		"a document of very many parts":     {rego.Source{Data: map[string]any{"a": make([][]int, 60000)}}, rego.ProblemData, ""},
		"a document nested without measure": {rego.Source{Data: map[string]any{"a": nested(100)}}, rego.ProblemData, ""},
		"a policy that is fine, a bad test": {rego.Source{Modules: map[string]string{"a.rego": rule, "a_test.rego": "package other\ntest_a if true"}}, rego.ProblemPackage, "a_test.rego"},
		"a test that replaces a function":   {rego.Source{Modules: map[string]string{"a_test.rego": header + "test_a if count([1]) == 2 with count as 2"}}, rego.ProblemWith, "a_test.rego"},
		"a test that calls out":             {rego.Source{Modules: map[string]string{"a_test.rego": header + "test_a if http.send({}).status_code == 200"}}, rego.ProblemBuiltin, "a_test.rego"},
		"one of two modules with an error":  {rego.Source{Modules: map[string]string{"a.rego": rule, "b.rego": header + "y := "}}, rego.ProblemParse, "b.rego"},
		"a rule of two kinds":               {rego.Source{Modules: map[string]string{"a.rego": header + "x := 1", "b.rego": header + "x contains 1"}}, rego.ProblemType, "a.rego"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := rego.Compile(context.Background(), tc.src)
			var invalid *rego.InvalidError
			if !errors.As(err, &invalid) {
				t.Fatalf("error %v, want an InvalidError", err)
			}
			if got := invalid.Problems[0]; got.Code != tc.code || got.File != tc.file {
				t.Errorf("problem %v, want %s in %q", got, tc.code, tc.file)
			}
		})
	}
}

func nested(depth int) any {
	if depth == 0 {
		return 1
	}
	return []any{nested(depth - 1)}
}

func TestProblemsComeInTheOrderOfFilesAndLines(t *testing.T) {
	_, err := rego.Compile(context.Background(), rego.Source{Modules: map[string]string{
		"b.rego": header + "x := data",
		"a.rego": header + "y := time.now_ns()\n\ndeny := true",
	}})
	var invalid *rego.InvalidError
	if !errors.As(err, &invalid) {
		t.Fatal(err)
	}
	want := []rego.Problem{
		{File: "a.rego", Row: 2, Col: 6, Code: rego.ProblemBuiltin, Message: "time.now_ns is not available to policies"},
		{File: "a.rego", Row: 4, Col: 1, Code: rego.ProblemContribution, Message: "deny is a set: write deny contains … if …"},
		{File: "b.rego", Row: 2, Col: 6, Code: rego.ProblemReference, Message: "data: name the document or package after data"},
	}
	if diff := cmp.Diff(want, invalid.Problems); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

func TestCompileAcceptsWhatPoliciesNeed(t *testing.T) {
	for name, policy := range map[string]string{
		"nothing but its package":          "",
		"the imports of Rego v1":           "import rego.v1\nimport future.keywords.in\nx if \"a\" in input.request.path",
		"an alias of the input":            "import input.request as r\nx if r.method == \"GET\"",
		"its own packages and documents":   "import data.models\nx if input.action in models.allowed\ny if data.caracal.policy.x",
		"a template":                       "x := $\"{input.action} of {input.resource}\"",
		"a function of its own":            "concat(a, b) := sprintf(\"%s%s\", [a, b])\nx := concat(\"a\", \"b\")",
		"office hours":                     "x if { [hour, _, _] := time.clock([input.time, \"Europe/Berlin\"]); hour >= 9; hour < 17 }",
		"the chain of the mandate":         "x if { some link in input.mandate.chain; link.issuer_id == \"prn_owner\" }",
		"every":                            "x if every s in input.request.path { s != \"admin\" }",
		"an address":                       "x if net.cidr_contains(\"10.0.0.0/8\", input.request.host)",
		"eight comprehensions in a row":    repeat(8, "c{i} := {s | some s in input.request.path}\n"),
		"rules that use twenty functions":  "f0(v) := lower(v)\n" + repeat(20, "f{i+1}(v) := f{i}(v)\n") + "x := f20(input.action)",
		"hundreds of denials":              repeat(300, "deny contains {\"code\": \"c{i}\", \"message\": \"m\"} if input.request.method == \"M{i}\"\n"),
		"a sum of many parts":              "x := 1" + strings.Repeat(" + 1", 15),
		"a local variable named like sets": "x if { deny := 1; deny == 1 }",
	} {
		t.Run(name, func(t *testing.T) {
			compile(t, single(header+policy))
		})
	}
}

// callable is every built-in function that a policy may call.
const callable = `abs and array.concat array.reverse array.slice assign base64.decode base64url.decode ceil concat contains
	count div endswith eq equal floor format_int glob.match gt gte indexof internal.member_2 internal.member_3
	internal.template_string intersection is_array is_boolean is_null is_number is_object is_set is_string lower lt lte
	max min minus mul neq net.cidr_contains net.cidr_intersects net.cidr_is_valid object.filter object.get object.keys
	object.remove object.subset object.union or plus regex.match rem replace round semver.compare semver.is_valid sort
	split sprintf startswith strings.any_prefix_match strings.any_suffix_match strings.count substring sum time.clock
	time.date time.parse_duration_ns time.parse_rfc3339_ns time.weekday to_number trim trim_left trim_prefix trim_right
	trim_space trim_suffix type_name union upper urlquery.decode`

func TestEveryBuiltinIsEitherListedOrRefused(t *testing.T) {
	future := &ast.Builtin{Name: "future.reach", Decl: types.NewFunction(types.Args(types.S), types.A)}
	ast.RegisterBuiltin(future) // what the next OPA may bring
	var got []string
	for _, b := range ast.CapabilitiesForThisVersion().Builtins {
		if b.Name == "internal.test_case" {
			continue // which the compiler refuses, because it is for the tests that OPA's tester rewrites
		}
		arguments := strings.TrimSuffix(strings.Repeat("1, ", b.Decl.Arity()), ", ")
		_, err := rego.Compile(context.Background(), single(header+"x if "+b.Name+"("+arguments+")"))
		var invalid *rego.InvalidError
		if !errors.As(err, &invalid) || invalid.Problems[0].Code != rego.ProblemBuiltin {
			got = append(got, b.Name)
		}
	}
	slices.Sort(got)
	if diff := cmp.Diff(strings.Fields(callable), got); diff != "" {
		t.Errorf("functions that policies may call (-want +got):\n%s", diff)
	}
	if ast.BuiltinMap[future.Name] == nil {
		t.Error("the function of the next OPA was not there to be refused")
	}
}

func FuzzCompile(f *testing.F) {
	f.Add(header + "deny contains {\"code\": \"a\", \"message\": \"b\"} if input.action == \"read\"")
	f.Add(header + "x := [y | some y in data.models]\nobligations contains {\"max_duration_seconds\": count(x)}")
	f.Add("package caracal.base\nallow := true")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := rego.Compile(context.Background(), single(text))
		var invalid *rego.InvalidError
		if err != nil {
			if !errors.As(err, &invalid) || len(invalid.Problems) == 0 {
				t.Fatalf("error %v, want an InvalidError", err)
			}
			return
		}
		in := chat()
		in.Facts.Live = false
		if v, err := p.Evaluate(context.Background(), in); err == nil && v.Allow {
			t.Fatal("a revoked mandate is allowed")
		}
	})
}
