package api_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"

	v3 "github.com/pb33f/libopenapi/datamodel/high/v3"

	"github.com/caracal-gateway/caracal/authority"
)

// exampleOf is the example of one body; false where the document has none.
func exampleOf(t *testing.T, content *v3.MediaType) ([]byte, bool) {
	t.Helper()
	if content.Example == nil {
		return nil, false
	}
	var value any
	if err := content.Example.Decode(&value); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return text, true
}

// eachOperation runs a subtest for each operation of the document.
func eachOperation(t *testing.T, do func(t *testing.T, method, path string, o *v3.Operation)) {
	t.Helper()
	for path, item := range loadContract(t).document.Paths.PathItems.FromOldest() {
		for method, o := range item.GetOperations().FromOldest() {
			method := strings.ToUpper(method)
			t.Run(method+" "+path, func(t *testing.T) { do(t, method, path, o) })
		}
	}
}

// Where an example is missing, the schema of the body has a required text without `examples`, in openapi/*.yaml.
func TestEveryBodyHasAnExampleThatIsValid(t *testing.T) {
	c, things := loadContract(t), exampleThings(t)
	eachOperation(t, func(t *testing.T, method, path string, o *v3.Operation) {
		request := httptest.NewRequest(method, things.at(path), nil)
		if o.RequestBody != nil {
			for mediaType, content := range o.RequestBody.Content.FromOldest() {
				text, ok := exampleOf(t, content)
				if !ok {
					t.Errorf("the request has no example as %s", mediaType)
					continue
				}
				if mediaType != "application/json" {
					continue
				}
				asked := request.Clone(t.Context())
				asked.Body = io.NopCloser(bytes.NewReader(text))
				asked.Header.Set("Content-Type", mediaType)
				asked.Header.Set("Authorization", "Bearer x")
				if ok, errs := c.validator.ValidateHttpRequestSync(asked); !ok {
					t.Errorf("the example of the request: %s\n%s", told(errs), text)
				}
			}
		}
		answers := map[string]*v3.Response{"default": o.Responses.Default}
		for status, answer := range o.Responses.Codes.FromOldest() {
			answers[status] = answer
		}
		for status, answer := range answers {
			if answer == nil || answer.Content == nil {
				continue
			}
			for mediaType, content := range answer.Content.FromOldest() {
				text, ok := exampleOf(t, content)
				if !ok {
					t.Errorf("the answer %s has no example as %s", status, mediaType)
				} else if strings.HasSuffix(mediaType, "json") {
					checkAnswer(t, request, status, mediaType, text)
				}
			}
		}
	})
}

func checkAnswer(t *testing.T, request *http.Request, status, mediaType string, text []byte) {
	t.Helper()
	code := 429 // what the example of every other refusal is about
	if status != "default" {
		code, _ = strconv.Atoi(status)
	}
	response := &http.Response{StatusCode: code, Header: http.Header{"Content-Type": {mediaType}}, Body: io.NopCloser(bytes.NewReader(text))}
	if ok, errs := loadContract(t).validator.ValidateHttpResponse(request, response); !ok {
		t.Errorf("the example of the answer %s: %s\n%s", status, told(errs), text)
	}
	if code < 400 {
		return
	}
	var p problem
	if err := json.Unmarshal(text, &p); err != nil {
		t.Fatal(err)
	}
	if p.Status != code || p.Type != "urn:caracal:problem:"+p.Code || status != "default" && authority.Code(p.Code).Status() != code {
		t.Errorf("the example of the answer %s is of another problem: %s", status, text)
	}
}

// exampleThings are the things that the examples of the document's paths name.
func exampleThings(t *testing.T) possessions {
	t.Helper()
	things := possessions{}
	for path, item := range loadContract(t).document.Paths.PathItems.FromOldest() {
		parts := strings.Split(path, "/")
		for _, p := range item.Parameters {
			at := slices.Index(parts, "{"+p.Name+"}")
			if p.In != "path" || at < 0 {
				continue
			}
			if p.Example == nil {
				t.Fatalf("%s has no example of its %s", path, p.Name)
			}
			kind := parts[at-1]
			if p.Name == "workspace" {
				kind = "workspaces"
			}
			things[kind] = p.Example.Value
		}
	}
	return things
}

// unplayed are requests that this control plane cannot carry out as they are shown, each for its reason.
var unplayed = map[string]string{
	"POST /api/v1/session/exchange":    "a code is made by a browser's consent, and used once",
	"POST /api/v1/sign-in-links":       "nobody signs in without a public-url",
	"POST /api/v1/members/{id}/invite": "nobody is invited without an OpenID provider",
}

// Every request that the document shows is sent, with the ids of real things, and is done.
func TestEveryExampleOfARequestIsDone(t *testing.T) {
	w, named := newWorld(t), exampleThings(t)
	count := 0
	eachOperation(t, func(t *testing.T, method, path string, o *v3.Operation) {
		if o.RequestBody == nil {
			return
		}
		content, ok := o.RequestBody.Content.Get("application/json")
		if !ok {
			return
		}
		if unplayed[method+" "+path] != "" {
			return
		}
		text, _ := exampleOf(t, content)
		count++
		m := w.newTeam(t, "team-"+strconv.Itoa(count))
		things := m.possessions()
		key := m.ownerKey
		if path == "/api/v1/token" {
			key, text = "", bytes.ReplaceAll(text, []byte("ck_agent_hseq7uj33hq4sjdxmfbx26l6ui_…"), []byte(m.agentKey))
		}
		if path == "/api/v1/workspaces" {
			key = setupKey
		}
		text = m.inExample(text, named, things)
		if a := m.call(t, key, method, things.at(path), string(text)); a.status >= 300 {
			t.Errorf("the example %s is answered %d: %s", text, a.status, a.body)
		}
	})
}

// inExample is an example about the team's own things instead of those that the document names.
func (m *team) inExample(text []byte, named, things possessions) []byte {
	names := []string{"prn_qishs57mnanx6nk3mxqccs4wxi", string(m.owner.ID), "prn_t3f735mc54ofbd4ymfyxjff6ie", string(m.helper), "prn_b5hcwt4kcwwm2uk5ugqdmzu33q", string(m.agent)}
	for kind, id := range named {
		if things[kind] != "" && kind != "principals" && kind != "members" && kind != "workspaces" {
			names = append(names, id, things[kind])
		}
	}
	return []byte(strings.NewReplacer(names...).Replace(string(text)))
}
