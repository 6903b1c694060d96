// Package contexts keeps which control planes and workspaces a person works with, and the keys for them, in one file that
// nobody else can read.
package contexts

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"sigs.k8s.io/yaml"
)

// Context is one control plane, one workspace of it and who calls it.
type Context struct {
	Name string `json:"name"`
	URL  string `json:"url"`
	// Workspace is a slug; empty for that of the key.
	Workspace string `json:"workspace,omitempty"`
	// Key is an API key or the token of a session, which is sent to URL and nowhere else.
	Key string `json:"key,omitempty"`
	// CAFile names PEM certificates that the control plane may chain to, by an absolute path.
	CAFile string `json:"ca_file,omitempty"`
	// AllowPlain sends the key without TLS to an address that is not loopback.
	AllowPlain bool `json:"allow_plain,omitempty"`
}

// Set is all contexts, in the order of their making, and which one is used where none is named.
type Set struct {
	Current  string    `json:"current,omitempty"`
	Contexts []Context `json:"contexts"`
}

// Find returns the context of a name.
func (s Set) Find(name string) (Context, bool) {
	i := slices.IndexFunc(s.Contexts, func(c Context) bool { return c.Name == name })
	if i < 0 {
		return Context{}, false
	}
	return s.Contexts[i], true
}

// Put adds a context, or replaces the one of its name.
func (s *Set) Put(c Context) {
	i := slices.IndexFunc(s.Contexts, func(o Context) bool { return o.Name == c.Name })
	if i < 0 {
		s.Contexts = append(s.Contexts, c)
		return
	}
	s.Contexts[i] = c
}

// Remove takes a context out. No other takes the place of the current one.
func (s *Set) Remove(name string) {
	s.Contexts = slices.DeleteFunc(s.Contexts, func(c Context) bool { return c.Name == name })
	if s.Current == name {
		s.Current = ""
	}
}

// Rename gives a context another name, which must not be taken.
func (s *Set) Rename(from, to string) {
	for i := range s.Contexts {
		if s.Contexts[i].Name == from {
			s.Contexts[i].Name = to
		}
	}
	if s.Current == from {
		s.Current = to
	}
}

var name = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@:/-]{0,99}$`)

// ValidName reports whether a context may be called so: letters, digits and . _ @ : / -, at most 100.
func ValidName(s string) bool { return name.MatchString(s) }

// Store is the file.
type Store struct {
	// Path of the file; empty where there is no place for one, which reads as no contexts and cannot be changed.
	Path string
}

// Locate finds the file's place: $XDG_CONFIG_HOME/caracal/config.yaml, or in ~/.config.
func Locate(getenv func(string) string) Store {
	dir := getenv("XDG_CONFIG_HOME")
	if !filepath.IsAbs(dir) {
		home := getenv("HOME")
		if !filepath.IsAbs(home) {
			return Store{}
		}
		dir = filepath.Join(home, ".config")
	}
	return Store{Path: filepath.Join(dir, "caracal", "config.yaml")}
}

// Read reads all contexts; no file is none. A file that others can read or change, or that another user owns, is refused:
// the keys in it may be known, or lead to somebody else's server.
func (s Store) Read() (Set, error) {
	if s.Path == "" {
		return Set{}, nil
	}
	f, err := os.Open(s.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return Set{}, nil
	}
	if err != nil {
		return Set{}, fmt.Errorf("reading contexts: %w", err)
	}
	defer f.Close()
	return read(f)
}

func read(f *os.File) (Set, error) {
	if err := private(f); err != nil {
		return Set{}, err
	}
	info, err := f.Stat()
	if err != nil {
		return Set{}, fmt.Errorf("reading contexts: %w", err)
	}
	if info.Size() > maxSize {
		return Set{}, fmt.Errorf("reading contexts: %s is larger than %d bytes", f.Name(), maxSize)
	}
	text := make([]byte, info.Size())
	if _, err := f.ReadAt(text, 0); err != nil && info.Size() > 0 {
		return Set{}, fmt.Errorf("reading contexts: %w", err)
	}
	var set Set
	if err := yaml.UnmarshalStrict(text, &set); err != nil {
		return Set{}, fmt.Errorf("reading contexts: %s: %w", f.Name(), err)
	}
	return set, nil
}

const maxSize = 1 << 20

// Change reads all contexts, lets change work on them, and writes them in one step. Changes of several processes follow one
// another. Nothing is written when change fails.
func (s Store) Change(ctx context.Context, change func(*Set) error) error {
	if s.Path == "" {
		return errors.New("there is no place for contexts: set HOME or XDG_CONFIG_HOME to an absolute path")
	}
	dir := filepath.Dir(s.Path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the directory of contexts: %w", err)
	}
	unlock, err := lock(ctx, dir)
	if err != nil {
		return err
	}
	defer unlock()
	set, err := s.Read()
	if err != nil {
		return err
	}
	if err := change(&set); err != nil {
		return err
	}
	return s.write(set)
}

// write puts a whole new file in the place of the old one, which a crash leaves as it was. A link stays a link.
func (s Store) write(set Set) (err error) {
	text, err := yaml.Marshal(set)
	if err != nil {
		return fmt.Errorf("writing contexts: %w", err)
	}
	path := s.Path
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".config-*.yaml") // which is readable by its owner only
	if err != nil {
		return fmt.Errorf("writing contexts: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("writing contexts: %w", err), os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
