package rego

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/tester"
)

// What running a source's tests may take.
const (
	testLimit  = time.Second      // one test
	suiteLimit = 15 * time.Second // all of them, when the context says nothing shorter
)

// TestResult is the outcome of one test.
type TestResult struct {
	Package  string        `json:"package"` // such as caracal.policy_test
	Name     string        `json:"name"`
	File     string        `json:"file"`
	Row      int           `json:"row"`
	Passed   bool          `json:"passed"`
	Skipped  bool          `json:"skipped"` // its name starts with todo_test_
	Error    string        `json:"error"`   // why it could not be judged; empty when it passed or merely failed
	Duration time.Duration `json:"duration"`
}

// Test runs the tests of the source, in the order of files and lines: every rule whose name starts with test_. What is
// wrong with the source comes as an InvalidError; a test that fails is not an error. A source without tests has no
// results.
func Test(ctx context.Context, src Source) ([]TestResult, error) {
	ctx, cancel := context.WithTimeout(ctx, suiteLimit)
	defer cancel()
	results, err := interruptible(ctx, func() ([]TestResult, error) { return runTests(ctx, src) })
	if err != nil {
		return nil, fmt.Errorf("test policy: %w", err)
	}
	return results, nil
}

func runTests(ctx context.Context, src Source) ([]TestResult, error) {
	parsed, err := parse(src)
	if err != nil {
		return nil, err
	}
	modules, err := parsed.modules()
	if err != nil {
		return nil, err
	}
	maps.Copy(modules, parsed.tests)
	compiler, err := newCompiler(capabilities(true))
	if err != nil {
		return nil, err
	}
	// Built-in errors are raised as in an evaluation, where they deny.
	outcomes, err := tester.NewRunner().
		SetCompiler(compiler).
		SetStore(inmem.NewFromASTObject(parsed.data)).
		AddCustomBuiltins(testerBuiltins()).
		RaiseBuiltinErrors(true).
		SetTimeout(testLimit).
		SetParallel(1).
		SetModules(modules).
		RunTests(ctx, nil)
	if compiler.Failed() {
		return nil, refused(compiler.Errors)
	}
	if err != nil {
		return nil, err
	}
	var results []TestResult
	for o := range outcomes {
		results = append(results, resultOf(o))
	}
	slices.SortFunc(results, func(a, b TestResult) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Row, b.Row), cmp.Compare(a.Name, b.Name))
	})
	return results, ctx.Err()
}

func resultOf(o *tester.Result) TestResult {
	r := TestResult{
		Package:  strings.TrimPrefix(o.Package, ast.DefaultRootDocument.String()+"."),
		Name:     o.Name,
		Passed:   o.Pass(),
		Skipped:  o.Skip,
		Duration: o.Duration,
	}
	if o.Location != nil {
		r.File, r.Row = o.Location.File, o.Location.Row
	}
	if o.Error != nil {
		r.Error = o.Error.Error()
		r.Passed = false
	}
	return r
}
