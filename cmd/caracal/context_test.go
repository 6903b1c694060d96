package main

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// home is the shell of a person who keeps contexts.
func home(t *testing.T) environment {
	t.Helper()
	return environment{"HOME": t.TempDir()}
}

// with is the shell with some variables more.
func (e environment) with(more environment) environment {
	both := maps.Clone(e)
	maps.Copy(both, more)
	return both
}

func (e environment) configFile() string {
	return filepath.Join(e["HOME"], ".config/caracal/config.yaml")
}

// ok insists that a command succeeds, and returns what it printed on stdout and stderr.
func (e environment) ok(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	stdout, stderr, err := e.caracal(t, stdin, args...)
	if err != nil {
		t.Fatalf("caracal %s: %v: %s", strings.Join(args, " "), err, stderr)
	}
	return stdout + stderr
}

// fails insists that a command ends with a status and says something.
func (e environment) fails(t *testing.T, status exitStatus, want string, args ...string) {
	t.Helper()
	stdout, stderr, err := e.caracal(t, "", args...)
	if got := statusOf(err); got != status || !strings.Contains(stderr, want) {
		t.Errorf("caracal %s ended with %d, want %d, and printed %s%s, want %q in it", strings.Join(args, " "), got, status, stdout, stderr, want)
	}
}

func TestContextsAreKeptUsedAndForgotten(t *testing.T) {
	owner := member(t, "http://"+serverEnvironment(t).serve(t))
	url, key := owner["CARACAL_URL"], owner["CARACAL_API_KEY"]
	me := home(t)
	if said := me.ok(t, key+"\n", "login", "--url", url); !strings.Contains(said, "as owner (owner of my-team); this is the context my-team, and it is in use") || strings.Contains(said, key) {
		t.Errorf("signing in said %s", said)
	}
	if listed := me.ok(t, "", "workspace", "list"); !strings.Contains(listed, "my-team") {
		t.Errorf("the context lists %s", listed)
	}
	file := write(t, "key", key)
	me.ok(t, "", "login", "--url", url, "--api-key-file", file, "--context", "second")
	me.ok(t, "", "context", "use", "my-team")
	if listed := me.ok(t, "", "context", "list"); !strings.Contains(listed, "current  my-team") || !strings.Contains(listed, "ck_member_…") || strings.Contains(listed, key) {
		t.Errorf("the contexts are listed as %s", listed)
	}
	if shown := me.ok(t, "", "context", "show"); !strings.Contains(shown, url) || strings.Contains(shown, key) {
		t.Errorf("the context is shown as %s", shown)
	}
	me.ok(t, "", "context", "rename", "second", "other")
	me.fails(t, exitUsage, "there is a context called other already", "context", "rename", "my-team", "other")
	me.fails(t, exitUsage, "cannot be the name of a context", "context", "rename", "my-team", "a b")
	me.fails(t, exitUsage, `there is no context called "my-taem": did you mean my-team?`, "mandate", "list", "--context", "my-taem")
	me.fails(t, exitUsage, "say --yes", "context", "delete", "other")
	me.ok(t, "", "context", "delete", "other", "--yes")
	me.fails(t, exitUsage, `there is no context called "other"`, "context", "use", "other")
	me.ok(t, "", "logout")
	me.fails(t, exitUnauthenticated, "`caracal login`", "mandate", "list")
	if text, err := os.ReadFile(me.configFile()); err != nil || strings.Contains(string(text), key) {
		t.Errorf("after signing out the file holds %s (%v)", text, err)
	}
}

func TestAKeyThatOpensNothingIsNotKept(t *testing.T) {
	url := "http://" + serverEnvironment(t).serve(t)
	me := home(t)
	for stdin, want := range map[string]exitStatus{"wrong\n": exitUnauthenticated, "": exitUnauthenticated} {
		if _, stderr, err := me.caracal(t, stdin, "login", "--url", url); statusOf(err) != want {
			t.Errorf("signing in with %q ended with %v: %s", stdin, err, stderr)
		}
	}
	if _, err := os.Stat(me.configFile()); !os.IsNotExist(err) {
		t.Errorf("a file was made: %v", err)
	}
}

func TestWhereAKeyComesFromAndGoes(t *testing.T) {
	one, two := member(t, "http://"+serverEnvironment(t).serve(t)), member(t, "http://"+serverEnvironment(t).serve(t))
	me := home(t)
	me.ok(t, one["CARACAL_API_KEY"], "login", "--url", one["CARACAL_URL"], "--context", "one")
	me.ok(t, two["CARACAL_API_KEY"], "login", "--url", two["CARACAL_URL"], "--context", "two")
	for sentence, c := range map[string]struct {
		shell environment
		args  []string
		want  string // the owner that the answer names; empty where there is no answer
		says  string
	}{
		"the context in use":                              {me, nil, two["owner"], ""},
		"a context that a variable names":                 {me.with(environment{"CARACAL_CONTEXT": "one"}), nil, one["owner"], ""},
		"a flag wins over the variable":                   {me.with(environment{"CARACAL_CONTEXT": "one"}), []string{"--context", "two"}, two["owner"], ""},
		"variables win over the context in use":           {me.with(environment{"CARACAL_URL": one["CARACAL_URL"], "CARACAL_API_KEY": one["CARACAL_API_KEY"]}), nil, one["owner"], ""},
		"a named context wins over variables":             {me.with(environment{"CARACAL_URL": one["CARACAL_URL"], "CARACAL_API_KEY": one["CARACAL_API_KEY"]}), []string{"--context", "two"}, two["owner"], ""},
		"the URL of the context in use keeps its key":     {me.with(environment{"CARACAL_URL": two["CARACAL_URL"] + "/"}), nil, two["owner"], ""},
		"a key does not go to another control plane":      {me.with(environment{"CARACAL_URL": one["CARACAL_URL"]}), nil, "", "the key of the context two is for its own control plane only"},
		"nor does it where a flag names another":          {me, []string{"--context", "two", "--url", one["CARACAL_URL"]}, "", "the key of the context two is for its own control plane only"},
		"a key of the wrong control plane opens nothing":  {me.with(environment{"CARACAL_API_KEY": one["CARACAL_API_KEY"]}), nil, "", "the key of CARACAL_API_KEY is right"},
		"a context that is not there":                     {me.with(environment{"CARACAL_CONTEXT": "three"}), nil, "", `there is no context called "three"`},
		"variables alone need no file, whatever its mode": {opened(t, me).with(environment{"CARACAL_URL": one["CARACAL_URL"], "CARACAL_API_KEY": one["CARACAL_API_KEY"]}), nil, one["owner"], ""},
		"a file that others can read is refused":          {opened(t, me), nil, "", "chmod 600"},
	} {
		t.Run(sentence, func(t *testing.T) {
			stdout, stderr, err := c.shell.caracal(t, "", append([]string{"member", "list", "-o", "json"}, c.args...)...)
			if c.want == "" && (err == nil || !strings.Contains(stderr, c.says)) || c.want != "" && (err != nil || !strings.Contains(stdout, c.want)) {
				t.Errorf("it ended with %v: %s%s", err, stdout, stderr)
			}
		})
	}
}

// opened is a home whose file of contexts everybody can read.
func opened(t *testing.T, me environment) environment {
	t.Helper()
	other := home(t)
	text, err := os.ReadFile(me.configFile())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(other.configFile()), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(other.configFile(), text, 0o644); err != nil {
		t.Fatal(err)
	}
	return other
}
