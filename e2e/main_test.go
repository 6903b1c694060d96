package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/provision"
)

// place is where the tests of this process are at home: the built program, and links to what all runs share.
type place struct {
	root string // open to every account, because PostgreSQL may run as another one
	path string // the PATH of everything that the tests start
}

var here place

func TestMain(m *testing.M) {
	status, err := prepare(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		status = 1
	}
	os.Exit(status)
}

// prepare builds the program once, fills the cache of fetched programs, and runs the tests.
func prepare(m *testing.M) (status int, err error) {
	root, err := os.MkdirTemp("", "caracal-e2e-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(root)) }()
	if err := os.Chmod(root, 0o755); err != nil {
		return 0, err
	}
	if root, err = filepath.EvalSymlinks(root); err != nil { // processes are found by the real path
		return 0, err
	}
	python, err := tools()
	if err != nil {
		return 0, err
	}
	here = place{root: root, path: strings.Join([]string{root + "/bin", filepath.Dir(python), os.Getenv("PATH")}, ":")}
	if err := fillCache(root); err != nil {
		return 0, err
	}
	build := exec.Command("go", "build", "-o", root+"/bin/caracal", "../cmd/caracal")
	if out, err := build.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("build caracal: %w\n%s", err, out)
	}
	return m.Run(), nil
}

// tools names every program that is missing, and finds Python itself behind what a version manager may put in front.
func tools() (python string, err error) {
	var missing []error
	for _, name := range []string{"bash", "curl", "jq", "python3"} {
		if _, err := exec.LookPath(name); err != nil {
			missing = append(missing, fmt.Errorf("these tests need %s, which is not on PATH", name))
		}
	}
	if missing != nil {
		return "", errors.Join(missing...)
	}
	out, err := exec.Command("python3", "-c", "import sys; print(sys.executable)").Output()
	if err != nil {
		return "", fmt.Errorf("run python3: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// fillCache fetches what is missing before any test waits for it, and links the cache to where every test looks.
func fillCache(root string) error {
	cache, err := provision.CacheDir(os.Getenv, os.Getuid())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	config := provision.Config{Getenv: os.Getenv, CacheDir: cache, Progress: os.Stderr}
	if _, err := provision.Envoy(ctx, config); err != nil {
		return err
	}
	if _, err := provision.PostgresBinaries(ctx, config); err != nil {
		return err
	}
	if err := os.Mkdir(root+"/cache", 0o755); err != nil {
		return err
	}
	return os.Symlink(cache, root+"/cache/caracal")
}
