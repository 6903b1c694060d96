package rego

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/open-policy-agent/opa/v1/ast"
	oparego "github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/tester"
)

// full is an input with everything in it.
func full() Input {
	at := time.Date(2024, 1, 15, 10, 30, 0, 0, time.UTC)
	return Input{
		Request: Request{Mode: ModeGateway, Method: "POST", Host: "api.openai.com", Port: 443,
			Path: []string{"v1", "chat"}, Header: map[string]string{"user-agent": "x"}},
		Principal: Principal{ID: "prn_a", Type: "agent", Name: "a", Metadata: map[string]string{"team": "b"}},
		Mandate: Mandate{ID: "mnd_a", IssuerID: "prn_i", SubjectID: "prn_a", Resources: []string{"api:*"}, Actions: []string{"read"},
			ValidFrom: at, ValidUntil: at.Add(time.Hour), Level: 1, DelegationDepth: 2, RequestedBy: "prn_a", Consent: "explicit",
			PolicyID: "pol_a", PolicyVersion: 3, Chain: []Link{{ID: "mnd_a", IssuerID: "prn_i", SubjectID: "prn_a"}}},
		Resource: "api:external/openai", Action: "read",
		Workspace: Workspace{ID: "wsp_a", Slug: "team"}, Time: at, Facts: Facts{Known: true},
	}
}

func TestTheInputIsWhatItsSchemaSays(t *testing.T) {
	var schema map[string]any
	if err := json.Unmarshal(InputSchema(), &schema); err != nil {
		t.Fatal(err)
	}
	for name, in := range map[string]Input{"with everything": full(), "with nothing": {}} {
		t.Run(name, func(t *testing.T) {
			document, err := ast.JSON(in.value())
			if err != nil {
				t.Fatal(err)
			}
			matches(t, schema, document, true)
		})
	}
	document, err := ast.JSON(full().value())
	if err != nil {
		t.Fatal(err)
	}
	document.(map[string]any)["request"].(map[string]any)["query"] = "secret"
	matches(t, schema, document, false)
}

// matches asks OPA whether the document is of the schema.
func matches(t *testing.T, schema, document any, want bool) {
	t.Helper()
	results, err := oparego.New(
		oparego.Query("[valid, problems] := json.match_schema(input.document, input.schema)"),
		oparego.Input(map[string]any{"document": document, "schema": schema}),
	).Eval(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if got := results[0].Bindings["valid"]; got != want {
		t.Errorf("valid %v, want %v: %v", got, want, results[0].Bindings["problems"])
	}
}

func TestTheSchemaDescribesAllOfTheInput(t *testing.T) {
	var schema map[string]any
	if err := json.Unmarshal(InputSchema(), &schema); err != nil {
		t.Fatal(err)
	}
	document, err := ast.JSON(full().value())
	if err != nil {
		t.Fatal(err)
	}
	described(t, "input", schema, document)
}

// described holds that the properties of each object are the ones that its schema names and requires.
func described(t *testing.T, path string, schema map[string]any, document any) {
	t.Helper()
	properties, ok := schema["properties"].(map[string]any)
	if !ok {
		return
	}
	object, ok := document.(map[string]any)
	if !ok {
		t.Errorf("%s is not an object", path)
		return
	}
	var required []string
	for _, name := range schema["required"].([]any) {
		required = append(required, name.(string))
	}
	for name, property := range properties {
		if _, ok := object[name]; !ok || !slices.Contains(required, name) {
			t.Errorf("%s.%s is in the schema, but not always in the input", path, name)
			continue
		}
		described(t, path+"."+name, property.(map[string]any), object[name])
	}
	if len(object) != len(properties) || schema["additionalProperties"] != false {
		t.Errorf("%s has %d properties, its schema %d and no others", path, len(object), len(properties))
	}
}

func TestTimesAreNanosecondsSinceTheEpoch(t *testing.T) {
	var got struct {
		Time    json.Number `json:"time"`
		Mandate struct {
			ValidUntil json.Number `json:"valid_until"`
		} `json:"mandate"`
	}
	document, err := ast.JSON(full().value())
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.NewDecoder(bytes.NewReader(text)).Decode(&got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]json.Number{"1705314600000000000", "1705318200000000000"}, []json.Number{got.Time, got.Mandate.ValidUntil}); diff != "" {
		t.Errorf("times (-want +got):\n%s", diff)
	}
}

func TestTheBasePolicyPassesItsTests(t *testing.T) {
	modules := map[string]*ast.Module{}
	files, err := fs.Glob(os.DirFS("."), "policy/*.rego")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if modules[path], err = ast.ParseModule(path, string(text)); err != nil {
			t.Fatal(err)
		}
	}
	results, err := tester.NewRunner().SetModules(modules).RunTests(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for r := range results {
		ran++
		if !r.Pass() {
			t.Errorf("%s", r)
		}
	}
	if ran < 10 {
		t.Errorf("only %d tests of the base policy ran", ran)
	}
}

func TestAPanicIsAnErrorThatDenies(t *testing.T) {
	p, err := Compile(context.Background(), Source{})
	if err != nil {
		t.Fatal(err)
	}
	p.queries = nil // OPA does without it
	p.store = nil   // and panics without this, as it might for a reason of its own
	p.compiler = nil
	v, err := p.Evaluate(context.Background(), full())
	if err == nil || v.Allow {
		t.Errorf("verdict %+v, error %v, want an error", v, err)
	}
}

func TestADecisionThatContradictsItsGroundsIsMalformed(t *testing.T) {
	all := Facts{true, true, true, true, true, true, true, true}
	for name, tc := range map[string]struct {
		decision string
		facts    Facts
	}{
		"allows in spite of a fact": {`{"allow": true, "unmet": [], "deny": set(), "approve": set(), "obligations": set()}`, Facts{}},
		"allows in spite of an unmet fact": {
			`{"allow": true, "unmet": ["live"], "deny": set(), "approve": set(), "obligations": set()}`, all},
		"allows in spite of a denial": {
			`{"allow": true, "unmet": [], "deny": {{"code": "c", "message": "m"}}, "approve": set(), "obligations": set()}`, all},
		"allows in spite of an approval": {
			`{"allow": true, "unmet": [], "deny": set(), "approve": {{"code": "c", "message": "m"}}, "obligations": set()}`, all},
		"denies for no reason":       {`{"allow": false, "unmet": [], "deny": set(), "approve": set(), "obligations": set()}`, all},
		"allows with a string":       {`{"allow": "true", "unmet": [], "deny": set(), "approve": set(), "obligations": set()}`, all},
		"says nothing of allow":      {`{"unmet": [], "deny": set(), "approve": set(), "obligations": set()}`, all},
		"says nothing of facts":      {`{"allow": true, "deny": set(), "approve": set(), "obligations": set()}`, all},
		"says nothing of denials":    {`{"allow": true, "unmet": [], "approve": set(), "obligations": set()}`, all},
		"says nothing of approvals":  {`{"allow": true, "unmet": [], "deny": set(), "obligations": set()}`, all},
		"says nothing of conditions": {`{"allow": true, "unmet": [], "deny": set(), "approve": set()}`, all},
		"has denials in an array":    {`{"allow": true, "unmet": [], "deny": [], "approve": set(), "obligations": set()}`, all},
		"is true":                    {`true`, all},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := verdictOf(ast.MustParseTerm(tc.decision).Value, tc.facts)
			if err == nil || v.Allow {
				t.Errorf("verdict %+v, error %v, want ErrMalformed", v, err)
			}
		})
	}
}
