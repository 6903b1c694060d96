package e2e_test

import (
	"fmt"
	"strings"
	"testing"
)

// TestTheGuidesBlocksRunInOrder runs docs/guide.md as a reader would who pastes every block into one shell. The first
// command that fails ends it.
func TestTheGuidesBlocksRunInOrder(t *testing.T) {
	s := runningStack(t)
	blocks := blocksOf(t, "../docs/guide.md")
	var script strings.Builder
	script.WriteString("set -e -o pipefail\n")
	for i, b := range blocks {
		if mark := placeholder.FindString(b.text); mark != "" {
			t.Errorf("block %d, under %q, has %s, which nobody fills in", i+1, b.heading, mark)
		}
		fmt.Fprintf(&script, "echo '=== block %d: %s' >&2\n%s", i+1, strings.ReplaceAll(b.heading, "'", ""), b.text)
	}
	out, all, err := s.bash(t, script.String()+"echo '=== end' >&2\n")
	if err == nil {
		return
	}
	failed := all[strings.LastIndex(all, "=== "):]
	number := strings.Count(all, "=== block ")
	t.Errorf("block %d fails: %v\n%s\nit is:\n%s\nand all had printed:\n%s", number, err, failed, blocks[max(0, number-1)].text, out)
}
