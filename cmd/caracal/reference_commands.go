package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// commandsReference writes what every command does, and what holds for all.
func (p *program) commandsReference(w io.Writer) {
	fmt.Fprint(w, `# Commands

[The command line](../cli.md) is how to begin. `+"`caracal COMMAND --help`"+` says the same as this page.

| command | does |
|---|---|
`)
	all := leaves(p.root())
	for _, c := range all {
		fmt.Fprintf(w, "| [`%s`](#%s) | %s |\n", c.CommandPath(), strings.ReplaceAll(c.CommandPath(), " ", "-"), c.Short)
	}
	fmt.Fprint(w, `
## Exit statuses

| status | means |
|---|---|
`)
	for _, e := range exitMeanings() {
		fmt.Fprintf(w, "| %d | %s |\n", e.status, e.meaning)
	}
	fmt.Fprint(w, `
## Where a setting comes from

Every command that calls a control plane has these. A flag wins; then the context that `+"`--context`"+` names; then the variable;
then the context in use (`+"`CARACAL_CONTEXT`, else `caracal context use`"+`); then the default. A context's key goes to the
context's own control plane only: under another URL it is not used.

| flag | variable | default | meaning |
|---|---|---|---|
`)
	for _, s := range clientSettings() {
		fmt.Fprintf(w, "| `--%s` | `%s` | %s | %s |\n", s.flag, s.variable, quoted(s.fallback), s.meaning)
	}
	fmt.Fprint(w, "| `-o`, `--output` |  | `table` | table, json or yaml |\n")
	for _, c := range all {
		p.commandReference(w, c)
	}
}

// leaves are the commands that do something, in the order of their names.
func leaves(root *cobra.Command) []*cobra.Command {
	var all []*cobra.Command
	for _, c := range root.Commands() {
		if c.Hidden || c.Name() == "help" || c.Name() == "completion" {
			continue
		}
		if !c.HasSubCommands() || c.Name() == "gateway" { // which runs one, and lists them
			all = append(all, c)
		}
		all = append(all, leaves(c)...)
	}
	return all
}

func (p *program) commandReference(w io.Writer, c *cobra.Command) {
	fmt.Fprintf(w, "\n## %s\n\n%s.\n\n```text\n%s\n```\n", c.CommandPath(), c.Short, strings.TrimSuffix(c.UseLine(), " [flags]"))
	if len(c.Aliases) > 0 {
		fmt.Fprintf(w, "\nAlso called `%s`.\n", strings.Join(c.Aliases, "`, `"))
	}
	shared := map[string]bool{"output": true, "help": true}
	if c.Flag("context") != nil {
		for _, s := range clientSettings() {
			shared[s.flag] = true
		}
	}
	head := "\n| flag | default | meaning |\n|---|---|---|\n"
	c.NonInheritedFlags().VisitAll(func(f *pflag.Flag) {
		if shared[f.Name] || f.Hidden {
			return
		}
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + "`, `" + name
		}
		fallback := f.DefValue
		if fallback == "[]" || fallback == "false" {
			fallback = ""
		}
		meaning := strings.ReplaceAll(f.Usage, "|", `\|`)
		if f.Annotations[cobra.BashCompOneRequiredFlag] != nil {
			meaning += "; it has to be there"
		}
		fmt.Fprintf(w, "%s| `%s` | %s | %s |\n", head, name, quoted(fallback), meaning)
		head = ""
	})
	if c.Example != "" {
		fmt.Fprintf(w, "\n```text\n%s\n```\n", strings.TrimRight(strings.ReplaceAll("\n"+c.Example, "\n  ", "\n")[1:], "\n"))
	}
}

func quoted(s string) string {
	if s == "" {
		return ""
	}
	return "`" + s + "`"
}
