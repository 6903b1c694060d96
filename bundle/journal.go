package bundle

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
)

// maxJournal is the size of the largest journal that is read, in bytes.
const maxJournal = 2 * MaxSealed

// Journal is where a gateway keeps the sealed deltas that came after the kept snapshot. It is for one goroutine at a time.
// What is read from it is opened like anything else.
//
// Each delta is behind its length and the CRC-32C of that, both as a big-endian uint32. A length that was changed on the
// disk would else pass for that of a delta which a killed process has left unfinished, and a gateway would go on from a
// state before what it has acknowledged.
type Journal struct {
	file *os.File
	size int64
}

// OpenJournal opens the journal at a path, in a directory that exists and that only the gateway writes to, or makes an
// empty one. What a process that was killed left unfinished at its end is cut off: that was never acknowledged.
func OpenJournal(path string) (*Journal, error) {
	file, err := openPlain(path, os.O_RDWR|os.O_CREATE, maxJournal)
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	j := &Journal{file: file}
	err = j.Each(func([]byte) error { return nil })
	if err == nil {
		err = file.Truncate(j.size)
	}
	if err == nil {
		err = syncDirectory(filepath.Dir(path))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open journal: %w", err), file.Close())
	}
	return j, nil
}

const headSize = 8

// headOf is what a delta of a length is behind.
func headOf(length uint32) [headSize]byte {
	var head [headSize]byte
	binary.BigEndian.PutUint32(head[:], length)
	binary.BigEndian.PutUint32(head[4:], crc32.Checksum(head[:4], crc32.MakeTable(crc32.Castagnoli)))
	return head
}

// Each calls with each delta in turn until there is none, or one is refused.
func (j *Journal) Each(take func(sealed []byte) error) error {
	j.size = 0
	source := io.NewSectionReader(j.file, 0, maxJournal)
	for {
		var head [headSize]byte
		if _, err := io.ReadFull(source, head[:]); err != nil {
			return ended(err)
		}
		length := binary.BigEndian.Uint32(head[:])
		if head != headOf(length) {
			return errors.New("the length of a delta is not what was written")
		}
		if length > MaxDelta {
			return fmt.Errorf("a delta of %d bytes exceeds the limit of %d", length, MaxDelta)
		}
		sealed := make([]byte, length)
		if _, err := io.ReadFull(source, sealed); err != nil {
			return ended(err)
		}
		if err := take(sealed); err != nil {
			return err
		}
		j.size += int64(len(head)) + int64(length)
	}
}

// ended is nil where the journal ends, be it within a delta.
func ended(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return fmt.Errorf("read journal: %w", err)
}

// Append adds a delta. Once it returns without an error, the delta is there after a crash too; after an error it is not.
func (j *Journal) Append(sealed []byte) error {
	head := headOf(uint32(len(sealed)))
	record := append(head[:], sealed...)
	_, err := j.file.WriteAt(record, j.size)
	if err == nil {
		err = j.file.Sync()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("append to journal: %w", err), j.file.Truncate(j.size))
	}
	j.size += int64(len(record))
	return nil
}

// Clear takes everything out.
func (j *Journal) Clear() error {
	if err := errors.Join(j.file.Truncate(0), j.file.Sync()); err != nil {
		return fmt.Errorf("clear journal: %w", err)
	}
	j.size = 0
	return nil
}

// Size is how many bytes the journal has.
func (j *Journal) Size() int64 { return j.size }

// Close ends the use of the journal.
func (j *Journal) Close() error { return j.file.Close() }
