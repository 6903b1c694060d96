package openid

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
	"time"

	"github.com/caracal-gateway/caracal/provision"
)

//go:embed provider/package.json provider/package-lock.json provider/.npmrc provider/provider.mjs
var program embed.FS

const installTime = 2 * time.Minute

// install gives the path of Node.js and of the program beside its packages. They are installed into a directory of the
// cache that is named after a digest of the program and its lockfile; two processes that do so at once do not mind.
func install(ctx context.Context) (node, main string, err error) {
	node, err = exec.LookPath("node")
	if err != nil {
		return "", "", fmt.Errorf("install Node.js 20 or newer: %w", err)
	}
	cache, err := provision.CacheDir(os.Getenv, os.Geteuid())
	if err != nil {
		return "", "", err
	}
	digest, err := digestOf(program)
	if err != nil {
		return "", "", err
	}
	dir := filepath.Join(cache, "test-openid", digest)
	main = filepath.Join(dir, "provider", "provider.mjs")
	if _, err := os.Stat(main); err == nil {
		return node, main, nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", "", err
	}
	fresh, err := os.MkdirTemp(filepath.Dir(dir), ".new-")
	if err != nil {
		return "", "", err
	}
	defer func() { _ = os.RemoveAll(fresh) }() // it is gone after the rename
	if err := fill(ctx, fresh); err != nil {
		return "", "", err
	}
	if err := os.Rename(fresh, dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", "", err
	}
	return node, main, nil
}

func fill(ctx context.Context, dir string) error {
	if err := os.CopyFS(dir, program); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, installTime)
	defer cancel()
	npm := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1")
	npm.Dir = filepath.Join(dir, "provider")
	if output, err := npm.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci: %w: %s", err, output)
	}
	return nil
}

func digestOf(files fs.FS) (string, error) {
	sum := sha256.New()
	err := fs.WalkDir(files, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := fs.ReadFile(files, path)
		fmt.Fprintf(sum, "%s %d\n", path, len(text))
		sum.Write(text)
		return err
	})
	return hex.EncodeToString(sum.Sum(nil)[:8]), err
}
