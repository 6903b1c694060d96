package provision_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caracal-gateway/caracal/provision"
	"github.com/google/go-cmp/cmp"
)

func TestPostgresIsFetchedAndRuns(t *testing.T) {
	t.Parallel()
	var progress lockedBuffer
	cache := filepath.Join(openTempDir(t), "cache")
	b, err := provision.PostgresBinaries(t.Context(), provision.Config{Getenv: machine(map[string]string{"PATH": ""}), CacheDir: cache, Progress: &progress})
	if err != nil {
		t.Fatal(err)
	}
	if b.Major != 18 || !strings.HasPrefix(b.Dir, cache) {
		t.Errorf("got %+v", b)
	}
	version, err := exec.Command(filepath.Join(b.Dir, "postgres"), "--version").CombinedOutput()
	if err != nil || !strings.Contains(string(version), provision.PostgresVersion) {
		t.Errorf("postgres --version: %q, %v", version, err)
	}
	if !regexp.MustCompile(`^fetching PostgreSQL 18\.6 from [^\n]+\nfetched PostgreSQL 18\.6: 1\d\.\d MB in \d+\.\d s\nunpacked PostgreSQL 18\.6: \d+\.\d MB in \d+\.\d s\n$`).MatchString(progress.String()) {
		t.Errorf("progress is %q", progress.String())
	}
	c := config(t, filepath.Join(filepath.Dir(cache), "postgres"))
	c.Binaries = b
	if got := ask(t, start(t, c).URL("postgres"), `SHOW server_version`); !strings.HasPrefix(got, "18.6") {
		t.Errorf("the server's version is %q", got)
	}
}

// fakePostgres makes programs that tell a version.
func fakePostgres(t *testing.T, dir, version string) string {
	t.Helper()
	for _, name := range []string{"postgres", "initdb"} {
		writeFile(t, filepath.Join(dir, name), "#!/bin/sh\necho '"+name+" (PostgreSQL) "+version+"'\n", 0o755)
	}
	return dir
}

func TestTheMachinesOwnPostgresStandsIn(t *testing.T) {
	t.Parallel()
	wrongJar := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("not the jar")) }))
	t.Cleanup(wrongJar.Close)
	missing := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(missing.Close)
	blocked := "http://" + closedPort(t)
	host := func(address string) string { return strings.TrimPrefix(address, "http://") }

	for name, tc := range map[string]struct {
		repository string
		want       []string
	}{
		"the mirror is blocked":                   {blocked, []string{host(blocked), "connection refused"}},
		"the mirror does not have it":             {missing.URL, []string{host(missing.URL), "404"}},
		"the mirror's file is not the pinned one": {wrongJar.URL, []string{host(wrongJar.URL), provision.ErrDigest.Error()}},
		"the setting is not an address":           {"mirror", []string{"not an http(s) URL"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var progress lockedBuffer
			own, cache := fakePostgres(t, t.TempDir(), "17.2 (Debian 17.2-1)"), t.TempDir()
			b, err := provision.PostgresBinaries(t.Context(), provision.Config{CacheDir: cache, Progress: &progress,
				Getenv: onlyThese(map[string]string{"MAVEN_REPOSITORY_URL": tc.repository, "PATH": t.TempDir() + ":" + own})})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(provision.Binaries{Dir: own, Major: 17}, b); diff != "" {
				t.Errorf("binaries (-want +got):\n%s", diff)
			}
			for _, part := range append(tc.want, "MAVEN_REPOSITORY_URL", own) {
				if !strings.Contains(progress.String(), part) {
					t.Errorf("progress %q does not name %q", progress.String(), part)
				}
			}
			wantOnlyLocks(t, cache)
		})
	}
}

func TestAPostgresThatIsTooOldOrHalfThereIsPassedOver(t *testing.T) {
	t.Parallel()
	old, half, broken, good := fakePostgres(t, t.TempDir(), "14.9"), t.TempDir(), fakePostgres(t, t.TempDir(), "18.1"), fakePostgres(t, t.TempDir(), "15.18")
	writeFile(t, filepath.Join(half, "postgres"), "#!/bin/sh\n", 0o755)
	writeFile(t, filepath.Join(broken, "initdb"), "#!/bin/sh\nexit 127\n", 0o755)
	b, err := provision.PostgresBinaries(t.Context(), provision.Config{CacheDir: t.TempDir(),
		Getenv: onlyThese(map[string]string{"MAVEN_REPOSITORY_URL": "http://" + closedPort(t), "PATH": strings.Join([]string{old, half, broken, good}, ":")})})
	if err != nil || b.Dir != good {
		t.Errorf("got %+v, %v; want %s", b, err, good)
	}
}

func TestTheServerOfTheMachinesOwnPostgresRuns(t *testing.T) {
	t.Parallel()
	// The pinned programs stand in for installed ones.
	pinned := binaries(t)
	b, err := provision.PostgresBinaries(t.Context(), provision.Config{CacheDir: t.TempDir(),
		Getenv: onlyThese(map[string]string{"MAVEN_REPOSITORY_URL": "http://" + closedPort(t), "PATH": pinned.Dir})})
	if err != nil {
		t.Fatal(err)
	}
	c := config(t, openTempDir(t))
	c.Binaries = b
	if got := ask(t, start(t, c).URL("postgres"), `SELECT 1`); got != "1" {
		t.Errorf("it answers %q", got)
	}
	if _, err := os.Stat(filepath.Join(c.Dir, "password-18")); err != nil {
		t.Error(err)
	}
}
