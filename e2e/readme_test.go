package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// shellBlock is a block of a document that a reader is meant to run.
type shellBlock struct {
	heading string
	text    string
}

var (
	headingOrBlock = regexp.MustCompile("(?ms)^#+ ([^\n]+)$|^```sh\n(.*?)^```$")
	placeholder    = regexp.MustCompile(`<[^<>\n]+>`)
)

// blocksOf reads the shell blocks of a document, each under its heading.
func blocksOf(t *testing.T, path string) []shellBlock {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var blocks []shellBlock
	heading := ""
	for _, found := range headingOrBlock.FindAllStringSubmatch(string(text), -1) {
		if found[1] != "" {
			heading = found[1]
			continue
		}
		blocks = append(blocks, shellBlock{heading: heading, text: found[2]})
	}
	if len(blocks) == 0 {
		t.Fatalf("%s has no shell block", path)
	}
	return blocks
}

// runningStack is a stack for one test.
func runningStack(t *testing.T) *stack {
	t.Helper()
	project := mkdir(t, strings.ToLower(t.Name()))
	s, err := newStack(project)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(s.report())
		}
		s.end()
	})
	if err := s.start(""); err != nil {
		t.Fatal(err)
	}
	return s
}

// bash runs a text in the project's directory, with nothing but what a person's shell has.
func (s *stack) bash(t *testing.T, text string) (stdout, all string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, "bash", "-c", text)
	var out, both bytes.Buffer
	command.Dir, command.Env = s.project, s.environment()
	command.Stdout, command.Stderr = &out, &both
	err = command.Run()
	return out.String(), out.String() + both.String(), err
}

// decode reads the JSON value that a text begins with.
func decode(t *testing.T, text string) map[string]any {
	t.Helper()
	value := map[string]any{}
	if err := json.NewDecoder(strings.NewReader(text)).Decode(&value); err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
	return value
}

// TestTheReadmesCommandsDoWhatItSays runs the blocks in their order. Each stands in a terminal that has read dev.env, as
// the first one does; what a reader has to put in place of a <placeholder> comes from the answer before.
func TestTheReadmesCommandsDoWhatItSays(t *testing.T) {
	s := runningStack(t)
	var last map[string]any // the answer that placeholders refer to
	run := func(text string) string {
		t.Helper()
		out, all, err := s.bash(t, "set -e -o pipefail; . .caracal/dev.env\n"+text)
		if err != nil {
			t.Fatalf("%v\n%s\n%s", err, text, all)
		}
		return out
	}
	fill := func(text, mark, field string) string {
		value, _ := last[field].(string)
		return strings.ReplaceAll(text, mark, value)
	}
	// How each block is known, and what has to come of it. None may be without a check.
	checks := []struct {
		holds string
		check func(text string)
	}{
		{"make run", func(string) {}}, // is what runs; it and the next build what these tests are part of
		{"make test", func(string) {}},
		{"caracal run", func(text string) {
			out := run(text)
			if got := decode(t, out)["path"]; got != "/v1/models" {
				t.Errorf("the upstream got %v", got)
			}
			if !strings.Contains(out, `"error":"resource_not_in_scope"`) {
				t.Errorf("the second command was not denied: %s", out)
			}
		}},
		{"/v1/chat/completions", func(text string) {
			out := run(text)
			if got := decode(t, out)["path"]; got != "/v1/chat/completions" {
				t.Errorf("the upstream got %v", got)
			}
			if !strings.Contains(out, `"connected": true`) {
				t.Errorf("the gateway's health says nothing of a connection: %s", out)
			}
		}},
		{"/admin/users", func(text string) {
			if last = decode(t, run(text)); last["error"] != "resource_not_in_scope" {
				t.Errorf("got %v", last)
			}
		}},
		{"event show <decision_id>", func(text string) {
			text = fill(text, "<decision_id>", "decision_id")
			if err := poll("the event has arrived", func() error { _, _, err := s.bash(t, ". .caracal/dev.env\n"+text); return err }); err != nil {
				t.Error(err)
			}
			if out := run(text); !strings.Contains(out, "resource_not_in_scope") {
				t.Errorf("the decision does not tell its reason:\n%s", out)
			}
		}},
		{"rego push demo/policy.rego", func(text string) {
			s.replaceInPolicy(t, `"embeddings"`, `"chat"`)
			run(text)
			s.mustDenyByPolicy(t)
		}},
		{"mandate issue", func(text string) {
			// The two commands are a conversation: the second needs what the first answers.
			issue, call, _ := strings.Cut(text, "\ncurl ")
			last = decode(t, run(strings.TrimSpace(issue)+" --output json"))
			call = fill("curl -s "+call, "<its mandate_id>", "mandate_id")
			// No network is promised here; the decision is, and it has to be in favour.
			if out := run(call); strings.Contains(out, `"decision_id"`) && !strings.Contains(out, `"upstream_unreachable"`) {
				t.Errorf("the call was denied: %s", out)
			}
		}},
	}
	for _, b := range blocksOf(t, "../README.md") {
		known := false
		for _, c := range checks {
			if known = strings.Contains(b.text, c.holds); known {
				c.check(b.text)
				break
			}
		}
		if !known {
			t.Errorf("nothing checks this block of the README, under %q:\n%s", b.heading, b.text)
		}
	}
}

func (s *stack) replaceInPolicy(t *testing.T, from, to string) {
	t.Helper()
	path := filepath.Join(s.project, "demo", "policy.rego")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(text, []byte(from)) {
		t.Fatalf("the README says to replace %s, which is not in the demo's policy", from)
	}
	if err := os.WriteFile(path, bytes.ReplaceAll(text, []byte(from), []byte(to)), 0o644); err != nil {
		t.Fatal(err)
	}
}

// mustDenyByPolicy sends the README's first call again.
func (s *stack) mustDenyByPolicy(t *testing.T) {
	t.Helper()
	for _, b := range blocksOf(t, "../README.md") {
		if !strings.Contains(b.text, "/v1/chat/completions") {
			continue
		}
		out, all, err := s.bash(t, b.text)
		if err != nil || decode(t, out)["error"] != "policy_denied" {
			t.Errorf("the call is not denied by the policy: %v\n%s", err, all)
		}
		return
	}
	t.Error("the README has no such call")
}
