package bundle

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// File is where a gateway keeps the last good snapshot. What is read from it is opened like anything else: the disk is
// trusted no more than the network.
type File struct {
	// Path names a file in a directory that exists and that only the gateway writes to.
	Path string
}

// Draft is a snapshot that is not the kept one yet. It is for one goroutine.
type Draft struct {
	file *os.File
	path string // of what it may come to replace
}

// Begin makes an empty draft in the place of any that was left. Only the gateway's own user can read it.
func (f File) Begin() (*Draft, error) {
	file, err := os.OpenFile(f.Path+".next", os.O_RDWR|os.O_CREATE|os.O_TRUNC|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("begin bundle: %w", err)
	}
	return &Draft{file: file, path: f.Path}, nil
}

// Write adds to the draft.
func (d *Draft) Write(piece []byte) (int, error) { return d.file.Write(piece) }

// Reader reads the draft from its beginning.
func (d *Draft) Reader() io.Reader { return io.NewSectionReader(d.file, 0, MaxSealed) }

// Keep makes the draft the kept snapshot at once: after a crash the file holds the old one or this, and once Keep returns,
// this one. The draft is over either way.
func (d *Draft) Keep() error {
	err := errors.Join(d.file.Sync(), d.file.Close())
	if err == nil {
		err = os.Rename(d.file.Name(), d.path)
	}
	if err == nil {
		err = syncDirectory(filepath.Dir(d.path))
	}
	if err != nil {
		return fmt.Errorf("keep bundle: %w", err)
	}
	return nil
}

// Drop ends the draft and leaves the kept snapshot as it is.
func (d *Draft) Drop() error {
	if err := errors.Join(d.file.Close(), os.Remove(d.file.Name())); err != nil {
		return fmt.Errorf("drop bundle: %w", err)
	}
	return nil
}

// Write keeps a whole snapshot, as Begin and Keep do.
func (f File) Write(sealed Sealed) error {
	draft, err := f.Begin()
	if err != nil {
		return err
	}
	if _, err := draft.Write(sealed); err != nil {
		return errors.Join(fmt.Errorf("keep bundle: %w", err), draft.Drop())
	}
	return draft.Keep()
}

// Open opens the kept snapshot for reading. It is fs.ErrNotExist when there is none, and an error for anything but a
// plain file of a snapshot's size.
func (f File) Open() (*os.File, error) {
	file, err := openPlain(f.Path, os.O_RDONLY, MaxSealed)
	if err != nil {
		return nil, fmt.Errorf("read kept bundle: %w", err)
	}
	return file, nil
}

// Read gives the whole of what is kept.
func (f File) Read() (Sealed, error) {
	file, err := f.Open()
	if err != nil {
		return nil, err
	}
	defer file.Close()
	sealed, err := io.ReadAll(io.LimitReader(file, MaxSealed))
	if err != nil {
		return nil, fmt.Errorf("read kept bundle: %w", err)
	}
	return sealed, nil
}

// openPlain opens a plain file of at most limit bytes, and nothing else that may stand in its place.
func openPlain(path string, flags int, limit int64) (*os.File, error) {
	file, err := os.OpenFile(path, flags|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	stat, err := file.Stat()
	if err == nil && (!stat.Mode().IsRegular() || stat.Size() > limit) {
		err = fmt.Errorf("%s is not a plain file of at most %d bytes", path, limit)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// syncDirectory makes what was renamed or made in it last.
func syncDirectory(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
