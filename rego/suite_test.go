package rego_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/caracal-gateway/caracal/rego"
)

func TestTestsRunAndSayHowTheyEnded(t *testing.T) {
	results, err := rego.Test(context.Background(), rego.Source{
		Modules: map[string]string{
			"policy.rego": header + `deny contains {"code": "c", "message": concat(" ", ["not", input.action])} if input.action in data.refused

twice := [x, x] if x := [input.action]`,
			"policy_test.rego": `package caracal.policy_test

import data.caracal.policy

test_passes if count(policy.deny) == 1 with input.action as "write"

test_fails if count(policy.deny) == 2 with input.action as "write"

test_raises if to_number(input.action) == 1 with input.action as "write"

todo_test_later if false

test_of_documents if count(policy.deny) == 0 with input.action as "write" with data.refused as []

test_of_values_that_are_built if policy.twice == [["read"], ["read"]] with input.action as "read"

test_of_the_whole_decision if {
	data.caracal.base.decision.allow == false with input as {}
}`,
		},
		Data: map[string]any{"refused": []string{"write"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range results {
		if results[i].Error != "" {
			if !strings.Contains(results[i].Error, "invalid syntax") {
				t.Errorf("%s: %s", results[i].Name, results[i].Error)
			}
			results[i].Error = "…"
		}
	}
	result := func(row int, name string) rego.TestResult {
		return rego.TestResult{Package: "caracal.policy_test", Name: name, File: "policy_test.rego", Row: row, Passed: true}
	}
	want := []rego.TestResult{result(5, "test_passes"), result(7, "test_fails"), result(9, "test_raises"),
		result(11, "todo_test_later"), result(13, "test_of_documents"), result(15, "test_of_values_that_are_built"),
		result(17, "test_of_the_whole_decision")}
	want[1].Passed = false
	want[2].Passed, want[2].Error = false, "…"
	want[3].Passed, want[3].Skipped = false, true
	if diff := cmp.Diff(want, results, cmpopts.IgnoreFields(rego.TestResult{}, "Duration")); diff != "" {
		t.Errorf("results (-want +got):\n%s", diff)
	}
}

func TestASourceWithoutTestsHasNoResults(t *testing.T) {
	results, err := rego.Test(context.Background(), single(header+"deny contains {\"code\": \"c\", \"message\": \"m\"}"))
	if err != nil || len(results) != 0 {
		t.Errorf("results %v, error %v, want none", results, err)
	}
}

func TestATestThatDoesNotCompileIsAProblem(t *testing.T) {
	_, err := rego.Test(context.Background(), rego.Source{Modules: map[string]string{
		"a_test.rego": "package caracal.policy_test\n\ntest_a if data.caracal.policy.f(input.request.metod)",
	}})
	var invalid *rego.InvalidError
	if !errors.As(err, &invalid) || invalid.Problems[0].File != "a_test.rego" || invalid.Problems[0].Code != rego.ProblemType {
		t.Errorf("error %v, want a type error in a_test.rego", err)
	}
}

func TestATestThatDoesNotEndFails(t *testing.T) {
	results, err := rego.Test(context.Background(), rego.Source{
		Modules: map[string]string{
			"p.rego":      endless,
			"p_test.rego": "package caracal.policy_test\n\ntest_denies if count(data.caracal.policy.deny) == 1",
		},
		Data: many(),
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(results) != 1 || results[0].Passed || !strings.Contains(results[0].Error, "deadline") {
		t.Errorf("results %+v, want one that ran into its deadline", results)
	}
}

func TestATestThatBuildsTooMuchFails(t *testing.T) {
	results, err := rego.Test(context.Background(), rego.Source{
		Modules: map[string]string{
			"p_test.rego": "package caracal.policy_test\n\nx0 := [y | some y in data.ten]\n" +
				repeat(8, "x{i+1} := [x{i} | some _ in data.ten]\n") + "test_size if count(x8) == 10",
		},
		Data: many(),
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(results) != 1 || results[0].Passed || !strings.Contains(results[0].Error, "larger than") {
		t.Errorf("results %+v, want one that is refused a value", results)
	}
}
