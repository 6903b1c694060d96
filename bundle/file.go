package bundle

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// File is where a gateway keeps the last good bundle. What is read from it is opened like anything else: the disk is
// trusted no more than the network.
type File struct {
	// Path names a file in a directory that exists and that only the gateway writes to.
	Path string
}

// Write replaces the file at once: after a crash it holds the old bundle or the new one, and once Write returns, the
// new one. Only the gateway's own user can read it. One goroutine at a time may write.
func (f File) Write(sealed Sealed) error {
	next := f.Path + ".next"
	if err := writeSynced(next, sealed); err != nil {
		return fmt.Errorf("keep bundle: %w", err)
	}
	if err := os.Rename(next, f.Path); err != nil {
		return fmt.Errorf("keep bundle: %w", err)
	}
	if err := syncDirectory(filepath.Dir(f.Path)); err != nil {
		return fmt.Errorf("keep bundle: %w", err)
	}
	return nil
}

func writeSynced(path string, content []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

// syncDirectory makes a rename in it last.
func syncDirectory(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Read gives what Write kept. It is fs.ErrNotExist when there is none, and an error for anything but a plain file of a
// bundle's size.
func (f File) Read() (Sealed, error) {
	file, err := os.OpenFile(f.Path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("read kept bundle: %w", err)
	}
	defer file.Close()
	stat, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("read kept bundle: %w", err)
	}
	if !stat.Mode().IsRegular() || stat.Size() > MaxSealed {
		return nil, fmt.Errorf("read kept bundle: %s is not a plain file of at most %d bytes", f.Path, MaxSealed)
	}
	sealed, err := io.ReadAll(io.LimitReader(file, MaxSealed))
	if err != nil {
		return nil, fmt.Errorf("read kept bundle: %w", err)
	}
	return sealed, nil
}
