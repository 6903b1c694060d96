package authority

import (
	"errors"
	"fmt"
	"strings"
)

// Code classifies an Error: the one vocabulary of failures between the domain and whoever asked.
type Code string

// The codes, and the HTTP status that each becomes at the REST API.
const (
	CodeInvalid         Code = "invalid_request" // 400: malformed, out of bounds or unknown; Field names it
	CodeUnauthenticated Code = "unauthenticated" // 401
	CodeForbidden       Code = "forbidden"       // 403: known caller, no right
	CodeNotFound        Code = "not_found"       // 404: absent, or not the caller's to see: the same answer
	CodeConflict        Code = "conflict"        // 409
	CodeQuota           Code = "quota_exceeded"  // 409: the workspace has as many of something as it may have
	// 409: live mandates count on what the change would make mean something else; it has to say that it accepts that.
	CodeChangesAuthority Code = "changes_authority"
	CodePrecondition     Code = "precondition_failed" // 412: the thing is not as If-Match says
	CodeRefused          Code = "refused"             // 422: well-formed, but the rules of authority refuse it
	CodeLimited          Code = "rate_limited"        // 429
	CodeUnavailable      Code = "unavailable"         // 503: try again
	// 503: what the caller has seen, as X-Caracal-State says, is not known here yet: try again.
	CodeStateBehind Code = "state_behind"
	// 503: what X-Caracal-State names is of before a restore from a backup, and may be lost.
	CodeStateUnknown Code = "state_unknown"
	// 503: the database was restored from a backup, and nobody has accepted that yet.
	CodeRestored Code = "restored_backup"
)

// Status is the HTTP status of the code at the REST API; 500 for a code that is not in the list.
func (c Code) Status() int {
	switch c {
	case CodeInvalid:
		return 400
	case CodeUnauthenticated:
		return 401
	case CodeForbidden:
		return 403
	case CodeNotFound:
		return 404
	case CodeConflict, CodeQuota, CodeChangesAuthority:
		return 409
	case CodePrecondition:
		return 412
	case CodeRefused:
		return 422
	case CodeLimited:
		return 429
	case CodeUnavailable, CodeStateBehind, CodeStateUnknown, CodeRestored:
		return 503
	}
	return 500
}

// Error is a failure that its receiver may be told. Any other error is internal: it is logged and answered without
// detail.
type Error struct {
	Code    Code
	Reason  Reason // the named rule that refused, empty where the code says it all
	Field   string // the offending field of the request, as a JSON path; empty where there is none
	Message string // one sentence for the caller: what is wrong and, where there is a way, how to mend it
}

func (e *Error) Error() string {
	if e.Reason != "" {
		return string(e.Reason) + ": " + e.Message
	}
	return string(e.Code) + ": " + e.Message
}

// Invalid is an invalid_request about a field.
func Invalid(field, format string, args ...any) *Error {
	return &Error{Code: CodeInvalid, Field: field, Message: fmt.Sprintf(format, args...)}
}

// Refused is a refusal by a rule of authority.
func Refused(reason Reason, format string, args ...any) *Error {
	return &Error{Code: CodeRefused, Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// NotFound says that there is no such thing for this caller.
func NotFound(what string) *Error {
	return &Error{Code: CodeNotFound, Message: what + " not found"}
}

// Forbidden says that the caller may not do this.
func Forbidden(format string, args ...any) *Error {
	return &Error{Code: CodeForbidden, Message: fmt.Sprintf(format, args...)}
}

// Within says that an invalid field lies inside another: `host` within `destination` is `destination.host`, and `[1]`
// within `ports` is `ports[1]`. Errors that are not an invalid_request are returned as they are.
func Within(field string, err error) error {
	var e *Error
	if !errors.As(err, &e) || e.Code != CodeInvalid {
		return err
	}
	inner := *e
	switch {
	case inner.Field == "":
		inner.Field = field
	case strings.HasPrefix(inner.Field, "["):
		inner.Field = field + inner.Field
	default:
		inner.Field = field + "." + inner.Field
	}
	return &inner
}
