package api_test

import (
	"bytes"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/controlplane"
	"github.com/caracal-gateway/caracal/controlplane/api"
)

// Where a request comes from is what the connection or a trusted proxy says, and never what its sender says.
func TestAKeysNetworksAreJudgedByWhereARequestComesFrom(t *testing.T) {
	m := newWorld(t).newTeam(t, "my-team")
	created := into[controlplane.CreatedKey](m.own("POST", m.at("keys"), map[string]any{
		"kind": "agent", "name": "bound", "principal_id": m.agent, "allowed_networks": []string{"192.0.2.0/24", "2001:db8::/32"},
	}).ok(201))
	loopback := netip.MustParsePrefix("127.0.0.0/8")
	for sentence, c := range map[string]struct {
		trusted []netip.Prefix
		headers []string
		status  int
	}{
		"nobody is trusted, nothing is said":            {nil, nil, 401},
		"nobody is trusted, its sender says so":         {nil, []string{"X-Forwarded-For: 192.0.2.1"}, 401},
		"another is trusted":                            {[]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, []string{"X-Forwarded-For: 192.0.2.1"}, 401},
		"the proxy says so":                             {[]netip.Prefix{loopback}, []string{"X-Forwarded-For: 192.0.2.1"}, 200},
		"the proxy says so in IPv6":                     {[]netip.Prefix{loopback}, []string{"X-Forwarded-For: 2001:db8::1"}, 200},
		"the proxy says so of IPv4 as IPv6":             {[]netip.Prefix{loopback}, []string{"X-Forwarded-For: ::ffff:192.0.2.1"}, 200},
		"the proxy says nothing":                        {[]netip.Prefix{loopback}, nil, 401},
		"the proxy says otherwise of a sender who lies": {[]netip.Prefix{loopback}, []string{"X-Forwarded-For: 192.0.2.1, 198.51.100.1"}, 401},
		"a sender lies in a header of its own":          {[]netip.Prefix{loopback}, []string{"X-Forwarded-For: 192.0.2.1", "X-Forwarded-For: 198.51.100.1"}, 401},
		"two proxies, and the farther one says so":      {[]netip.Prefix{loopback, netip.MustParsePrefix("10.0.0.0/8")}, []string{"X-Forwarded-For: 198.51.100.1, 192.0.2.1, 10.0.0.2"}, 200},
		"what the proxy says cannot be read":            {[]netip.Prefix{loopback}, []string{"X-Forwarded-For: 192.0.2.1, unknown"}, 401},
		"the proxy says it with a port":                 {[]netip.Prefix{loopback}, []string{"X-Forwarded-For: 192.0.2.1:4711"}, 401},
		"the proxy says it in another header":           {[]netip.Prefix{loopback}, []string{"Forwarded: for=192.0.2.1", "X-Real-IP: 192.0.2.1"}, 401},
	} {
		t.Run(sentence, func(t *testing.T) {
			w := m.behind(t, api.Config{TrustedProxies: c.trusted})
			a := w.call(t, created.APIKey, "GET", "/api/v1/mandates", nil, c.headers...)
			if a.status != c.status {
				t.Errorf("answered %d: %s", a.status, a.body)
			}
			// Nor is its exchange for a token a way around.
			want := c.status
			if a := w.call(t, created.APIKey, "POST", "/api/v1/token", nil, c.headers...); a.status != want {
				t.Errorf("its exchange is answered %d: %s", a.status, a.body)
			}
		})
	}
}

// behind is another replica of the team's control plane, which counts failures for itself.
func (m *team) behind(t *testing.T, c api.Config) *world {
	t.Helper()
	service, err := controlplane.New(controlplane.Config{
		Store: m.store, MasterKey: bytes.Repeat([]byte{7}, 32), Log: m.logger(), Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	c.Service, c.Log = service, m.logger()
	handler, err := api.New(c)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return &world{url: server.URL, service: service, store: m.store, log: m.log}
}
