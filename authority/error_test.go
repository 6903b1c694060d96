package authority_test

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caracal-gateway/caracal/authority"
)

// assertInvalid checks that err is an invalid_request about the field.
func assertInvalid(t *testing.T, err error, field string) {
	t.Helper()
	var e *authority.Error
	if !errors.As(err, &e) || e.Code != authority.CodeInvalid || e.Field != field || e.Message == "" {
		t.Errorf("error %#v, want an invalid_request about %q", err, field)
	}
}

// assertRefused checks that err is a refusal for the reason.
func assertRefused(t *testing.T, err error, reason authority.Reason) {
	t.Helper()
	var e *authority.Error
	if !errors.As(err, &e) || e.Code != authority.CodeRefused || e.Reason != reason || e.Message == "" {
		t.Errorf("error %#v, want refused for %s", err, reason)
	}
}

// assertCode checks the code of err.
func assertCode(t *testing.T, err error, code authority.Code) {
	t.Helper()
	var e *authority.Error
	if !errors.As(err, &e) || e.Code != code || e.Message == "" {
		t.Errorf("error %#v, want %s", err, code)
	}
}

func TestEachCodeHasTheStatusThatItsCommentPromises(t *testing.T) {
	for code, want := range map[authority.Code]int{
		authority.CodeInvalid: 400, authority.CodeUnauthenticated: 401, authority.CodeForbidden: 403,
		authority.CodeNotFound: 404, authority.CodeConflict: 409, authority.CodeRefused: 422,
		authority.CodeLimited: 429, authority.CodeUnavailable: 503, "another": 500,
	} {
		if got := code.Status(); got != want {
			t.Errorf("%s: %d, want %d", code, got, want)
		}
	}
}

func TestWithinBuildsThePathOfAField(t *testing.T) {
	inner := authority.Invalid("", "is wrong")
	err := authority.Within("destination", authority.Within("rules", authority.Within("[2]", authority.Within("path", inner))))
	assertInvalid(t, err, "destination.rules[2].path")
	if inner.Field != "" {
		t.Errorf("the inner error was changed: %+v", inner)
	}
	if got := authority.Within("x", io.EOF); !errors.Is(got, io.EOF) {
		t.Errorf("another error became %v", got)
	}
	refused := authority.Refused(authority.ReasonExpired, "over")
	if got := authority.Within("x", fmt.Errorf("issuing: %w", refused)); !errors.Is(got, refused) {
		t.Errorf("a refusal became %v", got)
	}
	if got := authority.Within("x", nil); got != nil {
		t.Errorf("no error became %v", got)
	}
}

func TestErrorsReadAsReasonOrCodeAndMessage(t *testing.T) {
	got := []string{
		authority.Refused(authority.ReasonExpired, "it ended").Error(),
		authority.NotFound("mandate").Error(),
		authority.Forbidden("not yours").Error(),
	}
	want := []string{"mandate_expired: it ended", "not_found: mandate not found", "forbidden: not yours"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
