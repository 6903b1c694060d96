package api_test

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/pb33f/libopenapi-validator/config"
	"github.com/pb33f/libopenapi-validator/errors"
	"github.com/pb33f/libopenapi-validator/paths"
	v3 "github.com/pb33f/libopenapi/datamodel/high/v3"

	"github.com/caracal-gateway/caracal/controlplane/api"
)

// contract holds every exchange of the tests to the OpenAPI document, and remembers which parts of it they have shown.
type contract struct {
	document  *v3.Document
	validator validator.Validator
	options   *config.ValidationOptions

	mu   sync.Mutex // guards seen
	seen map[string]bool
}

// unseen are answers that no test here can cause, each for its reason.
var unseen = map[string]string{
	"GET /health default":              "health answers 200 while the process lives",
	"GET /ready default":               "the one refusal is 503, which is documented by itself",
	"GET /api/v1/openapi.json default": "it has no way to fail",

	"DELETE /api/v1/session 204":           "a session is opened in a browser, in the tests of controlplane/signin",
	"DELETE /api/v1/sessions/{id} 204":     "likewise",
	"POST /api/v1/session/exchange 201":    "likewise",
	"POST /api/v1/sign-in-links 201":       "likewise",
	"POST /api/v1/members/{id}/invite 201": "likewise",
}

var spec = sync.OnceValues(func() (*contract, error) {
	text, err := api.Document()
	if err != nil {
		return nil, err
	}
	document, err := libopenapi.NewDocument(text)
	if err != nil {
		return nil, err
	}
	model, err := document.BuildV3Model()
	if err != nil {
		return nil, err
	}
	option := config.WithFormatAssertions()
	v, errs := validator.NewValidator(document, option)
	if len(errs) > 0 {
		return nil, errs[0]
	}
	return &contract{document: &model.Model, validator: v, options: config.NewValidationOptions(option), seen: map[string]bool{}}, nil
})

func loadContract(t testing.TB) *contract {
	t.Helper()
	c, err := spec()
	if err != nil {
		t.Fatalf("reading the OpenAPI document: %v", err)
	}
	return c
}

