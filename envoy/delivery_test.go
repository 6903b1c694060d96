package envoy_test

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	accesslogdatav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/caracal-gateway/caracal/envoy"
)

func TestTheRealBinaryAcceptsEveryConfiguration(t *testing.T) {
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	plain := exampleLocal()
	plain.Roots = authority(t).pem
	secure := plain
	secure.Certificate, secure.PrivateKey = authority(t).issue(t, "gateway.test")
	full := catalog(t, exampleUpstreams(string(authority(t).pem))...)
	for _, name := range envoy.ClientCertificates(full) {
		full.Secrets = append(full.Secrets, envoy.ClientCertificate(name, secure.Certificate, secure.PrivateKey))
	}
	for name, c := range map[string]struct {
		local   envoy.Local
		catalog envoy.Resources
	}{
		"fixed-plain and built-in":         {plain, envoy.BuiltIn()},
		"fixed-plain and an empty catalog": {plain, catalog(t)},
		"fixed-plain and a catalog":        {plain, full},
		"fixed-tls and a catalog":          {secure, full},
	} {
		t.Run(name, func(t *testing.T) {
			b, r := envoy.Bootstrap(c.local), clone(t, envoy.Merge(envoy.Fixed(c.local), c.catalog))
			// Validation fetches nothing (and crashes when a secret is to be fetched), so that what Envoy would fetch is
			// put into the file.
			editAll(r, func(_ string, m protoreflect.Message) {
				switch m := m.Interface().(type) {
				case *hcmv3.HttpConnectionManager:
					i := slices.IndexFunc(r.Routes, func(c *routev3.RouteConfiguration) bool { return c.GetName() == m.GetRds().GetRouteConfigName() })
					m.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: r.Routes[i]}
				case *tlsv3.SdsSecretConfig:
					m.SdsConfig = nil
				}
			})
			b.StaticResources.Listeners = r.Listeners
			b.StaticResources.Clusters = append(b.StaticResources.Clusters, r.Clusters...)
			b.StaticResources.Secrets = r.Secrets
			document, err := envoy.YAML(b)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "envoy.yaml")
			if err := os.WriteFile(file, document, 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command(path, "--mode", "validate", "-c", file, "-l", "warning").CombinedOutput()
			if err != nil {
				t.Errorf("refused: %v", err)
			}
			for line := range strings.Lines(string(out)) {
				if !strings.Contains(line, "marked as work-in-progress") && !strings.HasSuffix(line, "' OK\n") {
					t.Errorf("said: %s", line)
				}
			}
		})
	}
}

func TestAnInvalidConfigurationIsRefusedByTheBinaryToo(t *testing.T) {
	r := startRig(t, setup{resources: withUpstreams(t)})
	broken := withUpstreams(t)(r.local)
	broken.Clusters = append(broken.Clusters, &clusterv3.Cluster{Name: "broken", TransportSocket: &corev3.TransportSocket{Name: "unknown"}})
	r.serve(broken)
	eventually(t, "Envoy refuses", func() bool { return len(r.updates.refused()) > 0 })
	if got := r.updates.refused()[0]; !strings.Contains(got, "broken") {
		t.Errorf("refused because of %q", got)
	}
}

// stream opens a response that stays open, and returns its reader.
func (r *rig) stream() *bufio.Reader {
	r.t.Helper()
	response, err := r.client(false).Get("http://gateway.test/api/proxy")
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = response.Body.Close() })
	reader := bufio.NewReader(response.Body)
	if line, err := reader.ReadString('\n'); line != "start\n" {
		r.t.Fatalf("got %q, %v", line, err)
	}
	return reader
}

