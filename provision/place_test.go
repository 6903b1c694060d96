package provision_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caracal-gateway/caracal/provision"
)

func makeDir(t *testing.T, path string, mode os.FileMode) string {
	t.Helper()
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestWhereTheStateIs(t *testing.T) {
	t.Parallel()
	const plain, root = 1000, 0
	tmp := openTempDir(t)
	open := makeDir(t, filepath.Join(tmp, "open"), 0o755)
	closed := makeDir(t, filepath.Join(makeDir(t, filepath.Join(tmp, "closed"), 0o750), "project"), 0o755)
	taken := makeDir(t, filepath.Join(tmp, "taken"), 0o755)
	makeDir(t, filepath.Join(taken, ".caracal"), 0o700)
	link := filepath.Join(tmp, "link")
	if err := os.Symlink(closed, link); err != nil {
		t.Fatal(err)
	}

	for name, tc := range map[string]struct {
		project, override string
		uid               int
		want, wantErr     string // want is a prefix
		rootOnly          bool
	}{
		"a plain user's is in the project":              {project: tmp + "/mine", uid: plain, want: tmp + "/mine/.caracal"},
		"a plain user's needs no open parents":          {project: closed, uid: plain, want: closed + "/.caracal"},
		"a plain user may choose":                       {project: open, override: tmp + "/chosen", uid: plain, want: tmp + "/chosen"},
		"root's is in a project that others can reach":  {project: open, uid: root, want: open + "/.caracal"},
		"root's is elsewhere if they cannot":            {project: closed, uid: root, want: "/var/lib/caracal/dev-", rootOnly: true},
		"root's is apart from a plain user's":           {project: taken, uid: root, want: "/var/lib/caracal/dev-", rootOnly: true},
		"a link hides nothing":                          {project: link, uid: root, want: "/var/lib/caracal/dev-", rootOnly: true},
		"root may choose":                               {project: closed, override: tmp + "/a/b", uid: root, want: tmp + "/a/b"},
		"root may not choose what others cannot reach":  {project: open, override: closed + "/state", uid: root, wantErr: "CARACAL_STATE_DIR"},
		"a state directory closed by root's own choice": {project: open, override: filepath.Dir(closed), uid: root, wantErr: "is closed"},
	} {
		if tc.rootOnly && os.Geteuid() != 0 {
			continue // only root may write there
		}
		t.Run(name, func(t *testing.T) {
			got, err := provision.StateDir(tc.project, tc.override, tc.uid)
			if tc.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wantErr) {
					t.Errorf("got %q, %v; want an error with %q", got, err, tc.wantErr)
				}
				return
			}
			if err != nil || !strings.HasPrefix(got, tc.want) {
				t.Fatalf("got %q, %v; want %s", got, err, tc.want)
			}
			if strings.HasPrefix(got, "/var/lib/caracal/dev-") {
				t.Cleanup(func() { _ = os.Remove(got) })
			}
			info, err := os.Stat(got)
			if err != nil || (tc.uid == root && info.Mode().Perm()&1 == 0) {
				t.Errorf("the directory: %v, %v", info, err)
			}
			if again, err := provision.StateDir(tc.project, tc.override, tc.uid); err != nil || again != got {
				t.Errorf("the second time: %q, %v", again, err)
			}
		})
	}
}

func TestTwoProjectsOfRootHaveTwoStates(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		return // only root's are outside the project
	}
	home := makeDir(t, filepath.Join(openTempDir(t), "home"), 0o700)
	var dirs []string
	for _, project := range []string{"one", "two"} {
		dir, err := provision.StateDir(filepath.Join(home, project), "", 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Remove(dir) })
		dirs = append(dirs, dir)
	}
	if dirs[0] == dirs[1] {
		t.Errorf("both have %s", dirs[0])
	}
}

func TestWhereProgramsAreKept(t *testing.T) {
	t.Parallel()
	tmp := openTempDir(t)
	open := makeDir(t, filepath.Join(tmp, "open"), 0o755)
	closed := makeDir(t, filepath.Join(tmp, "closed"), 0o700)
	for name, tc := range map[string]struct {
		settings      map[string]string
		uid           int
		want, wantErr string
	}{
		"in the home of a plain user":                {map[string]string{"HOME": closed}, 1000, closed + "/.cache/caracal", ""},
		"in the cache that the user has chosen":      {map[string]string{"HOME": closed, "XDG_CACHE_HOME": open}, 1000, open + "/caracal", ""},
		"in the home of root if others can reach it": {map[string]string{"HOME": open}, 0, open + "/.cache/caracal", ""},
		"for the machine if they cannot":             {map[string]string{"HOME": closed}, 0, "/var/lib/caracal/cache", ""},
		"for the machine if root has no home":        {nil, 0, "/var/lib/caracal/cache", ""},
		"nowhere without a home":                     {nil, 1000, "", "neither HOME nor XDG_CACHE_HOME"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := provision.CacheDir(onlyThese(tc.settings), tc.uid)
			if got != tc.want || (err == nil) != (tc.wantErr == "") {
				t.Errorf("got %q, %v; want %q %q", got, err, tc.want, tc.wantErr)
			}
			if err != nil && !strings.Contains(err.Error(), tc.wantErr) {
				t.Errorf("got %v", err)
			}
		})
	}
}
