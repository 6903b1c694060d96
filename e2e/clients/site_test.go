package clients_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/client"
)

const slug = "my-team"

// site is a control plane, a gateway with its proxy port, and the upstreams behind it. It resolves no name for its clients:
// whatever reaches an upstream went through the gateway.
type site struct {
	*upstreams
	dir        string
	controlURL string
	gatewayURL string
	proxy      string // host:port
	owner      *client.Client
	ownerKey   string
	ownerID    authority.PrincipalID
}

// newSite starts everything, with destinations for some hosts on the internet.
func newSite(t *testing.T, internet ...string) *site {
	t.Helper()
	dir, err := os.MkdirTemp("", "caracal-site-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	s := &site{dir: dir, upstreams: newUpstreams(t, dir)}
	s.startControl(t)
	for _, host := range internet {
		s.reach(t, host)
	}
	s.startGateway(t)
	s.settled(t, append(internet, "web.open.test", "web.closed.test", "pypi.open.test", "mcp.open.test")...)
	return s
}

func (s *site) startControl(t *testing.T) {
	t.Helper()
	for _, name := range []string{"master.key", "setup.key"} {
		secret := make([]byte, 32)
		rand.Read(secret)
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(base64.StdEncoding.EncodeToString(secret)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, database := cluster.New(t)
	listen := freeAddress(t)
	s.controlURL = "http://" + listen
	control := exec.CommandContext(context.WithoutCancel(t.Context()), installed.bin+"/caracal", "controlplane")
	control.Env = append(os.Environ(), "CARACAL_DATABASE_URL="+database, "CARACAL_LISTEN="+listen, "CARACAL_REQUESTS_PER_SECOND=10000",
		"CARACAL_MASTER_KEY_FILE="+filepath.Join(s.dir, "master.key"), "CARACAL_SETUP_KEY_FILE="+filepath.Join(s.dir, "setup.key"))
	if err := start(t, "the control plane", filepath.Join(s.dir, "control.log"), control).await(t.Context(), s.controlURL+"/ready"); err != nil {
		t.Fatal(err)
	}
	s.setUp(t)
}

// setUp makes the workspace and the destinations: each server in both realms.
func (s *site) setUp(t *testing.T) {
	t.Helper()
	setup, err := os.ReadFile(filepath.Join(s.dir, "setup.key"))
	if err != nil {
		t.Fatal(err)
	}
	made, err := s.as(t, string(setup)).CreateWorkspace(t.Context(), client.NewWorkspace{Name: "My team", Slug: slug})
	if err != nil {
		t.Fatal(err)
	}
	s.ownerID, s.ownerKey, s.owner = made.Owner.ID, made.APIKey, s.as(t, made.APIKey)
	every := map[string]authority.Action{"GET": authority.Read, "HEAD": authority.Read, "POST": authority.Execute, "*": authority.Write}
	for server, port := range s.ports {
		for _, realm := range realms {
			d := authority.Destination{
				Name: server + "-" + realm, Host: server + "." + realm + ".test", Ports: []uint16{443}, TLS: authority.TLSRequired, CA: s.ca.PEM(),
				ConnectTo: fmt.Sprintf("127.0.0.1:%d", port), Addresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
				EncodedSlash: authority.EncodedSlashRefuse,
				Rules:        []authority.Rule{{Path: "/**", Methods: every, Resource: "api:" + realm + "/" + server}},
			}
			if realm == "closed" {
				d.Rules = append(d.Rules, authority.Rule{Path: "/not-called", Methods: every, Resource: "api:open/" + server})
			}
			if server == "mutual" {
				d.ClientCertificate = "upstream-client"
			}
			if _, err := s.owner.CreateDestination(t.Context(), d); err != nil {
				t.Fatalf("destination %s: %v", d.Host, err)
			}
		}
	}
}

func (s *site) as(t *testing.T, key string) *client.Client {
	t.Helper()
	c, err := client.New(client.Config{URL: s.controlURL, Key: strings.TrimSpace(key), Workspace: slug})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (s *site) startGateway(t *testing.T) {
	t.Helper()
	key, err := s.owner.CreateKey(t.Context(), client.NewKey{Kind: authority.KeyGateway, Name: "gateway"})
	if err != nil {
		t.Fatal(err)
	}
	listen := freeAddress(t)
	s.gatewayURL, s.proxy = "http://"+listen, freeAddress(t)
	gateway := exec.CommandContext(context.WithoutCancel(t.Context()), installed.bin+"/caracal", "gateway")
	gateway.Env = append(os.Environ(), "ENTERPRISE_API_KEY="+key.APIKey, "ENTERPRISE_WORKSPACE="+slug, "ENTERPRISE_URL="+s.controlURL,
		"ENTERPRISE_SYNC_INTERVAL=1", "CARACAL_STATE_DIR="+filepath.Join(s.dir, "gateway"), "CARACAL_LISTEN="+listen,
		"CARACAL_PROXY_LISTEN="+s.proxy, "CARACAL_CREDENTIALS_DIR="+filepath.Join(s.dir, "credentials"), "CARACAL_ENVOY="+installed.envoy)
	if err := start(t, "the gateway", filepath.Join(s.dir, "gateway.log"), gateway).await(t.Context(), s.gatewayURL+"/ready"); err != nil {
		t.Fatal(err)
	}
}

// settled waits until the gateway's Envoy has the routes to hosts.
func (s *site) settled(t *testing.T, hosts ...string) {
	t.Helper()
	if _, _, err := s.owner.Settle(t.Context(), patience); err != nil {
		t.Fatal(err)
	}
	first := s.newAgent(t, "first")
	for _, host := range hosts {
		var last finished
		if err := until(t.Context(), "there is a route to "+host, func() bool {
			last = first.run(t, "curl -s -o answer -w '%{http_code} ' https://"+host+"/hello; cat answer")
			return last.status == 0 && !strings.HasPrefix(last.output, "503 ")
		}); err != nil {
			t.Fatalf("%v: %+v", err, last)
		}
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// agent is a principal with one mandate: all that is open, and nothing that is closed.
type agent struct {
	*site
	id      authority.PrincipalID
	key     string
	mandate authority.MandateID
}

func (s *site) newAgent(t *testing.T, name string) agent {
	t.Helper()
	registered, err := s.owner.RegisterPrincipal(t.Context(), client.NewPrincipal{Name: name, Type: authority.Agent})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.owner.CreatePolicy(t.Context(), client.NewPolicy{
		PrincipalID: registered.ID, AllowedResources: []string{"api:*"}, AllowedActions: []string{"*"}, MaxValiditySeconds: 3600, DelegationDepth: 1,
	}); err != nil {
		t.Fatal(err)
	}
	through, err := client.New(client.Config{URL: s.gatewayURL, Key: s.ownerKey, Workspace: slug})
	if err != nil {
		t.Fatal(err)
	}
	mandate, err := through.IssueMandate(t.Context(), client.MandateRequest{
		IssuerID: s.ownerID, SubjectID: registered.ID, ResourceScope: []string{"api:open/*"}, ActionScope: []string{"*"}, ValiditySeconds: 1800,
	})
	if err != nil {
		t.Fatal(err)
	}
	return agent{site: s, id: registered.ID, key: registered.APIKey, mandate: mandate.ID}
}