func TestANewCatalogTakesEffectWithoutCuttingStreams(t *testing.T) {
	release := make(chan struct{})
	slow := startUpstream(t, "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		fmt.Fprint(w, "start\n")
		_ = http.NewResponseController(w).Flush() // the test fails on what does not arrive
		select {
		case <-release:
		case <-q.Context().Done():
		}
		fmt.Fprint(w, "end\n")
	}))
	added := startUpstream(t, "127.0.0.1:0", nil, "added.test")
	before, after := local("slow.test", slow.port), local("added.test", added.port)
	after.TLS = true // under the public roots: the new cluster needs a secret that Envoy has
	r := startRig(t, setup{resources: withUpstreams(t, before)})
	answer := func(u envoy.Upstream) {
		r.authz.answer(func(*authv3.CheckRequest) *authv3.CheckResponse {
			return permit(u.Route(), map[string]string{":authority": u.Host})
		})
	}
	answer(before)
	open := r.stream()

	r.serve(withUpstreams(t, after)(r.local))
	answer(after)
	eventually(t, "the new route works", func() bool { return r.get("/api/proxy").Status == http.StatusOK })
	answer(before)
	eventually(t, "the old route is gone", func() bool { return r.get("/api/proxy").Status == http.StatusServiceUnavailable })

	close(release)
	if rest, err := io.ReadAll(open); string(rest) != "end\n" {
		t.Errorf("the open stream ended with %q, %v", rest, err)
	}
	if refused := r.updates.refused(); refused != nil {
		t.Errorf("Envoy refused %q", refused)
	}
}

func TestTheGatewayProcessMayRestart(t *testing.T) {
	up := startUpstream(t, "127.0.0.1:0", nil, "first.test", "second.test")
	first, second := local("first.test", up.port), local("second.test", up.port)
	first.TLS, second.TLS = true, true
	r := startRig(t, setup{resources: withUpstreams(t, first)})
	status := func(u envoy.Upstream) int {
		r.authz.answer(func(*authv3.CheckRequest) *authv3.CheckResponse {
			return permit(u.Route(), map[string]string{":authority": u.Host})
		})
		return r.get("/api/proxy").Status
	}
	if got := status(first); got != http.StatusOK {
		t.Fatalf("before: %d", got)
	}
	r.stopDecisions()
	r.stopConfiguration()
	if got := status(first); got != http.StatusServiceUnavailable {
		t.Errorf("while it is away: %d", got)
	}
	r.serveConfiguration(withUpstreams(t, first)(r.local))
	r.serveDecisions()
	eventually(t, "the first upstream is reached again", func() bool { return status(first) == http.StatusOK })
	r.serve(withUpstreams(t, first, second)(r.local))
	eventually(t, "an upstream that was added since is reached", func() bool { return status(second) == http.StatusOK })
	if refused := r.updates.refused(); refused != nil {
		t.Errorf("Envoy refused %q", refused)
	}
}

