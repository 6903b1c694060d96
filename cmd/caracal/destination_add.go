package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/catalog"
	"github.com/caracal-gateway/caracal/client"
)

// readyLine is what a line says of a ready entry.
type readyLine struct {
	Name  string   `json:"name"`
	Kind  string   `json:"kind"`
	Title string   `json:"title"`
	Hosts []string `json:"hosts"`
}

// addedLine says what became of one destination of a ready entry.
type addedLine struct {
	Entry string                  `json:"entry"`
	Name  string                  `json:"name"`
	Host  string                  `json:"host"`
	State addedState              `json:"state"`
	ID    authority.DestinationID `json:"destination_id"`
}

type addedState string

// A destination is added, or the workspace has one of that host already, which is the same, is its own or gets more rules.
const (
	stateAdded    addedState = "added"
	stateThere    addedState = "there"
	stateDiffer   addedState = "there, and different"
	stateExtended addedState = "extended"
)

func (p *program) destinationAdd() *cobra.Command {
	c := p.changing("add [ENTRY…]", "Add ready destinations for what agents use; without an entry, list what there is", cobra.ArbitraryArgs, func(ctx context.Context, c *call) error {
		if len(c.args) == 0 {
			return things(c.output, readyLines(c.format == formatTable), "name", "kind", "title", "hosts")
		}
		entries, err := readyEntries(c.args)
		if err != nil {
			return err
		}
		present, err := c.Destinations(ctx, nil, 0)
		if err != nil {
			return err
		}
		var lines []addedLine
		for _, e := range entries {
			for _, d := range e.Destinations {
				line, err := c.addReady(ctx, e.Name, d, present)
				if err != nil {
					return errors.Join(err, things(c.output, lines, addedColumns()...))
				}
				lines = append(lines, line)
			}
		}
		return c.settled(ctx, things(c.output, lines, addedColumns()...))
	})
	c.ValidArgsFunction = func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		var names []cobra.Completion
		for _, e := range catalog.Entries() {
			names = append(names, cobra.CompletionWithDesc(e.Name, e.Title))
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
	c.Example = "  caracal destination add github pypi npm"
	return catalogChange(c)
}

func addedColumns() []string { return []string{"entry", "name", "host", "state", "destination_id"} }

// maxListedHosts is how many hosts of an entry fit a line.
const maxListedHosts = 3

// readyLines are the entries; in brief with the first of their hosts only.
func readyLines(brief bool) []readyLine {
	var lines []readyLine
	for _, e := range catalog.Entries() {
		line := readyLine{Name: e.Name, Kind: string(e.Kind), Title: e.Title}
		for _, d := range e.Destinations {
			if !slices.Contains(line.Hosts, d.Host) {
				line.Hosts = append(line.Hosts, d.Host)
			}
		}
		if n := len(line.Hosts); brief && n > maxListedHosts {
			line.Hosts = append(line.Hosts[:maxListedHosts], fmt.Sprintf("and %d more", n-maxListedHosts))
		}
		lines = append(lines, line)
	}
	return lines
}

// readyEntries finds entries by their names, all or none.
func readyEntries(names []string) ([]catalog.Entry, error) {
	var entries []catalog.Entry
	for _, name := range names {
		e, ok := catalog.Find(name)
		if !ok {
			near := &cobra.Command{SuggestionsMinimumDistance: 2}
			for _, e := range catalog.Entries() {
				near.AddCommand(&cobra.Command{Use: e.Name, Run: func(*cobra.Command, []string) {}})
			}
			return nil, &usageError{fmt.Sprintf("there is no ready entry %q%s; `caracal destination add` lists them", name, instead(near.SuggestionsFor(name)))}
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// addReady adds one destination of an entry, unless the workspace has one of its host and ports.
func (c *call) addReady(ctx context.Context, entry string, d authority.Destination, present []authority.Destination) (addedLine, error) {
	line := addedLine{Entry: entry, Name: d.Name, Host: d.Host}
	for _, other := range present {
		if other.Host == d.Host && slices.ContainsFunc(d.Ports, func(p uint16) bool { return slices.Contains(other.Ports, p) }) {
			line.Name, line.ID, line.State = other.Name, other.ID, stateDiffer
			if sameTraffic(other, d) {
				line.State = stateThere
			}
			return line, nil
		}
	}
	made, err := accepted(ctx, c, func(by *client.Client) (authority.Destination, error) { return by.CreateDestination(ctx, d) })
	line.ID, line.State = made.ID, stateAdded
	return line, err
}

// sameTraffic reports whether two destinations of one host make the same of every request.
func sameTraffic(a, b authority.Destination) bool {
	before, errA := authority.NewCatalog([]authority.Destination{a})
	after, errB := authority.NewCatalog([]authority.Destination{b})
	if errA != nil || errB != nil {
		return false
	}
	found, err := before.Differences(after)
	return err == nil && len(found) == 0 && strings.EqualFold(string(a.Tunnel), string(b.Tunnel))
}
