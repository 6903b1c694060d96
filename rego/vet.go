package rego

import (
	"fmt"
	"maps"
	"regexp"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
)

// contributions are the sets by which a workspace's packages take part in a decision.
func contributions() []string { return []string{"deny", "approve", "obligations"} }

var packageElement = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// vet holds the syntax trees against the rules for sources.
func (p parsed) vet() []Problem {
	v := &vetter{capabilities: capabilities(true)}
	for _, modules := range []map[string]*ast.Module{p.policies, p.tests} {
		for _, path := range slices.Sorted(maps.Keys(modules)) {
			v.module(modules[path], p.tests[path] != nil)
		}
	}
	if v.rules > maxRules {
		v.problems = append(v.problems, Problem{Code: ProblemLimit, Message: fmt.Sprintf("%d rules; %d is the most", v.rules, maxRules)})
	}
	if v.nodes > maxNodes {
		v.problems = append(v.problems, Problem{Code: ProblemLimit, Message: fmt.Sprintf("%d expressions and terms; %d is the most", v.nodes, maxNodes)})
	}
	return v.problems
}

// vetter collects what is wrong with modules.
type vetter struct {
	capabilities *ast.Capabilities
	problems     []Problem
	rules        int
	nodes        int
	nesting      int
	at           *ast.Location // of the last term
}

func (v *vetter) report(loc *ast.Location, code ProblemCode, format string, args ...any) {
	if len(v.problems) < maxProblems {
		v.problems = append(v.problems, problemAt(loc, code, format, args...))
	}
}

func (v *vetter) module(m *ast.Module, test bool) {
	if why := misplaced(m.Package.Path, test); why != "" {
		v.report(m.Package.Location, ProblemPackage, "package %s: %s", m.Package.Path.String()[len("data."):], why)
	}
	for _, i := range m.Imports {
		v.imported(i, test)
	}
	for _, r := range m.Rules {
		v.contribution(r, test)
		for r := r; r != nil; r = r.Else {
			v.rules++
		}
	}
	ast.NewBeforeAfterVisitor(
		func(x any) bool {
			v.enter(x, test)
			_, isPackage := x.(*ast.Package)
			_, isImport := x.(*ast.Import)
			return isPackage || isImport // which are judged above
		},
		v.leave,
	).Walk(m)
}

// misplaced says why a module cannot be in the package; empty when it can.
func misplaced(path ast.Ref, test bool) string {
	elements := make([]string, 0, len(path)-1)
	for _, t := range path[1:] {
		element, _ := t.Value.(ast.String)
		if !packageElement.MatchString(string(element)) {
			return "each part of its name is lower-case letters, digits and _"
		}
		elements = append(elements, string(element))
	}
	own := len(elements) >= 2 && elements[0] == "caracal" &&
		(elements[1] == "policy" || test && elements[1] == "policy_test")
	if !own {
		return "a policy is in package caracal.policy or below"
	}
	for _, element := range elements[2:] {
		if slices.Contains(contributions(), element) {
			return fmt.Sprintf("%s is the name of a set, not of a package", element)
		}
	}
	return ""
}

func (v *vetter) imported(i *ast.Import, test bool) {
	ref, ok := i.Path.Value.(ast.Ref)
	if !ok {
		return
	}
	switch root := ref[0].Value.String(); root {
	case "rego", "future", "input":
	default:
		v.reference(ref, i.Location, test)
	}
}

// contribution refuses rules by which an author means to deny and does not: a deny that is no set of its package is
// not among what the decision reads.
func (v *vetter) contribution(r *ast.Rule, test bool) {
	if test {
		return
	}
	ref := r.Head.Ref()
	for i, t := range ref {
		name := termName(t)
		if !slices.Contains(contributions(), name) {
			continue
		}
		if len(ref) > 1 || i > 0 || len(r.Head.Args) > 0 || r.Head.DocKind() != ast.PartialSetDoc || r.Default {
			v.report(r.Location, ProblemContribution, "%s is a set: write %s contains … if …", name, name)
			return
		}
	}
}

