package contexts

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// private refuses a file, or a directory of one, that others than its owner can read or change.
func private(f *os.File) error {
	for _, place := range []struct {
		path      string
		forbidden os.FileMode
		mend      string
	}{{f.Name(), 0o077, "chmod 600"}, {filepath.Dir(f.Name()), 0o022, "chmod 700"}} {
		info, err := os.Stat(place.path)
		if err != nil {
			return fmt.Errorf("reading contexts: %w", err)
		}
		if info.Mode().Perm()&place.forbidden != 0 {
			return fmt.Errorf("reading contexts: others than you can use %s, which leads to your keys: %s %s", place.path, place.mend, place.path)
		}
		if owner, ok := info.Sys().(*syscall.Stat_t); ok && int(owner.Uid) != os.Getuid() && os.Getuid() != 0 {
			return fmt.Errorf("reading contexts: %s belongs to another user", place.path)
		}
	}
	return nil
}

const (
	lockTimeout = 5 * time.Second
	lockPause   = 10 * time.Millisecond
)

// lock makes other processes wait until the returned function is called, or this one ends.
func lock(ctx context.Context, dir string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking contexts: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, lockTimeout)
	defer cancel()
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil // which lets go of the lock
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return nil, errors.Join(fmt.Errorf("locking contexts: %w", err), f.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(errors.New("locking contexts: another caracal holds them"), f.Close())
		case <-time.After(lockPause):
		}
	}
}
