package archtest_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const (
	maxFileLines     = 600
	maxFunctionLines = 100
)

// generated files say so themselves, in the form that the Go tools agree on.
var generated = regexp.MustCompile(`(?m)^// Code generated .* DO NOT EDIT\.$`)

// environment is read, and the process ended, at one place.
var onlyInCommands = regexp.MustCompile(`\bos\.(Getenv|LookupEnv|Exit)\(|\blog\.Fatal|^func init\(`)

type sourceFile struct {
	path string // relative to the repository
	text []byte
	ast  *ast.File
	fset *token.FileSet
}

func TestNoFileIsLongerThanAReaderCanHold(t *testing.T) {
	for _, f := range sources(t) {
		if n := bytes.Count(f.text, []byte("\n")); n > maxFileLines {
			t.Errorf("%s has %d lines; %d is the most", f.path, n, maxFileLines)
		}
	}
}

func TestNoFunctionIsLongerThanTwoScreens(t *testing.T) {
	for _, f := range sources(t) {
		if strings.HasSuffix(f.path, "_test.go") {
			continue
		}
		for _, d := range f.ast.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if n := f.fset.Position(fn.End()).Line - f.fset.Position(fn.Pos()).Line + 1; n > maxFunctionLines {
				t.Errorf("%s: %s has %d lines; %d is the most", f.path, fn.Name.Name, n, maxFunctionLines)
			}
		}
	}
}

func TestEveryPackageHasOneDocComment(t *testing.T) {
	docs := map[string]int{}
	for _, f := range sources(t) {
		if strings.HasSuffix(f.path, "_test.go") {
			continue
		}
		dir := filepath.Dir(f.path)
		docs[dir] += 0
		if f.ast.Doc != nil {
			docs[dir]++
		}
	}
	for dir, n := range docs {
		if n != 1 {
			t.Errorf("package in %s has %d doc comments, want 1", dir, n)
		}
	}
}

func TestTheEnvironmentIsReadByCommandsOnly(t *testing.T) {
	for _, f := range sources(t) {
		command := strings.HasPrefix(f.path, "cmd/") || f.path == "bench/main.go" || f.path == "bench/opa/main.go"
		if command || strings.HasSuffix(f.path, "_test.go") || strings.HasPrefix(f.path, "internal/pgtest/") {
			continue
		}
		for i, line := range strings.Split(string(f.text), "\n") {
			if onlyInCommands.MatchString(line) {
				t.Errorf("%s:%d: %s: only commands read the environment, end the process or have init functions", f.path, i+1, strings.TrimSpace(line))
			}
		}
	}
}

func TestTestsWaitForConditionsAndNeverSleep(t *testing.T) {
	for _, f := range sources(t) {
		if strings.HasSuffix(f.path, "_test.go") && !strings.HasPrefix(f.path, "internal/archtest/") && bytes.Contains(f.text, []byte("time.Sleep(")) {
			t.Errorf("%s sleeps: wait for a condition", f.path)
		}
	}
}

// sources parses every Go file that people write.
func sources(t *testing.T) []sourceFile {
	t.Helper()
	root := filepath.Join("..", "..")
	var files []sourceFile
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && path != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "node_modules" || name == "bin") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if generated.Match(text) {
			return nil
		}
		fset := token.NewFileSet()
		parsed, err := parser.ParseFile(fset, path, text, parser.ParseComments)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		files = append(files, sourceFile{path: filepath.ToSlash(relative), text: text, ast: parsed, fset: fset})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 50 {
		t.Fatalf("found only %d Go files: the walk does not see the repository", len(files))
	}
	return files
}
