package clients_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/controlplane/postgres"
	"github.com/caracal-gateway/caracal/internal/pgtest"
	"github.com/caracal-gateway/caracal/provision"
)

var cluster = pgtest.Cluster{Prepare: postgres.Migrate}

// programs are what the tests start: ours, built from this tree, and what is installed for them.
type programs struct {
	bin     string // a directory with caracal and gofetch in it
	envoy   string
	python  string // bin directory of the environment that has the Python clients and servers
	modules string // directory whose node_modules has undici
	newer   string // directory with a Node.js that heeds NODE_USE_ENV_PROXY; empty where nothing asks for it
}

var installed programs

func TestMain(m *testing.M) {
	status, err := prepare(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e/clients:", err)
		status = 1
	}
	os.Exit(status)
}

// prepare builds, fetches and installs what all tests of this process share, and runs them.
func prepare(m *testing.M) (status int, err error) {
	dir, err := os.MkdirTemp("", "caracal-clients-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	cache, err := provision.CacheDir(os.Getenv, os.Geteuid())
	if err != nil {
		return 0, err
	}
	if err := present("bash", "curl", "git", "node", "npm", "python3"); err != nil {
		return 0, err
	}
	if installed, err = install(ctx, dir, cache); err != nil {
		return 0, err
	}
	return m.Run(), nil
}

// deep says that also what takes long is tried, and clients that a machine need not have.
func deep() bool { return os.Getenv("CARACAL_DEEP") != "" }

// present names every program that is missing.
func present(names ...string) error {
	var missing []error
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			missing = append(missing, fmt.Errorf("these tests need %s, which is not on PATH", name))
		}
	}
	return errors.Join(missing...)
}

func install(ctx context.Context, dir, cache string) (p programs, err error) {
	p.bin = dir
	for name, source := range map[string]string{"caracal": "../../cmd/caracal", "gofetch": "./testdata/go"} {
		if err := command(ctx, ".", "go", "build", "-o", filepath.Join(dir, name), source); err != nil {
			return p, err
		}
	}
	config := provision.Config{Getenv: os.Getenv, CacheDir: cache, Progress: os.Stderr}
	if p.envoy, err = provision.Envoy(ctx, config); err != nil {
		return p, err
	}
	environment, err := keep(cache, "python", func(fresh string) error { return fillPython(ctx, fresh) }, "testdata/python/requirements.txt")
	if err != nil {
		return p, err
	}
	p.python = filepath.Join(environment, "bin")
	p.modules, err = keep(cache, "node", func(fresh string) error { return fillNode(ctx, fresh) }, nodeFiles...)
	if err != nil || !deep() {
		return p, err
	}
	if err := present("cargo", "java", "mvn", "wget"); err != nil {
		return p, err
	}
	const pins = "testdata/python/node-requirements.txt"
	p.newer, err = keep(cache, "newer-node", func(fresh string) error {
		return command(ctx, ".", p.python+"/python", "-m", "pip", "install", "--quiet", "--require-hashes", "--only-binary=:all:", "--target", fresh, "--requirement", pins)
	}, pins)
	return p, err
}

// keep gives the directory of the cache that is named after a digest of the files that it is made of, and makes it where it
// is missing. Two processes that do so at once do not mind.
func keep(cache, name string, fill func(fresh string) error, files ...string) (string, error) {
	sum := sha256.New()
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(sum, "%s %d\n%s", file, len(text), text)
	}
	dir := filepath.Join(cache, "test-clients-"+name, hex.EncodeToString(sum.Sum(nil)[:8]))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	fresh, err := os.MkdirTemp(filepath.Dir(dir), ".new-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(fresh) }() // it is gone after the rename
	if err := fill(fresh); err != nil {
		return "", err
	}
	if err := os.Rename(fresh, dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	return dir, nil
}

// fillPython makes an environment of what requirements.txt pins. It goes on working in another place, but for the scripts in
// it, which nobody uses: everything is started as a module of its Python.
func fillPython(ctx context.Context, dir string) error {
	if err := command(ctx, ".", "python3", "-m", "venv", dir); err != nil {
		return fmt.Errorf("install Python 3.11 or newer with venv: %w", err)
	}
	return command(ctx, ".", filepath.Join(dir, "bin", "python"), "-m", "pip", "install", "--quiet", "--require-hashes", "--only-binary=:all:",
		"--requirement", "testdata/python/requirements.txt")
}

var nodeFiles = []string{"testdata/node/.npmrc", "testdata/node/package.json", "testdata/node/package-lock.json", "testdata/node/fetch.mjs"}

func fillNode(ctx context.Context, dir string) error {
	for _, file := range nodeFiles {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(file)), text, 0o644); err != nil {
			return err
		}
	}
	return command(ctx, dir, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1")
}

func command(ctx context.Context, dir string, arguments ...string) error {
	c := exec.CommandContext(ctx, arguments[0], arguments[1:]...)
	c.Dir = dir
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(arguments, " "), err, out)
	}
	return nil
}
