package gateway

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSocketsFindAPathThatTheKernelTakes(t *testing.T) {
	long := func(dir string) string { return filepath.Join(dir, strings.Repeat("d", 100)) }
	for name, c := range map[string]struct{ deepState, deepTemporary bool }{
		"a short state directory":                             {},
		"a deep state directory":                              {deepState: true},
		"a deep state directory and a deep temporary one":     {deepState: true, deepTemporary: true},
		"a short state directory beside a deep temporary one": {deepTemporary: true},
	} {
		t.Run(name, func(t *testing.T) {
			state, err := os.MkdirTemp("/tmp", "caracal-test-") // t.TempDir is named after the test, and long itself
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.RemoveAll(state) })
			if c.deepTemporary {
				t.Setenv("TMPDIR", long(state))
			}
			if c.deepState {
				state = long(state)
			}
			for _, dir := range []string{state, os.TempDir()} {
				if err := os.MkdirAll(dir, 0o700); err != nil {
					t.Fatal(err)
				}
			}
			s, remove, err := openSockets(state)
			if err != nil {
				t.Fatal(err)
			}
			dir := filepath.Dir(s.authz.path)
			if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
				t.Errorf("the directory of the sockets: %v, mode %v, want 0700", err, info.Mode())
			}
			remove()
			if _, err := os.Stat(dir); !os.IsNotExist(err) {
				t.Errorf("the sockets are left in %s", dir)
			}
		})
	}
}
