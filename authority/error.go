package authority

import "fmt"

// Code classifies an Error: the one vocabulary of failures between the domain and whoever asked.
type Code string

// The codes, and the HTTP status that each becomes at the REST API.
const (
	CodeInvalid         Code = "invalid_request" // 400: malformed, out of bounds or unknown; Field names it
	CodeUnauthenticated Code = "unauthenticated" // 401
	CodeForbidden       Code = "forbidden"       // 403: known caller, no right
	CodeNotFound        Code = "not_found"       // 404: absent, or not the caller's to see: the same answer
	CodeConflict        Code = "conflict"        // 409
	CodeRefused         Code = "refused"         // 422: well-formed, but the rules of authority refuse it
	CodeLimited         Code = "rate_limited"    // 429
	CodeUnavailable     Code = "unavailable"     // 503: try again
)

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
