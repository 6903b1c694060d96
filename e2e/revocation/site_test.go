package revocation_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/client"
	"github.com/caracal-gateway/caracal/internal/redistest"
	"github.com/caracal-gateway/caracal/provision"
)

const (
	gateways = 3
	replicas = 2
	slug     = "my-team"
)

// site is a deployment: two control planes on one database and one Redis behind a load balancer, three gateways, and an
// upstream, each connected by a line of its own.
type site struct {
	dir      string
	postgres *provision.Postgres
	database provision.PostgresConfig
	redis    *redistest.Server
	ownerURL string // of the database, for migrations
	appURL   string // of the database, past all lines

	balancer *balancer
	controls [replicas]*program
	toData   [replicas]*line // control plane → database
	urls     [replicas]string

	gateways  [gateways]*program
	toControl [gateways]*line // gateway → load balancer
	addresses [gateways]string

	*upstreams

	owner      *client.Client // through the load balancer, as an operator is
	ownerKey   string
	ownerID    authority.PrincipalID
	agentID    authority.PrincipalID
	agentToken string
}

// newSite starts everything and waits until all gateways are ready.
func newSite(t *testing.T, binary string) *site {
	t.Helper()
	s := &site{dir: openDirectory(t)}
	for _, step := range []struct {
		what string
		run  func(*testing.T, string) error
	}{
		{"start PostgreSQL", s.startDatabase},
		{"start the control planes", s.startControls},
		{"set up the workspace", s.setUp},
		{"start the gateways", s.startGateways},
	} {
		if err := step.run(t, binary); err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
	}
	return s
}

// openDirectory makes a directory that PostgreSQL's account can reach.
func openDirectory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "caracal-revocation-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func provisioning() (provision.Config, error) {
	cache, err := provision.CacheDir(os.Getenv, os.Getuid())
	return provision.Config{Getenv: os.Getenv, CacheDir: cache, Progress: os.Stderr}, err
}

func (s *site) startDatabase(t *testing.T, _ string) error {
	config, err := provisioning()
	if err != nil {
		return err
	}
	binaries, err := provision.PostgresBinaries(t.Context(), config)
	if err != nil {
		return err
	}
	s.database = provision.PostgresConfig{Binaries: binaries, Dir: filepath.Join(s.dir, "postgres"), Durable: true, Log: slog.New(slog.DiscardHandler)}
	if s.postgres, err = provision.StartPostgres(t.Context(), s.database); err != nil {
		return err
	}
	s.database.Port = s.postgres.Port()
	s.redis = redistest.New(t)
	t.Cleanup(func() { _ = s.postgres.Stop(context.Background()) })
	return nil
}

// restartDatabase ends PostgreSQL in order, which breaks every connection, and starts it again at its port.
func (s *site) restartDatabase(ctx context.Context) error {
	if err := s.postgres.Stop(ctx); err != nil {
		return err
	}
	var err error
	s.postgres, err = provision.StartPostgres(ctx, s.database)
	return err
}

// role makes one of the two roles and answers its URL.
func (s *site) role(ctx context.Context, role string) (string, error) {
	admin, password := s.postgres.URL("postgres"), rand.Text()
	if err := provision.EnsureRole(ctx, admin, role, password); err != nil {
		return "", err
	}
	return provision.RoleURL(admin, role, password, "caracal")
}

func (s *site) startControls(t *testing.T, binary string) error {
	var err error
	if s.ownerURL, err = s.role(t.Context(), "caracal_owner"); err != nil {
		return err
	}
	if s.appURL, err = s.role(t.Context(), "caracal_app"); err != nil {
		return err
	}
	if err := provision.EnsureDatabase(t.Context(), s.postgres.URL("postgres"), "caracal", "caracal_owner"); err != nil {
		return err
	}
	migrate := exec.CommandContext(t.Context(), binary, "migrate")
	migrate.Env = append(os.Environ(), "CARACAL_MIGRATE_DATABASE_URL="+s.ownerURL)
	if out, err := migrate.CombinedOutput(); err != nil {
		return fmt.Errorf("migrate: %w\n%s", err, out)
	}
	for _, name := range []string{"master.key", "setup.key"} {
		secret := make([]byte, 32)
		rand.Read(secret)
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(base64.StdEncoding.EncodeToString(secret)), 0o600); err != nil {
			return err
		}
	}
	port := strconv.Itoa(s.postgres.Port())
	for i := range s.controls {
		s.toData[i] = newLine(t, fmt.Sprintf("database-%d", i), "127.0.0.1:"+port)
		listen, err := freeAddress(t.Context())
		if err != nil {
			return err
		}
		s.urls[i] = "http://" + listen
		s.controls[i] = &program{
			name: fmt.Sprintf("control plane %d", i), path: binary, arguments: []string{"controlplane"}, log: filepath.Join(s.dir, fmt.Sprintf("control-%d.log", i)),
			environment: append(os.Environ(),
				"CARACAL_DATABASE_URL="+strings.Replace(s.appURL, ":"+port, ":"+portOf(s.toData[i].Listen), 1),
				"CARACAL_LISTEN="+listen, "CARACAL_REDIS_URL="+s.redis.URL(), "CARACAL_REQUESTS_PER_SECOND=10000",
				"CARACAL_MASTER_KEY_FILE="+filepath.Join(s.dir, "master.key"), "CARACAL_SETUP_KEY_FILE="+filepath.Join(s.dir, "setup.key")),
		}
		if err := s.controls[i].start(); err != nil {
			return err
		}
		s.controls[i].cleanUp(t)
		if err := s.controls[i].await(t.Context(), s.urls[i]+"/ready"); err != nil {
			return err
		}
	}
	return nil
}

