package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/internal/syncpb"
	"github.com/caracal-gateway/caracal/lease"
)

const (
	// minJournal is how large a journal may become beside however small a snapshot, in bytes.
	minJournal = 4 << 20
	// keepPause is how long nothing is kept before it is tried again.
	keepPause = 10 * time.Minute
)

// keeper keeps what the next process starts from: the last snapshot, and the changes that came after it. It is for one
// goroutine at a time.
//
// A full disk must not hold up a revocation. It only costs the start without a control plane, because an older state,
// which may permit what was revoked since, is not left in the place of one that was acknowledged. Where it cannot be taken
// away, no lease is left by which a process could go on from it; and where that one stays as well, the state is acknowledged
// no sooner than the lease has ended.
type keeper struct {
	file    bundle.File
	path    string // of the journal
	journal *bundle.Journal
	size    int64     // of the kept snapshot; 0 while nothing is kept
	left    bool      // something else than what is enforced may be found in its place
	failed  time.Time // when something could not be kept
	log     *slog.Logger
}

func newKeeper(directory string, log *slog.Logger) *keeper {
	return &keeper{file: bundle.File{Path: filepath.Join(directory, "bundle")}, path: filepath.Join(directory, "bundle.journal"), left: true, log: log}
}

// snapshot opens the kept snapshot; nil where there is none.
func (k *keeper) snapshot() (*os.File, error) {
	file, err := k.file.Open()
	if errors.Is(err, os.ErrNotExist) {
		k.left = false
		return nil, nil
	}
	return file, err
}

// found is what a process that starts would find, where this one enforces a state.
func (k *keeper) found(enforced lease.Position) lease.Position {
	switch {
	case k.size != 0:
		return enforced
	case k.left:
		return lease.Position{Timeline: enforced.Timeline} // an older one, whichever
	}
	return lease.Position{}
}

// changes gives each change that came after the kept snapshot. Those that it holds already were left by a process that
// was killed between keeping the one and clearing the other.
func (k *keeper) changes(take func(sealed []byte) error) error {
	stat, err := os.Stat(k.file.Path)
	if err != nil {
		return fmt.Errorf("read kept bundle: %w", err)
	}
	journal, err := bundle.OpenJournal(k.path)
	if err != nil {
		return err
	}
	err = journal.Each(func(sealed []byte) error {
		if err := take(sealed); bundle.CodeOf(err) != bundle.CodeOlder {
			return err
		}
		return nil
	})
	if err != nil {
		return errors.Join(fmt.Errorf("read journal: %w", err), journal.Close())
	}
	k.journal, k.size = journal, stat.Size()
	return nil
}

// keep makes a snapshot the one that the next process starts from.
func (k *keeper) keep(in *incoming, revision uint64) {
	err := in.keep(k.file)
	if err == nil && k.journal == nil {
		if removed := os.Remove(k.path); removed != nil && !errors.Is(removed, os.ErrNotExist) {
			err = removed
		} else {
			k.journal, err = bundle.OpenJournal(k.path)
		}
	} else if err == nil {
		err = k.journal.Clear()
	}
	if err != nil {
		k.discard(revision, err)
		return
	}
	k.size, k.left, k.failed = int64(in.size), false, time.Time{}
}

// append makes a change one that the next process starts from.
func (k *keeper) append(sealed []byte, revision uint64) {
	if k.size == 0 {
		return // and said so when it came to that
	}
	if err := k.journal.Append(sealed); err != nil {
		k.discard(revision, err)
	}
}

// discard takes away what is older than what is enforced.
func (k *keeper) discard(revision uint64, err error) {
	k.size, k.left, k.failed = 0, true, time.Now()
	err = errors.Join(err, k.clear())
	if k.journal != nil {
		err = errors.Join(err, k.journal.Close())
		k.journal = nil
	}
	k.log.Error("the bundle is enforced but not kept", "revision", revision, "cause", err)
}

// clear takes away what is not what is enforced, if there is anything.
func (k *keeper) clear() error {
	if k.size != 0 || !k.left {
		return nil
	}
	err := removeForGood(k.file.Path)
	k.left = err != nil
	return err
}

// current reports whether the kept snapshot alone is what is enforced.
func (k *keeper) current() bool { return k.size != 0 && k.journal.Size() == 0 }

// wants reports whether a snapshot is worth its transfer: the journal has outgrown the one that is kept, or nothing could
// be kept for a while.
func (k *keeper) wants() bool {
	if k.size == 0 {
		return !k.failed.IsZero() && time.Since(k.failed) > keepPause
	}
	return k.journal.Size() > max(k.size, minJournal)
}

// incoming is a snapshot that comes in pieces. It goes to the disk, or into memory where the disk does not take it.
type incoming struct {
	size, have uint64
	draft      *bundle.Draft // nil where there is no room on the disk
	memory     bytes.Buffer
}

// receive makes room for a snapshot.
func (k *keeper) receive(size uint64) (*incoming, error) {
	if size == 0 || size > bundle.MaxSealed {
		return nil, fmt.Errorf("a snapshot of %d bytes is none, or exceeds the limit of %d", size, bundle.MaxSealed)
	}
	in := &incoming{size: size}
	var err error
	if in.draft, err = k.file.Begin(); err != nil {
		k.log.Warn("a snapshot is received in memory", "cause", err)
	}
	return in, nil
}

// add takes the next piece.
func (in *incoming) add(p *syncpb.Bundle) error {
	piece := p.GetSealed()
	if p.GetOffset() != in.have || p.GetSize() != in.size || len(piece) == 0 || uint64(len(piece)) > in.size-in.have {
		return bundle.Truncated("the pieces of a snapshot do not follow each other")
	}
	if in.draft != nil {
		if _, err := in.draft.Write(piece); err == nil {
			in.have += uint64(len(piece))
			return nil
		}
		if err := in.intoMemory(); err != nil {
			return err
		}
	}
	in.memory.Write(piece)
	in.have += uint64(len(piece))
	return nil
}

// intoMemory takes back from the disk what is there of a snapshot that it has no room for.
func (in *incoming) intoMemory() error {
	if _, err := io.CopyN(&in.memory, in.draft.Reader(), int64(in.have)); err != nil {
		return fmt.Errorf("receive snapshot: %w", err)
	}
	err := in.draft.Drop()
	in.draft = nil
	return err
}

func (in *incoming) whole() bool { return in.have == in.size }

// reader reads the snapshot from its beginning.
func (in *incoming) reader() io.Reader {
	if in.draft != nil {
		return in.draft.Reader()
	}
	return bytes.NewReader(in.memory.Bytes())
}

// keep makes the snapshot the one in the file. It is over then.
func (in *incoming) keep(file bundle.File) error {
	if in.draft == nil {
		return file.Write(in.memory.Bytes())
	}
	return in.draft.Keep()
}

// drop ends it. A draft that stays on the disk is in nobody's way.
func (in *incoming) drop() {
	if in.draft != nil {
		_ = in.draft.Drop()
	}
}
