package main

import (
	"context"
	"errors"
	"net"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/client"
)

func (p *program) event() *cobra.Command {
	find := func(c *client.Client, ctx context.Context, id string) (authority.Event, error) {
		return c.Event(ctx, id)
	}
	show := showing(p, "show ID", "Show an event, or the decision behind a denial", eventKind(), find)
	show.Aliases = []string{"get"}
	return noun("event", "Events: what happened", p.eventList(), show, p.eventTail(), p.eventExport())
}

// eventFilters narrow what is listed, followed and exported alike.
func eventFilters() []filter {
	return []filter{
		{flag: "type", parameter: "event_type", meaning: "such as issued, delegated, revoked, validated, allowed or denied"},
		{flag: "since", parameter: "start_date", meaning: "first day of UTC, as 2006-01-02"},
		{flag: "until", parameter: "end_date", meaning: "last day of UTC, as 2006-01-02"},
		{"principal", "principal_id", "of this principal only", refers(principalKind())},
		{"actor", "actor_id", "done by this principal only", refers(principalKind())},
		{"mandate", "mandate_id", "of this mandate only", refers(mandateKind())},
		{flag: "resource", parameter: "resource", meaning: "on this resource only"},
	}
}

// sinceNow are the filters that do not look back.
func sinceNow() []filter {
	return slices.DeleteFunc(eventFilters(), func(f filter) bool { return f.flag == "since" || f.flag == "until" })
}

// withEventTypes completes --type.
func withEventTypes(c *cobra.Command) *cobra.Command {
	types := authority.EventTypes()
	words := make([]cobra.Completion, len(types))
	for i, t := range types {
		words[i] = string(t)
	}
	_ = c.RegisterFlagCompletionFunc("type", cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// about is what an event is about: a resource, or where a request has none the host that was asked for.
func about(e authority.Event) string {
	if e.Resource == "" && e.Request != nil && e.Request.Host != "" && e.Request.Port != 0 {
		return net.JoinHostPort(e.Request.Host, strconv.Itoa(int(e.Request.Port)))
	}
	return string(e.Resource)
}

// eventColumns are what a line says of an event.
func eventColumns() []string {
	return []string{"time", "TYPE=event_type", "reason", "action", "resource", "mandate_id", "FOR=principal_id", "BY=actor_id", "decision_id", "event_id"}
}

func (p *program) eventList() *cobra.Command {
	var chosen func(context.Context, *call) (client.Filter, error)
	var limit int
	command := p.calling("list", "List events, newest first; with an agent's key its own", cobra.NoArgs, func(ctx context.Context, c *call) error {
		if limit < 1 {
			return &usageError{"--limit must be at least 1; `caracal event export` has them all"}
		}
		f, err := chosen(ctx, c)
		if err != nil {
			return err
		}
		all, err := c.Events(ctx, f, limit)
		if err != nil {
			return err
		}
		if c.format == formatTable {
			for i := range all {
				all[i].Resource = authority.Resource(about(all[i]))
			}
		}
		return things(c.named(ctx), all, eventColumns()...)
	})
	chosen = p.filters(command, eventFilters())
	command.Flags().IntVar(&limit, "limit", 50, "how many at most")
	return withEventTypes(command)
}

func (p *program) eventExport() *cobra.Command {
	var chosen func(context.Context, *call) (client.Filter, error)
	var format string
	command := p.calling("export", "Write all events that match, as the control plane does", cobra.NoArgs, func(ctx context.Context, c *call) error {
		if format != "jsonl" && format != "csv" {
			return &usageError{"--format must be jsonl or csv"}
		}
		f, err := chosen(ctx, c)
		if err != nil {
			return err
		}
		out := &lineWriter{w: p.stdout, show: func(line string) string { return line }}
		if format == "jsonl" || onTerminal(p.stdout) { // in JSON an escape means the same; a file of CSV stays as it is
			out.show = printableJSON
		}
		return errors.Join(c.ExportEvents(ctx, f, format, out), out.flush())
	})
	chosen = p.filters(command, eventFilters())
	command.Flags().StringVar(&format, "format", "jsonl", "jsonl or csv")
	return withEventTypes(command)
}
