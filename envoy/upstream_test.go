package envoy_test

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/caracal-gateway/caracal/envoy"
)

func ranges(texts ...string) []netip.Prefix {
	var list []netip.Prefix
	for _, text := range texts {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}

func TestAnUpstreamIsCheckedBeforeItIsBuilt(t *testing.T) {
	ca := string(authority(t).pem)
	_, key := authority(t).issue(t, "a.test")
	for name, c := range map[string]struct {
		upstream envoy.Upstream
		want     string // empty: accepted
	}{
		"a public host":              {envoy.Upstream{Host: "api.example.com", Port: 443, TLS: true}, ""},
		"a wildcard":                 {envoy.Upstream{Host: "*.example.com", Port: 443, TLS: true, CA: ca}, ""},
		"one label":                  {envoy.Upstream{Host: "intranet", Port: 80, Addresses: ranges("10.0.0.0/8")}, ""},
		"a public address":           {envoy.Upstream{Host: "8.8.8.8", Port: 443, TLS: true}, ""},
		"a private address":          {envoy.Upstream{Host: "10.1.2.3", Port: 443, Addresses: ranges("10.1.0.0/16")}, ""},
		"an IPv6 address":            {envoy.Upstream{Host: "fd00::1", Port: 443, Addresses: ranges("fd00::/64")}, ""},
		"this machine":               {envoy.Upstream{Host: "echo.test", Port: 443, ConnectTo: "127.0.0.1:9443", Addresses: ranges("127.0.0.0/8")}, ""},
		"connect_to over IPv6":       {envoy.Upstream{Host: "echo.test", Port: 443, ConnectTo: "[::1]:9443", Addresses: ranges("::1/128")}, ""},
		"no host":                    {envoy.Upstream{Port: 443}, "letters, digits"},
		"upper case":                 {envoy.Upstream{Host: "API.example.com", Port: 443}, "lower-case"},
		"a trailing dot":             {envoy.Upstream{Host: "api.example.com.", Port: 443}, "letters, digits"},
		"an underscore":              {envoy.Upstream{Host: "a_b.example.com", Port: 443}, "letters, digits"},
		"a port in the host":         {envoy.Upstream{Host: "api.example.com:1", Port: 443}, "letters, digits"},
		"beyond ASCII":               {envoy.Upstream{Host: "ex\u00e4mple.com", Port: 443}, "letters, digits"},
		"not text":                   {envoy.Upstream{Host: "\xff.com", Port: 443}, "letters, digits"},
		"a star within":              {envoy.Upstream{Host: "a.*.com", Port: 443}, "letters, digits"},
		"a number for a host":        {envoy.Upstream{Host: "2130706433", Port: 443}, "start with a digit"},
		"a short IPv4 form":          {envoy.Upstream{Host: "127.1", Port: 443}, "start with a digit"},
		"a hexadecimal form":         {envoy.Upstream{Host: "0x7f.0x1", Port: 443}, "start with a digit"},
		"a mapped address":           {envoy.Upstream{Host: "::ffff:10.0.0.1", Port: 443}, "plain form"},
		"a long IPv6 form":           {envoy.Upstream{Host: "fd00:0::1", Port: 443}, "plain form"},
		"a zone":                     {envoy.Upstream{Host: "fe80::1%eth0", Port: 443}, "plain form"},
		"a name that is too long":    {envoy.Upstream{Host: strings.Repeat("a.", 130) + "com", Port: 443}, "253"},
		"a label that is too long":   {envoy.Upstream{Host: strings.Repeat("a", 64) + ".com", Port: 443}, "letters, digits"},
		"no port":                    {envoy.Upstream{Host: "api.example.com"}, "port is missing"},
		"a private wildcard":         {envoy.Upstream{Host: "*.example.com", Port: 443, Addresses: ranges("10.0.0.0/8")}, "exact host"},
		"a CA without TLS":           {envoy.Upstream{Host: "a.test", Port: 80, CA: ca}, "plain text has no certificate"},
		"a CA that is none":          {envoy.Upstream{Host: "a.test", Port: 443, TLS: true, CA: "x"}, "want PEM certificates"},
		"a CA and more":              {envoy.Upstream{Host: "a.test", Port: 443, TLS: true, CA: ca + "x"}, "want PEM certificates"},
		"a key for a CA":             {envoy.Upstream{Host: "a.test", Port: 443, TLS: true, CA: string(key)}, "want certificates, got \"PRIVATE KEY\""},
		"a CA that is no text":       {envoy.Upstream{Host: "a.test", Port: 443, TLS: true, CA: "\xff" + ca}, "not text"},
		"connect_to without a port":  {envoy.Upstream{Host: "a.test", Port: 443, ConnectTo: "b.test"}, "want host:port"},
		"connect_to with port 0":     {envoy.Upstream{Host: "a.test", Port: 443, ConnectTo: "b.test:0"}, "from 1 to 65535"},
		"connect_to with port 0443":  {envoy.Upstream{Host: "a.test", Port: 443, ConnectTo: "b.test:0443"}, "from 1 to 65535"},
		"connect_to a wildcard":      {envoy.Upstream{Host: "a.test", Port: 443, ConnectTo: "*.b.test:443"}, "letters, digits"},
		"connect_to a socket":        {envoy.Upstream{Host: "a.test", Port: 443, ConnectTo: "/run/x.sock:443"}, "letters, digits"},
		"an unlisted private target": {envoy.Upstream{Host: "a.test", Port: 443, ConnectTo: "127.0.0.1:443"}, "not a public address"},
		"a private host, no ranges":  {envoy.Upstream{Host: "10.0.0.1", Port: 443}, "not a public address"},
		"a target outside its list":  {envoy.Upstream{Host: "10.0.0.1", Port: 443, Addresses: ranges("10.1.0.0/16")}, "not among the address ranges"},
		"a range that is no network": {envoy.Upstream{Host: "a.test", Port: 443, Addresses: ranges("10.0.0.1/8")}, "want a network"},
		"no range":                   {envoy.Upstream{Host: "a.test", Port: 443, Addresses: []netip.Prefix{{}}}, "want a network"},
		"the metadata service":       {envoy.Upstream{Host: "a.test", Port: 443, Addresses: ranges("169.254.169.254/32")}, "which no destination may reach"},
		"everything":                 {envoy.Upstream{Host: "a.test", Port: 443, Addresses: ranges("0.0.0.0/0")}, "which no destination may reach"},
		"everything, in IPv6":        {envoy.Upstream{Host: "a.test", Port: 443, Addresses: ranges("::/0")}, "which no destination may reach"},
		"metadata in IPv6":           {envoy.Upstream{Host: "a.test", Port: 443, Addresses: ranges("fd00::/8")}, "which no destination may reach"},
		"a tunnel":                   {envoy.Upstream{Host: "a.test", Port: 22, Tunnel: true, Addresses: ranges("10.0.0.0/8")}, ""},
		"a tunnel to a wildcard":     {envoy.Upstream{Host: "*.a.test", Port: 22, Tunnel: true, ConnectTo: "b.test:22"}, ""},
		"a tunnel with TLS":          {envoy.Upstream{Host: "a.test", Port: 443, Tunnel: true, TLS: true}, "between the client and the upstream"},
		"a tunnel with a CA":         {envoy.Upstream{Host: "a.test", Port: 443, Tunnel: true, CA: ca}, "plain text has no certificate"},
		"a tunnel with a certificate": {
			envoy.Upstream{Host: "a.test", Port: 443, Tunnel: true, ClientCertificate: "a"}, "plain text has no use for one",
		},
		"a client certificate":     {envoy.Upstream{Host: "a.test", Port: 443, TLS: true, ClientCertificate: "Bank-1_a.b"}, ""},
		"one without TLS":          {envoy.Upstream{Host: "a.test", Port: 80, ClientCertificate: "a"}, "plain text has no use for one"},
		"one of another directory": {envoy.Upstream{Host: "a.test", Port: 443, TLS: true, ClientCertificate: "../a"}, "client certificate: want a name"},
		"one with an empty name's dot": {
			envoy.Upstream{Host: "a.test", Port: 443, TLS: true, ClientCertificate: "."}, "client certificate: want a name",
		},
		"mapped addresses": {envoy.Upstream{Host: "a.test", Port: 443, Addresses: ranges("::ffff:0:0/96")}, "which no destination may reach"},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.upstream.Check()
			_, built := envoy.Catalog([]envoy.Upstream{c.upstream})
			if (err == nil) != (built == nil) {
				t.Errorf("Check says %v, Catalog %v", err, built)
			}
			switch {
			case c.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case c.want != "" && err == nil:
				t.Error("accepted")
			case c.want != "" && !strings.Contains(err.Error(), c.want):
				t.Errorf("refused because of %q, want %q", err, c.want)
			}
		})
	}
}

