package bundle

import (
	"errors"
	"fmt"
)

// Code names why a bundle is refused, in both planes.
type Code string

// The codes.
const (
	CodeUnsigned        Code = "bundle_unsigned"         // a signature is absent or wrong, or what it covers was changed
	CodeForeign         Code = "bundle_foreign"          // of another root, deployment, workspace or timeline
	CodeOlder           Code = "bundle_older"            // not newer than what is enforced, nor the same
	CodeTruncated       Code = "bundle_truncated"        // its end is missing
	CodeUnknownCritical Code = "bundle_unknown_critical" // needs a newer gateway
	CodeGap             Code = "bundle_gap"              // a delta of another state than what is enforced; a snapshot is wanted
	CodeInvalid         Code = "bundle_invalid"          // none of these, but no bundle that could be enforced
)

// Error is the refusal of a bundle.
type Error struct {
	Code Code
	err  error
}

func (e *Error) Error() string { return string(e.Code) + ": " + e.err.Error() }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.err }

// CodeOf is the code of a refusal; an error that is none makes the bundle as unusable, and is CodeInvalid.
func CodeOf(err error) Code {
	var refusal *Error
	if errors.As(err, &refusal) {
		return refusal.Code
	}
	return CodeInvalid
}

// Gap is the refusal of a delta that does not lead from the state that is enforced to the one that it promises.
func Gap(format string, args ...any) error { return refuse(CodeGap, format, args...) }

// Truncated is the refusal of what does not come whole.
func Truncated(format string, args ...any) error { return refuse(CodeTruncated, format, args...) }

func refuse(code Code, format string, args ...any) error {
	return &Error{Code: code, err: fmt.Errorf(format, args...)}
}
