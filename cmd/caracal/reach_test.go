package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/caracal-gateway/caracal/client"
)

// What the client can do, a command does.
func TestEveryCallHasACommand(t *testing.T) {
	elsewhere := map[string]string{
		"ReplaceDestination": "`update` changes what is there, by EditDestination",
		"Do":                 "what every call is made with",
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var source strings.Builder
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		source.Write(text)
	}
	for m := range reflect.TypeFor[*client.Client]().Methods() {
		used := strings.Contains(source.String(), "."+m.Name+"(") || strings.Contains(source.String(), "(*client.Client)."+m.Name)
		if _, left := elsewhere[m.Name]; used == left {
			t.Errorf("the client's %s: used by a command %v, said to be left out %v", m.Name, used, left)
		}
	}
}
