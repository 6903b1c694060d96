package envoy_test

import (
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/caracal-gateway/caracal/envoy"
)

func TestTheWireFormIsTheSameForTheSameResources(t *testing.T) {
	_, r := whole(t)
	_, again := whole(t)
	first, second, third := marshal(t, r), marshal(t, again), marshal(t, clone(t, r))
	if first != second || first != third {
		t.Error("the bytes differ")
	}
}

func TestTheWireFormOfAnythingElseIsRefused(t *testing.T) {
	endpoints, err := proto.Marshal(&discoveryv3.DiscoveryResponse{Resources: []*anypb.Any{packed(&endpointv3.ClusterLoadAssignment{ClusterName: "x"})}})
	if err != nil {
		t.Fatal(err)
	}
	broken, err := proto.Marshal(&discoveryv3.DiscoveryResponse{Resources: []*anypb.Any{{TypeUrl: packed(&clusterv3.Cluster{}).GetTypeUrl(), Value: []byte{0xff}}}})
	if err != nil {
		t.Fatal(err)
	}
	unknown, err := proto.Marshal(&discoveryv3.DiscoveryResponse{Resources: []*anypb.Any{{TypeUrl: "type.googleapis.com/no.such.Type"}}})
	if err != nil {
		t.Fatal(err)
	}
	_, full := whole(t)
	for name, c := range map[string]struct {
		data string
		want string
	}{
		"no message at all":         {"\xff\xff", "decode resources"},
		"cut short":                 {marshal(t, full)[:1000], "decode resources"},
		"another kind of resource":  {string(endpoints), "unexpected kind"},
		"a resource that is broken": {string(broken), "decode resource"},
		"a kind nobody knows":       {string(unknown), "decode resource"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := envoy.Unmarshal([]byte(c.data)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func FuzzUnmarshal(f *testing.F) {
	data, err := envoy.BuiltIn().Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := envoy.Unmarshal(data)
		if err != nil {
			return
		}
		if envoy.ValidateCatalog(r) == nil && len(r.Clusters) == 0 && len(r.Routes) != 1 {
			t.Error("a catalog without routes is valid")
		}
	})
}
