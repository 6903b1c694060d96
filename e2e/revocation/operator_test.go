package revocation_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/client"
	"github.com/caracal-gateway/caracal/provision"
)

// operator is a person at the host of the control plane, with its settings and the owner's key.
type operator struct {
	*site
	binary string
}

// caracal runs a command to its end, with nobody to be asked, and answers what it printed.
func (o operator) caracal(t *testing.T, arguments ...string) (printed string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	command := exec.CommandContext(ctx, o.binary, arguments...)
	command.Env = []string{
		"HOME=" + o.dir, "CARACAL_DATABASE_URL=" + o.appURL, "CARACAL_MIGRATE_DATABASE_URL=" + o.ownerURL,
		"CARACAL_MASTER_KEY_FILE=" + filepath.Join(o.dir, "master.key"),
		"CARACAL_URL=http://" + o.balancer.address, "CARACAL_API_KEY=" + o.ownerKey, "CARACAL_WORKSPACE=" + slug,
	}
	var out bytes.Buffer
	command.Stdout, command.Stderr = &out, &out
	err = command.Run()
	t.Logf("caracal %s: %v\n%s", strings.Join(arguments, " "), err, out.String())
	return out.String(), err
}

// prints runs a command that has to succeed, and to print lines that match the patterns in their order.
func (o operator) prints(t *testing.T, arguments []string, patterns ...string) {
	t.Helper()
	printed, err := o.caracal(t, arguments...)
	if err != nil {
		t.Fatalf("caracal %s: %v", strings.Join(arguments, " "), err)
	}
	holds(t, printed, patterns...)
}

// fails runs a command that has to fail, and to print lines that match the patterns in their order.
func (o operator) fails(t *testing.T, arguments []string, patterns ...string) {
	t.Helper()
	printed, err := o.caracal(t, arguments...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		t.Fatalf("caracal %s: %v, want a failure", strings.Join(arguments, " "), err)
	}
	holds(t, printed, patterns...)
}

// holds checks that lines of a text match the patterns, one after the other.
func holds(t *testing.T, text string, patterns ...string) {
	t.Helper()
	if !regexp.MustCompile(`(?s)` + strings.Join(patterns, `.*`)).MatchString(text) {
		t.Fatalf("printed\n%s\nwant\n%s", text, strings.Join(patterns, "\n"))
	}
}

// backUp copies the data directory of the server, which is stopped for that.
func (s *site) backUp(ctx context.Context) error {
	return s.withoutServer(ctx, func() error { return duplicate(ctx, s.database.Dir, s.backup()) })
}

// restore puts the data directory back to what it was when it was copied.
func (s *site) restore(ctx context.Context) error {
	return s.withoutServer(ctx, func() error {
		if err := os.RemoveAll(s.database.Dir); err != nil {
			return err
		}
		return duplicate(ctx, s.backup(), s.database.Dir)
	})
}

func (s *site) backup() string { return filepath.Join(s.dir, "backup") }

// withoutServer does something while the database server is stopped, and starts it again at its port.
func (s *site) withoutServer(ctx context.Context, do func() error) error {
	if err := s.postgres.Stop(ctx); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	var err error
	s.postgres, err = provision.StartPostgres(ctx, s.database)
	return err
}

// duplicate copies a directory with the owners of all that is in it: the server runs under an account of its own.
func duplicate(ctx context.Context, from, to string) error {
	if out, err := exec.CommandContext(ctx, "cp", "-a", from, to).CombinedOutput(); err != nil {
		return fmt.Errorf("copy %s: %w\n%s", from, err, out)
	}
	return nil
}

// awaitServing waits until a control plane serves.
func (s *site) awaitServing(t *testing.T, replica int) {
	t.Helper()
	if err := s.controls[replica].await(t.Context(), s.urls[replica]+"/ready"); err != nil {
		t.Fatal(err)
	}
}

// awaitRefusing waits until a control plane says that it does not serve, since its database is behind.
func (s *site) awaitRefusing(t *testing.T, replica int) {
	t.Helper()
	last := ""
	err := until(t.Context(), "the control plane refuses to serve", func() bool {
		status, body, err := fetch(t.Context(), s.urls[replica]+"/ready", "")
		last = fmt.Sprint(status, body, err)
		return err == nil && status == http.StatusServiceUnavailable && codeOf(body) == authority.CodeRestored
	})
	if err != nil {
		t.Fatalf("control plane %d: %v: %s", replica, err, last)
	}
}

// health is what a control plane says of itself.
func (s *site) health(t *testing.T, replica int) client.Health {
	t.Helper()
	var h client.Health
	_, body, err := fetch(t.Context(), s.urls[replica]+"/health", "")
	if err == nil {
		err = json.Unmarshal([]byte(body), &h)
	}
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// refuse checks that the control planes serve nobody, neither who looks nor who changes something, and say why.
func (s *site) refuse(t *testing.T) {
	t.Helper()
	for replica, url := range s.urls {
		for _, path := range []string{"/api/v1/mandates", "/api/v1/workspaces", "/api/v1/session"} {
			status, body, err := fetch(t.Context(), url+path, s.ownerKey)
			if err != nil || status != http.StatusServiceUnavailable || codeOf(body) != authority.CodeRestored {
				t.Errorf("control plane %d answers %s: %d %s %v", replica, path, status, body, err)
			}
		}
		if h := s.health(t, replica); h.Status != "degraded" || h.Database != "restored" || h.Restored == nil || h.Restored.Since == nil {
			t.Errorf("control plane %d says that it is %+v", replica, h)
		}
	}
	var refusal *client.Error
	if _, err := s.issue(t.Context()); !errors.As(err, &refusal) || refusal.Code != string(authority.CodeRestored) {
		t.Errorf("a mandate is issued: %v", err)
	}
}

func fetch(ctx context.Context, url, key string) (status int, body string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	if key != "" {
		request.Header.Set("Authorization", "Bearer "+key)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	return response.StatusCode, string(text), err
}

func codeOf(body string) authority.Code {
	var problem struct {
		Code authority.Code `json:"code"`
	}
	if json.Unmarshal([]byte(body), &problem) != nil {
		return ""
	}
	return problem.Code
}
