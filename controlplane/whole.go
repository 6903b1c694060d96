package controlplane

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
)

// maxHeld is the size of the largest sealed snapshot that is kept in memory, in bytes; a larger one goes into a file.
const maxHeld = 4 << 20

// Whole is a sealed snapshot that many gateways are sent at once, each at its own pace. Whoever has one closes it.
type Whole struct {
	io.ReaderAt
	at    Position
	size  int64
	file  *os.File // nil while it is held in memory
	users atomic.Int64
}

// newWhole keeps what write writes. Its first user is the caller.
func newWhole(at Position, write func(io.Writer) error) (*Whole, error) {
	s := &spool{}
	if err := write(s); err != nil {
		s.discard()
		return nil, err
	}
	w := &Whole{at: at, size: s.size, file: s.file}
	if w.file != nil {
		w.ReaderAt = w.file
	} else {
		w.ReaderAt = bytes.NewReader(s.held.Bytes())
	}
	w.users.Add(1)
	return w, nil
}

// Size is the number of its bytes.
func (w *Whole) Size() int64 { return w.size }

// use adds a user.
func (w *Whole) use() *Whole {
	w.users.Add(1)
	return w
}

// Close ends the use of it. The last user frees what it takes.
func (w *Whole) Close() error {
	if w.users.Add(-1) != 0 || w.file == nil {
		return nil
	}
	return w.file.Close()
}

// spool holds what is written to it in memory, and in a file that has no name once it is too much.
type spool struct {
	held bytes.Buffer
	file *os.File
	size int64
}

func (s *spool) Write(p []byte) (int, error) {
	s.size += int64(len(p))
	if s.file == nil && s.size <= maxHeld {
		return s.held.Write(p)
	}
	if s.file == nil {
		if err := s.spill(); err != nil {
			return 0, err
		}
	}
	return s.file.Write(p)
}

func (s *spool) spill() error {
	file, err := os.CreateTemp("", "caracal-snapshot-*")
	if err != nil {
		return fmt.Errorf("make file for snapshot: %w", err)
	}
	if err := os.Remove(file.Name()); err != nil {
		return errors.Join(fmt.Errorf("unlink file of snapshot: %w", err), file.Close())
	}
	s.file = file
	_, err = s.held.WriteTo(file)
	return err
}

func (s *spool) discard() {
	if s.file != nil {
		_ = s.file.Close() // it has no name: closing it is what removes it
	}
}
