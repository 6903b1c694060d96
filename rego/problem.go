package rego

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// ProblemCode names what is wrong with a source; the list is closed.
type ProblemCode string

// What can be wrong with a source.
const (
	// ProblemParse is text that is not Rego v1.
	ProblemParse ProblemCode = "parse_error"
	// ProblemLimit is a source that is larger or more deeply nested than is allowed.
	ProblemLimit ProblemCode = "limit_exceeded"
	// ProblemPath is a module whose path is not a plain relative path that ends in .rego.
	ProblemPath ProblemCode = "path_not_allowed"
	// ProblemPackage is a module outside the packages that belong to a workspace.
	ProblemPackage ProblemCode = "package_not_allowed"
	// ProblemReference is a reference to what does not belong to the policy, or that cannot be told before it runs.
	ProblemReference ProblemCode = "reference_not_allowed"
	// ProblemBuiltin is a call of a built-in function that policies do not have.
	ProblemBuiltin ProblemCode = "builtin_not_allowed"
	// ProblemWith is the keyword with outside a test, or on something other than input and data.
	ProblemWith ProblemCode = "with_not_allowed"
	// ProblemContribution is a deny, approve or obligations that is not a set of a package.
	ProblemContribution ProblemCode = "not_a_set"
	// ProblemData is a document of the policy that cannot be one.
	ProblemData ProblemCode = "data_not_allowed"
	// ProblemType is an expression that can never hold, such as a property that the input does not have.
	ProblemType ProblemCode = "type_error"
	// ProblemUnsafe is a variable without a value.
	ProblemUnsafe ProblemCode = "unsafe_variable"
	// ProblemRecursion is a rule that depends on itself.
	ProblemRecursion ProblemCode = "recursion"
	// ProblemCompile is anything else that the compiler refuses.
	ProblemCompile ProblemCode = "compile_error"
)

// maxProblemBytes is how much of a compiler's message an author is shown.
const maxProblemBytes = 400

// Problem is one thing that is wrong with a source, for its author to read.
type Problem struct {
	File    string      `json:"file"` // the path of the module; empty when the source as a whole is meant
	Row     int         `json:"row"`  // from 1; 0 when no place can be named
	Col     int         `json:"col"`
	Code    ProblemCode `json:"code"`
	Message string      `json:"message"`
}

func (p Problem) String() string {
	switch {
	case p.File == "":
		return fmt.Sprintf("%s: %s", p.Code, p.Message)
	case p.Row == 0:
		return fmt.Sprintf("%s: %s: %s", p.File, p.Code, p.Message)
	default:
		return fmt.Sprintf("%s:%d:%d: %s: %s", p.File, p.Row, p.Col, p.Code, p.Message)
	}
}

// InvalidError tells why a source is refused. It has at least one problem, in the order of files and lines.
type InvalidError struct {
	Problems []Problem
}

func (e *InvalidError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return "invalid policy: " + strings.Join(lines, "; ")
}

// invalid returns an InvalidError for the problems, nil when there are none.
func invalid(problems []Problem) error {
	if len(problems) == 0 {
		return nil
	}
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Row, b.Row), cmp.Compare(a.Col, b.Col))
	})
	return &InvalidError{Problems: slices.Compact(problems)}
}

func problemAt(loc *ast.Location, code ProblemCode, format string, args ...any) Problem {
	p := Problem{Code: code, Message: fmt.Sprintf(format, args...)}
	if loc != nil && loc.File != basePath && loc.File != workspacePath { // which no author can look into
		p.File, p.Row, p.Col = loc.File, loc.Row, loc.Col
	}
	return p
}

// problemsOf translates what OPA's parser and compiler report. An error that is not theirs is returned as it is.
func problemsOf(err error) ([]Problem, error) {
	var several ast.Errors
	var single *ast.Error
	if errors.As(err, &single) {
		several = ast.Errors{single}
	} else if !errors.As(err, &several) {
		return nil, err
	}
	problems := make([]Problem, 0, len(several))
	for _, e := range several {
		message := e.Message
		if e.Details != nil && e.Code == ast.TypeErr { // those of the parser repeat the line
			message += ": " + strings.Join(strings.Fields(strings.Join(e.Details.Lines(), " ")), " ")
		}
		if len(message) > maxProblemBytes {
			message = strings.ToValidUTF8(message[:maxProblemBytes], "") + "…"
		}
		problems = append(problems, problemAt(e.Location, codeOf(e), "%s", message))
	}
	return problems, nil
}

func codeOf(e *ast.Error) ProblemCode {
	switch e.Code {
	case ast.ParseErr:
		if e.Message == ast.ErrMaxParsingRecursionDepthExceeded.Error() {
			return ProblemLimit
		}
		return ProblemParse
	case weightErr:
		return ProblemLimit
	case ast.TypeErr:
		return ProblemType
	case ast.UnsafeVarErr:
		return ProblemUnsafe
	case ast.RecursionErr:
		return ProblemRecursion
	default:
		return ProblemCompile
	}
}
