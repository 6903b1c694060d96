package main

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/catalog"
)

// regionLabel is the label of a host that names a region.
var regionLabel = regexp.MustCompile(`\b[a-z]{2}-[a-z]+-[0-9]\b`)

// entryKinds are the headings of the groups of entries.
func entryKinds() map[catalog.Kind]string {
	return map[catalog.Kind]string{
		catalog.Models: "Models", catalog.Code: "Code", catalog.Packages: "Packages", catalog.Images: "Images",
		catalog.Cloud: "Clouds", catalog.Search: "Search and knowledge", catalog.Apps: "Applications",
	}
}

func entriesReference(w io.Writer) {
	fmt.Fprint(w, `# Ready entries

What `+"`caracal destination add <name>`"+` knows. [Ready entries](../ready.md) says how the resources are named and how to use one.
A request that no row lists is refused. `+"`*`"+` stands for every other method.
`)
	entries := catalog.Entries()
	for _, kind := range catalog.Kinds() {
		fmt.Fprintf(w, "\n- %s:", entryKinds()[kind])
		separator := " "
		for _, e := range entries {
			if e.Kind == kind {
				fmt.Fprintf(w, "%s[%s](#%s)", separator, e.Name, e.Name)
				separator = ", "
			}
		}
	}
	fmt.Fprintln(w)
	for _, kind := range catalog.Kinds() {
		for _, e := range entries {
			if e.Kind == kind {
				writeEntry(w, e)
			}
		}
	}
}

func writeEntry(w io.Writer, e catalog.Entry) {
	fmt.Fprintf(w, "\n## %s\n\n%s. %s\n\n| host | request | is |\n|---|---|---|\n", e.Name, e.Title, strings.ReplaceAll(strings.TrimSpace(e.About), "<", `\<`))
	for _, row := range entryRows(e) {
		fmt.Fprintf(w, "| %s | %s | %s |\n", strings.Join(row.hosts, "<br>"), strings.Join(row.requests, "<br>"), row.is)
	}
	fmt.Fprintln(w, "\nTypical mandates:")
	fmt.Fprintln(w)
	for _, g := range e.Grants {
		fmt.Fprintf(w, "- %s: %s on %s\n", g.For, enumerate(g.Actions, ""), enumerate(g.Resources, "`"))
	}
	var from []string
	for _, r := range e.Requests {
		if !slices.Contains(from, r.From) {
			from = append(from, r.From)
		}
	}
	fmt.Fprintf(w, "\nHeld against %d requests, from %s.\n", len(e.Requests), strings.Join(from, "; "))
}

// entryRow is what becomes of one or more paths, at one or more hosts.
type entryRow struct {
	hosts    []string
	requests []string
	is       string
}

// entryRows lists an entry's rules, those of all regions as one, and joins what is alike.
func entryRows(e catalog.Entry) []entryRow {
	var rows []entryRow
	for _, d := range e.Destinations {
		host := regionLabel.ReplaceAllString(d.Host, "{region}")
		if d.TLS == authority.TLSNone {
			host += ":80, plain text"
		}
		for _, r := range d.Rules {
			is, path := ruleActions(r)+" `"+regionLabel.ReplaceAllString(r.Resource, "{region}")+"`", "`"+r.Path+"`"
			i := slices.IndexFunc(rows, func(row entryRow) bool { return row.is == is && row.hosts[0] == host })
			if i < 0 {
				rows, i = append(rows, entryRow{hosts: []string{host}, is: is}), len(rows)
			}
			if !slices.Contains(rows[i].requests, path) {
				rows[i].requests = append(rows[i].requests, path)
			}
		}
	}
	var joined []entryRow
	for _, row := range rows {
		i := slices.IndexFunc(joined, func(other entryRow) bool { return other.is == row.is && slices.Equal(other.requests, row.requests) })
		if i < 0 {
			joined = append(joined, row)
		} else {
			joined[i].hosts = append(joined[i].hosts, row.hosts...)
		}
	}
	return joined
}

// ruleActions says of a rule which methods are which action.
func ruleActions(r authority.Rule) string {
	var parts []string
	for _, action := range []authority.Action{authority.Read, authority.Write, authority.Execute} {
		var methods []string
		for method, a := range r.Methods {
			if a == action {
				methods = append(methods, strings.ReplaceAll(method, "*", "`*`"))
			}
		}
		if slices.Sort(methods); len(methods) > 0 {
			parts = append(parts, strings.Join(methods, ", ")+" "+string(action))
		}
	}
	return strings.Join(parts, "; ")
}

func enumerate[S ~string](all []S, quote string) string {
	parts := make([]string, len(all))
	for i, s := range all {
		parts[i] = quote + string(s) + quote
	}
	return strings.Join(parts, ", ")
}