func TestAnUpstreamTakesThePublicRouteUnlessItHasSettings(t *testing.T) {
	for want, u := range map[string]envoy.Upstream{
		envoy.RoutePublicTLS:   {Host: "api.example.com", Port: 8443, TLS: true},
		envoy.RoutePublicPlain: {Host: "api.example.com", Port: 80},

		envoy.RoutePublicTunnel: {Host: "api.example.com", Port: 22, Tunnel: true},
	} {
		if got := u.Route(); got != want {
			t.Errorf("%+v takes %q, want %q", u, got, want)
		}
	}
	for _, u := range exampleUpstreams(string(authority(t).pem)) {
		if isPublic := u.Host == "api.example.com" || u.Host == "git.example.com"; (u.Route() == u.Key()) == isPublic {
			t.Errorf("%s takes %q", u.Host, u.Route())
		}
	}
}

func TestEverySettingChangesTheKey(t *testing.T) {
	base := envoy.Upstream{Host: "a.test", Port: 443, TLS: true, CA: "a", ConnectTo: "b:1", Addresses: ranges("10.0.0.0/8")}
	seen := map[string]string{base.Key(): "base"}
	for name, change := range map[string]func(*envoy.Upstream){
		"host":           func(u *envoy.Upstream) { u.Host = "b.test" },
		"port":           func(u *envoy.Upstream) { u.Port = 444 },
		"TLS":            func(u *envoy.Upstream) { u.TLS = false },
		"CA":             func(u *envoy.Upstream) { u.CA = "b" },
		"no CA":          func(u *envoy.Upstream) { u.CA = "" },
		"connect_to":     func(u *envoy.Upstream) { u.ConnectTo = "b:2" },
		"no connect_to":  func(u *envoy.Upstream) { u.ConnectTo = "" },
		"range":          func(u *envoy.Upstream) { u.Addresses = ranges("10.0.0.0/9") },
		"another range":  func(u *envoy.Upstream) { u.Addresses = ranges("10.0.0.0/8", "fd00::/64") },
		"no range":       func(u *envoy.Upstream) { u.Addresses = nil },
		"tunnel":         func(u *envoy.Upstream) { u.TLS, u.Tunnel = false, true },
		"certificate":    func(u *envoy.Upstream) { u.ClientCertificate = "a" },
		"another one":    func(u *envoy.Upstream) { u.ClientCertificate = "b" },
		"fields shifted": func(u *envoy.Upstream) { u.CA, u.ConnectTo = "ab:1", "" },
	} {
		u := base
		change(&u)
		if other, taken := seen[u.Key()]; taken {
			t.Errorf("%s and %s have the same key", name, other)
		}
		seen[u.Key()] = name
	}
	one, two := base, base
	one.Addresses, two.Addresses = ranges("10.0.0.0/8", "fd00::/64"), ranges("fd00::/64", "10.0.0.0/8")
	if one.Key() != two.Key() {
		t.Error("the order of the ranges changes the key")
	}
}