func TestTheGatewaysCertificateCanBeReplaced(t *testing.T) {
	r := startRig(t, setup{
		local: func(l *envoy.Local) {
			l.Certificate, l.PrivateKey = authority(t).issue(t, "gateway.test", "first.test")
		},
		resources: withUpstreams(t),
	})
	served := func() []string {
		connection, err := tls.Dial("tcp", r.address, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer connection.Close()
		return connection.ConnectionState().PeerCertificates[0].DNSNames
	}
	if got := served(); !slices.Contains(got, "first.test") {
		t.Fatalf("got %q", got)
	}
	r.local.Certificate, r.local.PrivateKey = authority(t).issue(t, "gateway.test", "second.test")
	r.serve(withUpstreams(t)(r.local))
	eventually(t, "the new certificate is served", func() bool { return slices.Contains(served(), "second.test") })
	if got := r.updates.answered(resource.ListenerType); got != 1 {
		t.Errorf("the listener was sent %d times: live streams would have been cut", got)
	}
}

func TestTheAccessLogTellsHowADecisionEnded(t *testing.T) {
	up := startUpstream(t, "127.0.0.1:0", nil)
	target := local("api.test", up.port)
	r := startRig(t, setup{resources: withUpstreams(t, target)})
	send := func(answer *authv3.CheckResponse) *accesslogdatav3.HTTPAccessLogEntry {
		before := len(r.authz.logged())
		r.authz.answer(func(*authv3.CheckRequest) *authv3.CheckResponse { return answer })
		r.get("/api/proxy?secret=a")
		eventually(t, "an entry arrives", func() bool { return len(r.authz.logged()) > before })
		return r.authz.logged()[before]
	}
	for name, c := range map[string]struct {
		answer  *authv3.CheckResponse
		code    uint32
		details string
		route   string
		// What Envoy answers in place of a target.
		unanswered string
	}{
		"forwarded":       {permit(target.Route(), nil), 200, "via_upstream", target.Route(), ""},
		"denied":          {deny(403, denial), 403, "ext_authz_denied", "refused", "decision_unavailable"},
		"not reached":     {permit(envoy.RoutePublicTLS, map[string]string{":authority": "127.0.0.1"}), 403, "dns_resolution_failure{address_denied}", envoy.RoutePublicTLS, "target_not_allowed"},
		"without a route": {permit("unknown", nil), 503, "direct_response", "refused", "route_not_ready"},
	} {
		t.Run(name, func(t *testing.T) {
			e := send(c.answer)
			id := e.GetCommonProperties().GetMetadata().GetFilterMetadata()[envoy.MetadataNamespace].GetFields()[envoy.MetadataDecisionID].GetStringValue()
			if id != decisionID {
				t.Errorf("decision id %q", id)
			}
			if got := e.GetResponse().GetResponseCode().GetValue(); got != c.code {
				t.Errorf("code %d, want %d", got, c.code)
			}
			if got := e.GetResponse().GetResponseCodeDetails(); got != c.details {
				t.Errorf("details %q, want %q", got, c.details)
			}
			if got, _, _ := envoy.Unanswered(e.GetResponse().GetResponseCodeDetails()); c.unanswered != got {
				t.Errorf("unanswered for %q, want %q", got, c.unanswered)
			}
			if got := e.GetCommonProperties().GetRouteName(); got != c.route {
				t.Errorf("route %q, want %q", got, c.route)
			}
		})
	}
}

func TestEntriesOfTheAccessLogWaitForTheGatewayProcess(t *testing.T) {
	r := startRig(t, setup{})
	r.authz.answer(func(*authv3.CheckRequest) *authv3.CheckResponse { return deny(403, denial) })
	r.get("/a")
	eventually(t, "the log works", func() bool { return len(r.authz.logged()) == 1 })
	r.stopDecisions()
	for range 3 {
		r.get("/b")
	}
	eventually(t, "Envoy sends them while nobody listens", func() bool {
		stats, err := r.admin(http.MethodGet, "/stats?filter=grpc_entries_flushed")
		return err == nil && strings.HasSuffix(stats, ": 4\n")
	})
	r.serveDecisions()
	eventually(t, "the entries of the meantime arrive", func() bool { return len(r.authz.logged()) == 4 })
}

func TestTheAdminSocketIsForItsOwnUserOnly(t *testing.T) {
	r := startRig(t, setup{})
	info, err := os.Stat(r.local.AdminSocket)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o600 {
		t.Errorf("mode %o", got)
	}
}

func TestPrivateKeysAreNotInTheConfigurationDump(t *testing.T) {
	r := startRig(t, setup{
		local:     func(l *envoy.Local) { l.Certificate, l.PrivateKey = authority(t).issue(t, "gateway.test") },
		resources: withUpstreams(t),
	})
	dump, err := r.admin(http.MethodGet, "/config_dump")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(dump, envoy.SecretListener) {
		t.Fatal("the dump does not name the secret at all")
	}
	lines := strings.Split(string(r.local.PrivateKey), "\n")
	if strings.Contains(dump, lines[1]) || strings.Contains(dump, base64.StdEncoding.EncodeToString(r.local.PrivateKey)) {
		t.Error("the dump shows the private key")
	}
}
