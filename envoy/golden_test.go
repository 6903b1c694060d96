package envoy_test

import (
	"bytes"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/caracal-gateway/caracal/envoy"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// exampleLocal is a gateway host as the golden files show it.
func exampleLocal() envoy.Local {
	return envoy.Local{
		NodeID:      "gw-1",
		AuthzSocket: "/run/caracal/authz.sock",
		XDSSocket:   "/run/caracal/xds.sock",
		SelfSocket:  "/run/caracal/self.sock",
		AdminSocket: "/run/caracal/admin.sock",
		Listen:      netip.MustParseAddrPort("127.0.0.1:8443"),
		Roots:       []byte("the public roots"),
	}
}

func withTLS(l envoy.Local) envoy.Local {
	l.Certificate, l.PrivateKey = []byte("the certificate"), []byte("the private key")
	return l
}

func withForward(l envoy.Local) envoy.Local {
	l.Forward = netip.MustParseAddrPort("127.0.0.1:3128")
	return l
}

// exampleUpstreams has one of each kind that Catalog builds differently.
func exampleUpstreams(ca string) []envoy.Upstream {
	private := []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd12:3456::/48")}
	return []envoy.Upstream{
		{Host: "api.example.com", Port: 443, TLS: true, Short: 2},
		{Host: "own-ca.example.com", Port: 443, TLS: true, CA: ca, Short: 1},
		{Host: "*.own-ca.example.com", Port: 8443, TLS: true, CA: ca},
		{Host: "moved.example.com", Port: 443, TLS: true, ConnectTo: "front.example.net:443"},
		{Host: "*.moved.example.com", Port: 443, TLS: true, ConnectTo: "front.example.net:443"},
		{Host: "intranet.example.com", Port: 80, Addresses: private},
		{Host: "wiki.example.com", Port: 443, TLS: true, CA: ca, Addresses: private},
		{Host: "10.1.2.3", Port: 443, TLS: true, CA: ca, Addresses: private},
		{Host: "bank.example.com", Port: 443, TLS: true, ClientCertificate: "bank"},
		{Host: "ledger.example.com", Port: 443, TLS: true, CA: ca, Addresses: private, ClientCertificate: "bank"},
		{Host: "git.example.com", Port: 22, Tunnel: true},
		{Host: "pinned.example.com", Port: 443, Tunnel: true, Addresses: private},
		{Host: "*.pinned.example.com", Port: 443, Tunnel: true, ConnectTo: "front.example.net:443"},
		{Host: "echo.caracal.test", Port: 9443, TLS: true, CA: ca, ConnectTo: "127.0.0.1:19443", Addresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}},
	}
}

func catalog(t *testing.T, upstreams ...envoy.Upstream) envoy.Resources {
	t.Helper()
	built, err := envoy.Catalog(upstreams)
	if err != nil {
		t.Fatal(err)
	}
	return built
}

func TestTheConfigurationIsWhatTheGoldenFilesShow(t *testing.T) {
	ca, err := os.ReadFile("testdata/ca.pem")
	if err != nil {
		t.Fatal(err)
	}
	resolving := exampleLocal()
	resolving.Resolvers = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:5353")}
	for name, messages := range map[string][]proto.Message{
		"bootstrap":           {envoy.Bootstrap(exampleLocal())},
		"bootstrap-resolvers": {envoy.Bootstrap(resolving)},
		"fixed-plain":         all(envoy.Fixed(exampleLocal())),
		"fixed-tls":           all(envoy.Fixed(withTLS(exampleLocal()))),
		"fixed-forward":       all(envoy.Fixed(withForward(exampleLocal()))),
		"fixed-forward-tls":   all(envoy.Fixed(withTLS(withForward(exampleLocal())))),
		"built-in":            all(envoy.BuiltIn()),
		"catalog-empty":       all(catalog(t)),
		"catalog":             all(catalog(t, exampleUpstreams(string(ca))...)),
	} {
		t.Run(name, func(t *testing.T) {
			got := renderAll(t, messages)
			file := filepath.Join("testdata", name+".yaml")
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("differs from %s; if that is meant, run the test with -update (-want +got):\n%s", file, diff)
			}
		})
	}
}

func all(r envoy.Resources) []proto.Message {
	var messages []proto.Message
	for _, m := range r.Listeners {
		messages = append(messages, m)
	}
	for _, m := range r.Clusters {
		messages = append(messages, m)
	}
	for _, m := range r.Routes {
		messages = append(messages, m)
	}
	for _, m := range r.Secrets {
		messages = append(messages, m)
	}
	return messages
}

func renderAll(t *testing.T, messages []proto.Message) []byte {
	t.Helper()
	var documents [][]byte
	for _, m := range messages {
		document, err := envoy.YAML(m)
		if err != nil {
			t.Fatal(err)
		}
		documents = append(documents, document)
	}
	return bytes.Join(documents, []byte("---\n"))
}
