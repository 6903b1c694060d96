package api

import (
	"maps"
	"slices"
	"strings"
)

// exampleDepth is how deep an example nests at most; a schema that holds itself has one, too.
const exampleDepth = 12

// giveExamples gives each body and each parameter that must be sent the example that its schema makes, unless it has one
// of its own.
func giveExamples(document object) {
	e := examples{document}
	components, _ := document["components"].(object)
	for _, section := range []string{"parameters", "headers", "responses", "requestBodies"} {
		named, _ := components[section].(object)
		for _, content := range named {
			e.give(content)
		}
	}
	paths, _ := document["paths"].(object)
	for _, content := range paths {
		item, _ := content.(object)
		e.giveAll(item["parameters"])
		for _, content := range item {
			operation, ok := content.(object)
			if !ok {
				continue
			}
			e.giveAll(operation["parameters"])
			e.give(operation["requestBody"])
			responses, _ := operation["responses"].(object)
			for _, response := range responses {
				e.give(response)
			}
		}
	}
}

// examples makes examples of the schemas of a document.
type examples struct{ document object }

func (e examples) giveAll(content any) {
	all, _ := content.([]any)
	for _, one := range all {
		e.give(one)
	}
}

// give completes what has a schema, or has contents that each have one. A reference stays one: what it names is
// completed where it is.
func (e examples) give(content any) {
	described, ok := content.(object)
	if !ok || described["$ref"] != nil {
		return
	}
	if contents, ok := described["content"].(object); ok {
		for _, content := range contents {
			e.give(content)
		}
		return
	}
	if described["schema"] == nil || described["example"] != nil || described["examples"] != nil {
		return
	}
	if described["in"] != nil && described["required"] != true {
		return // whoever tries an operation on a page would send it
	}
	if value, ok := e.of(described["schema"], 0); ok {
		described["example"] = value
	}
}

// of makes the example of a schema: the schema's own first one, or else one made of its parts. It has none where a text
// is required that has none.
func (e examples) of(content any, depth int) (any, bool) {
	schema, ok := content.(object)
	if !ok || depth > exampleDepth {
		return nil, false
	}
	if own, ok := schema["examples"].([]any); ok && len(own) > 0 {
		return own[0], true
	}
	if name, ok := schema["$ref"].(string); ok {
		return e.of(e.find(name), depth+1)
	}
	if value, ok := schema["const"]; ok {
		return value, true
	}
	if words, ok := schema["enum"].([]any); ok && len(words) > 0 {
		return words[0], true
	}
	for _, either := range []string{"anyOf", "oneOf"} {
		choices, _ := schema[either].([]any)
		for _, choice := range choices {
			if value, ok := e.of(choice, depth+1); ok {
				return value, true
			}
		}
	}
	return e.ofType(schema, depth)
}

func (e examples) ofType(schema object, depth int) (any, bool) {
	kinds, several := schema["type"].([]any)
	if schema["type"] == "null" || several && slices.Contains(kinds, any("null")) {
		return nil, true
	}
	kind := schema["type"]
	switch {
	case kind == "object" || schema["properties"] != nil || schema["allOf"] != nil:
		fields := object{}
		return fields, e.addFields(fields, schema, depth)
	case kind == "array":
		if item, ok := e.of(schema["items"], depth+1); ok {
			return []any{item}, true
		}
		return []any{}, true
	case kind == "boolean":
		return false, true
	case kind == "integer" || kind == "number":
		if least, ok := schema["minimum"]; ok {
			return least, true
		}
		return 1, true
	case schema["format"] == "date-time":
		return "2026-01-15T10:30:00Z", true
	case schema["format"] == "date":
		return "2026-01-15", true
	}
	return nil, false
}

// addFields adds the fields of an object: those that are required, and those that have an example of their own.
func (e examples) addFields(to, schema object, depth int) bool {
	parts, _ := schema["allOf"].([]any)
	for _, part := range parts {
		made, _ := e.of(part, depth+1)
		fields, ok := made.(object)
		if !ok {
			return false
		}
		maps.Copy(to, fields)
	}
	properties, _ := schema["properties"].(object)
	for name, content := range properties {
		property, _ := content.(object)
		required, _ := schema["required"].([]any)
		if !slices.Contains(required, any(name)) && property["examples"] == nil {
			continue
		}
		value, ok := e.of(content, depth+1)
		if !ok {
			return false
		}
		to[name] = value
	}
	return true
}

// find is the schema that a reference names; nil where there is none.
func (e examples) find(reference string) any {
	var at any = e.document
	for name := range strings.SplitSeq(strings.TrimPrefix(reference, "#/"), "/") {
		fields, _ := at.(object)
		at = fields[name]
	}
	return at
}
