package browser

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/caracal-gateway/caracal/provision"
)

//go:embed chromium/package.json chromium/package-lock.json chromium/.npmrc chromium/path.mjs
var chromium embed.FS

const installTime = 3 * time.Minute

// executable is a Chromium of the machine, or else one that npm installs into the cache.
func executable(ctx context.Context) (string, error) {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	cache, err := provision.CacheDir(os.Getenv, os.Geteuid())
	if err != nil {
		return "", err
	}
	lock, err := chromium.ReadFile("chromium/package-lock.json")
	if err != nil {
		return "", err
	}
	digest := sha256.Sum256(lock)
	dir := filepath.Join(cache, "test-chromium", hex.EncodeToString(digest[:8]))
	if path, err := os.ReadFile(filepath.Join(dir, "path")); err == nil {
		return filepath.Join(dir, string(path)), nil
	}
	return install(ctx, dir)
}

// install fills a directory beside the one that it becomes; two processes that do so at once do not mind.
func install(ctx context.Context, dir string) (string, error) {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	fresh, err := os.MkdirTemp(filepath.Dir(dir), ".new-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(fresh) }() // it is gone after the rename
	if err := os.CopyFS(fresh, chromium); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, installTime)
	defer cancel()
	packages := filepath.Join(fresh, "chromium")
	if _, err := run(ctx, packages, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1"); err != nil {
		return "", fmt.Errorf("installing a browser (`apt-get install chromium` does, too): %w", err)
	}
	// The browser is unpacked under the name that the packages' own directory has.
	unpacked := filepath.Join(fresh, "unpacked")
	if err := os.Mkdir(unpacked, 0o755); err != nil {
		return "", err
	}
	printed, err := run(ctx, packages, "env", "TMPDIR="+unpacked, "node", "path.mjs")
	if err != nil {
		return "", fmt.Errorf("unpacking the browser: %w", err)
	}
	path, err := filepath.Rel(fresh, strings.TrimSpace(printed))
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(fresh, "path"), []byte(path), 0o644); err != nil {
		return "", err
	}
	if err := os.Rename(fresh, dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	return filepath.Join(dir, path), nil
}

func run(ctx context.Context, dir, name string, args ...string) (string, error) {
	command := exec.CommandContext(ctx, name, args...)
	command.Dir = dir
	var told strings.Builder
	command.Stderr = &told
	printed, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s%s", name, err, told.String(), printed)
	}
	return string(printed), nil
}
