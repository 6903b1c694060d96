package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var pythonBlock = regexp.MustCompile("(?ms)^```python\n(.*?)^```$")

// outcome is what the guide's Python blocks have brought about when the last one has run.
const outcome = `
assert principal["api_key"].startswith("ck_agent_")
assert (policy["delegation_depth"], policy.max_validity_seconds) == (2, 86400)
assert validation["allowed"] is True
assert denial.reason == "action_not_in_scope" and denial.status == 403
assert receipt["state"] == "enforced" and receipt["mandates"] == [mandate["mandate_id"]]
assert client.get_mandate(mandate["mandate_id"]).revoked
assert delegation["parent_mandate_id"] == second["mandate_id"] and delegation["level"] == 1
assert {e["event_type"] for e in events} <= {"denied"}

import time
for _ in range(300):
    if any(e["decision_id"] == denial.decision_id for e in client.query_events(event_type="denied")):
        break
    time.sleep(0.1)
else:
    raise AssertionError("the denial has not become an event")
`

// TestTheGuidesPythonBlocksRunInOrder runs the guide's Python blocks as a reader would who pastes them into one
// interpreter: with the SDK of this tree, in a workspace in which nobody has done anything.
func TestTheGuidesPythonBlocksRunInOrder(t *testing.T) {
	environment, err := exec.Command("sh", "../scripts/sdk-environment.sh", "newest").Output()
	if err != nil {
		t.Fatalf("make a Python environment: %v", err)
	}
	sources, err := filepath.Abs("../sdk/python/src")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../docs/guide.md")
	if err != nil {
		t.Fatal(err)
	}
	var script strings.Builder
	for i, found := range pythonBlock.FindAllStringSubmatch(string(text), -1) {
		fmt.Fprintf(&script, "print('=== block %d')\n%s\n", i+1, found[1])
	}
	if !strings.Contains(script.String(), "from caracal.sdk import AuthorityClient") {
		t.Fatal("the guide has no Python blocks")
	}
	s := runningStack(t)
	file := filepath.Join(s.project, "guide.py")
	if err := os.WriteFile(file, []byte(script.String()+outcome), 0o644); err != nil {
		t.Fatal(err)
	}
	command := fmt.Sprintf(". .caracal/dev.env && PYTHONPATH='%s' '%s/bin/python' -W error::SyntaxWarning guide.py", sources, strings.TrimSpace(string(environment)))
	if _, all, err := s.bash(t, command); err != nil {
		t.Errorf("the guide's Python fails: %v\n%s", err, all)
	}
}
