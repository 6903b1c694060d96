package rego

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"
	"unicode"

	"github.com/open-policy-agent/opa/v1/ast"
)

// Verdict is what the base policy and the workspace's policy decided together.
type Verdict struct {
	// Allow permits the request. It is true only when every fact holds, and no denial and no approval is named.
	Allow bool
	// Unmet names the facts that do not hold, in the order of the checks; the first one is the reason of the denial.
	Unmet []string
	// Denials are the workspace's own, sorted by code; the first one is reported.
	Denials []Denial
	// Approvals name why a human must approve the request, sorted by code.
	Approvals []Denial
	// Obligations bind a request that is allowed.
	Obligations Obligations
}

// Denial is one entry of the sets deny and approve.
type Denial struct {
	Code    string // a lower-case letter, then up to 63 of a-z, 0-9 and _
	Message string // printable, at most 512 bytes
}

// Obligations are the conditions under which a request is allowed. The list is closed.
type Obligations struct {
	// MaxDuration bounds how long the request may take; zero when the policy does not bound it. Of several bounds the
	// shortest counts.
	MaxDuration time.Duration
}

// ErrMalformed is the error of a decision that is not of the agreed form: an entry of deny that has no code, an
// obligation that nobody knows, no decision at all.
var ErrMalformed = errors.New("malformed decision")

const (
	maxMessageBytes = 512
	maxObligation   = 24 * 60 * 60 // seconds
)

var denialCode = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

// verdictOf reads the value of data.caracal.base.decision. Anything that is not of the agreed form is an error.
func verdictOf(decision ast.Value, facts Facts) (Verdict, error) {
	o, ok := decision.(ast.Object)
	if !ok {
		return Verdict{}, malformed("the decision is not an object")
	}
	var v Verdict
	var err error
	if v.Allow, err = booleanOf(o, "allow"); err != nil {
		return Verdict{}, err
	}
	if v.Unmet, err = unmetOf(o); err != nil {
		return Verdict{}, err
	}
	if v.Denials, err = denialsOf(o, "deny"); err != nil {
		return Verdict{}, err
	}
	if v.Approvals, err = denialsOf(o, "approve"); err != nil {
		return Verdict{}, err
	}
	if v.Obligations, err = obligationsOf(o); err != nil {
		return Verdict{}, err
	}
	grounds := len(v.Unmet) + len(v.Denials) + len(v.Approvals)
	if v.Allow != (grounds == 0) || v.Allow && !facts.established() {
		return Verdict{}, malformed("allow does not agree with what the decision is based on")
	}
	return v, nil
}

func member(o ast.Object, name string) ast.Value {
	if t := o.Get(ast.InternedTerm(name)); t != nil {
		return t.Value
	}
	return nil
}

func booleanOf(o ast.Object, name string) (bool, error) {
	b, ok := member(o, name).(ast.Boolean)
	if !ok {
		return false, malformed("%s is not a boolean", name)
	}
	return bool(b), nil
}

func unmetOf(o ast.Object) ([]string, error) {
	list, ok := member(o, "unmet").(*ast.Array)
	if !ok {
		return nil, malformed("unmet is not an array")
	}
	var names []string
	for i := range list.Len() {
		name, ok := list.Elem(i).Value.(ast.String)
		if !ok {
			return nil, malformed("unmet holds something other than names")
		}
		names = append(names, string(name))
	}
	return names, nil
}

func setOf(o ast.Object, name string) (ast.Set, error) {
	set, ok := member(o, name).(ast.Set)
	if !ok {
		return nil, malformed("%s is not a set", name)
	}
	return set, nil
}

func denialsOf(o ast.Object, name string) ([]Denial, error) {
	set, err := setOf(o, name)
	if err != nil {
		return nil, err
	}
	var denials []Denial
	err = set.Iter(func(t *ast.Term) error {
		d, err := denialOf(t.Value)
		if err != nil {
			return malformed("an entry of %s %v", name, err)
		}
		denials = append(denials, d)
		return nil
	})
	slices.SortFunc(denials, func(a, b Denial) int {
		return cmp.Or(cmp.Compare(a.Code, b.Code), cmp.Compare(a.Message, b.Message))
	})
	return denials, err
}

func denialOf(v ast.Value) (Denial, error) {
	o, ok := v.(ast.Object)
	if !ok || o.Len() != 2 {
		return Denial{}, errors.New("is not an object of code and message")
	}
	code, ok := member(o, "code").(ast.String)
	if !ok || !denialCode.MatchString(string(code)) {
		return Denial{}, errors.New("has no code of lower-case letters, digits and _")
	}
	message, ok := member(o, "message").(ast.String)
	if !ok || message == "" || len(message) > maxMessageBytes || !printable(string(message)) {
		return Denial{}, fmt.Errorf("(%s) has no printable message of at most %d bytes", code, maxMessageBytes)
	}
	return Denial{Code: string(code), Message: string(message)}, nil
}

func printable(s string) bool {
	for _, r := range s {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return false
		}
	}
	return true
}

func obligationsOf(o ast.Object) (Obligations, error) {
	set, err := setOf(o, "obligations")
	if err != nil {
		return Obligations{}, err
	}
	var all Obligations
	err = set.Iter(func(t *ast.Term) error {
		entry, ok := t.Value.(ast.Object)
		if !ok || entry.Len() != 1 {
			return malformed("an entry of obligations is not an object of one obligation")
		}
		n, ok := member(entry, "max_duration_seconds").(ast.Number)
		if !ok {
			return malformed("an entry of obligations is not max_duration_seconds with a number")
		}
		seconds, ok := n.Int64()
		if !ok || seconds < 1 || seconds > maxObligation {
			return malformed("max_duration_seconds is not a whole number from 1 to %d", maxObligation)
		}
		if d := time.Duration(seconds) * time.Second; all.MaxDuration == 0 || d < all.MaxDuration {
			all.MaxDuration = d
		}
		return nil
	})
	return all, err
}
