package bundle_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caracal-gateway/caracal/bundle"
)

func journal(t testing.TB, path string) *bundle.Journal {
	t.Helper()
	j, err := bundle.OpenJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

// entries are what a journal holds.
func entries(t testing.TB, j *bundle.Journal) []string {
	t.Helper()
	list := []string{}
	if err := j.Each(func(sealed []byte) error { list = append(list, string(sealed)); return nil }); err != nil {
		t.Fatal(err)
	}
	return list
}

func TestAJournalKeepsWhatIsAppended(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j := journal(t, path)
	want := []string{"one", "", "three"}
	for _, sealed := range want {
		if err := j.Append([]byte(sealed)); err != nil {
			t.Fatal(err)
		}
	}
	again := journal(t, path)
	if diff := cmp.Diff(want, entries(t, again)); diff != "" || again.Size() != 32 {
		t.Errorf("%d bytes (-appended +read)\n%s", again.Size(), diff)
	}
	if err := again.Clear(); err != nil {
		t.Fatal(err)
	}
	if err := again.Append([]byte("four")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"four"}, entries(t, journal(t, path))); diff != "" {
		t.Errorf("after it was cleared (-appended +read)\n%s", diff)
	}
	stat, err := os.Stat(path)
	if err != nil || stat.Mode().Perm() != 0o600 {
		t.Errorf("mode %v (%v), want 0600", stat.Mode().Perm(), err)
	}
}

// A process that was killed in the middle of an append has not acknowledged it.
func TestTheUnfinishedEndOfAJournalIsCutOff(t *testing.T) {
	whole := filepath.Join(t.TempDir(), "whole")
	j := journal(t, whole)
	for _, sealed := range []string{"one", "two"} {
		if err := j.Append([]byte(sealed)); err != nil {
			t.Fatal(err)
		}
	}
	content, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	for end := range content {
		path := filepath.Join(t.TempDir(), "journal")
		if err := os.WriteFile(path, content[:end], 0o600); err != nil {
			t.Fatal(err)
		}
		want := []string{}
		if end >= 11 {
			want = append(want, "one")
		}
		torn := journal(t, path)
		if diff := cmp.Diff(want, entries(t, torn)); diff != "" {
			t.Errorf("of %d of %d bytes (-want +got)\n%s", end, len(content), diff)
		}
		if err := torn.Append([]byte("three")); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(append(want, "three"), entries(t, journal(t, path))); diff != "" {
			t.Errorf("of %d of %d bytes, and one more (-want +got)\n%s", end, len(content), diff)
		}
	}
}

// behind is what a delta of a length is behind.
func behind(length uint32) []byte {
	head := binary.BigEndian.AppendUint32(nil, length)
	return binary.BigEndian.AppendUint32(head, crc32.Checksum(head, crc32.MakeTable(crc32.Castagnoli)))
}

// What was acknowledged does not pass for unfinished because a byte in front of it has changed.
func TestALengthThatHasChangedIsNoUnfinishedEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j := journal(t, path)
	for _, sealed := range []string{"one", "two"} {
		if err := j.Append([]byte(sealed)); err != nil {
			t.Fatal(err)
		}
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	second := len(content) / 2
	for at := range len(behind(0)) {
		for bit := range 8 {
			changed := bytes.Clone(content)
			changed[second+at] ^= 1 << bit
			if err := os.WriteFile(path, changed, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := bundle.OpenJournal(path); err == nil {
				t.Errorf("with bit %d of byte %d changed it is opened", bit, at)
			}
		}
	}
}

func TestAJournalIsAPlainFileOfDeltas(t *testing.T) {
	dir := t.TempDir()
	plain, long := filepath.Join(dir, "plain"), filepath.Join(dir, "long")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(plain, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(long, behind(bundle.MaxDelta+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{"a link": filepath.Join(dir, "link"), "a directory": dir, "a device": "/dev/zero", "a delta past the limit": long} {
		if _, err := bundle.OpenJournal(path); err == nil {
			t.Errorf("%s is a journal", name)
		}
	}
}

func TestAJournalStopsAtWhatIsRefused(t *testing.T) {
	j := journal(t, filepath.Join(t.TempDir(), "journal"))
	for _, sealed := range []string{"one", "two", "three"} {
		if err := j.Append([]byte(sealed)); err != nil {
			t.Fatal(err)
		}
	}
	bad := errors.New("bad")
	var got []string
	err := j.Each(func(sealed []byte) error {
		got = append(got, string(sealed))
		if string(sealed) == "two" {
			return bad
		}
		return nil
	})
	if !errors.Is(err, bad) || len(got) != 2 {
		t.Errorf("%v after %v", err, got)
	}
}

func FuzzJournal(f *testing.F) {
	f.Add([]byte{}, []byte("x"))
	f.Add(append(behind(1), 'a', 0, 0), []byte("bc"))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff}, []byte{})
	f.Fuzz(func(t *testing.T, content, more []byte) {
		path := filepath.Join(t.TempDir(), "journal")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		j, err := bundle.OpenJournal(path)
		if err != nil {
			return
		}
		defer func() { _ = j.Close() }()
		kept, err := os.ReadFile(path)
		if err != nil || !bytes.HasPrefix(content, kept) {
			t.Fatalf("of %x it keeps %x (%v)", content, kept, err)
		}
		before := entries(t, j)
		if err := j.Append(more); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(append(before, string(more)), entries(t, j)); diff != "" {
			t.Fatalf("(-want +got)\n%s", diff)
		}
	})
}
