package clients_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// finished is what became of a client that ran to its end.
type finished struct {
	status int
	output string // both streams, as a person sees them
}

// command is `caracal run` with a shell command in a directory of its own, which sees nothing of this process's environment
// but the PATH.
func (a agent) command(ctx context.Context, t *testing.T, script string) *exec.Cmd {
	t.Helper()
	home := t.TempDir()
	c := exec.CommandContext(ctx, installed.bin+"/caracal", "run", "--quiet", "--mandate", string(a.mandate), "--gateway", a.gatewayURL, "--proxy", "http://"+a.proxy,
		"--", "bash", "-c", "set -eu -o pipefail\n"+script)
	c.Dir = home
	c.Env = []string{
		"PATH=" + installed.bin + ":" + installed.python + ":" + os.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + home, "LC_ALL=C.UTF-8",
		"CARACAL_URL=" + a.controlURL, "CARACAL_API_KEY=" + a.key, "CARACAL_WORKSPACE=" + slug,
		// Where the tests' own files are; and no client asks at a terminal.
		"CLIENTS=" + testdata(), "MODULES=" + installed.modules, "NEWER_NODE=" + installed.newer, "PYTHONDONTWRITEBYTECODE=1", "GIT_TERMINAL_PROMPT=0", "PIP_DISABLE_PIP_VERSION_CHECK=1",
	}
	// Where rustup keeps the cargo that it stands before.
	if home, err := os.UserHomeDir(); err == nil {
		c.Env = append(c.Env, "RUSTUP_HOME="+filepath.Join(home, ".rustup"))
	}
	return c
}

// run runs a shell command to its end.
func (a agent) run(t *testing.T, script string) finished {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := a.command(ctx, t, script).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", script, err)
	}
	f := finished{output: string(out)}
	if exit != nil {
		f.status = exit.ExitCode()
	}
	return f
}

func testdata() string {
	path, err := filepath.Abs("testdata")
	if err != nil {
		return "testdata" // there is no working directory, which everything else tells
	}
	return path
}

// in puts a realm's name into a command.
func in(realm, script string) string { return strings.ReplaceAll(script, "REALM", realm) }
