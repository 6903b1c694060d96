package authority_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caracal-gateway/caracal/authority"
)

// declared reads the values of all constants of a type from the package's source.
func declared(t *testing.T, file, typeName string) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var values []string
	ast.Inspect(f, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if id, ok := spec.Type.(*ast.Ident); !ok || id.Name != typeName {
			return true
		}
		value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		values = append(values, value)
		return true
	})
	return values
}

func TestEveryReasonIsListedOnceInTheOrderOfTheChecks(t *testing.T) {
	var got []string
	for _, r := range authority.Reasons() {
		got = append(got, string(r))
	}
	if diff := cmp.Diff(declared(t, "reason.go", "Reason"), got); diff != "" {
		t.Error(diff)
	}
}

func TestEveryReasonHasAStatusOfTheContractAndASentence(t *testing.T) {
	allowed := map[int]bool{400: true, 401: true, 403: true, 404: true, 409: true, 422: true, 428: true, 429: true, 500: true, 502: true, 503: true, 504: true}
	for _, r := range authority.Reasons() {
		if !allowed[r.Status()] {
			t.Errorf("%s has the status %d", r, r.Status())
		}
		if m := r.Message(); m == "" || !strings.HasSuffix(m, ".") || strings.ToUpper(m[:1]) != m[:1] {
			t.Errorf("%s has the message %q", r, m)
		}
		if r != authority.ReasonInternal && (r.Status() == 500 || r.Message() == authority.ReasonInternal.Message()) {
			t.Errorf("%s is answered like internal_error", r)
		}
	}
}

func TestTheContractsReasonsHaveTheContractsStatus(t *testing.T) {
	for reason, want := range map[authority.Reason]int{
		"authentication_required": 401, "authentication_failed": 401, "missing_mandate": 403, "ambiguous_mandate": 400,
		"mandate_not_found": 403, "subject_mismatch": 403, "principal_suspended": 403, "mandate_revoked": 403,
		"mandate_expired": 403, "mandate_not_yet_valid": 403, "action_not_in_scope": 403, "resource_not_in_scope": 403,
		"delegation_chain_invalid": 403, "policy_denied": 403, "approval_required": 428, "missing_target_url": 400,
		"invalid_target_url": 400, "target_not_allowed": 403, "upstream_unreachable": 502, "lease_expired": 503,
		"decision_unavailable": 503, "internal_error": 500,
		"a reason that nobody declared": 500, "": 500,
	} {
		if got := reason.Status(); got != want {
			t.Errorf("%s: %d, want %d", reason, got, want)
		}
	}
}

func TestEveryEventTypeIsListedOnce(t *testing.T) {
	var got []string
	for _, e := range authority.EventTypes() {
		got = append(got, string(e))
	}
	if diff := cmp.Diff(declared(t, "event.go", "EventType"), got); diff != "" {
		t.Error(diff)
	}
}
