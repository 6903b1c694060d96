package envoy_test

import (
	"regexp"
	"slices"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/caracal-gateway/caracal/envoy"
)

// inputs are the fields that the gateway's host chooses. Any other value of theirs is as good, so a change of them is
// not the validator's to refuse.
var inputs = regexp.MustCompile(`^Bootstrap\.node\.id$` +
	`|^Bootstrap\.admin\.address\.pipe\.path$` +
	`|^Bootstrap\.static_resources\.clusters\.load_assignment\.endpoints\.lb_endpoints\.endpoint\.address\.pipe\.path$` +
	`|^Bootstrap\.typed_dns_resolver_config\.typed_config\(CaresDnsResolverConfig\)\.resolvers(\.socket_address\.(address|port_value))?$` +
	`|^Listener\.address\.socket_address\.(address|port_value)$` +
	`|^Secret\.validation_context\.trusted_ca\.inline_bytes$` +
	`|^Secret\.tls_certificate\.(certificate_chain|private_key)\.inline_bytes$`)

// TestNoOtherFieldCanBeChanged changes each field of each kind of message, wherever that kind is used: a field that is set
// is cleared or changed, one that is not is set.
func TestNoOtherFieldCanBeChanged(t *testing.T) {
	l := withForward(withTLS(exampleLocal()))
	some := slices.DeleteFunc(exampleUpstreams(string(authority(t).pem)), func(u envoy.Upstream) bool {
		return u.Host != "own-ca.example.com" && u.Host != "moved.example.com" && u.Host != "10.1.2.3"
	})
	some[0].ClientCertificate = "bank"
	b, r := envoy.Bootstrap(l), envoy.Merge(envoy.Fixed(l), catalog(t, some...))
	done, changes := map[string]bool{}, 0
	for i, original := range append(all(r), b) {
		for {
			changed := proto.Clone(original)
			where := mutateNext(changed, done)
			if where == "" {
				break
			}
			changes++
			if validateWith(b, r, i, changed) == nil && !inputs.MatchString(where) {
				t.Errorf("accepted with a changed %s", where)
			}
		}
	}
	if changes < 1000 {
		t.Errorf("only %d changes were tried: the walk does not reach what it should", changes)
	}
}

// validateWith puts a message in the place of the i-th of all resources, the bootstrap being the last.
func validateWith(b *bootstrapv3.Bootstrap, r envoy.Resources, i int, changed proto.Message) error {
	var replaced envoy.Resources
	for j, m := range all(r) {
		if i == j {
			m = changed
		}
		switch m := m.(type) {
		case *listenerv3.Listener:
			replaced.Listeners = append(replaced.Listeners, m)
		case *clusterv3.Cluster:
			replaced.Clusters = append(replaced.Clusters, m)
		case *routev3.RouteConfiguration:
			replaced.Routes = append(replaced.Routes, m)
		case *tlsv3.Secret:
			replaced.Secrets = append(replaced.Secrets, m)
		}
	}
	if own, ok := changed.(*bootstrapv3.Bootstrap); ok {
		b = own
	}
	return envoy.Validate(b, replaced)
}

// mutateNext makes one change to a message that is not in done yet, and says where.
func mutateNext(m proto.Message, done map[string]bool) string {
	changed := ""
	edit(m.ProtoReflect(), string(m.ProtoReflect().Descriptor().Name()), func(path string, m protoreflect.Message) {
		fields := m.Descriptor().Fields()
		for i := 0; i < fields.Len() && changed == ""; i++ {
			where := path + "." + string(fields.Get(i).Name())
			if !done[where] {
				done[where] = true
				mutate(m, fields.Get(i))
				changed = where
			}
		}
	})
	return changed
}

func mutate(m protoreflect.Message, f protoreflect.FieldDescriptor) {
	switch {
	case f.IsMap() && m.Has(f), f.IsList() && m.Has(f), f.Message() != nil && m.Has(f):
		m.Clear(f)
	case f.IsMap():
		value := m.Mutable(f).Map().NewValue()
		if f.MapValue().Message() == nil {
			value = other(f.MapValue(), value)
		}
		m.Mutable(f).Map().Set(other(f.MapKey(), f.MapKey().Default()).MapKey(), value)
	case f.IsList():
		list := m.Mutable(f).List()
		value := list.NewElement()
		if f.Message() == nil {
			value = other(f, value)
		}
		list.Append(value)
	case f.Message() != nil:
		m.Set(f, m.NewField(f))
	default:
		m.Set(f, other(f, m.Get(f)))
	}
}

// other is a value that differs from the given one.
func other(f protoreflect.FieldDescriptor, v protoreflect.Value) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(!v.Bool())
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(v.Enum() + 1)
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(v.String() + "x")
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes(append([]byte("x"), v.Bytes()...))
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(v.Float() + 1)
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32(float32(v.Float()) + 1)
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return protoreflect.ValueOfUint32(uint32(v.Uint()) + 1)
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return protoreflect.ValueOfUint64(v.Uint() + 1)
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return protoreflect.ValueOfInt32(int32(v.Int()) + 1)
	default:
		return protoreflect.ValueOfInt64(v.Int() + 1)
	}
}
