package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/controlplane/postgres"
	"github.com/caracal-gateway/caracal/internal/pgtest"
)

var cluster = pgtest.Cluster{Prepare: postgres.Migrate}

const setupKey = "setup-key-of-the-tests-0123456789"

// lines takes what a running server logs.
type lines struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// environment is the variables of one shell.
type environment map[string]string

func (e environment) get(name string) string { return e[name] }

// caracal runs one command line and returns what it printed.
func (e environment) caracal(t *testing.T, stdin string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, errs bytes.Buffer
	err = run(t.Context(), args, e.get, strings.NewReader(stdin), &out, &errs)
	return out.String(), errs.String(), err
}

// must insists that a command succeeds, and reads its JSON.
func (e environment) must(t *testing.T, args ...string) map[string]any {
	t.Helper()
	stdout, stderr, err := e.caracal(t, "", append(args, "-o", "json")...)
	if err != nil {
		t.Fatalf("caracal %s: %v: %s", strings.Join(args, " "), err, stderr)
	}
	var v map[string]any
	if err := json.Unmarshal([]byte(stdout), &v); err != nil {
		t.Fatalf("caracal %s printed %s", strings.Join(args, " "), stdout)
	}
	return v
}

func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// serverEnvironment is what `caracal controlplane` needs, on a port that is free.
func serverEnvironment(t *testing.T) environment {
	t.Helper()
	_, app := cluster.New(t)
	return environment{
		"CARACAL_DATABASE_URL": app, "CARACAL_LISTEN": "127.0.0.1:0",
		"CARACAL_MASTER_KEY_FILE": write(t, "master.key", base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32))+"\n"),
		"CARACAL_SETUP_KEY_FILE":  write(t, "setup.key", setupKey+"\n"),
	}
}

// serve runs `caracal controlplane` until the test ends, and returns its address.
func (e environment) serve(t *testing.T) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	log, ended := &lines{}, make(chan error, 1)
	go func() { ended <- run(ctx, []string{"controlplane"}, e.get, strings.NewReader(""), log, log) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the control plane ended with %v", err)
		}
	})
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		for line := range strings.Lines(log.String()) {
			var entry struct{ Msg, Address string }
			if json.Unmarshal([]byte(line), &entry) == nil && entry.Address != "" {
				return entry.Address
			}
		}
		select {
		case err := <-ended:
			t.Fatalf("the control plane ended at once: %v: %s", err, log)
		case <-time.After(5 * time.Millisecond):
		}
	}
	t.Fatalf("the control plane does not say where it listens: %s", log)
	return ""
}

// member is the shell of a workspace's owner.
func member(t *testing.T, url string) environment {
	t.Helper()
	made := environment{"CARACAL_URL": url, "CARACAL_API_KEY": setupKey}.must(t, "workspace", "create", "my-team", "--name", "My team")
	return environment{"CARACAL_URL": url, "CARACAL_API_KEY": made["api_key"].(string), "CARACAL_WORKSPACE": "my-team", "owner": made["owner"].(map[string]any)["principal_id"].(string)}
}
