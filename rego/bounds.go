package rego

import (
	"errors"
	"fmt"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	oparego "github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/tester"
	"github.com/open-policy-agent/opa/v1/topdown"
	"github.com/open-policy-agent/opa/v1/types"
)

// The deadline of an evaluation stops neither a single call of a built-in function nor the memory that it asks for, so
// the functions whose results can outgrow their operands, and the ones that take long, are called through bounds.
const (
	maxValueBytes   = 64 << 10 // one value that is made, and the operands of one call together
	maxOutputBytes  = 4 << 20  // all that one evaluation makes
	maxPatternBytes = 256      // a regular expression or a glob
	maxSubjectBytes = 8 << 10  // what a pattern is matched against
	maxFormatBytes  = 4 << 10  // the format of sprintf
	maxNumberBytes  = 400      // the digits of a number, written out or as its exponent says
	bytesPerNode    = 16       // what a value costs beside its text
)

// boundedPrefix leads the names under which the bounded functions are registered beside OPA's own.
const boundedPrefix = "bounded."

// precondition refuses operands for which the call itself would cost too much. The operands have been measured, but
// their types have not been looked at.
type precondition func(operands []*ast.Term) error

func boundedBuiltins() map[string]precondition {
	none := func([]*ast.Term) error { return nil }
	return map[string]precondition{
		ast.Concat.Name:                 checkConcat,
		ast.Replace.Name:                checkReplace,
		ast.Sprintf.Name:                checkSprintf,
		ast.GlobMatch.Name:              checkPattern,
		ast.RegexMatch.Name:             checkPattern,
		ast.Clock.Name:                  checkZone,
		ast.Date.Name:                   checkZone,
		ast.Weekday.Name:                checkZone,
		ast.ArrayConcat.Name:            none,
		ast.FormatInt.Name:              none,
		ast.InternalTemplateString.Name: none,
		ast.Multiply.Name:               none,
		ast.Split.Name:                  none,
		ast.ToNumber.Name:               none,
		ast.Trim.Name:                   none, // the set of characters is looked through for each of the text
		ast.TrimLeft.Name:               none,
		ast.TrimRight.Name:              none,
	}
}

// errTooLarge is what a policy hears when a value outgrows its bounds.
var errTooLarge = fmt.Errorf("a value is larger than %d bytes", maxValueBytes)

// boundedFunction is what a call of the compiled rules runs. It has a result or an error, never several.
type boundedFunction struct {
	name string // without the prefix
	decl *types.Function
	call func(topdown.BuiltinContext, []*ast.Term) (*ast.Term, error)
}

func boundedFunctions() []boundedFunction {
	functions := []boundedFunction{{
		name: admissionName,
		decl: types.NewFunction(types.Args(types.A), types.B),
		call: func(bctx topdown.BuiltinContext, operands []*ast.Term) (*ast.Term, error) {
			return ast.InternedTerm(true), spend(bctx, operands[0])
		},
	}}
	for name, check := range boundedBuiltins() {
		functions = append(functions, boundedFunction{name, ast.BuiltinMap[name].Decl, bounded(name, check)})
	}
	return functions
}

// evaluatorBuiltins gives the bounded functions to OPA's evaluator.
func evaluatorBuiltins() map[string]*topdown.Builtin {
	builtins := make(map[string]*topdown.Builtin)
	for _, f := range boundedFunctions() {
		builtins[boundedPrefix+f.name] = &topdown.Builtin{
			Decl: &ast.Builtin{Name: boundedPrefix + f.name, Decl: f.decl},
			Func: func(bctx topdown.BuiltinContext, operands []*ast.Term, iter func(*ast.Term) error) error {
				result, err := f.call(bctx, operands)
				if err != nil {
					return topdown.Halt{Err: &topdown.Error{
						Code:     topdown.BuiltinErr,
						Message:  err.Error(),
						Location: bctx.Location,
					}}
				}
				if result == nil {
					return nil
				}
				return iter(result)
			},
		}
	}
	return builtins
}

// testerBuiltins gives the bounded functions to OPA's tester, which takes them in a form of its own.
func testerBuiltins() []*tester.Builtin {
	var builtins []*tester.Builtin
	for _, f := range boundedFunctions() {
		name := boundedPrefix + f.name
		builtins = append(builtins, &tester.Builtin{
			Decl: &ast.Builtin{Name: name, Decl: f.decl},
			Func: oparego.FunctionDyn(&oparego.Function{Name: name, Decl: f.decl}, f.call),
		})
	}
	return builtins
}

