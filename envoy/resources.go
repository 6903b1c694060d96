package envoy

import (
	"cmp"
	"fmt"
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// Resources is a set of resources that Envoy fetches, each kind ordered by name.
type Resources struct {
	Listeners []*listenerv3.Listener
	Clusters  []*clusterv3.Cluster
	Routes    []*routev3.RouteConfiguration
	Secrets   []*tlsv3.Secret
}

// Merge joins two sets. Names that both have stay double, which [Validate] refuses.
func Merge(a, b Resources) Resources {
	merged := Resources{
		Listeners: slices.Concat(a.Listeners, b.Listeners),
		Clusters:  slices.Concat(a.Clusters, b.Clusters),
		Routes:    slices.Concat(a.Routes, b.Routes),
		Secrets:   slices.Concat(a.Secrets, b.Secrets),
	}
	merged.sort()
	return merged
}

func (r Resources) sort() {
	sortByName(r.Listeners)
	sortByName(r.Clusters)
	sortByName(r.Routes)
	sortByName(r.Secrets)
}

type named interface {
	proto.Message
	GetName() string
}

func sortByName[T named](resources []T) {
	slices.SortStableFunc(resources, func(a, b T) int { return cmp.Compare(a.GetName(), b.GetName()) })
}

// messages lists all resources, kind by kind.
func (r Resources) messages() []named {
	var all []named
	for _, m := range r.Listeners {
		all = append(all, m)
	}
	for _, m := range r.Clusters {
		all = append(all, m)
	}
	for _, m := range r.Routes {
		all = append(all, m)
	}
	for _, m := range r.Secrets {
		all = append(all, m)
	}
	return all
}

// Marshal gives the wire form that a bundle seals. The same resources give the same bytes in the same build.
func (r Resources) Marshal() ([]byte, error) {
	envelope := &discoveryv3.DiscoveryResponse{}
	for _, m := range r.messages() {
		packed := new(anypb.Any)
		if err := anypb.MarshalFrom(packed, m, deterministic); err != nil {
			return nil, fmt.Errorf("encode resource %q: %w", m.GetName(), err)
		}
		envelope.Resources = append(envelope.Resources, packed)
	}
	data, err := deterministic.Marshal(envelope)
	if err != nil {
		return nil, fmt.Errorf("encode resources: %w", err)
	}
	return data, nil
}

// Unmarshal reads what Marshal wrote. It refuses kinds of resources that Resources does not have; it does not judge
// what they say, which is for [Validate] and [ValidateCatalog].
func Unmarshal(data []byte) (Resources, error) {
	var envelope discoveryv3.DiscoveryResponse
	if err := proto.Unmarshal(data, &envelope); err != nil {
		return Resources{}, fmt.Errorf("decode resources: %w", err)
	}
	var r Resources
	for _, packed := range envelope.GetResources() {
		m, err := packed.UnmarshalNew()
		if err != nil {
			return Resources{}, fmt.Errorf("decode resource: %w", err)
		}
		switch m := m.(type) {
		case *listenerv3.Listener:
			r.Listeners = append(r.Listeners, m)
		case *clusterv3.Cluster:
			r.Clusters = append(r.Clusters, m)
		case *routev3.RouteConfiguration:
			r.Routes = append(r.Routes, m)
		case *tlsv3.Secret:
			r.Secrets = append(r.Secrets, m)
		default:
			return Resources{}, fmt.Errorf("decode resource: unexpected kind %s", packed.GetTypeUrl())
		}
	}
	r.sort()
	return r, nil
}

var deterministic = proto.MarshalOptions{Deterministic: true}

// pack wraps an extension's configuration. It fails only on strings that are not UTF-8, which no caller passes: the
// strings are this package's own or went through Upstream.Check.
func pack(m proto.Message) *anypb.Any {
	packed := new(anypb.Any)
	if err := anypb.MarshalFrom(packed, m, deterministic); err != nil {
		panic(fmt.Sprintf("encode %s: %v", m.ProtoReflect().Descriptor().FullName(), err))
	}
	return packed
}