func freeAddress(ctx context.Context) (string, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

// setUp makes a workspace with the shortest lease, an agent, and a destination that is the upstream.
func (s *site) setUp(t *testing.T, _ string) error {
	s.upstreams = newUpstreams(t)
	ctx := t.Context()
	var err error
	if s.balancer, err = newBalancer(t, s.urls[:]); err != nil {
		return err
	}
	setup, err := os.ReadFile(filepath.Join(s.dir, "setup.key"))
	if err != nil {
		return err
	}
	first, err := client.New(client.Config{URL: s.urls[0], Key: string(setup)})
	if err != nil {
		return err
	}
	made, err := first.CreateWorkspace(ctx, client.NewWorkspace{Name: "My team", Slug: slug})
	if err != nil {
		return err
	}
	s.ownerID, s.ownerKey = made.Owner.ID, made.APIKey
	if s.owner, err = client.New(client.Config{URL: "http://" + s.balancer.address, Key: made.APIKey, Workspace: slug}); err != nil {
		return err
	}
	if err := s.owner.Do(ctx, client.Request{Method: "PATCH", Path: "/api/v1/workspaces/" + slug, In: map[string]any{
		"settings": map[string]any{"lease_seconds": leaseSeconds},
	}}); err != nil {
		return err
	}
	return s.populate(ctx)
}

const leaseSeconds = 5

func (s *site) populate(ctx context.Context) error {
	agent, err := s.owner.RegisterPrincipal(ctx, client.NewPrincipal{Name: "agent", Type: authority.Agent})
	if err != nil {
		return err
	}
	s.agentID = agent.ID
	if _, err := s.owner.CreatePolicy(ctx, client.NewPolicy{
		PrincipalID: agent.ID, AllowedResources: []string{"api:upstream"}, AllowedActions: []string{"*"}, MaxValiditySeconds: 86400, DelegationDepth: 2,
	}); err != nil {
		return err
	}
	as, err := client.New(client.Config{URL: "http://" + s.balancer.address, Key: agent.APIKey, Workspace: slug})
	if err != nil {
		return err
	}
	token, err := as.Token(ctx)
	if err != nil {
		return err
	}
	s.agentToken = token.AccessToken
	for _, d := range s.destinations() {
		if _, err := s.owner.CreateDestination(ctx, d); err != nil {
			return err
		}
	}
	key, err := s.owner.CreateKey(ctx, client.NewKey{Kind: authority.KeyGateway, Name: "gateways"})
	if err != nil {
		return err
	}
	return s.describeGateways(key.APIKey)
}

func (s *site) describeGateways(key string) error {
	for i := range s.gateways {
		state := filepath.Join(s.dir, fmt.Sprintf("gateway-%d", i))
		s.gateways[i] = &program{
			name: fmt.Sprintf("gateway %d", i), log: state + ".log", arguments: []string{"gateway"},
			environment: append(os.Environ(), "ENTERPRISE_API_KEY="+key, "ENTERPRISE_WORKSPACE="+slug, "ENTERPRISE_SYNC_INTERVAL=1",
				"CARACAL_STATE_DIR="+state, "CARACAL_INSTANCE="+fmt.Sprintf("gateway-%d", i)),
		}
		s.addresses[i] = s.balancer.address // until its line is there
	}
	return nil
}

func (s *site) startGateways(t *testing.T, binary string) error {
	config, err := provisioning()
	if err != nil {
		return err
	}
	envoy, err := provision.Envoy(t.Context(), config)
	if err != nil {
		return err
	}
	for i, g := range s.gateways {
		s.toControl[i] = newLine(t, fmt.Sprintf("control-%d", i), s.addresses[i])
		if s.addresses[i], err = freeAddress(t.Context()); err != nil {
			return err
		}
		g.path = binary
		g.environment = append(g.environment, "ENTERPRISE_URL=http://"+s.toControl[i].Listen, "CARACAL_LISTEN="+s.addresses[i], "CARACAL_PROXY_LISTEN=off", "CARACAL_ENVOY="+envoy)
		if err := g.start(); err != nil {
			return err
		}
		g.cleanUp(t)
	}
	var failed error
	for i, g := range s.gateways {
		failed = errors.Join(failed, g.await(t.Context(), "http://"+s.addresses[i]+"/ready"))
	}
	return failed
}

// issue makes a mandate that lasts longer than any test.
func (s *site) issue(ctx context.Context) (authority.Mandate, error) {
	return s.owner.IssueMandate(ctx, client.MandateRequest{
		IssuerID: s.ownerID, SubjectID: s.agentID, ResourceScope: []string{"api:upstream"}, ActionScope: []string{"read", "write"}, ValiditySeconds: 3600,
	})
}
