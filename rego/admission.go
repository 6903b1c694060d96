package rego

import "github.com/open-policy-agent/opa/v1/ast"

// admissionName is the function that the compiled rules call for every value that they build. Like any bounded
// function it measures its operand and adds it to what the evaluation has made. Without it a policy could build, from
// small parts used many times over, values on whose comparison OPA recurses until the process has no stack left.
const admissionName = "admit"

// binder rewrites compiled rules: calls go to the bounded functions, and values that are built are admitted.
type binder struct {
	checks map[string]precondition
}

// bindBounds is a stage of the compiler. It runs after every check, so that what authors read in messages is what they
// wrote, and after the rules have been indexed.
func bindBounds(c *ast.Compiler) *ast.Error {
	b := &binder{checks: boundedBuiltins()}
	for path, module := range c.Modules {
		if path == basePath || path == workspacePath {
			continue // they put together what the workspace's modules have made
		}
		for _, rule := range module.Rules {
			for r := rule; r != nil; r = r.Else {
				b.rule(r)
			}
		}
	}
	return nil
}

func (b *binder) rule(r *ast.Rule) {
	r.Body = b.body(r.Body)
	partial := r.Head.DocKind() != ast.CompleteDoc
	for _, t := range []*ast.Term{r.Head.Key, r.Head.Value} {
		// What a rule gathers counts once for each entry; what it is counts where it is built.
		if t != nil && !t.IsGround() && (partial || composite(t)) {
			r.Body.Append(admission(t))
		}
	}
}

func (b *binder) body(body ast.Body) ast.Body {
	var bound ast.Body
	for _, e := range body {
		b.nested(e)
		before, after := admissions(e)
		for _, t := range before {
			bound.Append(admission(t))
		}
		if terms, ok := e.Terms.([]*ast.Term); ok && e.IsCall() {
			if name := e.Operator().String(); b.checks[name] != nil {
				terms[0] = boundedTerm(name, terms[0].Location)
			}
		}
		bound.Append(e)
		for _, t := range after {
			bound.Append(admission(t))
		}
	}
	return bound
}

// nested rewrites the bodies inside the expression.
func (b *binder) nested(e *ast.Expr) {
	ast.NewGenericVisitor(func(x any) bool {
		switch x := x.(type) {
		case *ast.ArrayComprehension:
			x.Body = b.gathered(x.Body, x.Term)
		case *ast.SetComprehension:
			x.Body = b.gathered(x.Body, x.Term)
		case *ast.ObjectComprehension:
			x.Body = b.gathered(x.Body, x.Key, x.Value)
		case *ast.Every:
			x.Body = b.body(x.Body)
		case *ast.Not:
			x.Body = b.body(x.Body)
		default:
			return false
		}
		return true
	}).Walk(e)
}

func (b *binder) gathered(body ast.Body, entry ...*ast.Term) ast.Body {
	body = b.body(body)
	for _, t := range entry {
		if !t.IsGround() {
			body.Append(admission(t))
		}
	}
	return body
}

// admissions returns what is to be admitted before and after the expression: composite operands of calls, and the
// variables that the expression makes equal to composite terms.
func admissions(e *ast.Expr) (before, after []*ast.Term) {
	terms, ok := e.Terms.([]*ast.Term)
	if !ok || !e.IsCall() {
		return nil, nil
	}
	built := func(t *ast.Term) bool { return composite(t) && !t.IsGround() }
	if !e.IsEquality() {
		for _, t := range terms[1:] {
			if built(t) {
				before = append(before, t)
			}
		}
		return before, nil
	}
	left, right := terms[1], terms[2]
	switch {
	case e.Negated || !built(left) && !built(right):
		return nil, nil // nothing is built that outlives the expression
	case variable(left):
		return nil, []*ast.Term{left}
	case variable(right):
		return nil, []*ast.Term{right}
	case composite(left) && composite(right):
		visitor := ast.NewVarVisitor().WithParams(ast.VarVisitorParams{SkipRefHead: true, SkipClosures: true})
		visitor.Walk(left)
		visitor.Walk(right)
		for v := range visitor.Vars() {
			after = append(after, ast.NewTerm(v).SetLocation(left.Location))
		}
	}
	return nil, after
}

func variable(t *ast.Term) bool {
	_, ok := t.Value.(ast.Var)
	return ok
}

func composite(t *ast.Term) bool {
	switch t.Value.(type) {
	case *ast.Array, ast.Object, ast.Set:
		return true
	default:
		return false
	}
}

func admission(t *ast.Term) *ast.Expr {
	e := ast.NewExpr([]*ast.Term{boundedTerm(admissionName, t.Location), t})
	e.Location = t.Location
	e.Generated = true
	return e
}

func boundedTerm(name string, loc *ast.Location) *ast.Term {
	return ast.NewTerm((&ast.Builtin{Name: boundedPrefix + name}).Ref()).SetLocation(loc)
}
