package rego_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caracal-gateway/caracal/rego"
)

func TestThePolicyInTheDocumentationCompiles(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "docs", "rego.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "```rego\n")
	policy, _, closed := strings.Cut(rest, "```")
	if !found || !closed {
		t.Fatal("docs/rego.md holds no policy")
	}
	source := rego.Source{
		Modules: map[string]string{"policy.rego": policy},
		Data:    map[string]any{"hours": map[string]any{"from": 8, "until": 18}},
	}
	if _, err := rego.Compile(t.Context(), source); err != nil {
		t.Error(err)
	}
}
