package bundle_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caracal-gateway/caracal/bundle"
)

func TestAFileKeepsTheLastBundle(t *testing.T) {
	w := newWorld()
	dir := t.TempDir()
	file := bundle.File{Path: filepath.Join(dir, "bundle")}
	if _, err := file.Read(); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("before the first: %v, want %v", err, fs.ErrNotExist)
	}
	// A crash while writing leaves a part of the next bundle beside the file.
	if err := os.WriteFile(file.Path+".next", []byte(strings.Repeat("x", 1<<20)), 0o600); err != nil {
		t.Fatal(err)
	}
	for revision := range uint64(3) {
		want := w.seal(t, w.snapshot(revision+1))
		if err := file.Write(want); err != nil {
			t.Fatal(err)
		}
		got, err := file.Read()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-written +read)\n%s", diff)
		}
	}
	stat, err := os.Stat(file.Path)
	if err != nil {
		t.Fatal(err)
	}
	if stat.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, want 0600", stat.Mode().Perm())
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 {
		t.Errorf("%d files are left, want 1: %v", len(entries), entries)
	}
}

func TestAFileReadsPlainFilesOfABundlesSizeOnly(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(plain, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	large := filepath.Join(dir, "large")
	if err := os.WriteFile(large, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(large, bundle.MaxSealed+1); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{
		"a link": filepath.Join(dir, "link"), "a directory": dir, "a device": "/dev/zero", "a file past the limit": large,
	} {
		if got, err := (bundle.File{Path: path}).Read(); err == nil {
			t.Errorf("%s reads as %d bytes", name, len(got))
		}
	}
}

func TestABundleThatCannotBeKeptLeavesTheLastOne(t *testing.T) {
	w := newWorld()
	file := bundle.File{Path: filepath.Join(t.TempDir(), "bundle")}
	kept := w.seal(t, w.snapshot(1))
	if err := file.Write(kept); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(file.Path+".next", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := file.Write(w.seal(t, w.snapshot(2))); err == nil {
		t.Fatal("written, with something in the way")
	}
	got, err := file.Read()
	if err != nil {
		t.Fatal(err)
	}
	if got.Revision() != 1 {
		t.Errorf("revision %d is kept, want 1", got.Revision())
	}
}
