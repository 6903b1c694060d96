package rego

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/util"
)

// What a source may hold. The bounds keep its compilation within about a second and some 100 MB.
const (
	maxSourceBytes = 256 << 10 // the texts of all modules
	maxDataBytes   = 1 << 20   // the documents as JSON
	maxModules     = 64
	maxRules       = 1000
	maxNodes       = 50000 // of the syntax trees of all modules
	maxBodyExprs   = 64    // in one body
	maxRefTerms    = 32    // in one reference
	maxNesting     = 8     // of comprehensions, every and not, and of composite values
	maxParserDepth = 300   // what the parser may descend to, with some ten for each level of what is written
	maxDataDepth   = 16
	maxDataNodes   = 50000
	maxPathBytes   = 200
	maxProblems    = 20
)

// testSuffix ends the paths of modules that are tests. They are no part of the policy that decides.
const testSuffix = "_test.rego"

// Source is a policy as its author writes it.
type Source struct {
	// Modules holds the text of each module by its path: relative, with slashes, ending in .rego, or in _test.rego for
	// tests. Every module is Rego v1 in the package caracal.policy or below; tests may be in caracal.policy_test too.
	Modules map[string]string
	// Data holds the policy's own documents, which its modules read as data.<name>. The name caracal is taken.
	Data map[string]any
	// Deadline bounds one evaluation of the compiled policy; zero means DefaultDeadline.
	Deadline time.Duration
}

// DefaultDeadline bounds an evaluation when the source does not say.
const DefaultDeadline = 50 * time.Millisecond

// parsed is a source that has passed every check but the compiler's.
type parsed struct {
	policies map[string]*ast.Module
	tests    map[string]*ast.Module
	data     ast.Object
}

var (
	modulePath = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*\.rego$`)
	dataName   = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)
)

// parse reads the source and holds it against the rules for sources. What is wrong comes as an InvalidError.
func parse(src Source) (parsed, error) {
	if problems := oversized(src.Modules); len(problems) > 0 {
		return parsed{}, invalid(problems)
	}
	p := parsed{policies: map[string]*ast.Module{}, tests: map[string]*ast.Module{}}
	var problems []Problem
	for _, path := range slices.Sorted(maps.Keys(src.Modules)) {
		module, found, err := parseModule(path, src.Modules[path])
		if err != nil {
			return parsed{}, err
		}
		problems = append(problems, found...)
		switch {
		case module == nil:
		case strings.HasSuffix(path, testSuffix):
			p.tests[path] = module
		default:
			p.policies[path] = module
		}
	}
	data, found := parseData(src.Data)
	p.data = data
	problems = append(problems, found...)
	if len(problems) == 0 {
		problems = p.vet()
	}
	return p, invalid(problems)
}

func oversized(modules map[string]string) []Problem {
	if len(modules) > maxModules {
		return []Problem{{Code: ProblemLimit, Message: fmt.Sprintf("%d modules; %d is the most", len(modules), maxModules)}}
	}
	total := 0
	for _, text := range modules {
		total += len(text)
	}
	if total > maxSourceBytes {
		return []Problem{{Code: ProblemLimit, Message: fmt.Sprintf("%d bytes of modules; %d is the most", total, maxSourceBytes)}}
	}
	return nil
}

// parseModule returns the module, or the problems that keep it from being one.
func parseModule(path, text string) (*ast.Module, []Problem, error) {
	if len(path) > maxPathBytes || !modulePath.MatchString(path) {
		return nil, []Problem{{File: path, Code: ProblemPath,
			Message: "the path of a module is relative, made of letters, digits, _, - and ., and ends in .rego"}}, nil
	}
	caps := capabilities(strings.HasSuffix(path, testSuffix))
	// The parser recurses; ParseModuleWithOpts does not let its depth be bounded, so a first pass finds what is too deep.
	_, _, errs := ast.NewParser().WithFilename(path).WithReader(strings.NewReader(text)).WithCapabilities(caps).
		WithRegoVersion(ast.RegoV1).WithMaxRecursionDepth(maxParserDepth).Parse()
	if len(errs) > 0 {
		problems, err := problemsOf(errs)
		return nil, problems, err
	}
	module, err := ast.ParseModuleWithOpts(path, text, ast.ParserOptions{Capabilities: caps, RegoVersion: ast.RegoV1})
	if err != nil {
		problems, err := problemsOf(err)
		return nil, problems, err
	}
	return module, nil, nil
}

// parseData returns the documents as OPA holds them.
func parseData(data map[string]any) (ast.Object, []Problem) {
	refuse := func(format string, args ...any) (ast.Object, []Problem) {
		return nil, []Problem{{Code: ProblemData, Message: fmt.Sprintf(format, args...)}}
	}
	for name := range data {
		if !dataName.MatchString(name) || name == "caracal" {
			return refuse("%q cannot be the name of a document: it is letters, digits and _, and not caracal", name)
		}
	}
	if data == nil {
		data = map[string]any{}
	}
	text, err := json.Marshal(data)
	if err != nil {
		return refuse("the documents are not JSON: %v", err)
	}
	if len(text) > maxDataBytes {
		return refuse("%d bytes of documents; %d is the most", len(text), maxDataBytes)
	}
	var plain any
	if err := util.NewJSONDecoder(bytes.NewReader(text)).Decode(&plain); err != nil {
		return refuse("the documents are not JSON: %v", err)
	}
	nodes := 0
	if err := boundedDocument(plain, maxDataDepth, &nodes); err != nil {
		return refuse("%v", err)
	}
	value, err := ast.InterfaceToValue(plain)
	if err != nil {
		return refuse("the documents are not JSON: %v", err)
	}
	return value.(ast.Object), nil
}

// boundedDocument refuses what is deeper than depth or has too many parts, and numbers that cannot be computed with.
func boundedDocument(v any, depth int, nodes *int) error {
	if depth < 0 {
		return fmt.Errorf("the documents are nested more than %d deep", maxDataDepth)
	}
	if *nodes++; *nodes > maxDataNodes {
		return fmt.Errorf("the documents have more than %d parts", maxDataNodes)
	}
	switch v := v.(type) {
	case json.Number:
		if !boundedNumber(ast.Number(v)) {
			return fmt.Errorf("the number %.20s… has too many digits", v)
		}
	case []any:
		for _, element := range v {
			if err := boundedDocument(element, depth-1, nodes); err != nil {
				return err
			}
		}
	case map[string]any:
		for _, element := range v {
			if err := boundedDocument(element, depth-1, nodes); err != nil {
				return err
			}
		}
	}
	return nil
}
