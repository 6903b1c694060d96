package api

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// The description of the interface is kept as one file per tag beside root.yaml and components.yaml.
//
//go:embed openapi/*.yaml
var described embed.FS

// Document is the OpenAPI description of the whole interface, as JSON.
func Document() ([]byte, error) {
	files, err := fs.Sub(described, "openapi")
	if err != nil {
		return nil, fmt.Errorf("opening the OpenAPI document: %w", err)
	}
	return MergeDocument(files)
}

// object is a node of the document that has fields.
type object = map[string]any

// MergeDocument makes one OpenAPI document of the YAML files of a directory, as JSON. root.yaml has what a document has
// once; every file may have paths and components. A path, a component or an operationId that is there twice is an error.
//
// A path item with `x-collection: true` describes a collection of a workspace: it is there as it is written, where the
// query's or the body's workspace_slug may name the workspace, and once more under /api/v1/workspaces/{workspace}/, where
// the path does, with `InWorkspace` at the end of each operationId.
//
// A body or a required parameter without an example gets one that its schema makes: the first of the schema's `examples`, or else
// one of the required fields, and of the others with `examples` of their own, each made alike.
func MergeDocument(files fs.FS) ([]byte, error) {
	names, err := fs.Glob(files, "*.yaml")
	if err != nil {
		return nil, fmt.Errorf("listing the OpenAPI files: %w", err)
	}
	root, err := readObject(files, "root.yaml")
	if err != nil {
		return nil, err
	}
	paths, components := object{}, object{}
	for _, name := range names {
		if name == "root.yaml" {
			continue
		}
		part, err := readObject(files, name)
		if err != nil {
			return nil, err
		}
		if err := mergePart(paths, components, part); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	if err := expandCollections(paths); err != nil {
		return nil, err
	}
	if err := distinctOperations(paths); err != nil {
		return nil, err
	}
	root["paths"], root["components"] = paths, components
	giveExamples(root)
	document, err := json.Marshal(root)
	if err != nil {
		return nil, fmt.Errorf("encoding the OpenAPI document: %w", err)
	}
	return document, nil
}

func readObject(files fs.FS, name string) (object, error) {
	text, err := fs.ReadFile(files, name)
	if err != nil {
		return nil, fmt.Errorf("reading the OpenAPI document: %w", err)
	}
	content, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	var fields object
	if err := json.Unmarshal(content, &fields); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return fields, nil
}

// mergePart adds one file's paths and components to those of the others.
func mergePart(paths, components, part object) error {
	for field, content := range part {
		named, ok := content.(object)
		switch {
		case !ok:
			return fmt.Errorf("%s is no object", field)
		case field == "paths":
			if err := add(paths, named); err != nil {
				return err
			}
		case field == "components":
			for section, content := range named {
				of, ok := content.(object)
				if !ok {
					return fmt.Errorf("components.%s is no object", section)
				}
				if components[section] == nil {
					components[section] = object{}
				}
				if err := add(components[section].(object), of); err != nil {
					return fmt.Errorf("components.%s: %w", section, err)
				}
			}
		default:
			return fmt.Errorf("%s belongs into root.yaml", field)
		}
	}
	return nil
}

func add(to, from object) error {
	for name, content := range from {
		if _, twice := to[name]; twice {
			return fmt.Errorf("%s is described twice", name)
		}
		to[name] = content
	}
	return nil
}

const (
	workspaceRoot = root + "workspaces/{workspace}/"
)

func expandCollections(paths object) error {
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		item, ok := paths[path].(object)
		if !ok || item["x-collection"] != true {
			continue
		}
		name, under := strings.CutPrefix(path, root)
		if !under {
			return fmt.Errorf("%s: a collection is under %s", path, root)
		}
		delete(item, "x-collection")
		inner := object{"parameters": []any{reference("parameters", "Workspace")}}
		for method, content := range item {
			operation, ok := content.(object)
			if !ok {
				return fmt.Errorf("%s: a collection has operations only, and %s is none", path, method)
			}
			inner[method] = inWorkspace(operation)
			if method == strings.ToLower(http.MethodGet) {
				parameters, _ := operation["parameters"].([]any)
				operation["parameters"] = append([]any{reference("parameters", "WorkspaceSlug")}, parameters...)
			}
		}
		if err := add(paths, object{workspaceRoot + name: inner}); err != nil {
			return err
		}
	}
	return nil
}

// inWorkspace is the operation where the path names its workspace.
func inWorkspace(operation object) object {
	inner := maps.Clone(operation)
	id, _ := operation["operationId"].(string)
	inner["operationId"] = id + "InWorkspace"
	return inner
}

func reference(section, name string) object {
	return object{"$ref": "#/components/" + section + "/" + name}
}

// distinctOperations refuses an operation that has no id, or another's.
func distinctOperations(paths object) error {
	at := map[string]string{}
	var errs []error
	for path, content := range paths {
		item, _ := content.(object)
		for method, content := range item {
			operation, ok := content.(object)
			if !ok {
				continue
			}
			id, _ := operation["operationId"].(string)
			place := strings.ToUpper(method) + " " + path
			if other, twice := at[id]; twice || id == "" {
				errs = append(errs, fmt.Errorf("the operationId %q of %s is empty or that of %s", id, place, other))
			}
			at[id] = place
		}
	}
	return errors.Join(errs...)
}

func (h *Handler) openAPI(x *exchange) (*reply, error) {
	h.write(x, http.StatusOK, "application/json", h.document)
	return nil, nil
}
