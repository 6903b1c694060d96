package contexts_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caracal-gateway/caracal/client/contexts"
)

func store(t *testing.T) contexts.Store {
	t.Helper()
	return contexts.Store{Path: filepath.Join(t.TempDir(), "caracal", "config.yaml")}
}

func put(t *testing.T, s contexts.Store, c contexts.Context) {
	t.Helper()
	if err := s.Change(t.Context(), func(set *contexts.Set) error {
		set.Put(c)
		set.Current = c.Name
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func TestWhatIsWrittenIsReadAndIsForTheOwnerOnly(t *testing.T) {
	s := store(t)
	if set, err := s.Read(); err != nil || len(set.Contexts) != 0 {
		t.Errorf("no file reads as %v (%v)", set, err)
	}
	put(t, s, contexts.Context{Name: "a", URL: "https://a.example", Key: "secret: [yes]\n"})
	put(t, s, contexts.Context{Name: "b", URL: "https://b.example", Workspace: "team", CAFile: "/ca", AllowPlain: true})
	put(t, s, contexts.Context{Name: "a", URL: "https://a2.example", Key: "no"})
	want := contexts.Set{Current: "a", Contexts: []contexts.Context{
		{Name: "a", URL: "https://a2.example", Key: "no"}, {Name: "b", URL: "https://b.example", Workspace: "team", CAFile: "/ca", AllowPlain: true},
	}}
	got, err := s.Read()
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("read (-want +got), %v:\n%s", err, diff)
	}
	for path, mode := range map[string]os.FileMode{s.Path: 0o600, filepath.Dir(s.Path): 0o700} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s has the mode %v (%v), want %v", path, info.Mode(), err, mode)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(s.Path), ".config-*")); left != nil {
		t.Errorf("%v is left", left)
	}
}

func TestAFileThatOthersCanUseIsRefused(t *testing.T) {
	for sentence, change := range map[string]func(path string) error{
		"the group reads it":                 func(p string) error { return os.Chmod(p, 0o640) },
		"everybody reads it":                 func(p string) error { return os.Chmod(p, 0o604) },
		"the group writes it":                func(p string) error { return os.Chmod(p, 0o620) },
		"the group may replace it":           func(p string) error { return os.Chmod(filepath.Dir(p), 0o770) },
		"everybody may replace it":           func(p string) error { return os.Chmod(filepath.Dir(p), 0o707) },
		"a link leads to one that is open":   func(p string) error { return link(p, 0o644) },
		"it is not a list of contexts":       func(p string) error { return os.WriteFile(p, []byte("hello"), 0o600) },
		"it has a field that nobody knows":   func(p string) error { return os.WriteFile(p, []byte("present: a\n"), 0o600) },
		"it is larger than any that we make": func(p string) error { return os.WriteFile(p, make([]byte, 2<<20), 0o600) },
	} {
		t.Run(sentence, func(t *testing.T) {
			s := store(t)
			put(t, s, contexts.Context{Name: "a", URL: "https://a.example", Key: "the-key"})
			if err := change(s.Path); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Read(); err == nil || !strings.HasPrefix(err.Error(), "reading contexts: ") || strings.Contains(err.Error(), "the-key") {
				t.Errorf("reading ended with %v", err)
			}
			if err := s.Change(t.Context(), func(*contexts.Set) error { return nil }); err == nil {
				t.Error("it was changed")
			}
		})
	}
}

// link moves the file elsewhere and leaves a link to it.
func link(path string, mode os.FileMode) error {
	elsewhere := filepath.Join(filepath.Dir(filepath.Dir(path)), "elsewhere.yaml")
	return errors.Join(os.Rename(path, elsewhere), os.Chmod(elsewhere, mode), os.Symlink(elsewhere, path))
}

func TestALinkStaysALink(t *testing.T) {
	s := store(t)
	put(t, s, contexts.Context{Name: "a", URL: "https://a.example"})
	if err := link(s.Path, 0o600); err != nil {
		t.Fatal(err)
	}
	put(t, s, contexts.Context{Name: "b", URL: "https://b.example"})
	info, err := os.Lstat(s.Path)
	if err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link became %v (%v)", info.Mode(), err)
	}
	if set, err := s.Read(); err != nil || len(set.Contexts) != 2 {
		t.Errorf("through the link it reads as %v (%v)", set, err)
	}
}

func TestChangesFollowOneAnother(t *testing.T) {
	s := store(t)
	const writers = 16
	var group sync.WaitGroup
	for i := range writers {
		group.Go(func() {
			err := s.Change(t.Context(), func(set *contexts.Set) error {
				set.Put(contexts.Context{Name: fmt.Sprintf("c%d", i), URL: "https://a.example"})
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if set, err := s.Read(); err != nil || len(set.Contexts) != writers {
		t.Errorf("%d contexts are left of %d (%v)", len(set.Contexts), writers, err)
	}
}

func TestAChangeThatFailsChangesNothing(t *testing.T) {
	s := store(t)
	put(t, s, contexts.Context{Name: "a", URL: "https://a.example"})
	failure := errors.New("no")
	if err := s.Change(t.Context(), func(set *contexts.Set) error { set.Remove("a"); return failure }); !errors.Is(err, failure) {
		t.Errorf("the error is %v", err)
	}
	if set, err := s.Read(); err != nil || set.Current != "a" {
		t.Errorf("it reads as %v (%v)", set, err)
	}
}

func TestAWaitForTheLockEndsWithItsContext(t *testing.T) {
	s := store(t)
	ctx, cancel := context.WithCancel(t.Context())
	err := s.Change(t.Context(), func(*contexts.Set) error {
		cancel()
		return s.Change(ctx, func(*contexts.Set) error { return nil })
	})
	if err == nil || !strings.Contains(err.Error(), "another caracal holds them") {
		t.Errorf("it ended with %v", err)
	}
}

func TestWhereTheFileIs(t *testing.T) {
	for sentence, c := range map[string]struct{ xdg, home, want string }{
		"below the home directory":       {"", "/home/me", "/home/me/.config/caracal/config.yaml"},
		"where the desktop says":         {"/etc/me", "/home/me", "/etc/me/caracal/config.yaml"},
		"a relative path counts nothing": {"me", "/home/me", "/home/me/.config/caracal/config.yaml"},
		"there is no home":               {"", "", ""},
	} {
		t.Run(sentence, func(t *testing.T) {
			got := contexts.Locate(func(name string) string { return map[string]string{"XDG_CONFIG_HOME": c.xdg, "HOME": c.home}[name] })
			if got.Path != c.want {
				t.Errorf("it is %q, want %q", got.Path, c.want)
			}
		})
	}
	none := contexts.Store{}
	if set, err := none.Read(); err != nil || set.Contexts != nil {
		t.Errorf("no place reads as %v (%v)", set, err)
	}
	if err := none.Change(t.Context(), func(*contexts.Set) error { return nil }); err == nil {
		t.Error("no place was written to")
	}
}

func TestRenamingAndRemovingTakeTheCurrentOneAlong(t *testing.T) {
	set := contexts.Set{Current: "a", Contexts: []contexts.Context{{Name: "a"}, {Name: "b"}}}
	set.Rename("a", "c")
	if _, found := set.Find("c"); !found || set.Current != "c" {
		t.Errorf("renaming left %v", set)
	}
	set.Remove("b")
	if set.Current != "c" {
		t.Errorf("removing another left %v", set)
	}
	set.Remove("c")
	if set.Current != "" || len(set.Contexts) != 0 {
		t.Errorf("removing left %v", set)
	}
}
