package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTheReferenceInDocsIsWhatTheCodeSays(t *testing.T) {
	p := &program{getenv: func(string) string { return "" }}
	for name, write := range p.references() {
		var want strings.Builder
		write(&want)
		got, err := os.ReadFile(filepath.Join("..", "..", "docs", "reference", name))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want.String(), string(got)); diff != "" {
			t.Errorf("docs/reference/%s is not up to date; `make generate` writes it (-code +docs):\n%s", name, diff)
		}
	}
}
