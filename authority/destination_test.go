package authority_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caracal-gateway/caracal/authority"
)

func TestDestinationsAreRefusedUnlessTheyStayInBounds(t *testing.T) {
	ca := certificate(t)
	private := func(d *authority.Destination) { d.Addresses = prefixes("10.1.0.0/16", "127.0.0.1/32", "fd12::/64") }
	credential := func(c authority.Credential) func(*authority.Destination) {
		return func(d *authority.Destination) { d.Credential = &c }
	}
	cases := map[string]struct {
		change []func(*authority.Destination)
		field  string // empty: accepted
	}{
		"an exact host":                          {},
		"a suffix":                               {change: changes(func(d *authority.Destination) { d.Host = "*.example.test" })},
		"no host":                                {changes(func(d *authority.Destination) { d.Host = "" }), "host"},
		"a host in upper case":                   {changes(func(d *authority.Destination) { d.Host = "A.test" }), "host"},
		"a host with a trailing dot":             {changes(func(d *authority.Destination) { d.Host = "a.test." }), "host"},
		"a host with a port":                     {changes(func(d *authority.Destination) { d.Host = "a.test:443" }), "host"},
		"an address for a host":                  {changes(func(d *authority.Destination) { d.Host = "10.0.0.1" }), "host"},
		"an IPv6 address for a host":             {changes(func(d *authority.Destination) { d.Host = "[::1]" }), "host"},
		"a star alone":                           {changes(func(d *authority.Destination) { d.Host = "*" }), "host"},
		"a star for a top-level domain":          {changes(func(d *authority.Destination) { d.Host = "*.test" }), "host"},
		"a star inside a host":                   {changes(func(d *authority.Destination) { d.Host = "a.*.test" }), "host"},
		"no name":                                {changes(func(d *authority.Destination) { d.Name = "" }), "name"},
		"a name that turns text round":           {changes(func(d *authority.Destination) { d.Name = "a\u202eb" }), "name"},
		"no ports":                               {changes(func(d *authority.Destination) { d.Ports = nil }), "ports"},
		"port 0":                                 {changes(func(d *authority.Destination) { d.Ports = []uint16{443, 0} }), "ports[1]"},
		"a port twice":                           {changes(func(d *authority.Destination) { d.Ports = []uint16{443, 443} }), "ports[1]"},
		"too many ports":                         {changes(func(d *authority.Destination) { d.Ports = make([]uint16, 17) }), "ports"},
		"no TLS mode":                            {changes(func(d *authority.Destination) { d.TLS = "" }), "tls"},
		"an unknown TLS mode":                    {changes(func(d *authority.Destination) { d.TLS = "insecure" }), "tls"},
		"a CA":                                   {change: changes(func(d *authority.Destination) { d.CA = ca + ca })},
		"a CA that is not PEM":                   {changes(func(d *authority.Destination) { d.CA = "ca" }), "ca"},
		"a CA that is blank":                     {changes(func(d *authority.Destination) { d.CA = " \n" }), "ca"},
		"a CA with garbage behind it":            {changes(func(d *authority.Destination) { d.CA = ca + "x" }), "ca"},
		"a CA that is no certificate":            {changes(func(d *authority.Destination) { d.CA = strings.ReplaceAll(ca, "CERTIFICATE", "PRIVATE KEY") }), "ca"},
		"a CA that cannot be read":               {changes(func(d *authority.Destination) { d.CA = block([]byte("x")) }), "ca"},
		"a CA that is too long":                  {changes(func(d *authority.Destination) { d.CA = strings.Repeat(ca, 200) }), "ca"},
		"a CA for plain text":                    {changes(func(d *authority.Destination) { d.CA, d.TLS = ca, authority.TLSNone }), "ca"},
		"private addresses":                      {change: changes(private)},
		"private addresses of a suffix":          {changes(private, func(d *authority.Destination) { d.Host = "*.example.test" }), "host"},
		"an address range with host bits":        {changes(func(d *authority.Destination) { d.Addresses = prefixes("10.1.2.3/16") }), "addresses[0]"},
		"no address range at all":                {changes(func(d *authority.Destination) { d.Addresses = make([]netip.Prefix, 1) }), "addresses[0]"},
		"too many address ranges":                {changes(func(d *authority.Destination) { d.Addresses = make([]netip.Prefix, 65) }), "addresses"},
		"a name to connect to":                   {change: changes(func(d *authority.Destination) { d.ConnectTo = "b.test:8443" })},
		"an address to connect to":               {change: changes(private, func(d *authority.Destination) { d.ConnectTo = "127.0.0.1:8443" })},
		"an IPv6 address to connect to":          {change: changes(private, func(d *authority.Destination) { d.ConnectTo = "[fd12::1]:8443" })},
		"an address that is not listed":          {changes(private, func(d *authority.Destination) { d.ConnectTo = "10.2.0.1:8443" }), "connect_to"},
		"an address without a list":              {changes(func(d *authority.Destination) { d.ConnectTo = "10.1.0.1:8443" }), "connect_to"},
		"a metadata address to connect to":       {changes(private, func(d *authority.Destination) { d.ConnectTo = "169.254.169.254:80" }), "connect_to"},
		"port 0 to connect to":                   {changes(private, func(d *authority.Destination) { d.ConnectTo = "127.0.0.1:0" }), "connect_to"},
		"a name without a port to connect to":    {changes(func(d *authority.Destination) { d.ConnectTo = "b.test" }), "connect_to"},
		"a numeric name to connect to":           {changes(private, func(d *authority.Destination) { d.ConnectTo = "2130706433:80" }), "connect_to"},
		"a URL to connect to":                    {changes(func(d *authority.Destination) { d.ConnectTo = "https://b.test" }), "connect_to"},
		"a credential":                           {change: changes(credential(authority.Credential{Name: "OPENAI_KEY", Header: "authorization", Prefix: "Bearer "}))},
		"a credential in a header of its own":    {change: changes(credential(authority.Credential{Name: "anthropic.key", Header: "x-api-key"}))},
		"a credential without a name":            {changes(credential(authority.Credential{Header: "authorization"})), "credential.name"},
		"a credential that names a directory":    {changes(credential(authority.Credential{Name: "..", Header: "authorization"})), "credential.name"},
		"a credential that names a path":         {changes(credential(authority.Credential{Name: "a/b", Header: "authorization"})), "credential.name"},
		"a credential's header in upper case":    {changes(credential(authority.Credential{Name: "a", Header: "Authorization"})), "credential.header"},
		"a credential's header with a line":      {changes(credential(authority.Credential{Name: "a", Header: "a\r\nb"})), "credential.header"},
		"a credential in a pseudo-header":        {changes(credential(authority.Credential{Name: "a", Header: ":path"})), "credential.header"},
		"a credential in the host":               {changes(credential(authority.Credential{Name: "a", Header: "host"})), "credential.header"},
		"a credential in a framing header":       {changes(credential(authority.Credential{Name: "a", Header: "transfer-encoding"})), "credential.header"},
		"a credential in a header of ours":       {changes(credential(authority.Credential{Name: "a", Header: "x-caracal-mandate"})), "credential.header"},
		"a credential in a header of Envoy's":    {changes(credential(authority.Credential{Name: "a", Header: "x-envoy-upstream-alt-stat-name"})), "credential.header"},
		"a credential in a proxy's header":       {changes(credential(authority.Credential{Name: "a", Header: "proxy-authorization"})), "credential.header"},
		"a credential's prefix with a line":      {changes(credential(authority.Credential{Name: "a", Header: "authorization", Prefix: "a\nb"})), "credential.prefix"},
		"a credential's prefix that is long":     {changes(credential(authority.Credential{Name: "a", Header: "authorization", Prefix: strings.Repeat("a", 33)})), "credential.prefix"},
		"a credential over public plain text":    {changes(plain, credential(authority.Credential{Name: "a", Header: "authorization"})), "credential"},
		"a credential over private plain text":   {change: changes(private, plain, credential(authority.Credential{Name: "a", Header: "authorization"}))},
		"a bound for requests":                   {change: changes(func(d *authority.Destination) { d.MaxDurationSeconds = 86400 })},
		"a negative bound for requests":          {changes(func(d *authority.Destination) { d.MaxDurationSeconds = -1 }), "max_duration_seconds"},
		"a bound for requests of over a day":     {changes(func(d *authority.Destination) { d.MaxDurationSeconds = 86401 }), "max_duration_seconds"},
		"no word on escaped slashes":             {changes(func(d *authority.Destination) { d.EncodedSlash = "" }), "encoded_slash"},
		"an unknown word on escaped slashes":     {changes(func(d *authority.Destination) { d.EncodedSlash = "decode" }), "encoded_slash"},
		"more rules than a destination may have": {changes(func(d *authority.Destination) { d.Rules = make([]authority.Rule, 201) }), "rules"},
	}
	for sentence, c := range cases {
		t.Run(sentence, func(t *testing.T) {
			d := authority.Destination{Name: "d", Host: "d.test"}.WithDefaults()
			for _, change := range c.change {
				change(&d)
			}
			err := d.Validate()
			if c.field != "" {
				assertInvalid(t, err, c.field)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestMetadataAndSpecialAddressesCanNeverBeListed(t *testing.T) {
	for _, text := range []string{
		"169.254.169.254/32", "169.254.0.0/16", "169.254.170.2/32", "0.0.0.0/0", "0.0.0.0/32", "160.0.0.0/4", "100.64.0.0/10",
		"100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32", "224.0.0.1/32", "255.255.255.255/32", "::/0", "::/128",
		"fd00:ec2::254/128", "fd00::/8", "fe80::/64", "ff02::1/128", "::ffff:10.0.0.0/104", "::ffff:169.254.169.254/128",
		"64:ff9b::a9fe:a9fe/128", "2002:a9fe:a9fe::/48",
	} {
		d := authority.Destination{Name: "d", Host: "d.test", Addresses: prefixes(text)}.WithDefaults()
		assertInvalid(t, d.Validate(), "addresses[0]")
	}
	for _, text := range []string{"127.0.0.1/32", "10.0.0.0/8", "192.168.0.0/16", "172.16.0.0/12", "100.64.0.0/16", "::1/128", "fd12:3456::/32", "203.0.113.5/32"} {
		d := authority.Destination{Name: "d", Host: "d.test", Addresses: prefixes(text)}.WithDefaults()
		if err := d.Validate(); err != nil {
			t.Error(err)
		}
	}
}

func TestDefaultsFillInWhatWasLeftOutOnly(t *testing.T) {
	got := []authority.Destination{
		authority.Destination{}.WithDefaults(),
		authority.Destination{TLS: authority.TLSNone}.WithDefaults(),
		authority.Destination{Ports: []uint16{1}, EncodedSlash: authority.EncodedSlashKeep, TLS: authority.TLSNone}.WithDefaults(),
	}
	want := []authority.Destination{
		{Ports: []uint16{443}, TLS: authority.TLSRequired, EncodedSlash: authority.EncodedSlashRefuse, Tunnel: authority.TunnelInspect, Rules: []authority.Rule{}},
		{Ports: []uint16{80}, TLS: authority.TLSNone, EncodedSlash: authority.EncodedSlashRefuse, Tunnel: authority.TunnelInspect, Rules: []authority.Rule{}},
		{Ports: []uint16{1}, TLS: authority.TLSNone, EncodedSlash: authority.EncodedSlashKeep, Tunnel: authority.TunnelInspect, Rules: []authority.Rule{}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func changes(list ...func(*authority.Destination)) []func(*authority.Destination) { return list }

func plain(d *authority.Destination) { d.TLS = authority.TLSNone }

func prefixes(texts ...string) []netip.Prefix {
	list := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		list[i] = netip.MustParsePrefix(text)
	}
	return list
}

func certificate(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return block(der)
}

func block(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestWhatADestinationSaysOfTunnelsFitsTogether(t *testing.T) {
	for field, d := range map[string]authority.Destination{
		"tunnel":              {Tunnel: "open"},
		"tunnel ":             {Tunnel: authority.TunnelPassthrough, ClientCertificate: "own"},
		"client_certificate":  {ClientCertificate: "../own"},
		"client_certificate ": {ClientCertificate: "own", TLS: authority.TLSNone},
		"base_path":           {BasePath: "a/b"},
		"base_path ":          {BasePath: "A"},
		"base_path  ":         {BasePath: "a", Host: "*.d.test"},
	} {
		d.Name = "d"
		if d.Host == "" {
			d.Host = "d.test"
		}
		assertInvalid(t, d.WithDefaults().Validate(), strings.TrimSpace(field))
	}
}