func termName(t *ast.Term) string {
	switch name := t.Value.(type) {
	case ast.Var:
		return string(name)
	case ast.String:
		return string(name)
	}
	return ""
}

// nests reports whether what is inside x is one level deeper than x. Calls are not counted: the operands of a long sum
// are nested too, and the parser's depth bounds them.
func nests(x any) bool {
	switch x.(type) {
	case *ast.ArrayComprehension, *ast.SetComprehension, *ast.ObjectComprehension, *ast.Every, *ast.Not,
		*ast.Array, ast.Object, ast.Set:
		return true
	default:
		return false
	}
}

func (v *vetter) leave(x any) {
	if nests(x) {
		v.nesting--
	}
}

func (v *vetter) enter(x any, test bool) {
	v.nodes++
	if nests(x) {
		if v.nesting++; v.nesting == maxNesting+1 {
			v.report(v.at, ProblemLimit, "nested more than %d deep", maxNesting)
		}
	}
	switch x := x.(type) {
	case ast.Body:
		if len(x) > maxBodyExprs {
			v.report(x.Loc(), ProblemLimit, "%d expressions in one body; %d is the most", len(x), maxBodyExprs)
		}
	case *ast.Expr:
		if x.IsCall() {
			v.call(x.Operator(), x.Location)
		}
	case *ast.With:
		v.with(x, test)
	case *ast.Term:
		v.term(x, test)
	}
}

func (v *vetter) term(t *ast.Term, test bool) {
	v.at = t.Location
	switch x := t.Value.(type) {
	case ast.Call:
		if operator, ok := x[0].Value.(ast.Ref); ok {
			v.call(operator, t.Location)
		}
	case ast.Ref:
		if len(x) > maxRefTerms {
			v.report(t.Location, ProblemLimit, "a reference of %d parts; %d is the most", len(x), maxRefTerms)
			return
		}
		v.reference(x, t.Location, test)
	case ast.Number:
		if !boundedNumber(x) {
			v.report(t.Location, ProblemLimit, "a number has too many digits")
		}
	}
}

// call refuses OPA's built-in functions that policies do not have; the compiler finds what is no function at all.
func (v *vetter) call(operator ast.Ref, loc *ast.Location) {
	name := operator.String()
	if _, isBuiltin := ast.BuiltinMap[name]; isBuiltin && !v.capabilities.ContainsBuiltin(name) {
		v.report(loc, ProblemBuiltin, "%s is not available to policies", name)
	}
}

// with is how tests set the scene. In a policy it would evaluate rules for another input than that of the request.
func (v *vetter) with(w *ast.With, test bool) {
	target, _ := w.Target.Value.(ast.Ref)
	root := ""
	if len(target) > 0 {
		root = termName(target[0])
	} else {
		root = termName(w.Target)
	}
	switch {
	case !test:
		v.report(w.Location, ProblemWith, "with is for tests")
	case root != "input" && root != "data":
		v.report(w.Location, ProblemWith, "with replaces input and data only, not %s", w.Target)
	}
}

// reference refuses what reaches beyond the policy's own packages and documents, and what could.
func (v *vetter) reference(ref ast.Ref, loc *ast.Location, test bool) {
	if termName(ref[0]) != "data" {
		return
	}
	if test {
		return // tests may look at the decision as a whole
	}
	first, second := constant(ref, 1), constant(ref, 2)
	switch {
	case first == "":
		v.report(loc, ProblemReference, "%s: name the document or package after data", ref)
	case first == "caracal" && second != "policy":
		v.report(loc, ProblemReference, "%s: of data.caracal only data.caracal.policy belongs to the policy", ref)
	}
}

// constant returns the i-th part of the reference when it is a string that is written out, else the empty string.
func constant(ref ast.Ref, i int) string {
	if i >= len(ref) {
		return ""
	}
	s, _ := ref[i].Value.(ast.String)
	return string(s)
}
