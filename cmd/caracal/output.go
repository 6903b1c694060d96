package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode"
	"unicode/utf16"

	"github.com/spf13/cobra"
)

// output prints answers: for people, or as JSON for programs.
type output struct {
	w      io.Writer
	format string
}

func (p *program) output(c *cobra.Command) *output {
	o := &output{w: p.stdout}
	c.PersistentFlags().StringVarP(&o.format, "output", "o", "text", "text or json")
	return o
}

func (o *output) check() error {
	if o.format != "text" && o.format != "json" {
		return &usageError{"--output must be text or json"}
	}
	return nil
}

// thing prints one thing, a field a line.
func (o *output) thing(v any) error {
	if o.format == "json" {
		return o.json(v)
	}
	fields, err := flatten(v)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(o.w, 0, 0, 2, ' ', 0)
	for _, f := range fields {
		if f.text != "" && f.name != "signature" { // which is for programs, and fills a screen
			fmt.Fprintf(table, "%s\t%s\n", f.name, f.text)
		}
	}
	return table.Flush()
}

// things prints a list: a line for each, with the columns named by their JSON fields.
func things[T any](o *output, list []T, columns ...string) error {
	if o.format == "json" {
		return o.json(list)
	}
	table := tabwriter.NewWriter(o.w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, strings.ToUpper(strings.Join(columns, "\t")))
	for _, v := range list {
		fields, err := flatten(v)
		if err != nil {
			return err
		}
		byName := map[string]string{}
		for _, f := range fields {
			byName[f.name] = f.text
		}
		cells := make([]string, len(columns))
		for i, name := range columns {
			if cells[i] = byName[name]; cells[i] == "" {
				cells[i] = "-"
			}
		}
		fmt.Fprintln(table, strings.Join(cells, "\t"))
	}
	return table.Flush()
}

func (o *output) json(v any) error {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(v); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	_, err := io.WriteString(o.w, printableJSON(text.String()))
	return err
}

// field is one value for people, under the name that JSON has for it.
type field struct{ name, text string }

// flatten lists the fields of a value in the order of its JSON form; those of an object inside are named
// `object.field`.
func flatten(v any) ([]field, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("printing: %w", err)
	}
	return flattenJSON("", text)
}

func flattenJSON(name string, text json.RawMessage) ([]field, error) {
	if len(text) == 0 || text[0] != '{' {
		value, err := scalar(text)
		return []field{{name, value}}, err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	if _, err := decoder.Token(); err != nil {
		return nil, fmt.Errorf("printing: %w", err)
	}
	var all []field
	for decoder.More() {
		member, err := decoder.Token()
		if err != nil {
			return nil, fmt.Errorf("printing: %w", err)
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return nil, fmt.Errorf("printing: %w", err)
		}
		inner := printable(member.(string))
		if name != "" {
			inner = name + "." + inner
		}
		fields, err := flattenJSON(inner, value)
		if err != nil {
			return nil, err
		}
		all = append(all, fields...)
	}
	return all, nil
}

// scalar writes a value that is no object: lists of words are joined, other lists stay JSON.
func scalar(text json.RawMessage) (string, error) {
	var value any
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&value); err != nil {
		return "", fmt.Errorf("printing: %w", err)
	}
	switch value := value.(type) {
	case nil:
		return "", nil
	case string:
		return printable(value), nil
	case []any:
		words := make([]string, len(value))
		for i, v := range value {
			switch v := v.(type) {
			case string:
				words[i] = printable(v)
			case json.Number:
				words[i] = v.String()
			default:
				return printable(string(text)), nil
			}
		}
		return strings.Join(words, ", "), nil
	}
	return string(text), nil
}

// printable shows what a terminal would obey, hide or turn around. Names and messages come from tenants.
func printable(s string) string {
	var b strings.Builder
	for _, r := range strings.ToValidUTF8(s, "\ufffd") {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
		} else {
			escape(&b, r)
		}
	}
	return b.String()
}

// printableJSON does the same to a JSON text, which keeps its own lines and its meaning.
func printableJSON(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r == '\n' || unicode.IsPrint(r) {
			b.WriteRune(r)
		} else {
			escape(&b, r)
		}
	}
	return b.String()
}

func escape(b *strings.Builder, r rune) {
	if high, low := utf16.EncodeRune(r); high != unicode.ReplacementChar {
		fmt.Fprintf(b, `\u%04x\u%04x`, high, low)
		return
	}
	fmt.Fprintf(b, `\u%04x`, r)
}
