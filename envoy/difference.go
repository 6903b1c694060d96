package envoy

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protopath"
	"google.golang.org/protobuf/reflect/protorange"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// same names the first field in which two messages differ.
func same(got, want proto.Message) error {
	if proto.Equal(got, want) {
		return nil
	}
	has, expected := leaves(got), leaves(want)
	for _, path := range has.order {
		if value, known := expected.values[path]; !known {
			return fmt.Errorf("%s is set, which the gateway never does", fieldPath(path))
		} else if value != has.values[path] {
			return fmt.Errorf("%s is %s, want %s", fieldPath(path), has.values[path], value)
		}
	}
	for _, path := range expected.order {
		if _, known := has.values[path]; !known {
			return fmt.Errorf("%s is missing, want %s", fieldPath(path), expected.values[path])
		}
	}
	return errors.New("the encoding differs")
}

// flat is a message as paths and values, in the order of its fields.
type flat struct {
	order  []string
	values map[string]string
}

func leaves(m proto.Message) flat {
	f := flat{values: map[string]string{}}
	// The callback never returns an error, so neither does Range.
	_ = protorange.Options{Stable: true}.Range(m.ProtoReflect(), func(p protopath.Values) error {
		path := p.Path.String()
		f.order = append(f.order, path)
		f.values[path] = describe(p.Index(-1).Value)
		return nil
	}, nil)
	return f
}

// describe shows a value shortly. A message is described by its own fields.
func describe(v protoreflect.Value) string {
	switch value := v.Interface().(type) {
	case protoreflect.Message, protoreflect.List, protoreflect.Map:
		return "present"
	case string:
		return abbreviate(fmt.Sprintf("%q", value))
	case []byte:
		return abbreviate(fmt.Sprintf("%x", value))
	default:
		return fmt.Sprint(value)
	}
}

func abbreviate(text string) string {
	const most = 200
	if len(text) > most {
		return fmt.Sprintf("%s… (%d bytes)", text[:most], len(text))
	}
	return text
}

// typeName matches the names of message types, which a path has between its fields.
var typeName = regexp.MustCompile(`\.?\([\w.]+\)\.?`)

// fieldPath writes a path as Envoy's documentation does: fields and indices only.
func fieldPath(path string) string {
	return strings.Trim(typeName.ReplaceAllString(path, "."), ".")
}
