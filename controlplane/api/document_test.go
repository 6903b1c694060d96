package api_test

import (
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/api"
)

const things = `
paths:
  /api/v1/things:
    x-collection: true
    get: {operationId: listThings, parameters: [{$ref: '#/components/parameters/Limit'}]}
    post: {operationId: createThing}
components:
  schemas: {Thing: {type: object}}
`

func parts(files map[string]string) fstest.MapFS {
	all := fstest.MapFS{"root.yaml": {Data: []byte("openapi: 3.1.0")}}
	for name, text := range files {
		all[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return all
}

func TestTheFilesOfTheDocumentAreOne(t *testing.T) {
	text, err := api.MergeDocument(parts(map[string]string{
		"things.yaml":     things,
		"components.yaml": "components: {schemas: {Slug: {type: string}}}",
	}))
	if err != nil {
		t.Fatal(err)
	}
	var got, want any
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(`{
		"openapi": "3.1.0",
		"paths": {
			"/api/v1/things": {
				"get": {"operationId": "listThings", "parameters": [{"$ref": "#/components/parameters/WorkspaceSlug"}, {"$ref": "#/components/parameters/Limit"}]},
				"post": {"operationId": "createThing"}
			},
			"/api/v1/workspaces/{workspace}/things": {
				"parameters": [{"$ref": "#/components/parameters/Workspace"}],
				"get": {"operationId": "listThingsInWorkspace", "parameters": [{"$ref": "#/components/parameters/Limit"}]},
				"post": {"operationId": "createThingInWorkspace"}
			}
		},
		"components": {"schemas": {"Slug": {"type": "string"}, "Thing": {"type": "object"}}}
	}`), &want); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestWhatCannotBeOneDocument(t *testing.T) {
	for sentence, c := range map[string]struct{ text, says string }{
		"a path that another file has":           {"paths: {/api/v1/things: {get: {operationId: another}}}", "/api/v1/things is described twice"},
		"the path that a collection has inside":  {"paths: {'/api/v1/workspaces/{workspace}/things': {get: {operationId: another}}}", "/things is described twice"},
		"a component that another file has":      {"components: {schemas: {Thing: {type: string}}}", "components.schemas: Thing is described twice"},
		"an operation with another's id":         {"paths: {/api/v1/others: {get: {operationId: listThings}}}", `"listThings"`},
		"an operation with a collection's id":    {"paths: {/api/v1/others: {get: {operationId: listThingsInWorkspace}}}", `"listThingsInWorkspace"`},
		"an operation without an id":             {"paths: {/api/v1/others: {get: {summary: one}}}", "is empty"},
		"a field that only the root has":         {"tags: {}", "tags belongs into root.yaml"},
		"a collection that is none of the API's": {"paths: {/others: {x-collection: true, get: {operationId: listOthers}}}", "/others"},
		"a path twice in one file":               {"paths: {/x: {}, /x: {}}", "others.yaml"},
		"text that is no YAML":                   {"paths: [", "others.yaml"},
	} {
		t.Run(sentence, func(t *testing.T) {
			_, err := api.MergeDocument(parts(map[string]string{"things.yaml": things, "others.yaml": c.text}))
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("the error is %v, want one with %q", err, c.says)
			}
		})
	}
}

// The page about the interface has every code, beside the status that it comes with.
func TestTheDocumentationHasEveryCode(t *testing.T) {
	text, err := os.ReadFile("../../docs/rest.md")
	if err != nil {
		t.Fatal(err)
	}
	document, err := api.Document()
	if err != nil {
		t.Fatal(err)
	}
	var described struct {
		Components struct {
			Schemas struct {
				Problem struct {
					Properties struct {
						Code struct {
							Enum []authority.Code `json:"enum"`
						} `json:"code"`
					} `json:"properties"`
				}
			} `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(document, &described); err != nil {
		t.Fatal(err)
	}
	codes := described.Components.Schemas.Problem.Properties.Code.Enum
	if len(codes) < 12 {
		t.Fatalf("the document has only the codes %v", codes)
	}
	for _, code := range codes {
		row := ""
		for line := range strings.Lines(string(text)) {
			if strings.HasPrefix(line, "| ") && strings.Contains(line, "`"+string(code)+"`") {
				row = line
			}
		}
		if status := code.Status(); row == "" || status != 500 && !strings.HasPrefix(row, "| "+strconv.Itoa(status)) {
			t.Errorf("%s, which is answered %d, has the row %q", code, code.Status(), row)
		}
	}
}
