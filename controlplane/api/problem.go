package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
)

// problem is the answer to a request that was not carried out, as RFC 9457 describes it.
type problem struct {
	Type     string           `json:"type"`
	Title    string           `json:"title"`
	Status   int              `json:"status"`
	Code     authority.Code   `json:"code"`
	Detail   string           `json:"detail,omitempty"`
	Field    string           `json:"field,omitempty"`
	Reason   authority.Reason `json:"reason,omitempty"`
	Problems any              `json:"problems,omitempty"` // of a Rego policy, each with its place
	// Changes is what a change of the catalog would touch.
	Changes   *authority.TouchReport `json:"changes,omitempty"`
	RequestID string                 `json:"request_id"`
}

// protocolError is a refusal by HTTP's own rules, before the service is asked.
type protocolError struct {
	status int
	code   authority.Code
	detail string
	field  string
}

func (e *protocolError) Error() string { return e.detail }

const codeInternal authority.Code = "internal_error"

var (
	errMethod    = &protocolError{http.StatusMethodNotAllowed, "method_not_allowed", "this path has no such method; the Allow header lists those it has", ""}
	errAccept    = &protocolError{http.StatusNotAcceptable, "not_acceptable", "the Accept header admits no media type that this operation answers with", "Accept"}
	errTooLarge  = &protocolError{http.StatusRequestEntityTooLarge, "body_too_large", "the body is larger than 1 MiB", ""}
	errMediaType = &protocolError{http.StatusUnsupportedMediaType, "unsupported_media_type", "the body must be application/json in UTF-8", "Content-Type"}
	errBusy      = limited(time.Second, "too many requests of this caller are under way: wait for their answers")
)

// title is the one sentence that a code always has.
func title(code authority.Code) string {
	switch code {
	case authority.CodeInvalid:
		return "The request is not valid"
	case authority.CodeUnauthenticated:
		return "No valid credential was presented"
	case authority.CodeForbidden:
		return "The caller may not do this"
	case authority.CodeNotFound:
		return "There is no such thing for this caller"
	case authority.CodeConflict:
		return "The request conflicts with the present state"
	case authority.CodeChangesAuthority:
		return "The change gives traffic another meaning that live mandates count on"
	case authority.CodeQuota:
		return "The workspace has as many as it may have"
	case authority.CodePrecondition:
		return "The thing is not as the condition says"
	case authority.CodeRefused:
		return "The rules of authority refuse this"
	case authority.CodeLimited:
		return "Too many requests"
	case authority.CodeUnavailable:
		return "The control plane cannot reach its database"
	case authority.CodeStateBehind:
		return "What the request has seen is not known here yet"
	case authority.CodeStateUnknown:
		return "What the request has seen may be lost"
	case authority.CodeRestored:
		return "The database was restored from a backup"
	case errMethod.code:
		return "The method is not allowed here"
	case errAccept.code:
		return "No acceptable answer"
	case errTooLarge.code:
		return "The body is too large"
	case errMediaType.code:
		return "The media type is not supported"
	}
	return "The control plane failed"
}

// describe turns an error into its problem. An error that is not meant for callers is an internal error without detail.
func describe(err error) problem {
	p := problem{Status: http.StatusInternalServerError, Code: codeInternal, Detail: "the failure is in the control plane's log under this request_id"}
	var protocol *protocolError
	var told *authority.Error
	switch {
	case errors.As(err, &protocol):
		p.Status, p.Code, p.Detail, p.Field = protocol.status, protocol.code, protocol.detail, protocol.field
	case errors.Is(err, context.DeadlineExceeded):
		p.Status, p.Code = http.StatusServiceUnavailable, authority.CodeUnavailable
		p.Detail = "the request took longer than it may; if it was a write it may still have happened: repeat it with the same Idempotency-Key"
	case errors.As(err, &told) && told.Code.Status() != http.StatusInternalServerError:
		p.Status, p.Code, p.Detail = told.Code.Status(), told.Code, told.Message
		p.Field, p.Reason = told.Field, told.Reason
	}
	var rego *controlplane.InvalidRego
	if errors.As(err, &rego) {
		p.Problems = rego.Problems
	}
	var changes *controlplane.ChangesAuthority
	if errors.As(err, &changes) {
		p.Changes = &changes.Report
	}
	p.Type, p.Title = "urn:caracal:problem:"+string(p.Code), title(p.Code)
	return p
}

// fail answers an error, and logs one that is the control plane's own.
func (h *Handler) fail(x *exchange, err error) {
	p := describe(err)
	p.RequestID = x.id
	header := x.w.Header()
	switch p.Status {
	case http.StatusInternalServerError:
		if errors.Is(err, context.Canceled) {
			return // nobody is left to answer
		}
		h.log.ErrorContext(x.ctx(), "request failed", "request_id", x.id, "method", x.r.Method, "pattern", x.r.Pattern, "error", err)
	case http.StatusUnauthorized:
		header.Set("WWW-Authenticate", `Bearer realm="caracal"`)
	case http.StatusTooManyRequests:
		seconds := 1
		if told := (*limitedError)(nil); errors.As(err, &told) {
			seconds = told.seconds()
		}
		header.Set("Retry-After", strconv.Itoa(seconds))
	case http.StatusServiceUnavailable:
		header.Set("Retry-After", strconv.Itoa(1))
	}
	text, err := json.Marshal(p)
	if err != nil {
		h.log.ErrorContext(x.ctx(), "encoding a problem", "request_id", x.id, "error", err)
	}
	h.write(x, p.Status, "application/problem+json", text)
}
