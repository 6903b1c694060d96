package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// output prints answers: as a table for people, or as JSON or YAML for programs.
type output struct {
	w      io.Writer
	format string
	colour bool
	now    func() time.Time
	names  map[string]string // of principals, which lists show in place of their ids
}

// The formats of --output.
const (
	formatTable = "table"
	formatJSON  = "json"
	formatYAML  = "yaml"
)

func outputFlag(c *cobra.Command) {
	c.PersistentFlags().StringP("output", "o", formatTable, "table, json or yaml")
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{formatTable, formatJSON, formatYAML}, cobra.ShellCompDirectiveNoFileComp))
}

func (p *program) output(c *cobra.Command) (*output, error) {
	o := &output{w: p.stdout, format: c.Flag("output").Value.String(), colour: p.colours(p.stdout), now: time.Now}
	if !slices.Contains([]string{formatTable, formatJSON, formatYAML}, o.format) {
		return nil, &usageError{"--output must be table, json or yaml"}
	}
	return o, nil
}

// thing prints one thing, a field a line.
func (o *output) thing(v any) error {
	if o.format != formatTable {
		return o.encode(v)
	}
	fields, err := flatten(v)
	if err != nil {
		return err
	}
	var t table
	for _, f := range fields {
		if f.text != "" && f.name != "signature" { // which is for programs, and fills a screen
			t.row(cell{text: f.name, colour: faint}, cell{text: o.exactly(f), colour: colourOf(f.text)})
		}
	}
	return t.print(o.w, o.colour)
}

// things prints a list, a line for each. A column is named by its JSON field, or with a heading of its own as HEADING=field.
func things[T any](o *output, list []T, columns ...string) error {
	if o.format != formatTable {
		return o.encode(list)
	}
	if len(list) == 0 {
		_, err := fmt.Fprintln(o.w, "none")
		return err
	}
	var t table
	heads, names := make([]cell, len(columns)), make([]string, len(columns))
	for i, column := range columns {
		heads[i].colour = faint
		heads[i].text, names[i] = heading(column)
	}
	t.row(heads...)
	for _, v := range list {
		fields, err := flatten(v)
		if err != nil {
			return err
		}
		cells := make([]cell, len(columns))
		for i, name := range names {
			cells[i] = cell{text: "-"}
			at := slices.IndexFunc(fields, func(f field) bool { return f.name == name && f.text != "" })
			if at >= 0 {
				cells[i] = cell{text: o.briefly(fields[at]), colour: colourOf(fields[at].text)}
			}
		}
		t.row(cells...)
	}
	return t.print(o.w, o.colour)
}

// heading is what a column is called: the last part of its field, without what its values say themselves.
func heading(column string) (head, name string) {
	if head, name, ok := strings.Cut(column, "="); ok {
		return head, name
	}
	head = column[strings.LastIndex(column, ".")+1:]
	for _, suffix := range []string{"_id", "_at", "_seconds"} {
		head = strings.TrimSuffix(head, suffix)
	}
	return strings.ToUpper(strings.ReplaceAll(head, "_", " ")), column
}

// encode prints for programs.
func (o *output) encode(v any) error {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(v); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	printed := printableJSON(text.String())
	if o.format == formatYAML {
		var err error
		if printed, err = asYAML(text.Bytes()); err != nil {
			return err
		}
	}
	_, err := io.WriteString(o.w, printed)
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
