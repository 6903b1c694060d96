package provision_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caracal-gateway/caracal/provision"
)

func TestRedisIsFetchedAndRuns(t *testing.T) {
	c := provision.Config{Getenv: machine(nil), CacheDir: filepath.Join(t.TempDir(), "cache")}
	path, err := provision.RedisServer(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), path, "--version").Output()
	if err != nil || !strings.Contains(string(out), "v="+provision.RedisVersion+" ") {
		t.Errorf("%s --version: %v: %s", path, err, out)
	}
}

func TestWithoutAnIndexTheMachinesOwnRedisServes(t *testing.T) {
	empty := httptest.NewServer(http.NotFoundHandler())
	defer empty.Close()
	bin := t.TempDir()
	own := filepath.Join(bin, "redis-server")
	if err := os.WriteFile(own, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct{ path, want string }{
		"on PATH": {bin, own},
		"nowhere": {t.TempDir(), ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := provision.RedisServer(t.Context(), provision.Config{
				Getenv:   onlyThese(map[string]string{"PIP_INDEX_URL": empty.URL, "PATH": test.path}),
				CacheDir: t.TempDir(),
			})
			if got != test.want || (err == nil) != (test.want != "") {
				t.Errorf("RedisServer = %q, %v; want %q", got, err, test.want)
			}
			if err != nil && !strings.Contains(err.Error(), "PATH") {
				t.Errorf("the error does not say where it looked: %v", err)
			}
		})
	}
}
