package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/client"
	"github.com/caracal-gateway/caracal/provision"
)

const slug = "bench"

// site is a control plane on a private PostgreSQL, with a workspace of one agent.
type site struct {
	dir      string
	postgres *provision.Postgres
	control  *exec.Cmd
	url      string

	owner      *client.Client
	ownerID    authority.PrincipalID
	agentID    authority.PrincipalID
	agentKey   string
	gatewayKey string
}

// openSite starts everything. What was started is stopped again when a later part fails.
func openSite(ctx context.Context, caracal string) (_ *site, err error) {
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return nil, err
	}
	s := &site{dir: dir}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if err := os.Chmod(dir, 0o755); err != nil { // PostgreSQL may run as another account
		return nil, err
	}
	for _, step := range []func(context.Context, string) error{s.startDatabase, s.startControl, s.setUp} {
		if err := step(ctx, caracal); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// close ends what runs and removes what it kept.
func (s *site) close() {
	if s.control != nil && s.control.Process != nil {
		_ = s.control.Process.Signal(syscall.SIGTERM)
		_ = s.control.Wait()
	}
	if s.postgres != nil {
		_ = s.postgres.Stop(context.Background())
	}
	_ = os.RemoveAll(s.dir)
}

func (s *site) startDatabase(ctx context.Context, _ string) error {
	cache, err := provision.CacheDir(os.Getenv, os.Getuid())
	if err != nil {
		return err
	}
	binaries, err := provision.PostgresBinaries(ctx, provision.Config{Getenv: os.Getenv, CacheDir: cache, Progress: os.Stderr})
	if err != nil {
		return err
	}
	s.postgres, err = provision.StartPostgres(ctx, provision.PostgresConfig{
		Binaries: binaries, Dir: filepath.Join(s.dir, "postgres"), Durable: true, Log: slog.New(slog.DiscardHandler),
	})
	return err
}

func (s *site) role(ctx context.Context, role string) (string, error) {
	password := rand.Text()
	if err := provision.EnsureRole(ctx, s.postgres.URL("postgres"), role, password); err != nil {
		return "", err
	}
	return provision.RoleURL(s.postgres.URL("postgres"), role, password, "caracal")
}

func (s *site) startControl(ctx context.Context, caracal string) error {
	owner, err := s.role(ctx, "caracal_owner")
	if err != nil {
		return err
	}
	app, err := s.role(ctx, "caracal_app")
	if err != nil {
		return err
	}
	if err := provision.EnsureDatabase(ctx, s.postgres.URL("postgres"), "caracal", "caracal_owner"); err != nil {
		return err
	}
	migrate := exec.CommandContext(ctx, caracal, "migrate")
	migrate.Env = append(os.Environ(), "CARACAL_MIGRATE_DATABASE_URL="+owner)
	if out, err := migrate.CombinedOutput(); err != nil {
		return fmt.Errorf("migrate: %w\n%s", err, out)
	}
	for _, name := range []string{"master.key", "setup.key"} {
		secret := make([]byte, 32)
		rand.Read(secret)
		if err := os.WriteFile(s.file(name), []byte(base64.StdEncoding.EncodeToString(secret)), 0o600); err != nil {
			return err
		}
	}
	address, err := freeAddress(ctx)
	if err != nil {
		return err
	}
	s.url = "http://" + address
	s.control = exec.CommandContext(context.WithoutCancel(ctx), caracal, "controlplane") // it is stopped in order
	s.control.Env = append(os.Environ(), "CARACAL_DATABASE_URL="+app, "CARACAL_LISTEN="+address, "CARACAL_REQUESTS_PER_SECOND=10000",
		"CARACAL_MASTER_KEY_FILE="+s.file("master.key"), "CARACAL_SETUP_KEY_FILE="+s.file("setup.key"))
	return s.runControl(ctx)
}

// runControl starts the control plane as it was described, and waits until it is ready.
func (s *site) runControl(ctx context.Context) error {
	log, err := os.OpenFile(s.file("control.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	next := exec.CommandContext(context.WithoutCancel(ctx), s.control.Path, s.control.Args[1:]...)
	next.Env, next.Stdout, next.Stderr = s.control.Env, log, log
	next.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	s.control = next
	if err := next.Start(); err != nil {
		return fmt.Errorf("start the control plane: %w", err)
	}
	return s.await(ctx)
}

func freeAddress(ctx context.Context) (string, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

// explain adds the end of the control plane's log to what went wrong, and of a gateway's if there is one.
func (s *site) explain(err error) error {
	const most = 3000
	for _, name := range []string{"control.log", "gateway.log"} {
		text, _ := os.ReadFile(s.file(name)) // for the message only
		err = fmt.Errorf("%w; the end of %s:\n%s", err, name, text[max(0, len(text)-most):])
	}
	return err
}

func (s *site) file(name string) string { return filepath.Join(s.dir, name) }

func (s *site) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if s.ready(ctx) {
			return nil
		}
		select {
		case <-ctx.Done():
			text, _ := os.ReadFile(s.file("control.log")) // for the message only
			return fmt.Errorf("the control plane does not get ready: %s", text)
		case <-tick.C:
		}
	}
}

func (s *site) ready(ctx context.Context) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/ready", nil)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return err == nil && response.StatusCode == http.StatusOK
}

func (s *site) setUp(ctx context.Context, _ string) error {
	setup, err := os.ReadFile(s.file("setup.key"))
	if err != nil {
		return err
	}
	first, err := client.New(client.Config{URL: s.url, Key: strings.TrimSpace(string(setup))})
	if err != nil {
		return err
	}
	made, err := first.CreateWorkspace(ctx, client.NewWorkspace{Name: "Bench", Slug: slug})
	if err != nil {
		return err
	}
	s.ownerID = made.Owner.ID
	if s.owner, err = client.New(client.Config{URL: s.url, Key: made.APIKey, Workspace: slug}); err != nil {
		return err
	}
	agent, err := s.owner.RegisterPrincipal(ctx, client.NewPrincipal{Name: "agent", Type: authority.Agent})
	if err != nil {
		return err
	}
	s.agentID, s.agentKey = agent.ID, agent.APIKey
	if _, err := s.owner.CreatePolicy(ctx, client.NewPolicy{
		PrincipalID: agent.ID, AllowedResources: []string{"api:*"}, AllowedActions: []string{"*"}, MaxValiditySeconds: 86400, DelegationDepth: 2,
	}); err != nil {
		return err
	}
	key, err := s.owner.CreateKey(ctx, client.NewKey{Kind: authority.KeyGateway, Name: "gateways"})
	s.gatewayKey = key.APIKey
	return err
}

func (s *site) issue(ctx context.Context) (authority.Mandate, error) {
	return s.owner.IssueMandate(ctx, client.MandateRequest{
		IssuerID: s.ownerID, SubjectID: s.agentID, ResourceScope: []string{"api:tools/search"}, ActionScope: []string{"read"}, ValiditySeconds: 3600,
	})
}