// exchanged checks one exchange. A request that was accepted must be as documented, and every answer must be.
func (c *contract) exchanged(t testing.TB, request *http.Request, sent []byte, response *http.Response, received []byte) {
	t.Helper()
	// The specification has no words for a method that it does not describe, nor for a path in another than its
	// shortest form.
	if request.Method == http.MethodHead || request.Method == http.MethodOptions || response.StatusCode == http.StatusMethodNotAllowed || path.Clean(request.URL.Path) != request.URL.Path {
		return
	}
	request = request.Clone(t.Context())
	item, _, template := paths.FindPath(request, c.document, c.options)
	operation := operationOf(item, request.Method)
	if operation == nil {
		if response.StatusCode != http.StatusNotFound {
			t.Errorf("%s %s is not in the OpenAPI document, and was answered %s", request.Method, request.URL.Path, response.Status)
		}
		return
	}
	if response.StatusCode < 300 {
		request.Body = io.NopCloser(bytes.NewReader(sent))
		if ok, errs := c.validator.ValidateHttpRequestSync(request); !ok {
			t.Errorf("%s %s was accepted, but its request is not as documented: %s\n%s", request.Method, request.URL, told(errs), sent)
		}
	}
	copied := *response
	copied.Body = io.NopCloser(bytes.NewReader(received))
	request.Body = io.NopCloser(bytes.NewReader(sent))
	if response.Header.Get("Content-Type") == "application/json" || response.StatusCode >= 300 {
		if ok, errs := c.validator.ValidateHttpResponse(request, &copied); !ok {
			t.Errorf("%s %s answered %s, not as documented: %s\n%s", request.Method, request.URL, response.Status, told(errs), received[:min(len(received), 600)])
		}
	}
	status := strconv.Itoa(response.StatusCode)
	if operation.Responses.Codes.GetOrZero(status) == nil {
		status = "default"
		if response.StatusCode < 400 {
			t.Errorf("%s %s answered %s, which is not documented", request.Method, request.URL, response.Status)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen[request.Method+" "+template+" "+status] = true
}

func told(errs []*errors.ValidationError) string {
	var b strings.Builder
	for _, e := range errs {
		fmt.Fprintf(&b, "\n  %s: %s", e.Message, e.Reason)
		for _, s := range e.SchemaValidationErrors {
			fmt.Fprintf(&b, "\n    %s: %s", s.FieldPath, s.Reason)
		}
	}
	return b.String()
}

func operationOf(item *v3.PathItem, method string) *v3.Operation {
	if item == nil {
		return nil
	}
	return item.GetOperations().GetOrZero(strings.ToLower(method))
}

// missing lists the documented answers that no exchange has shown.
func (c *contract) missing() []string {
	var all []string
	for template, item := range c.document.Paths.PathItems.FromOldest() {
		for method, operation := range item.GetOperations().FromOldest() {
			answers := slices.Collect(maps.Keys(maps.Collect(operation.Responses.Codes.FromOldest())))
			for _, status := range append(answers, "default") {
				name := strings.ToUpper(method) + " " + template + " " + status
				if !c.seen[name] && unseen[name] == "" {
					all = append(all, name)
				}
			}
		}
	}
	slices.Sort(all)
	return all
}

// TestMain runs the tests and then asks whether together they have shown all of the contract.
func TestMain(m *testing.M) {
	code := m.Run()
	whole := flag.Lookup("test.run").Value.String() == "" && flag.Lookup("test.skip").Value.String() == "" && flag.Lookup("test.list").Value.String() == ""
	if c, err := spec(); code == 0 && whole && err == nil {
		for _, name := range c.missing() {
			fmt.Fprintln(os.Stderr, "the OpenAPI document has an answer that no test has shown:", name)
			code = 1
		}
	}
	os.Exit(code)
}

func TestTheDocumentIsValidOpenAPI(t *testing.T) {
	if ok, errs := loadContract(t).validator.ValidateDocument(); !ok {
		t.Errorf("the OpenAPI document: %s", told(errs))
	}
}

// The checks notice an answer and a request that are not as documented.
func TestTheContractNoticesADrift(t *testing.T) {
	const answered = `{"items":[],"next_cursor":null}`
	for sentence, c := range map[string]struct {
		method, path, sent string
		status             int
		received           string
		fails              bool
	}{
		"as documented":                 {"GET", "/api/v1/mandates", "", 200, answered, false},
		"a field that is not there":     {"GET", "/api/v1/mandates", "", 200, `{"items":[],"next_cursor":null,"total":0}`, true},
		"a field that is missing":       {"GET", "/api/v1/mandates", "", 200, `{"items":[]}`, true},
		"a field of another type":       {"GET", "/api/v1/mandates", "", 200, `{"items":[],"next_cursor":7}`, true},
		"a status that is not there":    {"GET", "/api/v1/mandates", "", 204, "", true},
		"a path that is not there":      {"GET", "/api/v1/wishes", "", 200, answered, true},
		"a parameter that is malformed": {"GET", "/api/v1/mandates?limit=0", "", 200, answered, true},
		"a field that is not accepted":  {"POST", "/api/v1/mandates/mdt_aaaaaaaaaaaaaaaaaaaaaaaaaa/revoke", `{"why":"x"}`, 200, `{}`, true},
	} {
		t.Run(sentence, func(t *testing.T) {
			request := httptest.NewRequest(c.method, c.path, strings.NewReader(c.sent))
			request.Header.Set("Authorization", "Bearer x")
			request.Header.Set("Content-Type", "application/json")
			response := &http.Response{StatusCode: c.status, Status: strconv.Itoa(c.status), Header: http.Header{"Content-Type": {"application/json"}}}
			drift := &reporter{TB: t}
			shared := loadContract(t)
			check := &contract{document: shared.document, validator: shared.validator, options: shared.options, seen: map[string]bool{}}
			check.exchanged(drift, request, []byte(c.sent), response, []byte(c.received))
			if drift.failed != c.fails {
				t.Errorf("reported %v, want %v: %s", drift.failed, c.fails, drift.said)
			}
		})
	}
}

// reporter takes what a check would fail a test with.
type reporter struct {
	testing.TB
	failed bool
	said   string
}

func (r *reporter) Errorf(format string, args ...any) {
	r.failed, r.said = true, r.said+fmt.Sprintf(format, args...)
}
