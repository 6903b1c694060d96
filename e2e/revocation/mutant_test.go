package revocation_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// lastLook is the part of lease.Pass that denies when the lease has ended.
const lastLook = `	case !l.Holds(now):
		return Lapsed
`

// TestABuildWithoutTheLastLookIsCaught is the negative control of this run: a gateway that does not look at its lease
// immediately before it answers permits after a receipt, and what clients saw tells.
func TestABuildWithoutTheLastLookIsCaught(t *testing.T) {
	if os.Getenv("CARACAL_DEEP") == "" {
		t.Skip("a long test: make test-deep runs it")
	}
	s := newSite(t, build(t, without(t, "../../lease/lease.go", lastLook)))
	err := s.round(t.Context(), t, 2, cutOff(0, outward, inward))
	if err == nil || !strings.Contains(err.Error(), "after its receipt said enforced") {
		t.Errorf("round = %v, want a permit after a receipt", err)
	}
}

// without is an overlay for the Go tool in which a file lacks some lines.
func without(t *testing.T, path, lines string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(text), lines, "", 1)
	if changed == string(text) {
		t.Fatalf("%s does not hold what is to be taken out of it", path)
	}
	dir := t.TempDir()
	mutant, overlay := filepath.Join(dir, "mutant.go"), filepath.Join(dir, "overlay.json")
	if path, err = filepath.Abs(path); err != nil {
		t.Fatal(err)
	}
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {path: mutant}})
	if err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string][]byte{mutant: []byte(changed), overlay: replace} {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return overlay
}