// bounded returns OPA's function with its operands, its result and the results of the whole evaluation measured.
func bounded(name string, check precondition) func(topdown.BuiltinContext, []*ast.Term) (*ast.Term, error) {
	f, arity := topdown.GetBuiltin(name), ast.BuiltinMap[name].Decl.Arity()
	return func(bctx topdown.BuiltinContext, operands []*ast.Term) (*ast.Term, error) {
		operands = operands[:arity] // one more would be the variable that takes the result
		m := meter{left: maxValueBytes}
		for _, operand := range operands {
			if err := m.measure(operand.Value); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
		if err := check(operands); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		var result *ast.Term
		err := f(bctx, operands, func(t *ast.Term) error {
			result = t
			return spend(bctx, t)
		})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return result, nil
	}
}

// outputKey finds what an evaluation has made, in bytes, in the cache that OPA keeps for that evaluation.
type outputKey struct{}

// spend measures a value and adds it to what the evaluation has made.
func spend(bctx topdown.BuiltinContext, t *ast.Term) error {
	m := meter{left: maxValueBytes}
	if err := m.measure(t.Value); err != nil {
		return err
	}
	output, ok := bctx.Cache.Get(outputKey{})
	if !ok {
		output = new(int)
		bctx.Cache.Put(outputKey{}, output)
	}
	total := output.(*int)
	if *total += maxValueBytes - m.left; *total > maxOutputBytes {
		return fmt.Errorf("the policy has made more than %d bytes of values", maxOutputBytes)
	}
	return nil
}

// meter measures values, and stops where they outgrow what is left. A value that is reached twice counts twice, as it
// does for whoever writes it out.
type meter struct {
	left int
}

func (m *meter) measure(v ast.Value) error {
	cost := bytesPerNode
	switch v := v.(type) {
	case ast.String:
		cost += len(v)
	case ast.Number:
		if !boundedNumber(v) {
			return errors.New("a number has too many digits")
		}
		cost += len(v)
	}
	m.left -= cost
	if m.left < 0 {
		return errTooLarge
	}
	switch v := v.(type) {
	case *ast.Array:
		return v.Iter(func(t *ast.Term) error { return m.measure(t.Value) })
	case ast.Set:
		return v.Iter(func(t *ast.Term) error { return m.measure(t.Value) })
	case ast.Object:
		return v.Iter(func(key, value *ast.Term) error {
			return errors.Join(m.measure(key.Value), m.measure(value.Value))
		})
	}
	return nil
}

// boundedNumber reports whether the number can be written out in a reasonable number of digits: 1e999999999 cannot.
func boundedNumber(n ast.Number) bool {
	if len(n) > maxNumberBytes {
		return false
	}
	at := strings.IndexAny(string(n), "eE")
	if at < 0 {
		return true
	}
	exponent := strings.TrimLeft(strings.TrimLeft(string(n)[at+1:], "+-"), "0")
	return len(exponent) < 3 || len(exponent) == 3 && exponent <= fmt.Sprint(maxNumberBytes)
}

// checkConcat bounds the separators, which the result holds once for each element.
func checkConcat(operands []*ast.Term) error {
	separator, _ := operands[0].Value.(ast.String)
	elements := 0
	switch v := operands[1].Value.(type) {
	case *ast.Array:
		elements = v.Len()
	case ast.Set:
		elements = v.Len()
	}
	if elements*len(separator) > maxValueBytes {
		return errTooLarge
	}
	return nil
}

// checkReplace bounds the replacements, of which there is one before each character when the old string is empty.
func checkReplace(operands []*ast.Term) error {
	s, _ := operands[0].Value.(ast.String)
	old, _ := operands[1].Value.(ast.String)
	replacement, _ := operands[2].Value.(ast.String)
	if strings.Count(string(s), string(old))*len(replacement) > maxValueBytes {
		return errTooLarge
	}
	return nil
}

// checkSprintf refuses verbs that write their operand more than once, or with more than 99 characters of padding.
func checkSprintf(operands []*ast.Term) error {
	format, _ := operands[0].Value.(ast.String)
	if len(format) > maxFormatBytes {
		return fmt.Errorf("the format is longer than %d bytes", maxFormatBytes)
	}
	verbs := strings.Split(strings.ReplaceAll(string(format), "%%", ""), "%")
	for _, verb := range verbs[1:] {
		digits := 0
		for _, c := range strings.TrimLeft(verb, "+-# ") {
			if c == '[' || c == '*' {
				return errors.New("the format uses [n] or *, which is not supported")
			}
			if c != '.' && (c < '0' || c > '9') {
				break
			}
			if digits++; c == '.' {
				digits = 0
			}
			if digits > 2 {
				return errors.New("the format pads to more than 99 characters")
			}
		}
	}
	return nil
}

// checkPattern bounds both the pattern and what it is matched against: the first and the last operand.
func checkPattern(operands []*ast.Term) error {
	pattern, _ := operands[0].Value.(ast.String)
	if len(pattern) > maxPatternBytes {
		return fmt.Errorf("the pattern is longer than %d bytes", maxPatternBytes)
	}
	subject, _ := operands[len(operands)-1].Value.(ast.String)
	if len(subject) > maxSubjectBytes {
		return fmt.Errorf("the value to match is longer than %d bytes", maxSubjectBytes)
	}
	return nil
}

// checkZone refuses the zone of the machine, which another machine does not share.
func checkZone(operands []*ast.Term) error {
	if pair, ok := operands[0].Value.(*ast.Array); ok && pair.Len() > 1 && pair.Elem(1).Equal(ast.StringTerm("Local")) {
		return errors.New("the zone Local differs between machines: name one, such as Europe/Berlin")
	}
	return nil
}
