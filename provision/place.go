package provision

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// machineDir holds what root keeps when its own directories are closed to the
// account that PostgreSQL runs as.
const machineDir = "/var/lib/caracal"

// StateDir makes and returns the directory of a project's local state. It is
// the override (CARACAL_STATE_DIR) when that is not empty, else .caracal in the
// project's directory. For root (uid 0) PostgreSQL runs as another account,
// which needs to pass through every parent: where a project's parents do not
// let it, the state is kept under /var/lib/caracal, in a directory named after
// a digest of the project's path, and an override that does not is an error.
func StateDir(project, override string, uid int) (string, error) {
	project, err := filepath.Abs(project)
	if err != nil {
		return "", fmt.Errorf("find the state directory: %w", err)
	}
	dir := filepath.Join(project, ".caracal")
	if override != "" {
		dir, err = filepath.Abs(override)
		if err != nil {
			return "", fmt.Errorf("find the state directory: %w", err)
		}
	}
	if uid != 0 {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return "", fmt.Errorf("make the state directory (CARACAL_STATE_DIR chooses another): %w", err)
		}
		return dir, nil
	}
	closed, err := closedParent(dir)
	if err != nil {
		return "", fmt.Errorf("find the state directory: %w", err)
	}
	switch {
	case closed == "":
	case override != "":
		return "", fmt.Errorf("CARACAL_STATE_DIR is %s, but started by root PostgreSQL runs as another account, to which %s is closed", dir, closed)
	default:
		digest := sha256.Sum256([]byte(project))
		dir = filepath.Join(machineDir, "dev-"+hex.EncodeToString(digest[:6]))
	}
	if err := makeReachable(dir); err != nil {
		return "", fmt.Errorf("make the state directory (CARACAL_STATE_DIR chooses another): %w", err)
	}
	return dir, nil
}

// CacheDir returns the directory that keeps fetched programs for every clone
// of this user: caracal in XDG_CACHE_HOME, else in ~/.cache. For root (uid 0)
// it is /var/lib/caracal/cache where that directory is closed to the account
// that PostgreSQL runs as. It is not made.
func CacheDir(getenv func(string) string, uid int) (string, error) {
	base := getenv("XDG_CACHE_HOME")
	if base == "" && getenv("HOME") != "" {
		base = filepath.Join(getenv("HOME"), ".cache")
	}
	if base == "" && uid != 0 {
		return "", errors.New("find the cache directory: neither HOME nor XDG_CACHE_HOME is set")
	}
	if base != "" {
		dir, err := filepath.Abs(filepath.Join(base, "caracal"))
		if err != nil || uid != 0 {
			return dir, err
		}
		closed, err := closedParent(dir)
		if err != nil || closed == "" {
			return dir, err
		}
	}
	return filepath.Join(machineDir, "cache"), nil
}

// closedParent returns the nearest directory on the way to dir, dir included,
// that accounts other than its owner and group may not pass through, or "".
// What does not exist yet is made open by makeReachable.
func closedParent(dir string) (string, error) {
	dir, err := resolveExisting(dir)
	if err != nil {
		return "", err
	}
	for {
		info, err := os.Stat(dir)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return "", err
		case info.Mode().Perm()&0o001 == 0:
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", nil
		}
		dir = filepath.Dir(dir)
	}
}

// resolveExisting resolves the symbolic links of the part of a path that
// exists: the parents that count are those of the real directory.
func resolveExisting(path string) (string, error) {
	real, err := filepath.EvalSymlinks(path)
	if err == nil || !errors.Is(err, fs.ErrNotExist) || path == filepath.Dir(path) {
		return real, err
	}
	parent, err := resolveExisting(filepath.Dir(path))
	return filepath.Join(parent, filepath.Base(path)), err
}

// makeReachable makes a directory and its missing parents, open to every
// account whatever the umask says.
func makeReachable(dir string) error {
	if isDir(dir) {
		return nil
	}
	if err := makeReachable(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make directory: %w", err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return fmt.Errorf("open directory to other accounts: %w", err)
	}
	return nil
}
