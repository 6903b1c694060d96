// Package schemathesis runs the tool of that name in tests: it makes requests of an OpenAPI document, valid and invalid
// ones, and holds the answers to it.
package schemathesis

import (
	_ "embed"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// hooks judge the refusals of valid requests.
//
//go:embed hooks.py
var hooks []byte

// Run tests the operations that a server describes at a URL for a time, as whom a bearer credential stands for, and fails
// the test with what the tool finds. The seed makes a run repeatable; further arguments are the tool's own.
func Run(t testing.TB, url, bearer string, lasting time.Duration, seed uint64, arguments ...string) {
	t.Helper()
	python, err := install(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir() // the tool leaves files where it runs
	if err := os.WriteFile(filepath.Join(dir, "hooks.py"), hooks, 0o644); err != nil {
		t.Fatal(err)
	}
	arguments = append([]string{
		"-m", "schemathesis.cli", "run", url, "--header", "Authorization: Bearer " + bearer,
		"--max-time", strconv.Itoa(int(lasting.Seconds())), "--seed", strconv.FormatUint(seed, 10),
		"--generation-database", "none", "--workers", "1", "--suppress-health-check", "all", "--generation-allow-x00", "false",
		// hooks.py has the place of the one; a wrong credential that was tried too often is refused otherwise than the other
		// expects.
		"--exclude-checks", "positive_data_acceptance,ignored_auth",
	}, arguments...)
	command := exec.CommandContext(t.Context(), python, arguments...)
	command.Dir = dir
	command.Env = append(command.Environ(), "SCHEMATHESIS_HOOKS=hooks")
	output, err := command.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, output)
	}
	t.Logf("%s", output)
}
