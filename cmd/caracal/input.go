package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"sigs.k8s.io/yaml"
)

// maxInput bounds a file that a command reads whole.
const maxInput = 16 << 20

// readFile reads a file, or standard input for "-".
func (p *program) readFile(name string) ([]byte, error) {
	in := p.stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, maxInput+1))
	if err == nil && len(text) > maxInput {
		err = fmt.Errorf("it has more than %d bytes", maxInput)
	}
	return text, err
}

// absolute is a path that means the same wherever a command runs; no path stays none.
func absolute(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	full, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("finding %s: %w", path, err)
	}
	return full, nil
}

// readText reads a file into a text; no file leaves the text as it is.
func (p *program) readText(name string, into *string) error {
	if name == "" {
		return nil
	}
	text, err := p.readFile(name)
	if err != nil {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	*into = string(text)
	return nil
}

// readThing reads what a file of YAML or JSON says into v; no file says nothing. A field that v does not have is refused.
func (p *program) readThing(name string, v any) error {
	if name == "" {
		return nil
	}
	text, err := p.readFile(name)
	if err != nil {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	if err := yaml.UnmarshalStrict(text, v); err != nil {
		return &usageError{fmt.Sprintf("reading %s: %v", name, err)}
	}
	return nil
}
