package rego

import (
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/types"
)

// What values may weigh. A value weighs as many terms as it has when it is written out, so one that is built from
// another twice, and so on for thirty rules, weighs more than any machine holds. Neither the compiler's type checks
// nor comparisons of such values can be stopped, and both write values out.
const (
	maxWeight      = 20000  // one value
	maxTotalWeight = 400000 // the values that all expressions of a policy look at
)

// weightErr is the code under which the stage of the compiler reports what weighs too much.
const weightErr = "caracal_weight_error"

// checkWeights is a stage of the compiler that refuses policies whose values weigh too much. It runs when calls,
// references and variables have their final form and rules are known not to be recursive, and before types are checked.
func checkWeights(c *ast.Compiler) *ast.Error {
	sorted, ok := c.Graph.Sort()
	if !ok {
		return nil // the rules are recursive, which has been reported
	}
	w := &weigher{compiler: c, rules: map[*ast.Rule]int{}, vars: map[ast.Var]int{}}
	for _, node := range sorted {
		rule, ok := node.(*ast.Rule)
		if !ok {
			continue
		}
		w.rule(rule)
		switch {
		case w.rules[rule] > maxWeight:
			return ast.NewError(weightErr, rule.Location, "the value of %s is built from too many others", rule.Head.Ref())
		case w.total > maxTotalWeight:
			return ast.NewError(weightErr, rule.Location, "the values of all rules together are built from too many others")
		}
	}
	return nil
}

// weigher holds what is known so far. A variable is known from the expression that binds it on: the compiler has put
// the expressions of each body in the order in which they bind variables, under names that differ throughout a policy.
type weigher struct {
	compiler *ast.Compiler
	rules    map[*ast.Rule]int
	vars     map[ast.Var]int
	total    int
}

// rule weighs a rule whose dependencies have been weighed.
func (w *weigher) rule(r *ast.Rule) {
	w.body(r.Body)
	weight := 0
	if r.Head.Key != nil {
		weight = heavier(weight, w.term(r.Head.Key))
	}
	if r.Head.Value != nil {
		weight = heavier(weight, w.term(r.Head.Value))
	}
	if r.Else != nil {
		w.rule(r.Else)
		weight = heavier(weight, w.rules[r.Else])
	}
	w.rules[r] = max(1, weight)
}

func (w *weigher) body(b ast.Body) {
	for _, e := range b {
		w.expr(e)
	}
}

// expr weighs what the expression binds, and adds what it looks at to the total.
func (w *weigher) expr(e *ast.Expr) {
	for _, with := range e.With {
		w.total += w.term(with.Value)
	}
	switch terms := e.Terms.(type) {
	case *ast.Term:
		w.total += w.term(terms)
	case *ast.Every:
		domain := w.term(terms.Domain)
		w.total += domain
		w.bind(terms.Value, domain)
		w.body(terms.Body)
	case []*ast.Term:
		if e.IsEquality() && len(terms) == 3 {
			left, right := w.term(terms[1]), w.term(terms[2])
			w.total += left + right
			w.bind(terms[1], right)
			w.bind(terms[2], left)
			return
		}
		result, operands := w.call(terms)
		w.total += operands
		w.bind(terms[len(terms)-1], result)
	}
}

// call weighs the result of a call and its operands, among which is the variable that takes the result: one that has
// no value yet.
func (w *weigher) call(terms []*ast.Term) (result, operands int) {
	for _, t := range terms[1:] {
		if v, ok := t.Value.(ast.Var); ok && w.vars[v] == 0 {
			continue
		}
		operands = heavier(operands, w.term(t))
	}
	operands = max(1, operands)
	function, ok := terms[0].Value.(ast.Ref)
	if !ok {
		return operands, operands
	}
	if function.HasPrefix(ast.DefaultRootRef) {
		return min(w.reference(function)*operands, maxWeight+1), operands
	}
	if b, ok := ast.BuiltinMap[function.String()]; ok {
		switch b.Decl.Result().(type) {
		case types.Boolean, types.Number, types.String:
			return 1, operands
		}
	}
	return operands, operands
}

// bind makes the variables of the term that have no value yet as heavy as what the term is compared with: a part
// weighs no more than the whole.
func (w *weigher) bind(t *ast.Term, weight int) {
	switch v := t.Value.(type) {
	case ast.Var:
		if _, bound := w.vars[v]; !bound {
			w.vars[v] = weight
		}
	case *ast.Array, ast.Object:
		ast.WalkVars(t, func(v ast.Var) bool {
			w.bind(ast.NewTerm(v), weight)
			return false
		})
	}
}

func (w *weigher) term(t *ast.Term) int {
	sum := 1
	switch v := t.Value.(type) {
	case ast.Var:
		return max(1, w.vars[v])
	case ast.Ref:
		return w.reference(v)
	case *ast.Array:
		v.Foreach(func(e *ast.Term) { sum = heavier(sum, w.term(e)) })
	case ast.Set:
		v.Foreach(func(e *ast.Term) { sum = heavier(sum, w.term(e)) })
	case ast.Object:
		v.Foreach(func(k, e *ast.Term) { sum = heavier(heavier(sum, w.term(k)), w.term(e)) })
	case *ast.ArrayComprehension:
		w.body(v.Body)
		sum = heavier(sum, w.term(v.Term))
	case *ast.SetComprehension:
		w.body(v.Body)
		sum = heavier(sum, w.term(v.Term))
	case *ast.ObjectComprehension:
		w.body(v.Body)
		sum = heavier(heavier(sum, w.term(v.Key)), w.term(v.Value))
	case *ast.Not:
		w.body(v.Body)
	}
	return sum
}

// reference weighs all of what the reference leads into: a part weighs no more.
func (w *weigher) reference(ref ast.Ref) int {
	if head, ok := ref[0].Value.(ast.Var); ok && !ref.HasPrefix(ast.DefaultRootRef) {
		return max(1, w.vars[head])
	}
	sum := 0
	for _, rule := range w.compiler.GetRules(ref.ConstantPrefix()) {
		sum = heavier(sum, w.rules[rule])
	}
	return max(1, sum)
}

// heavier adds weights, but never counts far past the limit, so that sums do not overflow.
func heavier(a, b int) int { return min(a+b, maxWeight+1) }
