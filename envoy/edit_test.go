package envoy_test

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/caracal-gateway/caracal/envoy"
)

// edit visits a message and every message in it, also inside packed extensions, which it packs again. The path has the
// fields on the way, without indices.
func edit(m protoreflect.Message, path string, visit func(path string, m protoreflect.Message)) {
	if packed, ok := m.Interface().(*anypb.Any); ok {
		if packed.GetTypeUrl() == "" {
			return // made empty by an edit
		}
		inner, err := packed.UnmarshalNew()
		if err != nil {
			panic(err)
		}
		edit(inner.ProtoReflect(), fmt.Sprintf("%s(%s)", path, inner.ProtoReflect().Descriptor().Name()), visit)
		if err := anypb.MarshalFrom(packed, inner, proto.MarshalOptions{Deterministic: true}); err != nil {
			panic(err)
		}
		return
	}
	visit(path, m)
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		below := path + "." + string(f.Name())
		switch {
		case f.IsMap() && f.MapValue().Message() != nil:
			v.Map().Range(func(_ protoreflect.MapKey, value protoreflect.Value) bool {
				edit(value.Message(), below, visit)
				return true
			})
		case f.IsList() && f.Message() != nil:
			for i := range v.List().Len() {
				edit(v.List().Get(i).Message(), below, visit)
			}
		case f.Message() != nil && !f.IsMap():
			edit(m.Mutable(f).Message(), below, visit)
		}
		return true
	})
}

// editAll edits every resource of a set.
func editAll(r envoy.Resources, visit func(path string, m protoreflect.Message)) {
	for _, m := range all(r) {
		edit(m.ProtoReflect(), string(m.ProtoReflect().Descriptor().Name()), visit)
	}
}

// clone copies a set by its wire form.
func clone(t *testing.T, r envoy.Resources) envoy.Resources {
	t.Helper()
	data, err := r.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	copied, err := envoy.Unmarshal(data)
	if err != nil {
		t.Fatal(err)
	}
	return copied
}
