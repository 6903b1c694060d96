package schemathesis

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/caracal-gateway/caracal/provision"
)

// requirements pins Schemathesis and all that it needs, with their hashes.
//
//go:embed requirements.txt
var requirements []byte

const installTime = 3 * time.Minute

// install gives the path of the Python of an environment that has Schemathesis, in a directory of the cache that is named
// after its requirements. Two processes that make it at once do not mind.
func install(ctx context.Context) (string, error) {
	cache, err := provision.CacheDir(os.Getenv, os.Geteuid())
	if err != nil {
		return "", err
	}
	digest := sha256.Sum256(requirements)
	dir := filepath.Join(cache, "test-schemathesis", hex.EncodeToString(digest[:8]))
	python := filepath.Join(dir, "bin", "python")
	if _, err := os.Stat(python); err == nil {
		return python, nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	fresh, err := os.MkdirTemp(filepath.Dir(dir), ".new-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(fresh) }() // it is gone after the rename
	if err := fill(ctx, fresh); err != nil {
		return "", err
	}
	if err := os.Rename(fresh, dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	return python, nil
}

// fill makes the environment. It goes on working in another place, but for the scripts in it, which nobody uses.
func fill(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, installTime)
	defer cancel()
	pinned := filepath.Join(dir, "requirements.txt")
	if err := os.WriteFile(pinned, requirements, 0o644); err != nil {
		return err
	}
	if err := run(ctx, "python3", "-m", "venv", dir); err != nil {
		return fmt.Errorf("install Python 3.11 or newer with venv: %w", err)
	}
	return run(ctx, filepath.Join(dir, "bin", "python"), "-m", "pip", "install", "--quiet", "--require-hashes", "--only-binary=:all:", "--requirement", pinned)
}

func run(ctx context.Context, command ...string) error {
	if output, err := exec.CommandContext(ctx, command[0], command[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", command[0], err, output)
	}
	return nil
}