// A gateway and a control plane of two versions mean the same upstream by a key.
func TestTheKeysOfUpstreamsStayWhatTheyAre(t *testing.T) {
	moved := envoy.Upstream{Host: "moved.example.com", Port: 443, TLS: true, ConnectTo: "front.example.net:443"}
	if got := moved.Key(); got != "moved.example.com-443-tls-8656e7913772c710a502d44dc6bde655" {
		t.Errorf("got %s", got)
	}
}

// TestWhatCanBeBuiltIsValid builds the catalog of any upstreams that Check accepts.
func TestWhatCanBeBuiltIsValid(t *testing.T) {
	pem, err := os.ReadFile("testdata/ca.pem")
	if err != nil {
		t.Fatal(err)
	}
	hosts := rapid.OneOf(
		rapid.StringMatching(`(\*\.)?[a-z][a-z0-9-]{0,5}[a-z0-9](\.[a-z]{2,4}){0,2}`),
		rapid.SampledFrom([]string{"8.8.8.8", "10.1.2.3", "fd00::1", "2606:4700::1", "_.a", "a-1-tls-b.test"}),
	)
	rapid.Check(t, func(t *rapid.T) {
		upstreams := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) envoy.Upstream {
			u := envoy.Upstream{Host: hosts.Draw(t, "host"), Port: rapid.Uint16().Draw(t, "port"), TLS: rapid.Bool().Draw(t, "tls")}
			if u.Tunnel = !u.TLS && rapid.Bool().Draw(t, "is a tunnel"); !u.Tunnel && rapid.Bool().Draw(t, "has ca") {
				u.CA = string(pem)
			}
			if u.TLS && rapid.Bool().Draw(t, "has a client certificate") {
				u.ClientCertificate = rapid.SampledFrom([]string{"a", "b.c"}).Draw(t, "client certificate")
			}
			if rapid.Bool().Draw(t, "has connect_to") {
				host := strings.TrimPrefix(hosts.Draw(t, "other host"), "*.")
				if strings.Contains(host, ":") {
					host = "[" + host + "]"
				}
				u.ConnectTo = fmt.Sprintf("%s:%d", host, rapid.Uint16().Draw(t, "other port"))
			}
			u.Addresses = rapid.SliceOfN(rapid.SampledFrom(ranges("10.0.0.0/8", "10.1.0.0/16", "127.0.0.1/32", "fd00::/64", "8.8.8.0/24")), 0, 2).Draw(t, "addresses")
			return u
		}), 0, 4).Draw(t, "upstreams")
		built, err := envoy.Catalog(upstreams)
		if err != nil {
			return // one of them is refused: there is nothing to build
		}
		if err := envoy.ValidateCatalog(built); err != nil {
			t.Fatal(err)
		}
		again, err := envoy.Catalog(append(upstreams[min(1, len(upstreams)):], upstreams[:min(1, len(upstreams))]...))
		if err != nil {
			t.Fatal(err)
		}
		if one, two := marshal(t, built), marshal(t, again); one != two {
			t.Fatal("the order of the upstreams changes the result")
		}
	})
}

func marshal(t interface{ Fatal(...any) }, r envoy.Resources) string {
	data, err := r.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
